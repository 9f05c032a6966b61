//! What of a pipeline's specification a cluster needs: its leaves (the tasks that run a container), and the text that KFP is sent.

use std::collections::{BTreeMap, BTreeSet};

use kfops_core::{Failure, Reason};
use serde_json::{Map, Value};

/// Most bytes of a run's arguments as JSON: KFP gives them to a container as one argument of its command line, and Linux takes
/// 128 KiB there (MAX_ARG_STRLEN).
const ARGUMENTS: usize = 100_000;

/// The pipeline's leaves, by the key of the task. Tasks of one key in several components are one entry.
pub(super) struct Spec {
    /// `pipelineInfo.name`.
    pub(super) name: String,
    pub(super) leaves: BTreeMap<String, Leaf>,
}

/// A task that runs a container.
#[derive(Default)]
pub(super) struct Leaf {
    pub(super) image: String,
    /// Names under which its artifacts may lie: the task's display name, its key.
    pub(super) folders: BTreeSet<String>,
    /// Output artifacts that it declares.
    pub(super) outputs: BTreeSet<String>,
    /// Tasks in the longest chain of those that it waits for.
    pub(super) depth: usize,
}

impl Spec {
    pub(super) fn of(pipeline: &Value) -> Self {
        let mut leaves = BTreeMap::<String, Leaf>::new();
        let empty = Map::new();
        let components = pipeline.get("components").and_then(Value::as_object).unwrap_or(&empty);
        let executors = pipeline.pointer("/deploymentSpec/executors").and_then(Value::as_object).unwrap_or(&empty);
        let dags =
            components.values().chain(pipeline.get("root")).filter_map(|component| component.pointer("/dag/tasks"));
        let dags = dags.filter_map(Value::as_object).map(|tasks| (tasks, depths(tasks)));
        for (key, task, depth) in dags.flat_map(|(tasks, depths)| {
            tasks.iter().map(move |(key, task)| (key, task, depths.get(key.as_str()).copied().unwrap_or_default()))
        }) {
            let component = text(task, "/componentRef/name").and_then(|name| components.get(name));
            let Some(component) = component else { continue };
            let Some(label) = text(component, "/executorLabel") else { continue };
            let leaf = leaves.entry(key.clone()).or_default();
            if let Some(image) = executors.get(label).and_then(|executor| text(executor, "/container/image")) {
                image.clone_into(&mut leaf.image);
            }
            leaf.depth = leaf.depth.max(depth);
            leaf.folders.insert(key.clone());
            leaf.folders.extend(text(task, "/taskInfo/name").filter(|name| !name.is_empty()).map(str::to_owned));
            let outputs = component.pointer("/outputDefinitions/artifacts").and_then(Value::as_object);
            leaf.outputs.extend(outputs.into_iter().flatten().map(|(name, _)| name.clone()));
        }
        Self { name: text(pipeline, "/pipelineInfo/name").unwrap_or_default().to_owned(), leaves }
    }
}

