//! `/why`: where what is live comes from. Each link is looked up where it is kept and compared with the one before; a
//! missing link is an answer, never an error.

use std::{collections::BTreeMap, sync::Arc};

use kfops_core::{Digest, Failure, Reason};
use kfops_project::{Environment, Folder, Project};
use kfops_store::{ArchiveLimits, SourceRef, extract_source};

use super::{Driver, live, targets};
use crate::{
    command::{Command, Model},
    gate::{count, short},
    ports::{Revision, Run, Version},
    report::{self, Chain, Link},
    step::{Stage, StepState},
};

/// Most builds that are asked for, to find those of all images.
const BUILDS: usize = 5;
/// Most rollbacks of rollbacks that are followed.
const ROLLBACKS: usize = 20;

/// Most parameters and metrics that are named.
const SHOWN: usize = 8;

/// Values by name.
type Parameters = BTreeMap<String, serde_json::Value>;

/// What asking for a record gave: the record, or the link that says why there is none.
type Asked<T> = Result<T, Link>;

/// The link of a record that is missing, or whose keeper is away.
fn asked<T>(title: &'static str, what: &str, means: &str, result: Result<T, Failure>) -> Asked<T> {
    result.map_err(|failure| {
        if failure.reason == Reason::NotFound {
            Link::broken(title, format!("{what} is missing"), means)
        } else {
            Link::unknown(title, &failure)
        }
    })
}

/// A link that holds when nothing is wrong with it.
fn judged(title: &'static str, found: String, wrong: Vec<String>, means: &str) -> Link {
    if wrong.is_empty() {
        Link::holds(title, found)
    } else {
        Link::broken(title, format!("{found}, but {}", wrong.join(", and ")), means)
    }
}

fn digest(digest: &str) -> &str {
    if digest.is_empty() { "no digest" } else { digest.get(..19).unwrap_or(digest) }
}

impl Driver {
    pub(super) async fn why(&mut self) -> Result<String, Failure> {
        self.fresh_look().await?;
        let project = match self.base() {
            Ok(project) => project,
            Err(failure) => return Ok(format!("{}\n", report::sentence(&failure))),
        };
        let mut chains = Vec::new();
        for (environment, target) in targets(project.as_ref()) {
            chains.push(self.chain(environment, target).await);
        }
        Ok(report::why(&chains))
    }

    async fn chain(&self, environment: Environment, target: String) -> Chain {
        let mut chain = Chain {
            environment: environment.as_str(),
            revision: Ok(None),
            restored: String::new(),
            links: Vec::new(),
            target,
        };
        let revisions = match self.engine.workers.revisions(&chain.target).await {
            Ok(revisions) => revisions,
            Err(failure) => {
                chain.revision = Err(failure);
                return chain;
            }
        };
        let Some(live) = live(&revisions) else { return chain };
        chain.revision = Ok(Some(live.name.clone()));
        let found = format!("{} gets {} % of the traffic", live.name, live.percent);
        chain.links.push(answering(found, live));
        chain.links.push(self.rollout(live).await);
        let run = self.engine.workers.run(&live.run).await;
        let run = asked("run", &format!("run {}", live.run), "nobody knows what trained the model", run);
        chain.links.push(model(&live.model, run.as_ref().ok()));
        let version = match &run {
            Ok(run) => {
                let version = self.engine.workers.version(&run.version).await;
                let what = format!("version {}", run.version);
                asked("version", &what, "nobody knows which pipeline ran, and on which images", version)
            }
            Err(_) => Err(Link::broken("version", "it is known by its run", "see the run")),
        };
        chain.links.push(run.as_ref().map_or_else(Clone::clone, |run| ran(live, run)));
        chain.links.push(version.as_ref().map_or_else(Clone::clone, compiled));
        let (command, restored) = self.deployed(&chain.target, &live.name).await;
        chain.restored = restored;
        if let Ok(run) = &run {
            let maker = match command.as_ref() {
                Ok(Some(command)) => self.runner(command, &live.run).await,
                _ => None,
            };
            let file = match (&maker, &version) {
                (Some(maker), Ok(version)) if !maker.options().set.is_empty() => self.said(version).await,
                _ => None,
            };
            let set = maker.map(|maker| maker.options().set).unwrap_or_default();
            if let Some(link) = chain.links.iter_mut().find(|link| link.title == "run") {
                link.found += &made_with(run, &set, file.as_ref());
            }
        }
        match &version {
            Ok(version) => {
                let command = command.as_ref().ok().and_then(Option::as_ref);
                let name = run.as_ref().map(|run| run.version.clone()).unwrap_or_default();
                chain.links.push(self.built(command, version, &name).await);
                chain.links.push(self.archive(version).await);
            }
            Err(_) => {
                for title in ["images", "source"] {
                    chain.links.push(Link::broken(title, "they are known by the version", "see the version"));
                }
            }
        }
        chain.links.push(self.origin(environment, live, command).await);
        chain
    }

