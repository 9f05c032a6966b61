//! Nodes of a workflow into tasks: drivers and DAG nodes are folded away, what runs twice gets a number.

use std::collections::{HashMap, HashSet};

use super::{
    kfp::{NextTask, Run, State as Kfp, TaskDetail, moment},
    spec::Spec,
};
use crate::{life::State, run::Task};

/// Most tasks that are kept.
const TASKS: usize = 2000;
/// Longest name of a task, characters.
const NAME: usize = 120;

/// A task that KFP knows, and what it is called there.
pub(super) struct Found {
    pub(super) task: Task,
    /// KFP's id of it.
    pub(super) id: String,
    /// Its key in the specification.
    pub(super) key: String,
    /// What KFP says of its failure; up to 2.17 nothing.
    pub(super) error: String,
    /// Key of its log among the artifacts.
    pub(super) log: Option<String>,
}

/// Gives tasks their names, and every task the same one each time.
#[derive(Default)]
pub(super) struct Names {
    given: HashMap<String, String>,
    used: HashSet<String>,
}

impl Names {
    fn of(&mut self, id: &str, key: &str) -> String {
        if let Some(name) = self.given.get(id) {
            return name.clone();
        }
        let plain: String =
            key.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
        let plain: String = plain.trim_start_matches('.').chars().take(NAME).collect();
        let plain = if plain.is_empty() { "task".to_owned() } else { plain };
        let mut name = plain.clone();
        let mut number = 2;
        while !self.used.insert(name.clone()) {
            name = format!("{plain}-{number}");
            number += 1;
        }
        self.given.insert(id.to_owned(), name.clone());
        name
    }
}

/// The tasks of a run, begun ones first, in the order in which they began.
pub(super) fn fold(run: &Run, spec: &Spec, names: &mut Names) -> Vec<Found> {
    let old = run.details().iter().filter(|node| spec.leaves.contains_key(&node.display_name)).map(of_node);
    let new = run.tasks.iter().filter(|task| is_leaf(task, spec)).map(of_task);
    let mut found: Vec<Found> = old.chain(new).take(TASKS).collect();
    // KFP lists them by their ids, which mean nothing; its times are whole seconds, in which one may wait for the other.
    let depth = |found: &Found| spec.leaves.get(&found.key).map_or(0, |leaf| leaf.depth);
    found.sort_by(|a, b| {
        let key = |found: &Found| (found.task.start_time.is_none(), found.task.start_time, depth(found));
        key(a).cmp(&key(b)).then_with(|| a.id.cmp(&b.id))
    });
    for task in &mut found {
        task.task.name = names.of(&task.id, &task.key);
        if let Some(leaf) = spec.leaves.get(&task.key) {
            task.task.image.clone_from(&leaf.image);
        }
    }
    found
}

fn is_leaf(task: &NextTask, spec: &Spec) -> bool {
    matches!(task.kind.as_str(), "RUNTIME" | "IMPORTER")
        || (task.kind.is_empty() && spec.leaves.contains_key(&task.name))
}

fn of_node(node: &TaskDetail) -> Found {
    found(&node.task_id, &node.display_name, node.state(), [&node.start_time, &node.end_time], &node.error.message)
}

fn of_task(task: &NextTask) -> Found {
    found(&task.task_id, &task.name, task.state(), [&task.create_time, &task.end_time], &task.status_metadata.message)
}

fn found(id: &str, key: &str, state: Kfp, [start, end]: [&str; 2], error: &str) -> Found {
    let mut task = Task::pending(key, "");
    task.state = match state {
        Kfp::Pending => State::Pending,
        Kfp::Running | Kfp::Canceling => State::Running,
        Kfp::Succeeded => State::Succeeded,
        Kfp::Skipped => State::Skipped,
        Kfp::Failed => State::Failed,
        Kfp::Canceled => State::Canceled,
    };
    if task.state != State::Pending {
        task.start_time = moment(start);
    }
    if task.state.ended() {
        // A clock that was set back must not make a span that ends before it begins.
        task.end_time = moment(end).or(task.start_time).max(task.start_time);
    }
    Found { task, id: id.to_owned(), key: key.to_owned(), error: error.chars().take(1000).collect(), log: None }
}

