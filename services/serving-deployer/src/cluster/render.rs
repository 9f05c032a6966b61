//! From a revision's manifest to the InferenceService that is applied: the template's fields and Kfops' own, nothing else.

use kfops_core::{Failure, Reason};
use serde_json::{Map, Value, json};

use super::{
    objects::{CLUSTER_LOCAL, DEPLOYMENT_MODE, MADE_FOR, MANAGED_BY, REVISION, SERVICE, TRACEPARENT},
    settings::KserveSettings,
};
use crate::service::{Revision, ServiceName};

/// What an InferenceService is for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Role {
    /// The one of the template's name.
    Named {
        /// It is not there yet.
        new: bool,
    },
    /// One beside it, of the revision's name.
    Candidate {
        /// uid of the one of the template's name, which takes this one along when somebody deletes it.
        owner: String,
        /// What makes the server call the model by the service's name, not by the candidate's.
        naming: Naming,
    },
}

/// Arguments and environment in which a runtime has the InferenceService's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Naming {
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
}

/// Longest name: `isvc.<name>-00001-predictor` is a label of pods, of at most 63 characters.
const LONGEST: usize = 42;

fn invalid(text: impl Into<String>) -> Failure {
    Failure::new(Reason::TemplateInvalid, text)
}

/// Fails for a manifest that cannot be served in this mode.
pub(super) fn check(manifest: &str) -> Result<Value, Failure> {
    let object: Value = serde_saphyr::from_str(manifest).map_err(|error| invalid(error.to_string()))?;
    let mode = object.pointer("/metadata/annotations").and_then(|a| a.get(DEPLOYMENT_MODE)).and_then(Value::as_str);
    if !matches!(mode, None | Some("Standard" | "RawDeployment")) {
        let mode: String = mode.unwrap_or_default().chars().filter(|c| !c.is_control()).take(60).collect();
        return Err(invalid(format!(
            "metadata.annotations.{DEPLOYMENT_MODE} is `{mode}`, but this Kfops serves in Standard mode"
        )));
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    if name.len() > LONGEST || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Err(invalid(format!(
            "metadata.name: KServe wants a name that begins with a letter, and Kfops one of at most {LONGEST} characters: \
             its revisions and their pods' labels are named after it"
        )));
    }
    for component in ["transformer", "explainer", "canary"] {
        if object.pointer("/spec").and_then(|spec| spec.get(component)).is_some() {
            return Err(invalid(format!("spec.{component} cannot be rolled out by Kfops in Standard mode")));
        }
    }
    for field in ["ownerReferences", "finalizers", "generateName"] {
        if object.pointer("/metadata").and_then(|metadata| metadata.get(field)).is_some() {
            return Err(invalid(format!("metadata.{field} has no place in a template")));
        }
    }
    Ok(object)
}

/// The object to apply for a revision.
pub(super) fn inference_service(
    service: &ServiceName,
    revision: &Revision,
    role: &Role,
    settings: &KserveSettings,
) -> Result<Value, Failure> {
    let template = check(&revision.manifest)?;
    let mut spec = template.get("spec").cloned().unwrap_or_default();
    predictor(&mut spec, revision, settings)?;
    let mut labels = strings(template.pointer("/metadata/labels"));
    labels.insert(REVISION.into(), revision.name.clone().into());
    labels.insert(SERVICE.into(), service.name.clone().into());
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    let mut annotations = strings(template.pointer("/metadata/annotations"));
    // KServe's webhook writes the old name anew: under the new one, nothing differs from what was applied.
    annotations.insert(DEPLOYMENT_MODE.into(), "Standard".into());
    let own = [("rollout", &revision.rollout), ("run", &revision.run), ("commit", &revision.commit)];
    for (key, value) in own.into_iter().filter(|(_, value)| !value.is_empty()) {
        annotations.insert(format!("kfops.dev/{key}"), value.clone().into());
    }
    if let Some(context) = &revision.context {
        annotations.insert(TRACEPARENT.into(), context.to_string().into());
    }
    let mut metadata = Map::new();
    let name = match role {
        Role::Named { new } => {
            if *new {
                annotations.insert(MADE_FOR.into(), revision.name.clone().into());
            }
            &service.name
        }
        Role::Candidate { owner, naming } => {
            labels.insert(CLUSTER_LOCAL.0.into(), CLUSTER_LOCAL.1.into());
            name_the_model(&mut spec, naming)?;
            let owner = json!([{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
                "name": service.name, "uid": owner}]);
            metadata.insert("ownerReferences".into(), owner);
            &revision.name
        }
    };
    metadata.insert("name".into(), name.clone().into());
    metadata.insert("namespace".into(), service.namespace.clone().into());
    metadata.insert("labels".into(), labels.into());
    metadata.insert("annotations".into(), annotations.into());
    Ok(
        json!({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata, "spec": spec}),
    )
}

/// The path of the model in a predictor: `model`, or the format in the manner of KServe before 0.7.
pub(super) fn model_key(predictor: &Map<String, Value>, format: &str) -> Option<String> {
    ["model", format].into_iter().find(|key| predictor.get(*key).is_some_and(Value::is_object)).map(str::to_owned)
}

fn predictor(spec: &mut Value, revision: &Revision, settings: &KserveSettings) -> Result<(), Failure> {
    let predictor =
        spec.get_mut("predictor").and_then(Value::as_object_mut).ok_or_else(|| invalid("spec.predictor is missing"))?;
    // Knative's share; in Standard mode the webhook refuses it.
    predictor.remove("canaryTrafficPercent");
    let key = model_key(predictor, &revision.predictor.format).ok_or_else(|| invalid("spec.predictor has no model"))?;
    if let Some(model) = predictor.get_mut(&key) {
        model["storageUri"] = revision.predictor.storage_uri.clone().into();
    }
    if let Some(account) = &settings.service_account {
        predictor.entry("serviceAccountName").or_insert_with(|| account.clone().into());
    }
    Ok(())
}

