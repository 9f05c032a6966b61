//! Where an object in the cluster is not as Kfops applied it, and who changed it.

use serde_json::Value;

use super::objects::InferenceService;

/// Differences that are told of one object.
const MOST: usize = 5;
/// Longest value that is shown.
const SHOWN: usize = 80;

/// Each field of `applied` that is something else in `found`: `spec.x is 2, applied was 1 (changed by kubectl-edit)`.
pub(super) fn differences(applied: &Value, found: &InferenceService) -> Vec<String> {
    let live = serde_json::json!({
        "metadata": {"labels": found.metadata.labels, "annotations": found.metadata.annotations},
        "spec": found.spec,
    });
    let mut all = Vec::new();
    for part in ["/metadata/labels", "/metadata/annotations", "/spec"] {
        let (Some(applied), found) = (applied.pointer(part), live.pointer(part).unwrap_or(&Value::Null)) else {
            continue;
        };
        let path: Vec<String> = part.split('/').skip(1).map(str::to_owned).collect();
        compare(&path, applied, found, &mut all);
    }
    all.into_iter().take(MOST).map(|(path, text)| format!("{text}{}", by(found, &path))).collect()
}

fn compare(path: &[String], applied: &Value, found: &Value, all: &mut Vec<(Vec<String>, String)>) {
    match (applied, found) {
        (Value::Object(applied), Value::Object(found)) => {
            for (key, value) in applied {
                let path = [path, std::slice::from_ref(key)].concat();
                compare(&path, value, found.get(key).unwrap_or(&Value::Null), all);
            }
        }
        (Value::Array(applied), Value::Array(found)) if applied.len() == found.len() => {
            for (index, (applied, found)) in applied.iter().zip(found).enumerate() {
                compare(&[path, &[index.to_string()]].concat(), applied, found, all);
            }
        }
        (applied, found) if same(applied, found) => {}
        (applied, found) => {
            let text = format!("{} is {}, applied was {}", path.join("."), short(found), short(applied));
            all.push((path.to_vec(), text));
        }
    }
}

/// Kubernetes may write a quantity or a number in another way.
fn same(applied: &Value, found: &Value) -> bool {
    match (applied, found) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Number(a), Value::String(b)) | (Value::String(b), Value::Number(a)) => a.to_string() == *b,
        (Value::Null, Value::Null) => true,
        (a, b) => a == b,
    }
}

fn short(value: &Value) -> String {
    if value.is_null() { "missing".into() } else { value.to_string().chars().take(SHOWN).collect() }
}

/// The manager that owns the field, where Kubernetes tells.
fn by(found: &InferenceService, path: &[String]) -> String {
    let managers = found.metadata.managed_fields.iter().flatten();
    let mut others = managers.filter(|entry| entry.manager.as_deref() != Some(kfops_kube::FIELD_MANAGER));
    let owner = others.find(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        let mut at = fields;
        for key in path {
            at = at.and_then(|fields| fields.get(format!("f:{key}")));
        }
        at.is_some()
    });
    owner.and_then(|entry| entry.manager.as_ref()).map(|manager| format!(" (changed by {manager})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_somebody_changed_is_named_with_the_somebody() {
        let applied = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"predictor": {
            "minReplicas": 1, "model": {"storageUri": "s3://m/1", "args": ["x"]}}}});
        let found: InferenceService = serde_json::from_value(json!({
            "metadata": {"labels": {"a": "b", "more": "c"}, "managedFields": [
                {"manager": "kfops", "fieldsV1": {"f:spec": {"f:predictor": {"f:minReplicas": {}}}}},
                {"manager": "kubectl-edit", "fieldsV1": {"f:spec": {"f:predictor": {"f:model": {"f:storageUri": {}}}}}}]},
            "spec": {"predictor": {"minReplicas": 1, "name": "", "model": {"storageUri": "s3://m/2", "args": ["x"]}}}}))
        .unwrap();
        assert_eq!(
            differences(&applied, &found),
            [r#"spec.predictor.model.storageUri is "s3://m/2", applied was "s3://m/1" (changed by kubectl-edit)"#]
        );
    }

    #[test]
    fn what_kubernetes_writes_in_another_way_is_the_same() {
        let applied = json!({"spec": {"cpu": 1, "list": [1.0]}});
        let found: InferenceService = serde_json::from_value(json!({"spec": {"cpu": "1", "list": [1]}})).unwrap();
        assert!(differences(&applied, &found).is_empty());
    }
}