    /// The command that ran it.
    async fn runner(&self, command: &Command, run: &str) -> Option<Command> {
        let mut commands = self.engine.history(command).await.unwrap_or_default();
        commands.push(command.clone());
        commands.sort_by_key(|command| command.seq);
        let ran = |other: &Command| {
            other.lineage.run.as_deref() == Some(run) && other.progress(Stage::Run) == StepState::Succeeded
        };
        commands.into_iter().find(ran)
    }

    /// The arguments that kfops.yaml of a version's commit says; None: nobody can read it any more.
    async fn said(&self, version: &Version) -> Option<Parameters> {
        let digest = Digest::parse(&version.source.digest).ok()?;
        let archive = SourceRef { key: version.source.key.clone(), digest };
        let folder = tempfile::tempdir().ok()?;
        extract_source(&self.engine.store, &archive, folder.path(), ArchiveLimits::default()).await.ok()?;
        let read = tokio::task::spawn_blocking(move || {
            let files = Folder::new(folder.path()).ok()?;
            Project::load(&files).ok().map(|loaded| loaded.project.pipeline.arguments)
        });
        read.await.ok()?
    }

    async fn rollout(&self, live: &Revision) -> Link {
        let what = format!("rollout {}", live.rollout);
        let means = "nobody knows whether the model was proven before it went live";
        let record = match asked("rollout", &what, means, self.engine.workers.rollout(&live.rollout).await) {
            Ok(record) => record,
            Err(link) => return link,
        };
        let mut wrong = Vec::new();
        if !record.succeeded {
            wrong.push("it did not succeed".to_owned());
        }
        if record.revision != live.name {
            wrong.push(format!("it made {}", record.revision));
        }
        if record.model.digest != live.model.digest {
            wrong.push(format!("its model is {}", digest(&record.model.digest)));
        }
        judged("rollout", format!("{what} made {}", live.name), wrong, "the model was not proven as it is served")
    }

    /// The builds that made the images that the version is pinned to.
    async fn built(&self, command: Option<&Command>, version: &Version, id: &str) -> Link {
        if version.images.is_empty() {
            return Link::holds("images", "the pipeline uses none of its own");
        }
        let means = "nobody knows what these images were built from";
        let Some(command) = command else {
            return Link::broken("images", "the command that built them is not known", means);
        };
        let mut commands = match self.engine.history(command).await {
            Ok(commands) => commands,
            Err(failure) => return Link::unknown("images", &failure),
        };
        commands.push(command.clone());
        commands.sort_by_key(|command| std::cmp::Reverse(command.seq));
        let compiled =
            |maker: &&Command| maker.lineage.version.as_deref() == Some(id) && maker.progress(Stage::Compile).done();
        let newest = commands.iter().rev().find(compiled).map_or(i64::MAX, |maker| maker.seq);
        let builders = commands
            .iter()
            .filter(|maker| maker.seq <= newest && maker.progress(Stage::Build) == StepState::Succeeded)
            .map(|maker| maker.resource(Stage::Build));
        let mut ids: Vec<String> = Vec::new();
        for id in builders {
            if !ids.contains(&id) && ids.len() < BUILDS {
                ids.push(id);
            }
        }
        let mut unproven = version.images.clone();
        let mut by = Vec::new();
        let mut away = None;
        for id in ids {
            match self.engine.workers.build(&id).await {
                Ok(build) => {
                    let before = unproven.len();
                    unproven.retain(|image| !build.succeeded || !build.images.contains(image));
                    if unproven.len() < before {
                        by.push(id);
                    }
                }
                Err(failure) if failure.reason == Reason::NotFound => {}
                Err(failure) => away = Some(failure),
            }
            if unproven.is_empty() {
                break;
            }
        }
        match (unproven.as_slice(), away) {
            ([], _) => {
                let images: Vec<String> =
                    version.images.iter().map(|image| format!("{} {}", image.name, digest(&image.digest))).collect();
                Link::holds("images", format!("{}, pushed by build {}", images.join(", "), by.join(", ")))
            }
            (_, Some(failure)) => Link::unknown("images", &failure),
            (unproven, None) => {
                let names: Vec<&str> = unproven.iter().map(|image| image.name.as_str()).collect();
                Link::broken(
                    "images",
                    format!("no build is known that made {} with this digest", names.join(", ")),
                    means,
                )
            }
        }
    }

