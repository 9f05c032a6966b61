//! What an earlier command made, and this one takes: a version to run, a run to deploy.

use std::sync::Arc;

use kfops_core::{Failure, Reason, TraceContext};

use super::Driver;
use crate::{
    command::{Command, State},
    gate,
    ports::Run,
    step::{Stage, StepState},
};

impl Driver {
    /// Remembers the traces that this one builds on.
    fn link(&mut self, traces: impl IntoIterator<Item = TraceContext>) {
        for trace in traces {
            if !self.command.links.contains(&trace) {
                self.command.links.push(trace);
            }
        }
    }

    /// `/run`: the version built last in this pull request, or the one that was named.
    pub(super) async fn choose_version(&mut self, said: &mut Vec<String>) -> Result<Result<(), Failure>, Failure> {
        let engine = Arc::clone(&self.engine);
        let history = engine.history(&self.command).await?;
        let built = |other: &&Command| other.progress(Stage::Tag).done();
        let named = self.command.options().version_id;
        let id = match &named {
            Some(id) => Some(id.clone()),
            None => history.iter().find(built).and_then(|other| other.lineage.version.clone()),
        };
        let missing = |message: String| {
            Failure::new(Reason::NoVersion, message).action("do /build first, or /build_run for both")
        };
        let Some(id) = id else {
            return Ok(Err(missing("nothing was built in this pull request yet".into())));
        };
        let version = match engine.workers.version(&id).await {
            Ok(version) => version,
            Err(failure) if failure.reason == Reason::NotFound => {
                return Ok(Err(missing(format!("there is no pipeline version {id}"))));
            }
            Err(failure) => return Err(failure),
        };
        if !version.repository.eq_ignore_ascii_case(&self.command.repository.to_string()) || !version.ready {
            return Ok(Err(missing(format!("pipeline version {id} is not one of this repository that can be run"))));
        }
        let maker = history.iter().find(|other| other.lineage.version.as_ref() == Some(&id) && built(other));
        self.link(maker.map(|maker| maker.trace));
        let lineage = &mut self.command.lineage;
        said.push(format!("version {id} of {}", gate::short(&version.source.commit)));
        lineage.source = Some(version.source);
        lineage.images = version.images;
        lineage.spec_digest = version.spec_digest;
        lineage.version = Some(id);
        Ok(Ok(()))
    }

    /// Whether a run is of this repository.
    async fn own_run(&self, id: &str, run: &Run) -> Result<Result<(), Failure>, Failure> {
        let own = match self.engine.workers.version(&run.version).await {
            Ok(version) => version.repository.eq_ignore_ascii_case(&self.command.repository.to_string()),
            Err(failure) if failure.reason == Reason::NotFound => false,
            Err(failure) => return Err(failure),
        };
        let name = format!("runs/{id}");
        Ok(if own {
            Ok(())
        } else {
            Err(Failure::new(Reason::NoRun, format!("run {id} is not one of this repository"))
                .on(name)
                .action("do /build_run first, or name another run"))
        })
    }

    /// `/deploy`: the last successful run of this pull request, or the one that was named.
    pub(super) async fn choose_run(&mut self, said: &mut Vec<String>) -> Result<Result<(), Failure>, Failure> {
        let engine = Arc::clone(&self.engine);
        let history = engine.history(&self.command).await?;
        let ran = |other: &&Command| other.progress(Stage::Run) == StepState::Succeeded;
        let named = self.command.options().run_id;
        let maker = match &named {
            Some(id) => history.iter().filter(ran).find(|other| other.lineage.run.as_ref() == Some(id)),
            None => history.iter().find(ran),
        };
        let last = named.is_none();
        let id = named.or_else(|| maker.and_then(|maker| maker.lineage.run.clone()));
        let mut found: Option<(String, Run)> = None;
        if let Some(id) = id {
            let run = match engine.workers.run(&id).await {
                Ok(run) => run,
                Err(failure) if failure.reason == Reason::NotFound => {
                    let failure = Failure::new(Reason::NoRun, format!("there is no run {id}"));
                    return Ok(Err(failure
                        .on(format!("runs/{id}"))
                        .action("do /build_run first, or name another run")));
                }
                Err(failure) => return Err(failure),
            };
            // Runs of all repositories have one name space, and commits are shared with forks.
            if maker.is_none()
                && let Err(failure) = self.own_run(&id, &run).await?
            {
                return Ok(Err(failure));
            }
            found = Some((id, run));
        }
        let verdict = gate::run(&self.command, found.as_ref().map(|(id, run)| (id.as_str(), run)));
        let verdict =
            if last { verdict.map_err(|failure| of_failed_run(&self.command, &history, failure)) } else { verdict };
        let (Ok(()), Some((id, run))) = (&verdict, found) else { return Ok(verdict) };
        let builder = history.iter().find(|other| {
            other.lineage.version.as_ref() == Some(&run.version) && other.progress(Stage::Compile).done()
        });
        self.link(builder.map(|builder| builder.trace).into_iter().chain(maker.map(|maker| maker.trace)));
        said.push(format!("run {id} is of this commit"));
        let lineage = &mut self.command.lineage;
        if let Some(known) = maker.map(|maker| &maker.lineage) {
            lineage.source = known.source.clone();
            lineage.images = known.images.clone();
            lineage.reused = known.reused.clone();
            lineage.spec_digest = known.spec_digest.clone();
        }
        lineage.version = Some(run.version);
        lineage.run = Some(id);
        lineage.metrics = run.metrics;
        lineage.model = run.model;
        Ok(Ok(()))
    }
}

/// Why nothing can be deployed: the last run of this very commit failed, if that is so.
pub(super) fn of_failed_run(command: &Command, history: &[Command], otherwise: Failure) -> Failure {
    if !matches!(otherwise.reason, Reason::NoRun | Reason::RunOfOtherCommit) {
        return otherwise;
    }
    let tried = |other: &&Command| {
        other.seq < command.seq
            && other.commit() == command.commit()
            && other.step(Stage::Run).is_some_and(|step| matches!(step.state, StepState::Failed | StepState::Canceled))
    };
    let Some(other) = history.iter().find(tried) else { return otherwise };
    let (run, ended) = (other.resource(Stage::Run), other.outcome.map_or("failed", State::as_str));
    let why = other.failure.as_ref().filter(|failure| failure.reason != Reason::Canceled);
    let why = why.map(|failure| format!(": {}", failure.message)).unwrap_or_default();
    let verb = command.verb.as_str();
    Failure::new(
        Reason::NoRun,
        format!(
            "the run of {}, {run} by /{} ({}), {ended}{why}",
            gate::short(command.commit()),
            other.verb.as_str(),
            other.id
        ),
    )
    .on(format!("runs/{run}"))
    .action(format!("mend it, push and /build_run, then /{verb}"))
}