/// How many tasks of its DAG each waits for, one after the other.
fn depths(tasks: &Map<String, Value>) -> BTreeMap<&str, usize> {
    let mut depths: BTreeMap<&str, usize> = tasks.keys().map(|key| (key.as_str(), 0)).collect();
    // As often as the longest chain is long. A circle, which KFP refuses, ends it too; so does a chain that nobody reads.
    for _ in 0..tasks.len().min(100) {
        let mut deeper = false;
        for (key, task) in tasks {
            let before = task.get("dependentTasks").and_then(Value::as_array).into_iter().flatten();
            let behind = before.filter_map(Value::as_str).filter_map(|before| depths.get(before)).max();
            let depth = behind.map_or(0, |depth| (depth + 1).min(tasks.len()));
            if depths.get(key.as_str()).is_some_and(|known| depth > *known) {
                depths.insert(key, depth);
                deeper = true;
            }
        }
        if !deeper {
            break;
        }
    }
    depths
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Switches caching off for tasks with output artifacts. A cached task's artifacts lie under the run that made them, which
/// only ML Metadata knows.
pub(super) fn without_caching(pipeline: &mut Value) {
    let Some(components) = pipeline.get("components").and_then(Value::as_object) else { return };
    let writes = |component: &Value| component.pointer("/outputDefinitions/artifacts").is_some();
    let writers: BTreeSet<String> =
        components.iter().filter(|(_, c)| writes(c)).map(|(name, _)| name.clone()).collect();
    let clear = |component: &mut Value| {
        let tasks = component.pointer_mut("/dag/tasks").and_then(Value::as_object_mut);
        for task in tasks.into_iter().flatten().map(|(_, task)| task) {
            let is_writer = text(task, "/componentRef/name").is_some_and(|name| writers.contains(name));
            if let (true, Some(task)) = (is_writer, task.as_object_mut()) {
                task.remove("cachingOptions");
            }
        }
    };
    if let Some(components) = pipeline.get_mut("components").and_then(Value::as_object_mut) {
        components.values_mut().for_each(clear);
    }
    if let Some(root) = pipeline.get_mut("root") {
        clear(root);
    }
}

/// The documents as JSON, which is YAML. What Go's YAML parser may refuse is escaped: text that it cannot parse makes KFP
/// 2.17.0 spin for ever.
pub(super) fn upload_text(documents: &[&Value]) -> Result<String, Failure> {
    let mut text = String::new();
    for document in documents {
        if !text.is_empty() {
            text.push_str("\n---\n");
        }
        for c in serde_json::to_string(document).map_err(Failure::internal)?.chars() {
            match u32::from(c) {
                // Escapes of characters beyond are pairs in JSON, and one long escape in YAML.
                0x20..=0x7e | 0x1_0000.. => text.push(c),
                code => text.push_str(&format!("\\u{code:04x}")),
            }
        }
    }
    // Read back before anybody else reads it.
    let back: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(Failure::internal)?;
    if back.len() != documents.len() || !back.iter().zip(documents).all(|(back, document)| same(back, document)) {
        return Err(Failure::internal("the pipeline's specification cannot be written as YAML"));
    }
    Ok(text)
}

/// Refuses arguments that KFP would start a workflow for and then fail with: its columns are of three-byte UTF-8, and the row of
/// a run is written after the workflow is made.
pub(super) fn passable(arguments: &BTreeMap<String, Value>) -> Result<(), Failure> {
    let refused = |name: &str, why: String| {
        let failure = Failure::new(Reason::InvalidArgument, why).on(format!("run.arguments.{name}"));
        Err(failure.action("put it into a file of the repository or the object store, and pass where it lies"))
    };
    let mut sum = 0;
    for (name, value) in arguments {
        let text = format!("{name}{value}");
        if let Some(c) = text.chars().find(|c| u32::from(*c) >= 0x1_0000) {
            return refused(name, format!("KFP's database cannot keep the character {c} of argument `{name}`"));
        }
        sum += text.len();
        if sum > ARGUMENTS {
            return refused(name, format!("the arguments are longer than {ARGUMENTS} bytes, which KFP cannot pass on"));
        }
    }
    Ok(())
}

/// Whether two documents say the same; numbers are doubles to KFP.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pipeline() -> Value {
        let writer = json!({"executorLabel": "e", "outputDefinitions": {"artifacts": {"model": {}}}});
        let reader = json!({"executorLabel": "e"});
        let task = |name: &str| json!({"componentRef": {"name": name}, "cachingOptions": {"enableCache": true}, "taskInfo": {"name": "shown"}});
        json!({
            "pipelineInfo": {"name": "p"},
            "components": {"w": writer, "r": reader, "loop": {"dag": {"tasks": {"inner": task("w")}}}},
            "deploymentSpec": {"executors": {"e": {"container": {"image": "i"}}}},
            "root": {"dag": {"tasks": {"outer": task("w"), "read": task("r"), "for": task("loop")}}},
        })
    }

    #[test]
    fn leaves_are_found_however_deep() {
        let spec = Spec::of(&pipeline());
        assert_eq!(spec.leaves.keys().collect::<Vec<_>>(), ["inner", "outer", "read"]);
        let inner = &spec.leaves["inner"];
        assert_eq!((inner.image.as_str(), inner.outputs.len()), ("i", 1));
        assert!(inner.folders.contains("shown") && inner.folders.contains("inner"));
        assert!(Spec::of(&json!({"root": []})).leaves.is_empty());
    }

    #[test]
    fn what_waits_is_deeper() {
        let tasks = json!({"a": {"dependentTasks": ["c"]}, "b": {}, "c": {"dependentTasks": ["b", "nobody"]}});
        let circle = json!({"a": {"dependentTasks": ["b"]}, "b": {"dependentTasks": ["a"]}});
        assert_eq!(depths(tasks.as_object().unwrap()), BTreeMap::from([("a", 2), ("b", 0), ("c", 1)]));
        assert!(depths(circle.as_object().unwrap()).values().all(|depth| *depth <= 2));
    }

    #[test]
    fn only_what_writes_artifacts_is_never_cached() {
        let mut pipeline = pipeline();
        without_caching(&mut pipeline);
        let cached = |path: &str| pipeline.pointer(path).unwrap().get("cachingOptions").is_some();
        assert!(!cached("/root/dag/tasks/outer") && !cached("/components/loop/dag/tasks/inner"));
        assert!(cached("/root/dag/tasks/read"));
    }

    #[test]
    fn hostile_text_arrives_as_it_is_and_cannot_stop_the_parser() {
        let document = json!({"a": "\u{7f}\u{80}\u{feff}\u{fffe}\u{2028}é\t\n---\n...\u{0}", "b": "🎉", "c": [1, 2.5, "yes", "1:30"]});
        let text = upload_text(&[&document, &json!({"platforms": {}})]).unwrap();
        assert!(text.chars().all(|c| matches!(u32::from(c), 0xa | 0x20..=0x7e | 0x1_0000..)), "{text}");
        assert_eq!(text.matches("\n---\n").count(), 1);
    }

    #[test]
    fn arguments_that_would_leave_a_workflow_behind_are_refused() {
        let refused = |value: Value| passable(&[("a".to_owned(), value)].into()).err().map(|failure| failure.message);
        assert!(refused(json!({"k": ["größe", "\u{ffff}", 1]})).is_none());
        assert!(refused(json!(["🎉"])).unwrap().contains("`a`"));
        assert!(refused(json!("x".repeat(ARGUMENTS - 3))).is_none());
        assert!(refused(json!("x".repeat(ARGUMENTS - 2))).unwrap().contains("longer"));
    }

    #[test]
    fn numbers_are_compared_as_doubles() {
        assert!(same(&json!({"a": [3, {"b": 1.0}]}), &json!({"a": [3.0, {"b": 1}]})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
        assert!(!same(&json!([1]), &json!([1, 2])));
    }
}