    /// Whether the files of the commit are what they were.
    async fn archive(&self, version: &Version) -> Link {
        let source = &version.source;
        let means = "nobody can build or run this again from what is kept; GitHub may still have the commit";
        let kept = self.engine.store.digest(&source.key).await;
        match asked("source", &format!("archive {}", source.key), means, kept) {
            Err(link) => link,
            Ok(found) => {
                let other = Digest::parse(&source.digest).as_ref() != Ok(&found);
                let wrong = if other { vec![format!("its bytes have {}", digest(found.as_str()))] } else { Vec::new() };
                let shown = format!("archive of {} with {}", short(&source.commit), digest(&source.digest));
                judged("source", shown, wrong, "somebody changed it after it was built")
            }
        }
    }

    /// The command that brought the model live, through rollbacks to the deployment; and what a rollback restored.
    async fn deployed(&self, target: &str, revision: &str) -> (Result<Option<Command>, Failure>, String) {
        let mut restored = String::new();
        let mut name = revision.to_owned();
        for _ in 0..ROLLBACKS {
            let command = match self.engine.ledger.deployed(target, &name).await {
                Ok(Some(command)) => command,
                other => return (other, restored),
            };
            let Some(brought) = command.lineage.restored.clone() else { return (Ok(Some(command)), restored) };
            if restored.is_empty() {
                restored = format!(
                    "{revision} brings back the model of {} (rollout {}, pull request {}): /rollback {} by {}",
                    brought.revision, brought.rollout, brought.pull_request, command.id, command.actor
                );
            }
            name = brought.revision;
        }
        (Ok(None), restored)
    }

    async fn origin(&self, place: Environment, live: &Revision, command: Result<Option<Command>, Failure>) -> Link {
        let engine = Arc::clone(&self.engine);
        let commit = short(&live.commit);
        let command = match command {
            Ok(Some(command)) => command,
            Ok(None) => {
                return Link::broken(
                    "commit",
                    format!("{commit}; no command is known that deployed {}", live.name),
                    "it was deployed past Kfops, or so long ago that the record is gone: nobody knows its pull request",
                );
            }
            Err(failure) => return Link::unknown("commit", &failure),
        };
        let (number, verb) = (command.pull_request, command.verb.as_str());
        let pull = match engine.github.pull_request(&self.meter, &command.repository, number).await {
            Ok(pull) => pull,
            Err(failure) => return Link::unknown("commit", &failure),
        };
        let mut wrong = Vec::new();
        if command.commit() != live.commit {
            wrong.push(format!("/{verb} {} was about {}", command.id, short(command.commit())));
        }
        if place == Environment::Production && !pull.merged {
            wrong.push("the pull request is not merged".to_owned());
        }
        let state = match (pull.merged, pull.open) {
            (true, _) => format!("merged as {}", short(pull.merge_commit.as_deref().unwrap_or_default())),
            (false, true) => "open".to_owned(),
            (false, false) => "closed".to_owned(),
        };
        let label = if command.progress(Stage::Label).done() { ", labelled" } else { ", not labelled" };
        let found = format!("{commit} of pull request {number}, {state}{label}; by /{verb} {}", command.id);
        judged("commit", found, wrong, "what is live is not what the default branch has")
    }
}

