//! `/plan`: what `/ship` would do for this commit. Nothing is changed; what cannot be found out is said in its place.

use std::{collections::BTreeSet, sync::Arc};

use kfops_core::{Failure, Reason};
use kfops_project::{Environment, Permission, Project};

use super::{Driver, live, same};
use crate::{
    command::{Command, Model, Source},
    driver::{
        choose::of_failed_run,
        gatekeeper::rules_of,
        target::{agreed, target},
    },
    gate,
    ports::{Look, Preview, Run, Work},
    report::{self, Argument, Found, Measured, Now, Plan, Serving, Verdict},
    step::{Stage, StepState},
    verb::Verb,
};

/// Stands for the model that is not trained yet.
const PLACEHOLDER: &str = "file:///not-trained-yet";

/// The run that `/deploy` would take, if it may.
struct Candidate {
    run: Option<(String, Run)>,
    verdict: Result<(), Failure>,
}

/// What the rules of the gate are asked about.
struct Asked<'a> {
    look: &'a Look,
    base: &'a Found<Option<Project>>,
    project: &'a Project,
    permission: Found<Option<Permission>>,
    behind: Found<u64>,
    candidate: &'a Found<Candidate>,
}

impl Driver {
    pub(super) async fn plan(&mut self) -> Result<String, Failure> {
        let engine = Arc::clone(&self.engine);
        let look = self.fresh_look().await?;
        let project = self.project().await?;
        let base = self.base();
        let source =
            self.command.lineage.source.clone().ok_or_else(|| Failure::internal("the source is not known yet"))?;
        let candidate = self.candidate().await?;
        let chosen = candidate.as_ref().ok().filter(|candidate| candidate.verdict.is_ok());
        let chosen = chosen.and_then(|candidate| candidate.run.clone());
        let (images, serving) = futures::join!(
            self.images(&project, &source),
            self.serving(&project, &source, chosen.as_ref().map(|(id, run)| (id.as_str(), run)))
        );
        let (repository, meter) = (&self.command.repository, &self.meter);
        let permission = engine.github.permission(meter, repository, &self.command.actor).await;
        let behind = engine.github.behind_by(meter, repository, &look.pull.base, self.command.commit()).await;
        let asked = Asked {
            look: &look,
            base: &base,
            project: &project,
            permission: permission.map(|name| gate::permission(&name)),
            behind,
            candidate: &candidate,
        };
        let mut verdicts = Vec::new();
        for verb in [Verb::Ship, Verb::Deploy] {
            verdicts.push(Verdict { verb, refusals: self.refusals(verb, &asked).await });
        }
        let theirs = base.as_ref().ok().and_then(Option::as_ref);
        let plan = Plan {
            arguments: arguments(&project, theirs),
            base_known: theirs.is_some(),
            default_branch: look.default_branch.clone(),
            images,
            pipeline: (project.pipeline.name.clone(), project.pipeline.source.clone()),
            run: candidate.as_ref().map(|_| chosen.map(measured)).map_err(Clone::clone),
            serving,
            verdicts,
            merge: (look.pull.base.clone(), engine.settings.github.merge_method.as_str()),
        };
        Ok(report::plan(&self.command, &plan, engine.clock.now()))
    }

    /// What `/deploy` would take: the last successful run of this pull request, if it is of this commit.
    async fn candidate(&self) -> Result<Found<Candidate>, Failure> {
        let history = self.engine.history(&self.command).await?;
        let ran = |other: &&Command| other.progress(Stage::Run) == StepState::Succeeded;
        let id = history.iter().find(ran).and_then(|maker| maker.lineage.run.clone());
        let run = match id {
            None => None,
            Some(id) => match self.engine.workers.run(&id).await {
                Ok(run) => Some((id, run)),
                Err(failure) if failure.reason == Reason::NotFound => None,
                Err(failure) => return Ok(Err(failure)),
            },
        };
        let deploy = as_if(&self.command, Verb::Deploy);
        let verdict = gate::run(&deploy, run.as_ref().map(|(id, run)| (id.as_str(), run)))
            .map_err(|failure| of_failed_run(&deploy, &history, failure));
        Ok(Ok(Candidate { run, verdict }))
    }

    async fn images(&self, project: &Project, source: &Source) -> Found<Vec<(String, bool)>> {
        if project.images.build.is_empty() {
            return Ok(Vec::new());
        }
        let work = Work::Build {
            source: source.clone(),
            repository: self.command.repository.to_string(),
            images: project.images.build.clone(),
            registry: project.images.registry.clone().unwrap_or_default(),
            insecure: project.images.insecure,
        };
        match self.engine.workers.preview(&work).await? {
            Preview::Build(images) => Ok(images),
            Preview::Rollout(_) => Err(Failure::internal("image-builder answered with a rollout")),
        }
    }