/// What is shown: the tasks that KFP knows, then those that it will know.
pub(super) fn with_pending(found: &[Found], expected: &[Task]) -> Vec<Task> {
    let pending = expected.iter().filter(|task| found.iter().all(|found| found.key != task.name));
    found.iter().map(|found| found.task.clone()).chain(pending.cloned()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;

    fn spec() -> Spec {
        let task = json!({"componentRef": {"name": "c"}});
        Spec::of(&json!({
            "components": {"c": {"executorLabel": "e"}},
            "deploymentSpec": {"executors": {"e": {"container": {"image": "i"}}}},
            "root": {"dag": {"tasks": {"train": task, "data-driver": task, "later": task}}},
        }))
    }

    fn node(id: &str, name: &str, state: Option<&str>, start: &str, end: &str) -> serde_json::Value {
        let mut node = json!({"task_id": id, "display_name": name, "start_time": start, "end_time": end});
        if let Some(state) = state {
            node["state"] = state.into();
        }
        node
    }

    #[test]
    fn only_what_runs_a_container_is_a_task() {
        const NONE: &str = "0001-01-01T00:00:00Z";
        let at = |second: u32| format!("2026-11-21T02:17:{second:02}Z");
        let run = json!({"run_details": {"task_details": [
            node("9", "train", Some("RUNNING"), &at(9), NONE),
            node("1", "train-driver", Some("SUCCEEDED"), &at(8), &at(9)),
            node("2", "root", None, NONE, NONE),
            node("3", "two-step-52w8b", Some("RUNNING"), &at(1), NONE),
            node("4", "executor", Some("RUNNING"), &at(9), NONE),
            node("8", "data-driver", Some("SUCCEEDED"), &at(5), &at(7)),
            node("7", "train", Some("FAILED"), &at(6), "1970-01-01T00:00:00Z"),
        ]}});
        let run: Run = serde_json::from_value(run).unwrap();
        let (spec, mut names) = (spec(), Names::default());
        let tasks =
            with_pending(&fold(&run, &spec, &mut names), &[Task::pending("later", ""), Task::pending("train", "")]);
        let shown: Vec<(&str, State)> = tasks.iter().map(|task| (task.name.as_str(), task.state)).collect();
        let expected = [
            ("data-driver", State::Succeeded),
            ("train", State::Failed),
            ("train-2", State::Running),
            ("later", State::Pending),
        ];
        assert_eq!(shown, expected);
        assert_eq!(tasks[0].image, "i");
        let second =
            |time: Option<SystemTime>| time.unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() % 60;
        assert_eq!((second(tasks[0].start_time), second(tasks[0].end_time)), (5, 7));
        // An end in 1970 is none: it is taken to have ended where it began.
        assert_eq!(tasks[1].end_time, tasks[1].start_time);
        assert_eq!(tasks[2].end_time, None);
        // Names stay, whatever comes later.
        let earlier = json!({"run_details": {"task_details": [node("0", "train", Some("RUNNING"), &at(0), NONE), node("7", "train", Some("FAILED"), &at(6), NONE)]}});
        let again: Vec<String> = fold(&serde_json::from_value(earlier).unwrap(), &spec, &mut names)
            .into_iter()
            .map(|found| found.task.name)
            .collect();
        assert_eq!(again, ["train-3", "train"]);
    }

    #[test]
    fn tasks_of_the_next_release() {
        let run = json!({"tasks": [
            {"task_id": "r", "name": "ROOT", "type": "ROOT", "state": "RUNNING", "create_time": "2026-11-21T02:17:00Z"},
            {"task_id": "t", "name": "train", "type": "RUNTIME", "state": "FAILED", "create_time": "2026-11-21T02:17:01Z",
             "end_time": "2026-11-21T02:17:02Z", "status_metadata": {"message": "no luck"}},
        ]});
        let found = fold(&serde_json::from_value(run).unwrap(), &spec(), &mut Names::default());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].task.state, found[0].error.as_str()), (State::Failed, "no luck"));
    }
}
