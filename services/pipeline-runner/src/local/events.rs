//! What run.py reports, line by line. Tasks could write to its file too: it is read within limits and believed only as
//! far as the run itself goes.

use std::{
    collections::BTreeMap,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{life::State, run::Task};

/// Most that is read of one file.
const LIMIT: u64 = 64 * 1024 * 1024;
/// Most tasks that are kept.
const TASKS: usize = 2000;

/// One line.
#[derive(Deserialize)]
struct Event {
    event: Kind,
    task: String,
    time_ns: u64,
    #[serde(default)]
    image: String,
    #[serde(default)]
    inputs: BTreeMap<String, Value>,
    #[serde(default)]
    outputs: BTreeMap<String, Value>,
    #[serde(default)]
    artifacts: BTreeMap<String, String>,
    #[serde(default)]
    metrics: BTreeMap<String, f64>,
    #[serde(default)]
    state: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Start,
    Inputs,
    End,
}

/// Follows the file and keeps the tasks.
pub(super) struct Events {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
    /// Begun ones first, in their order.
    pub(super) tasks: Vec<Task>,
    /// What was reported as the error of each failed task.
    pub(super) errors: BTreeMap<String, String>,
}

impl Events {
    pub(super) fn new(path: &Path, pending: Vec<Task>) -> Self {
        Self { path: path.to_owned(), offset: 0, rest: Vec::new(), tasks: pending, errors: BTreeMap::new() }
    }

    /// Reads what is new. True when a task has changed.
    pub(super) fn read(&mut self) -> bool {
        let mut changed = false;
        let mut new = Vec::new();
        let mut read = || {
            let mut file = kfops_process::open_regular(&self.path)?;
            file.seek(SeekFrom::Start(self.offset))?;
            file.take(LIMIT.saturating_sub(self.offset)).read_to_end(&mut new)
        };
        let Ok(count) = read() else { return false };
        self.offset += count as u64;
        self.rest.extend_from_slice(&new);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            match serde_json::from_slice::<Event>(&line) {
                Ok(event) => changed |= self.apply(event),
                Err(error) => tracing::debug!(%error, "not an event"),
            }
        }
        changed
    }

    fn apply(&mut self, event: Event) -> bool {
        let name = &event.task;
        let valid = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > 140 || name.starts_with('.') || !name.chars().all(valid) {
            return false;
        }
        let time = UNIX_EPOCH + Duration::from_nanos(event.time_ns);
        match event.event {
            Kind::Start => self.start(&event, time),
            Kind::Inputs => self.running(name, |task| task.inputs = event.inputs),
            Kind::End => {
                let succeeded = event.state == "succeeded";
                if !succeeded {
                    self.errors.insert(name.clone(), event.error);
                }
                self.running(name, |task| {
                    task.end(if succeeded { State::Succeeded } else { State::Failed }, None, time);
                    task.outputs = event.outputs;
                    task.artifacts = event.artifacts;
                    task.metrics = event.metrics.into_iter().filter(|(_, value)| value.is_finite()).collect();
                })
            }
        }
    }

    fn start(&mut self, event: &Event, time: SystemTime) -> bool {
        if self.tasks.iter().any(|task| task.name == event.task && task.state != State::Pending)
            || self.tasks.len() >= TASKS
        {
            return false;
        }
        self.tasks.retain(|task| task.name != event.task);
        let at = self.tasks.iter().position(|task| task.state == State::Pending).unwrap_or(self.tasks.len());
        let mut task = Task::pending(event.task.clone(), event.image.clone());
        task.state = State::Running;
        task.start_time = Some(time);
        self.tasks.insert(at, task);
        true
    }

    fn running(&mut self, name: &str, change: impl FnOnce(&mut Task)) -> bool {
        match self.tasks.iter_mut().find(|task| task.name == name && task.state == State::Running) {
            Some(task) => {
                change(task);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn follows_tasks_and_ignores_nonsense() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut events = Events::new(file.path(), vec![Task::pending("a", ""), Task::pending("b", "")]);
        writeln!(file, r#"{{"event":"start","task":"b","time_ns":1000000000,"image":"i"}}"#).unwrap();
        writeln!(file, "nonsense").unwrap();
        writeln!(file, r#"{{"event":"start","task":"../x","time_ns":1}}"#).unwrap();
        write!(file, r#"{{"event":"end","task":"b","#).unwrap();
        assert!(events.read());
        let names: Vec<(&str, State)> = events.tasks.iter().map(|t| (t.name.as_str(), t.state)).collect();
        assert_eq!(names, [("b", State::Running), ("a", State::Pending)]);
        writeln!(file, r#""time_ns":2000000000,"state":"succeeded","metrics":{{"m":0.5}}}}"#).unwrap();
        assert!(events.read());
        assert_eq!(events.tasks[0].state, State::Succeeded);
        assert_eq!(events.tasks[0].end_time, Some(UNIX_EPOCH + Duration::from_secs(2)));
        assert_eq!(events.tasks[0].metrics["m"], 0.5);
        assert!(!events.read());
    }
}