    async fn serving(&self, project: &Project, source: &Source, run: Option<(&str, &Run)>) -> Option<Serving> {
        let (name, place) = target(project, Verb::Ship).ok()?;
        let serving = project.serving.clone()?;
        let model = run.and_then(|(_, run)| run.model.clone());
        let work = Work::Rollout {
            source: source.clone(),
            repository: self.command.repository.to_string(),
            inference_service: name.clone(),
            serving,
            strategy: place.strategy.clone(),
            model: model.clone().unwrap_or_else(|| Model { uri: PLACEHOLDER.to_owned(), ..Model::default() }),
            run: run.map(|(id, _)| id.to_owned()).unwrap_or_default(),
            fence: 0,
        };
        let (manifest, now, locks) =
            futures::join!(self.engine.workers.preview(&work), self.now(&name), self.engine.ledger.locks());
        let lock = match &locks {
            Ok(locks) => Ok(self.held(locks, Environment::Production, &name).await),
            Err(failure) => same(failure),
        };
        Some(Serving {
            target: name,
            strategy: place.strategy.clone(),
            now,
            model: model.map(|model| model.digest),
            manifest: manifest.and_then(|preview| match preview {
                Preview::Rollout(manifest) => Ok(manifest),
                Preview::Build(_) => Err(Failure::internal("serving-deployer answered with a build")),
            }),
            lock,
        })
    }

    /// What is live in production, and what its run measured.
    async fn now(&self, target: &str) -> Found<Option<Now>> {
        let revisions = self.engine.workers.revisions(target).await?;
        let Some(live) = live(&revisions) else { return Ok(None) };
        let run = self.engine.workers.run(&live.run).await.map(|run| measured((live.run.clone(), run)));
        Ok(Some(Now {
            revision: live.name.clone(),
            model: live.model.digest.clone(),
            manifest: live.manifest.clone(),
            run,
        }))
    }

    /// Every rule that would refuse a verb now, in the order of the gate.
    async fn refusals(&mut self, verb: Verb, asked: &Asked<'_>) -> Found<Vec<Failure>> {
        let command = as_if(&self.command, verb);
        let Asked { look, project, .. } = asked;
        let base = match asked.base {
            Ok(base) => base.as_ref(),
            Err(failure) => return Ok(vec![failure.clone()]),
        };
        let policy = base.map(|project| project.policy.clone()).unwrap_or_default();
        let permission = asked.permission.clone()?;
        let mut verdicts = vec![
            gate::fit(&look.pull),
            gate::unmoved(&command, &look.pull),
            gate::branch(&command, &policy, &look.pull.base, &look.default_branch),
        ];
        for (rule, fork) in &rules_of(&command, &policy, look) {
            verdicts.push(self.rule(&command, permission, rule, look, *fork).await?);
        }
        if verb.needs_run() {
            verdicts.push(asked.candidate.as_ref().map_err(Clone::clone)?.verdict.clone());
        }
        match agreed(project, base, &look.default_branch, verb) {
            Ok(target) => verdicts.push(self.owned(&target).await?),
            Err(failure) => verdicts.push(Err(failure)),
        }
        let who = policy.rules(verb.as_str(), true).last().map(gate::who).unwrap_or_default();
        verdicts.push(gate::current(&command, &look.pull.base, asked.behind.clone()?, &who));
        verdicts.push(gate::mergeable(&command, &look.pull));
        verdicts.push(self.may_merge(&command, look));
        Ok(verdicts.into_iter().filter_map(Result::err).collect())
    }
}

/// The command that would be written.
fn as_if(command: &Command, verb: Verb) -> Command {
    Command { verb, arguments: Vec::new(), ..command.clone() }
}

fn measured((id, run): (String, Run)) -> Measured {
    Measured { run: id, metrics: run.metrics }
}

/// Arguments of either file, by name.
fn arguments(here: &Project, base: Option<&Project>) -> Vec<Argument> {
    let here = &here.pipeline.arguments;
    let base = base.map(|project| project.pipeline.arguments.clone()).unwrap_or_default();
    let names: BTreeSet<&String> = here.keys().chain(base.keys()).collect();
    let argument =
        |name: &String| Argument { name: name.clone(), here: here.get(name).cloned(), base: base.get(name).cloned() };
    names.into_iter().map(argument).collect()
}
