//! The port to GitHub.

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use kfops_core::{Failure, Reason};
use kfops_scm_bot::{
    command::{PullRequest, Repository},
    ports::{
        CheckRun, Deployment, Found, GitHub, GitHubCall, Look, Merged, Meter, Post, PostOutcome, SentDelivery, Written,
    },
};

use super::{
    State, World,
    gate::{Planted, Port},
    hub::{BOT, Check, Comment, Hub, Record},
};
use crate::{repository, stories::PRODUCTION};

pub(crate) struct SimGitHub(pub(crate) Arc<World>);

impl SimGitHub {
    async fn ask<T>(
        &self,
        meter: Option<&Meter>,
        name: &'static str,
        writes: bool,
        effect: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let start = self.0.time.now();
        let now = start;
        let result = self
            .0
            .call(Port::GitHub, name, writes, |state, _| {
                state.hub.calls.push(name);
                effect(state)
            })
            .await;
        if let Some(meter) = meter {
            let status = if result.is_ok() { 200 } else { 0 };
            meter.note(GitHubCall { name: name.into(), status, start: now, end: self.0.time.now() });
        }
        result
    }
}

fn missing(what: &str) -> Failure {
    Failure::new(Reason::NotFound, format!("github: no {what}"))
}

fn known(hub: &Hub, number: u64) -> Result<&super::hub::Pull, Failure> {
    hub.pulls.get(&number).ok_or_else(|| missing("such pull request"))
}

#[async_trait]
impl GitHub for SimGitHub {
    async fn look(&self, meter: &Meter, on: (&Repository, u64)) -> Result<Look, Failure> {
        let now = self.0.time.now();
        self.ask(Some(meter), "look", false, |state| {
            let pull = known(&state.hub, on.1)?;
            Ok(Look {
                pull: pull.seen(on.1, now),
                default_branch: "main".into(),
                project: state.hub.base.clone().map(|text| ("kfops.yaml".to_owned(), Bytes::from(text))),
                reviews: pull.reviews.clone(),
                succeeded: pull.succeeded.get(&pull.head).cloned().unwrap_or_default(),
                merging: state.hub.merging.clone(),
            })
        })
        .await
    }

    async fn post(&self, meter: &Meter, on: (&Repository, u64), post: &Post) -> Result<PostOutcome, Failure> {
        let now = self.0.time.now();
        let (post, pull) = (post.clone(), on.1);
        self.ask(Some(meter), "post", true, move |state| {
            let hub = &mut state.hub;
            Ok(PostOutcome {
                comment: post.comment.map(|comment| write_comment(hub, pull, comment, now)),
                check: post.check.map(|check| write_check(hub, check)),
                deployment: post.deployment.map(|deployment| write_deployment(hub, deployment)),
            })
        })
        .await
    }

    async fn find(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        marker: &str,
        since: SystemTime,
        check: Option<&CheckRun>,
        deployment: Option<&Deployment>,
    ) -> Result<Found, Failure> {
        if self.0.gate().planted == Some(Planted::FindsNothing) {
            return Ok(Found::default());
        }
        let (marker, check, deployment) = (marker.to_owned(), check.cloned(), deployment.cloned());
        self.ask(Some(meter), "find", false, move |state| {
            let hub = &state.hub;
            let own = |comment: &&Comment| {
                comment.pull == on.1
                    && comment.user == BOT
                    && comment.at >= since
                    && comment.body.starts_with(marker.as_str())
            };
            Ok(Found {
                comment: hub.comments.iter().find(own).map(|comment| comment.id.to_string()),
                check: check.and_then(|check| {
                    let same =
                        |kept: &&Check| (&kept.run.name, &kept.run.external_id) == (&check.name, &check.external_id);
                    hub.checks.iter().find(same).map(|kept| kept.id.to_string())
                }),
                deployment: deployment.and_then(|deployment| {
                    let same = |kept: &&Record| {
                        let kept = &kept.deployment;
                        (&kept.environment, &kept.command) == (&deployment.environment, &deployment.command)
                    };
                    hub.deployments.iter().find(same).map(|kept| kept.id.to_string())
                }),
            })
        })
        .await
    }

    async fn move_label(&self, meter: &Meter, on: (&Repository, u64), label: &str) -> Result<Vec<u64>, Failure> {
        let label = label.to_owned();
        self.ask(Some(meter), "move_label", true, move |state| {
            known(&state.hub, on.1)?;
            let mut others = Vec::new();
            for (number, pull) in &mut state.hub.pulls {
                if *number == on.1 {
                    pull.labels.insert(label.clone());
                } else if pull.labels.remove(&label) {
                    others.push(*number);
                }
            }
            Ok(others)
        })
        .await
    }

    async fn deliveries(&self, since: SystemTime) -> Result<Vec<SentDelivery>, Failure> {
        self.ask(None, "deliveries", false, |state| {
            let sent = state.hub.since(since).into_iter().map(|sent| SentDelivery {
                handle: sent.guid.clone(),
                guid: sent.guid,
                event: sent.event,
                action: sent.action,
                delivered: sent.at,
            });
            Ok(sent.collect())
        })
        .await
    }

