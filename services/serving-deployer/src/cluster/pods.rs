//! What is wrong with a predictor's pod, in a person's words, and what it does meanwhile.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Pod};

use super::objects::{INITIALIZER, SERVER};

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    /// In words.
    pub(super) text: String,
    /// It may pass before: a registry that hiccups, a node that is being added.
    pub(super) after: Duration,
}

const AT_ONCE: Duration = Duration::ZERO;
const MOMENT: Duration = Duration::from_secs(5);

/// Whether it may be asked.
pub(super) fn is_ready(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && condition(pod, "Ready").is_some_and(|(status, _)| status == "True")
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|c| c.type_ == kind)?;
    Some((&found.status, found.message.as_deref().unwrap_or_default()))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_deref()).unwrap_or_default();
    init.iter().chain(status.and_then(|s| s.container_statuses.as_deref()).unwrap_or_default())
}

/// The first thing that is wrong with it.
pub(super) fn trouble(pod: &Pod, unschedulable_after: Duration) -> Option<Trouble> {
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let status = pod.status.as_ref()?;
    if status.phase.as_deref() == Some("Failed") {
        let reason = status.reason.as_deref().unwrap_or("failed");
        let text = format!("a pod is gone ({reason}): {}", status.message.as_deref().unwrap_or_default());
        return Some(Trouble { text, after: MOMENT });
    }
    if let Some(("False", message)) = condition(pod, "PodScheduled") {
        return Some(Trouble { text: format!("no node takes its pod: {message}"), after: unschedulable_after });
    }
    containers(pod).find_map(|container| of_container(pod, container))
}

fn of_container(pod: &Pod, status: &ContainerStatus) -> Option<Trouble> {
    let ended = |state: &Option<ContainerState>| state.as_ref().and_then(|s| s.terminated.clone());
    let last = ended(&status.state).or_else(|| ended(&status.last_state));
    let name = &status.name;
    if let Some(ended) = &last
        && ended.exit_code != 0
    {
        if ended.reason.as_deref() == Some("OOMKilled") {
            let limit = limit(pod, name).map(|limit| format!(" (limit {limit})")).unwrap_or_default();
            let text = format!("{} ran out of memory{limit}", whose(name));
            return Some(Trouble { text, after: AT_ONCE });
        }
        let said = ended.message.as_deref().and_then(last_line).map(|line| format!(": {line}")).unwrap_or_default();
        let code = ended.exit_code;
        let text = match name.as_str() {
            INITIALIZER => format!("the model cannot be fetched{said}"),
            _ => format!("{} ended with exit code {code}{said}", whose(name)),
        };
        // The first end may be an accident.
        let after = if status.restart_count >= 2 { AT_ONCE } else { MOMENT };
        return Some(Trouble { text, after });
    }
    let waiting = status.state.as_ref()?.waiting.as_ref()?;
    let message = waiting.message.as_deref().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            let message = message.trim_start_matches("Back-off pulling image ");
            Some(Trouble { text: format!("image {} cannot be pulled: {message}", status.image), after: MOMENT })
        }
        "InvalidImageName" => {
            Some(Trouble { text: format!("image {} has no valid name", status.image), after: AT_ONCE })
        }
        reason @ ("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError") => {
            Some(Trouble { text: format!("{} cannot be started ({reason}): {message}", whose(name)), after: MOMENT })
        }
        _ => None,
    }
}

fn whose(container: &str) -> String {
    match container {
        SERVER => "the model server".into(),
        INITIALIZER => "fetching the model".into(),
        other => format!("container {other}"),
    }
}

fn limit(pod: &Pod, container: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let found = all.into_iter().find(|c| c.name == container)?;
    Some(found.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}

fn last_line(text: &str) -> Option<String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(300).collect())
}

/// What a pod that is not ready does.
pub(super) fn doing(pod: &Pod) -> String {
    let running = |name: &str| {
        containers(pod).any(|c| c.name == name && c.state.as_ref().is_some_and(|state| state.running.is_some()))
    };
    if condition(pod, "PodScheduled").is_none_or(|(status, _)| status != "True") {
        return "waits for a node".into();
    }
    if running(SERVER) {
        return "loads the model".into();
    }
    if running(INITIALIZER) {
        return "fetches the model".into();
    }
    "starts its containers".into()
}

/// The container whose log tells most, and whether it is that of the run before.
pub(super) fn telling(pod: &Pod) -> (String, bool) {
    let failed = |c: &&ContainerStatus| {
        let code = |s: &Option<ContainerState>| s.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code);
        code(&c.state).or_else(|| code(&c.last_state)).is_some_and(|code| code != 0)
    };
    match containers(pod).find(failed) {
        Some(found) => {
            let ended = found.state.as_ref().is_some_and(|state| state.terminated.is_some());
            (found.name.clone(), !ended && found.restart_count > 0)
        }
        None => (SERVER.into(), false),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        let limits = json!({"limits": {"memory": "600Mi"}});
        let spec = json!({"containers": [{"name": SERVER, "resources": limits}]});
        serde_json::from_value(json!({"metadata": {}, "spec": spec, "status": status})).unwrap()
    }

    fn container(name: &str, restarts: i32, state: Value, last: Value) -> Value {
        json!({"name": name, "image": "registry.test/x:1", "imageID": "", "ready": false, "restartCount": restarts,
            "state": state, "lastState": last})
    }

    fn text(status: Value) -> Option<(String, Duration)> {
        trouble(&pod(status), Duration::from_secs(30)).map(|trouble| (trouble.text, trouble.after))
    }

    #[test]
    fn each_failure_has_its_words() {
        let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "manifest unknown"}});
        let pull = json!({"containerStatuses": [container(SERVER, 0, waiting("ErrImagePull"), json!({}))]});
        assert_eq!(text(pull), Some(("image registry.test/x:1 cannot be pulled: manifest unknown".into(), MOMENT)));

        let oom = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let oom = json!({"containerStatuses": [container(SERVER, 1, waiting("CrashLoopBackOff"), oom)]});
        assert_eq!(text(oom), Some(("the model server ran out of memory (limit 600Mi)".into(), AT_ONCE)));

        let crash = json!({"terminated": {"exitCode": 1, "reason": "Error"}});
        let crash = json!({"containerStatuses": [container(SERVER, 2, waiting("CrashLoopBackOff"), crash)]});
        assert_eq!(text(crash), Some(("the model server ended with exit code 1".into(), AT_ONCE)));

        let fetch =
            json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "Traceback\nno such bucket: b\n"}});
        let fetch = json!({"initContainerStatuses": [container(INITIALIZER, 0, fetch, json!({}))]});
        assert_eq!(text(fetch), Some(("the model cannot be fetched: no such bucket: b".into(), MOMENT)));

        let nowhere = json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "message": "0/1 nodes are available: 1 Insufficient cpu."}]});
        let (words, after) = text(nowhere).unwrap();
        assert_eq!(words, "no node takes its pod: 0/1 nodes are available: 1 Insufficient cpu.");
        assert_eq!(after, Duration::from_secs(30));
    }

    #[test]
    fn a_pod_on_its_way_is_not_wrong() {
        let scheduled = json!([{"type": "PodScheduled", "status": "True"}]);
        let running = container(INITIALIZER, 0, json!({"running": {}}), json!({}));
        let waiting = container(SERVER, 0, json!({"waiting": {"reason": "PodInitializing"}}), json!({}));
        let status =
            json!({"conditions": scheduled, "initContainerStatuses": [running], "containerStatuses": [waiting]});
        assert_eq!(text(status.clone()), None);
        assert_eq!(doing(&pod(status)), "fetches the model");
    }
}
