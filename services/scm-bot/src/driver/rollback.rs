//! `/rollback`: an earlier revision's model, served as it was then, goes live again. Nothing is built or run.

use std::{collections::HashSet, sync::Arc, time::Duration};

use kfops_core::{Failure, Reason};
use kfops_project::{Environment, Strategy};

use super::{Driver, target::service_of};
use crate::{
    command::Restored,
    gate::short,
    ports::{Revision, RolloutRecord, Work},
};

/// Most revisions that a refusal names.
const NAMED: usize = 5;
/// Most revisions that are looked at to name them.
const LOOKED_AT: usize = 25;

/// Whether predictions come from the same model, served the same way. Without a manifest, the model alone says it.
fn same(one: &Revision, other: &Revision) -> bool {
    let known = !one.manifest.is_empty() && !other.manifest.is_empty();
    one.model.digest == other.model.digest && (!known || served(one) == served(other))
}

/// The manifest without what a template gets from the rollout: it differs though the model is the same.
fn served(revision: &Revision) -> String {
    let values = [&revision.model.uri, &revision.run, &revision.commit];
    let named = values.into_iter().filter(|value| !value.is_empty());
    named.fold(revision.manifest.clone(), |text, value| text.replace(value, "…"))
}

impl Driver {
    /// Finds the revision to bring back: the one that was named, or the last good one before what is live.
    pub(super) async fn choose_revision(&mut self, said: &mut Vec<String>) -> Result<Result<(), Failure>, Failure> {
        let engine = Arc::clone(&self.engine);
        let project = match self.base() {
            Ok(project) => project,
            Err(failure) => return Ok(Err(failure)),
        };
        let Some(target) = project.as_ref().and_then(|project| service_of(project, Environment::Production)) else {
            return Ok(Err(Failure::new(
                Reason::ConfigInvalid,
                "kfops.yaml of the default branch has no production to roll back",
            )
            .action("add serving and environments.production there")));
        };
        let revisions = engine.workers.revisions(&target).await?;
        let Some(live) = revisions.iter().max_by_key(|revision| revision.percent).filter(|live| live.percent > 0)
        else {
            return Ok(Err(Failure::new(Reason::NotFound, "nothing is live, so that nothing can be rolled back")
                .on(target)
                .action("/deploy a model first")));
        };
        let named = self.command.options().to;
        let found = match &named {
            Some(name) => self.good(revisions.iter().filter(|revision| revision.name == *name)).await?,
            None => self.before(&target, &revisions, live).await?,
        };
        let Some((revision, record)) = found else {
            let failure =
                match named {
                    Some(name) => Failure::new(Reason::NotFound, format!("{name} is not a revision that was live"))
                        .action(match self.were_live(&revisions, live).await?.as_slice() {
                            [] => format!("{} is live, and nothing that was live before it is known", live.name),
                            names => format!("name one that was, the last first: {}", names.join(", ")),
                        }),
                    None => Failure::new(
                        Reason::NotFound,
                        format!("no good revision before {} is known that no /rollback has replaced", live.name),
                    )
                    .action(match self.were_live(&revisions, live).await?.as_slice() {
                        [] => "nothing that was live before it is known; /deploy another model".to_owned(),
                        names => format!("/rollback --to REVISION brings back any that was live: {}", names.join(", ")),
                    }),
                };
            return Ok(Err(failure.on(target)));
        };
        if revision.name == live.name {
            return Ok(Err(Failure::new(Reason::AlreadyExists, format!("{} is live already", live.name)).on(target)));
        }
        said.push(format!(
            "{} with model {} of {} replaces {}",
            revision.name,
            short(record.model.digest.trim_start_matches("sha256:")),
            short(&record.source.commit),
            live.name
        ));
        let maker = self.maker(&target, &revision.name).await?;
        if let Some(maker) = &maker {
            let trace = maker.0;
            if !self.command.links.contains(&trace) {
                self.command.links.push(trace);
            }
        }
        let undone = engine.ledger.deployed(&target, &live.name).await?;
        let undone = undone
            .filter(|undone| undone.repository == self.command.repository && !undone.lineage.merge_commit.is_empty());
        let lineage = &mut self.command.lineage;
        lineage.undone = undone.map(|undone| (undone.pull_request, undone.lineage.merge_commit));
        lineage.inference_service = target;
        lineage.source = Some(record.source);
        lineage.run = Some(record.run);
        lineage.model = Some(record.model);
        lineage.restored = Some(Restored {
            revision: revision.name,
            rollout: revision.rollout,
            serving: record.serving,
            replaces: live.name.clone(),
            pull_request: maker.map_or(self.command.pull_request, |(_, number)| number),
        });
        Ok(Ok(()))
    }