    async fn delivery_payload(&self, delivery: &SentDelivery) -> Result<Bytes, Failure> {
        let handle = delivery.handle.clone();
        self.ask(None, "delivery_payload", false, move |state| {
            let sent = state.hub.sent.iter().find(|sent| sent.guid == handle);
            sent.map(|sent| sent.payload.clone()).ok_or_else(|| missing("such delivery"))
        })
        .await
    }

    async fn comment(&self, meter: &Meter, _: &Repository, id: u64) -> Result<Option<String>, Failure> {
        let blind = self.0.gate().planted == Some(Planted::CommentsStand);
        self.ask(Some(meter), "comment", false, move |state| {
            let comment = state.hub.comments.iter().find(|comment| comment.id == id);
            Ok(comment.and_then(|comment| match &comment.taken_back {
                Some((_, instead)) if !blind => instead.clone(),
                _ => Some(comment.body.clone()),
            }))
        })
        .await
    }

    async fn pull_request(&self, meter: &Meter, _: &Repository, number: u64) -> Result<PullRequest, Failure> {
        let now = self.0.time.now();
        self.ask(Some(meter), "pull_request", false, |state| Ok(known(&state.hub, number)?.seen(number, now))).await
    }

    async fn permission(&self, meter: &Meter, _: &Repository, user: &str) -> Result<String, Failure> {
        let user = user.to_owned();
        self.ask(Some(meter), "permission", false, move |state| {
            Ok(state.hub.permissions.get(&user).cloned().unwrap_or_else(|| "none".into()))
        })
        .await
    }

    async fn team_member(&self, meter: &Meter, team: &str, user: &str) -> Result<bool, Failure> {
        let (team, user) = (team.to_owned(), user.to_owned());
        self.ask(Some(meter), "team_member", false, move |state| {
            Ok(state.hub.teams.get(&team).is_some_and(|members| members.contains(&user)))
        })
        .await
    }

    async fn behind_by(&self, meter: &Meter, _: &Repository, base: &str, head: &str) -> Result<u64, Failure> {
        let (base, head) = (base.to_owned(), head.to_owned());
        self.ask(Some(meter), "behind_by", false, move |state| {
            let of = state.hub.pulls.values().find(|pull| pull.head == head && pull.base == base);
            Ok(of.map_or(0, |pull| pull.behind))
        })
        .await
    }

    async fn archive(&self, meter: &Meter, _: &Repository, commit: &str) -> Result<Bytes, Failure> {
        let commit = commit.to_owned();
        self.ask(Some(meter), "archive", false, move |state| {
            Ok(repository::archived(&commit, state.hub.project(&commit)))
        })
        .await
    }

    async fn merge(&self, meter: &Meter, on: (&Repository, u64), commit: &str) -> Result<Merged, Failure> {
        let commit = commit.to_owned();
        self.ask(Some(meter), "merge", true, move |state| {
            known(&state.hub, on.1)?;
            let merged = state.hub.merge(on.1, &commit);
            if matches!(merged, Merged::Yes(_)) {
                let lived = state.jobs.services.get(PRODUCTION).and_then(|service| service.lived.last());
                state.hub.merged_over.push((on.1, commit, lived.map(|(_, commit)| commit.clone())));
            }
            Ok(merged)
        })
        .await
    }
}

fn write_comment(hub: &mut Hub, pull: u64, comment: Written<String>, at: SystemTime) -> Result<String, Failure> {
    let Some(id) = comment.id else {
        let id = hub.id();
        let body = comment.content;
        hub.comments.push(Comment { id, pull, user: BOT.into(), body, at, edits: 0, taken_back: None });
        return Ok(id.to_string());
    };
    let kept = hub.comments.iter_mut().find(|kept| kept.id.to_string() == id && kept.user == BOT);
    let kept = kept.ok_or_else(|| missing("such comment"))?;
    kept.body = comment.content;
    kept.edits += 1;
    Ok(id)
}

fn write_check(hub: &mut Hub, check: Written<CheckRun>) -> Result<String, Failure> {
    let Some(id) = check.id else {
        let id = hub.id();
        hub.checks.push(Check { id, run: check.content });
        return Ok(id.to_string());
    };
    let kept = hub.checks.iter_mut().find(|kept| kept.id.to_string() == id);
    kept.ok_or_else(|| missing("such check run"))?.run = check.content;
    Ok(id)
}

fn write_deployment(hub: &mut Hub, deployment: Written<Deployment>) -> Result<String, Failure> {
    let state = deployment.content.state;
    let Some(id) = deployment.id else {
        let id = hub.id();
        hub.deployments.push(Record { id, deployment: deployment.content, statuses: vec![state] });
        return Ok(id.to_string());
    };
    let kept = hub.deployments.iter_mut().find(|kept| kept.id.to_string() == id);
    let kept = kept.ok_or_else(|| missing("such deployment"))?;
    kept.deployment = deployment.content;
    kept.statuses.push(state);
    Ok(id)
}
