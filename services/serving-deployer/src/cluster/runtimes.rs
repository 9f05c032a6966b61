//! Which ServingRuntime KServe takes for a model, by KServe's own rules, and where in it the InferenceService's name stands:
//! a candidate has another name than the service, but must call its model by the service's.

use kfops_core::{Failure, Reason};
use serde_json::Value;

use super::{objects::SERVER, render::Naming};

/// A ServingRuntime or ClusterServingRuntime.
#[derive(Debug, Clone)]
pub(super) struct Serving {
    pub(super) name: String,
    /// Of the cluster; those of the namespace come first.
    pub(super) of_cluster: bool,
    pub(super) spec: Value,
}

/// What the template asks for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) runtime: Option<&'a str>,
    pub(super) format: &'a str,
    pub(super) version: Option<&'a str>,
    pub(super) protocol: &'a str,
}

/// The runtime that KServe 0.20 selects; the failure says which there are.
pub(super) fn select<'a>(runtimes: &'a [Serving], wanted: &Wanted<'_>) -> Result<&'a Serving, Failure> {
    let missing = |text: String| {
        let names: Vec<&str> = runtimes.iter().map(|runtime| runtime.name.as_str()).collect();
        let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(Failure::new(Reason::TemplateInvalid, format!("{text}; serving runtimes there: {there}"))
            .action("name another runtime or format in the template, or have the runtime installed"))
    };
    if let Some(name) = wanted.runtime {
        return match runtimes.iter().find(|runtime| runtime.name == name) {
            Some(runtime) => Ok(runtime),
            None => missing(format!("there is no serving runtime `{name}`")),
        };
    }
    // A stable sort keeps the order of names where no priority says more.
    let mut fitting: Vec<&Serving> = runtimes.iter().filter(|runtime| fits(&runtime.spec, wanted)).collect();
    fitting.sort_by_key(|runtime| (runtime.of_cluster, std::cmp::Reverse(priority(&runtime.spec, wanted.format))));
    match fitting.first() {
        Some(runtime) => Ok(runtime),
        None => missing(format!(
            "no serving runtime takes models of format `{}` by protocol {}",
            wanted.format, wanted.protocol
        )),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn is(value: &Value, key: &str, text: &str) -> bool {
    value.get(key).and_then(Value::as_str) == Some(text)
}

fn fits(spec: &Value, wanted: &Wanted<'_>) -> bool {
    let enabled = spec.get("disabled").and_then(Value::as_bool) != Some(true);
    let single = spec.get("multiModel").and_then(Value::as_bool) != Some(true) && spec.get("workerSpec").is_none();
    let format = list(spec, "supportedModelFormats").any(|format| {
        is(format, "name", wanted.format)
            && format.get("autoSelect").and_then(Value::as_bool) == Some(true)
            && wanted.version.is_none_or(|version| is(format, "version", version))
    });
    let protocols: Vec<&Value> = list(spec, "protocolVersions").collect();
    let protocol = protocols.is_empty() || protocols.iter().any(|p| p.as_str() == Some(wanted.protocol));
    enabled && single && format && protocol
}

fn priority(spec: &Value, format: &str) -> Option<i64> {
    list(spec, "supportedModelFormats").filter(|f| is(f, "name", format)).find_map(|f| f.get("priority")?.as_i64())
}

/// Where the runtime has the name of the InferenceService, with `name` in its place. A later argument wins over the runtime's.
pub(super) fn naming(runtime: &Value, name: &str) -> Naming {
    let mut naming = Naming::default();
    let Some(server) = list(runtime, "containers").find(|container| is(container, "name", SERVER)) else {
        return naming;
    };
    let put = |text: &str| has_name(text).then(|| text.replace("{{.Name}}", name).replace("{{ .Name }}", name));
    let args: Vec<&str> = list(server, "args").filter_map(Value::as_str).collect();
    for (index, arg) in args.iter().enumerate() {
        let Some(value) = put(arg) else { continue };
        // `--model_name {{.Name}}` as two arguments.
        let option = index.checked_sub(1).and_then(|before| args.get(before));
        if let Some(option) = option.filter(|option| option.starts_with('-') && !arg.starts_with('-')) {
            naming.args.push((*option).to_owned());
        }
        naming.args.push(value);
    }
    for env in list(server, "env") {
        let pair = env.get("name").and_then(Value::as_str).zip(env.get("value").and_then(Value::as_str));
        if let Some((key, value)) = pair.and_then(|(key, value)| Some((key, put(value)?))) {
            naming.env.push((key.to_owned(), value));
        }
    }
    naming
}

fn has_name(text: &str) -> bool {
    text.contains("{{.Name}}") || text.contains("{{ .Name }}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn runtime(name: &str, format: &str, priority: i64, protocols: &[&str]) -> Serving {
        let spec = json!({
            "supportedModelFormats": [{"name": format, "version": "1", "autoSelect": true, "priority": priority}],
            "protocolVersions": protocols,
        });
        Serving { name: name.into(), of_cluster: true, spec }
    }

    fn wanted(format: &'static str, protocol: &'static str) -> Wanted<'static> {
        Wanted { runtime: None, format, version: None, protocol }
    }

    #[test]
    fn the_runtime_of_the_highest_priority_is_taken() {
        let all = [
            runtime("kserve-sklearnserver", "sklearn", 1, &["v1", "v2"]),
            runtime("kserve-mlserver", "sklearn", 2, &["v2"]),
            runtime("kserve-xgbserver", "xgboost", 1, &["v1"]),
        ];
        assert_eq!(select(&all, &wanted("sklearn", "v1")).unwrap().name, "kserve-sklearnserver");
        assert_eq!(select(&all, &wanted("sklearn", "v2")).unwrap().name, "kserve-mlserver");
        let named = Wanted { runtime: Some("kserve-xgbserver"), ..wanted("sklearn", "v1") };
        assert_eq!(select(&all, &named).unwrap().name, "kserve-xgbserver");
        let version = Wanted { version: Some("2"), ..wanted("sklearn", "v1") };
        assert!(select(&all, &version).is_err());
    }

    #[test]
    fn a_runtime_that_is_not_there_is_named() {
        let all = [runtime("kserve-sklearnserver", "sklearn", 1, &["v1"])];
        let failure = select(&all, &wanted("onnx", "v2")).unwrap_err();
        assert_eq!(
            failure.message,
            "no serving runtime takes models of format `onnx` by protocol v2; serving runtimes there: kserve-sklearnserver"
        );
        let named = Wanted { runtime: Some("mine"), ..wanted("sklearn", "v1") };
        assert!(select(&[], &named).unwrap_err().message.ends_with("`mine`; serving runtimes there: none"));
    }

    #[test]
    fn the_name_is_found_in_arguments_and_environment() {
        let spec = json!({"containers": [{"name": SERVER,
            "args": ["--model_name={{.Name}}", "--dir", "/mnt", "--name", "{{.Name}}"],
            "env": [{"name": "MLSERVER_MODEL_NAME", "value": "{{ .Name }}"}, {"name": "X", "value": "y"}]}]});
        let expected = Naming {
            args: vec!["--model_name=iris".into(), "--name".into(), "iris".into()],
            env: vec![("MLSERVER_MODEL_NAME".into(), "iris".into())],
        };
        assert_eq!(naming(&spec, "iris"), expected);
        assert_eq!(naming(&json!({}), "iris"), Naming::default());
    }
}
