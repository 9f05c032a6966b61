//! Which artifact is the model, and its way into the model store.

use std::path::Path;

use kfops_core::{Failure, Reason};
use kfops_store::put_folder;

use crate::{
    engine::Engine,
    life::State,
    run::{Model, ModelSource, Run, Task},
};

/// The output that is the model when nobody says otherwise.
const OUTPUT: &str = "model";

impl Engine {
    /// Copies the model of a run whose tasks have succeeded.
    pub(crate) async fn keep_model(&self, mut run: Run) -> (Run, Option<Failure>) {
        let uri = match choose(&run.tasks, run.spec.model_source.as_ref()) {
            Ok(Some((task, output))) => task.artifacts.get(&output).cloned().unwrap_or_default(),
            Ok(None) => return (run, None),
            Err(failure) => return (run, Some(failure)),
        };
        match self.copy(&run, &uri).await {
            Ok(model) => {
                run.model = Some(model);
                (run, None)
            }
            Err(failure) => (run, Some(failure)),
        }
    }

    async fn copy(&self, run: &Run, uri: &str) -> Result<Model, Failure> {
        let path = self.ports.executor.artifact(&run.life.id, run.attempt, uri).await?;
        if !holds_files(&path) {
            return Err(missing("the task declares the model's artifact but wrote no file there")
                .action("write the model to the output artifact's path"));
        }
        // What an attempt before this one may have left half copied.
        self.forget_model(run).await?;
        let prefix = prefix(run);
        let stored = put_folder(&self.ports.store, &prefix, &path).await?;
        Ok(Model { uri: stored.uri, digest: stored.digest, size: stored.size })
    }
}

impl Engine {
    /// Removes what was copied.
    pub(crate) async fn forget_model(&self, run: &Run) -> Result<(), Failure> {
        for key in self.ports.store.list(&prefix(run)).await? {
            self.ports.store.delete(&key).await?;
        }
        Ok(())
    }
}

fn prefix(run: &Run) -> String {
    format!("models/{}", run.life.id)
}

/// The task that wrote the model, and the output's name. None when there is no model and none was asked for.
fn choose<'a>(tasks: &'a [Task], source: Option<&ModelSource>) -> Result<Option<(&'a Task, String)>, Failure> {
    let output = match source {
        Some(source) if !source.output.is_empty() => source.output.clone(),
        _ => OUTPUT.to_owned(),
    };
    let task_name = source.map(|source| source.task.as_str()).filter(|task| !task.is_empty());
    // A task inside of a loop is found by its own name when it ran once.
    let is_named = |task: &Task| {
        task_name.is_none_or(|name| task.name == name || task.name.rsplit('.').next().is_some_and(|last| last == name))
    };
    let written = || tasks.iter().filter(|task| task.state == State::Succeeded);
    let found: Vec<&Task> = written().filter(|task| is_named(task) && task.artifacts.contains_key(&output)).collect();
    match (found.as_slice(), source) {
        ([task], _) => Ok(Some((task, output))),
        ([], None) => Ok(None),
        ([], Some(_)) => {
            let outputs: Vec<String> =
                written().flat_map(|t| t.artifacts.keys().map(|o| format!("{}.{o}", t.name))).take(50).collect();
            let outputs = if outputs.is_empty() { "none".to_owned() } else { outputs.join(", ") };
            let of = task_name.map(|name| format!(" of task `{name}`")).unwrap_or_default();
            Err(missing(format!("the run wrote no artifact `{output}`{of}; its artifacts: {outputs}"))
                .action("name the model's task and output under pipeline.model"))
        }
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|task| task.name.as_str()).take(50).collect();
            Err(missing(format!("several tasks wrote an artifact `{output}`: {}", names.join(", ")))
                .action("say which one is the model with pipeline.model.task"))
        }
    }
}

fn missing(message: impl Into<String>) -> Failure {
    Failure::new(Reason::ModelMissing, message)
}

fn holds_files(path: &Path) -> bool {
    walkdir::WalkDir::new(path).into_iter().flatten().any(|entry| entry.file_type().is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, outputs: &[&str]) -> Task {
        let mut task = Task::pending(name, "");
        task.state = State::Succeeded;
        task.artifacts = outputs.iter().map(|output| (output.to_string(), "/x".to_owned())).collect();
        task
    }

    fn source(task: &str, output: &str) -> ModelSource {
        ModelSource { task: task.into(), output: output.into() }
    }

    #[test]
    fn the_only_output_of_the_name_is_the_model() {
        let tasks = [task("data", &["set"]), task("loop-0.train", &["model", "metrics"])];
        let name = |source: Option<&ModelSource>| choose(&tasks, source).unwrap().map(|(t, o)| (t.name.clone(), o));
        let expected = Some(("loop-0.train".to_owned(), "model".to_owned()));
        assert_eq!(name(None), expected);
        assert_eq!(name(Some(&source("train", ""))), expected);
        assert_eq!(choose(&tasks[..1], None).unwrap(), None);
    }

    #[test]
    fn what_is_missing_or_unclear_is_said() {
        let tasks = [task("a", &["model"]), task("b", &["model"])];
        assert!(choose(&tasks, None).unwrap_err().message.contains("a, b"));
        let failure = choose(&tasks, Some(&source("", "weights"))).unwrap_err();
        assert_eq!(failure.reason, Reason::ModelMissing);
        assert!(failure.message.contains("a.model, b.model"));
    }
}