/// KServe appends a predictor's arguments to those of its runtime, and merges the environment by name.
fn name_the_model(spec: &mut Value, naming: &Naming) -> Result<(), Failure> {
    if *naming == Naming::default() {
        return Ok(());
    }
    let predictor = spec.get_mut("predictor").and_then(Value::as_object_mut);
    let model = predictor.and_then(|predictor| {
        predictor.iter_mut().find(|(key, value)| *key == "model" || value.get("storageUri").is_some()).map(|(_, v)| v)
    });
    let Some(model) = model else { return Err(invalid("spec.predictor has no model")) };
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut args: Vec<Value> = naming.args.iter().map(|arg| arg.clone().into()).collect();
    args.extend(list(model.get("args")));
    if !args.is_empty() {
        model["args"] = args.into();
    }
    let mut env = list(model.get("env"));
    for (name, value) in &naming.env {
        if !env.iter().any(|e| e.get("name").and_then(Value::as_str) == Some(name)) {
            env.push(json!({"name": name, "value": value}));
        }
    }
    if !env.is_empty() {
        model["env"] = env.into();
    }
    Ok(())
}

fn strings(value: Option<&Value>) -> Map<String, Value> {
    let own = |key: &str| key.starts_with("kfops.dev/");
    let pairs = value.and_then(Value::as_object).cloned().unwrap_or_default();
    pairs.into_iter().filter(|(key, _)| !own(key)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::service::{Model, Predictor, Protocol, RevisionState};

    pub(in crate::cluster) fn revision(number: u32, manifest: &str) -> Revision {
        Revision {
            name: format!("iris-{number:05}"),
            state: RevisionState::Starting,
            percent: None,
            model: Model { uri: "s3://models/1".into(), digest: String::new(), size_bytes: 0 },
            predictor: Predictor {
                format: "sklearn".into(),
                protocol: Protocol::V1,
                storage_uri: "s3://models/1".into(),
            },
            run: "runs/r-1".into(),
            rollout: "d-1".into(),
            commit: "3f2c1e7".into(),
            created: SystemTime::UNIX_EPOCH,
            manifest: manifest.into(),
            context: None,
        }
    }

    pub(in crate::cluster) fn iris() -> ServiceName {
        ServiceName { namespace: "team".into(), name: "iris".into() }
    }

    const MANIFEST: &str = "
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris, labels: {team: a, kfops.dev/revision: forged}, annotations: {serving.kserve.io/deploymentMode: RawDeployment}}
spec: {predictor: {minReplicas: 2, model: {modelFormat: {name: sklearn}, args: [--x]}}}
";

    #[test]
    fn the_named_one_has_the_templates_fields_and_ours() {
        let settings = KserveSettings { service_account: Some("default-editor".into()), ..KserveSettings::default() };
        let object = inference_service(&iris(), &revision(7, MANIFEST), &Role::Named { new: true }, &settings).unwrap();
        assert_eq!(object["metadata"]["name"], "iris");
        assert_eq!(object["metadata"]["namespace"], "team");
        assert_eq!(object["metadata"]["labels"]["team"], "a");
        assert_eq!(object["metadata"]["labels"][REVISION], "iris-00007");
        assert_eq!(object["metadata"]["annotations"][DEPLOYMENT_MODE], "Standard");
        assert_eq!(object["metadata"]["annotations"][MADE_FOR], "iris-00007");
        assert_eq!(object["metadata"]["annotations"]["kfops.dev/run"], "runs/r-1");
        let predictor = &object["spec"]["predictor"];
        assert_eq!(predictor["serviceAccountName"], "default-editor");
        assert_eq!(predictor["minReplicas"], 2);
        assert_eq!(predictor["model"]["storageUri"], "s3://models/1");
        assert_eq!(predictor["model"]["args"], json!(["--x"]));
    }

    #[test]
    fn a_candidate_calls_the_model_by_the_services_name() {
        let naming = Naming { args: vec!["--model_name=iris".into()], env: vec![("NAME".into(), "iris".into())] };
        let role = Role::Candidate { owner: "u-1".into(), naming };
        let object = inference_service(&iris(), &revision(8, MANIFEST), &role, &KserveSettings::default()).unwrap();
        assert_eq!(object["metadata"]["name"], "iris-00008");
        assert_eq!(object["metadata"]["labels"][CLUSTER_LOCAL.0], "cluster-local");
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u-1");
        assert!(object["metadata"]["annotations"].get(MADE_FOR).is_none());
        let model = &object["spec"]["predictor"]["model"];
        assert_eq!(model["args"], json!(["--model_name=iris", "--x"]), "the template's own come last");
        assert_eq!(model["env"], json!([{"name": "NAME", "value": "iris"}]));
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let with = |text: &str| check(&MANIFEST.replace("labels:", text)).map(|_| ()).unwrap_err().message;
        assert!(with("finalizers: [x], labels:").contains("metadata.finalizers"));
        let knative = MANIFEST.replace("RawDeployment", "Serverless");
        assert!(check(&knative).unwrap_err().message.contains("Standard mode"));
        for name in ["3d".to_owned(), "a".repeat(43)] {
            let text = check(&MANIFEST.replace("name: iris", &format!("name: {name}"))).unwrap_err().message;
            assert!(text.contains("at most 42 characters"), "{text}");
        }
        let transformer = MANIFEST.replace("spec: {", "spec: {transformer: {}, ");
        assert!(check(&transformer).unwrap_err().message.contains("spec.transformer"));
    }
}