/// Whether the live revision answers, as far as its keeper knows.
fn answering(found: String, live: &Revision) -> Link {
    match (live.unanswered.as_str(), live.state.as_str()) {
        ("", "ready") => Link::holds("revision", found),
        ("", state) => judged("revision", found, vec![format!("it is {state}")], "it may not answer"),
        (why, _) => judged("revision", found, vec![format!("does not answer: {why}")], "predictions fail"),
    }
}

/// The model that is served, and the one that the run wrote.
fn model(live: &Model, run: Option<&Run>) -> Link {
    if live.digest.is_empty() {
        return Link::broken("model", "its digest is not known", "nobody can tell whether it is what was trained");
    }
    let wrote = run.map(|run| run.model.as_ref());
    let wrong = match wrote {
        Some(Some(model)) if model.digest != live.digest => vec![format!("its run wrote {}", digest(&model.digest))],
        Some(None) => vec!["its run wrote none".to_owned()],
        _ => Vec::new(),
    };
    judged("model", digest(&live.digest).to_owned(), wrong, "it is not what was trained")
}

fn ran(live: &Revision, run: &Run) -> Link {
    let mut wrong = Vec::new();
    if !run.succeeded {
        wrong.push("it did not succeed".to_owned());
    }
    if run.commit != live.commit {
        wrong.push(format!("it was made from {}, and the revision says {}", short(&run.commit), short(&live.commit)));
    }
    judged("run", format!("run {} of version {}", live.run, run.version), wrong, "the model is not of this commit")
}

/// The run's parameters, where they differ from the file because somebody wrote `--set`, and its metrics.
fn made_with(run: &Run, set: &Parameters, file: Option<&Parameters>) -> String {
    let short = |value: &serde_json::Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if text.chars().count() > 40 { text.chars().take(40).chain(['…']).collect() } else { text }
    };
    let parameter = |(name, value): (&String, &serde_json::Value)| {
        let by = match (set.contains_key(name), file.map(|file| file.get(name))) {
            (false, _) => String::new(),
            (true, Some(Some(said))) => format!(" by --set, kfops.yaml says {}", short(said)),
            (true, Some(None)) => " by --set, kfops.yaml says nothing of it".to_owned(),
            (true, None) => " by --set".to_owned(),
        };
        format!("{name} {}{by}", short(value))
    };
    // What was set stands first.
    let (mut first, rest): (Vec<_>, Vec<_>) = run.arguments.iter().partition(|(name, _)| set.contains_key(*name));
    first.extend(rest);
    let listed = |title: &str, all: Vec<String>| {
        let more = if all.len() > SHOWN { format!("; and {} more", all.len() - SHOWN) } else { String::new() };
        let all: Vec<String> = all.into_iter().take(SHOWN).collect();
        if all.is_empty() { String::new() } else { format!(" · {title}: {}{more}", all.join("; ")) }
    };
    let metrics = run.metrics.iter().map(|(name, value)| format!("{name} {}", report::number(*value)));
    listed("parameters", first.into_iter().map(parameter).collect()) + &listed("metrics", metrics.collect())
}

fn compiled(version: &Version) -> Link {
    let mut wrong = Vec::new();
    if !version.ready {
        wrong.push("it did not succeed".to_owned());
    }
    if version.spec_digest.is_empty() {
        wrong.push("its specification has no digest".to_owned());
    }
    let loose = version.images.iter().filter(|image| Digest::parse(&image.digest).is_err()).count();
    if loose > 0 {
        wrong.push(format!("{} without a digest", count(loose as u64, "image")));
    }
    let found = format!(
        "specification {}, pinned to {}",
        digest(&version.spec_digest),
        count(version.images.len() as u64, "image")
    );
    judged("version", found, wrong, "what ran cannot be told from what would run today")
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