    /// The last good revision before what is live. What came back by a rollback stands for the revision that it brought
    /// back; and what somebody wanted to be rid of by a rollback comes back only by name.
    async fn before(
        &self,
        target: &str,
        revisions: &[Revision],
        live: &Revision,
    ) -> Result<Option<(Revision, RolloutRecord)>, Failure> {
        // Bringing back what is served the same way already would change nothing.
        let (mut names, mut unwanted) = (HashSet::new(), vec![live]);
        // What is older than this one counts.
        let mut mark = live.name.clone();
        let mut older = false;
        // Newest first, so that every rollback is met before what it replaced.
        for revision in revisions {
            if older
                && !names.contains(&revision.name)
                && !unwanted.iter().any(|other| same(other, revision))
                && let Some(found) = self.good(std::iter::once(revision)).await?
            {
                return Ok(Some(found));
            }
            let command = self.engine.ledger.deployed(target, &revision.name).await?;
            let restored = command.and_then(|command| command.lineage.restored);
            match &restored {
                Some(restored) if mark == revision.name => mark.clone_from(&restored.revision),
                _ => older |= mark == revision.name,
            }
            if let Some(restored) = restored {
                unwanted.extend(revisions.iter().find(|other| other.name == restored.replaces));
                names.insert(restored.replaces);
            }
        }
        Ok(None)
    }

    /// Once the lock is ours: what is live is still what somebody wanted to be rid of.
    pub(super) async fn still_live(&self) -> Result<Result<(), Failure>, Failure> {
        let lineage = &self.command.lineage;
        let Some(restored) = &lineage.restored else { return Ok(Ok(())) };
        let live = self.engine.workers.live(&lineage.inference_service).await?.map(|live| live.revision);
        let now = live.unwrap_or_default();
        Ok(if now == restored.replaces {
            Ok(())
        } else {
            Err(Failure::new(
                Reason::PolicyRefused,
                format!("{now} went live while this waited, and what should be undone is {}", restored.replaces),
            )
            .on(&lineage.inference_service)
            .action("look at what is live with /why, then /rollback again, with --to where it matters"))
        })
    }

    /// The last revisions that were live before what is live, newest first.
    async fn were_live(&self, revisions: &[Revision], live: &Revision) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        for revision in revisions.iter().filter(|revision| revision.name != live.name).take(LOOKED_AT) {
            if names.len() < NAMED && self.good(std::iter::once(revision)).await?.is_some() {
                names.push(revision.name.clone());
            }
        }
        Ok(names)
    }

    /// The first whose rollout succeeded.
    async fn good(
        &self,
        revisions: impl Iterator<Item = &Revision>,
    ) -> Result<Option<(Revision, RolloutRecord)>, Failure> {
        for revision in revisions {
            match self.engine.workers.rollout(&revision.rollout).await {
                Ok(record) if record.succeeded => return Ok(Some((revision.clone(), record))),
                Ok(_) => {}
                Err(failure) if failure.reason == Reason::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(None)
    }

    /// Trace and pull request of the command whose model that is.
    async fn maker(&self, target: &str, revision: &str) -> Result<Option<(kfops_core::TraceContext, u64)>, Failure> {
        let command = self.engine.ledger.deployed(target, revision).await?;
        Ok(command.map(|command| {
            let restored = command.lineage.restored.as_ref();
            (command.trace, restored.map_or(command.pull_request, |restored| restored.pull_request))
        }))
    }

    /// The rollout that brings the model back: proven, then live at once.
    pub(super) fn restoring(&self) -> Result<(Work, Duration), Failure> {
        let missing = || Failure::internal("what to bring back is not known yet");
        let lineage = &self.command.lineage;
        let restored = lineage.restored.clone().ok_or_else(missing)?;
        let timeouts = self.base().ok().flatten().map(|project| project.timeouts).unwrap_or_default();
        let work = Work::Rollout {
            source: lineage.source.clone().ok_or_else(missing)?,
            repository: self.command.repository.to_string(),
            inference_service: lineage.inference_service.clone(),
            serving: restored.serving,
            strategy: Strategy { canary: Vec::new(), ..Strategy::default() },
            model: lineage.model.clone().ok_or_else(missing)?,
            run: lineage.run.clone().ok_or_else(missing)?,
            fence: self.command.fence,
        };
        Ok((work, timeouts.rollout.get()))
    }
}
