//! The endpoints that are used.

use std::time::SystemTime;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, StatusCode};
use kfops_core::{Failure, Reason};
use serde_json::json;

use super::{
    client::{Answer, Call, GitHubClient, accepted, encode, json, said},
    wire::{self, check_body, cut},
};
use crate::{
    command::{PullRequest, Repository},
    ports::{CheckRun, Deployment, Found, GitHub, Look, Merged, Meter, Post, PostOutcome, Review, SentDelivery},
};

/// Most pages of a list that are read.
const PAGES: usize = 30;
/// Largest source archive.
const LARGEST_ARCHIVE: usize = 512 << 20;

impl GitHubClient {
    /// All items of a list, page by page.
    async fn pages<T: serde::de::DeserializeOwned>(
        &self,
        meter: &Meter,
        name: &'static str,
        path: &str,
    ) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        for page in 1..=PAGES {
            let path = format!("{path}{}per_page=100&page={page}", if path.contains('?') { '&' } else { '?' });
            let Some(more) = self.get_json::<Vec<T>>(meter, Call::new(name, &Method::GET, &path)).await? else { break };
            let full = more.len() == 100;
            items.extend(more);
            if !full {
                break;
            }
        }
        Ok(items)
    }
}

fn absent(what: &str) -> Failure {
    Failure::new(Reason::NotFound, format!("github: no {what}"))
        .action("look whether it is there and the bot may see it")
}

#[async_trait]
impl GitHub for GitHubClient {
    async fn look(&self, _: &Meter, _: (&Repository, u64)) -> Result<Look, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn post(&self, _: &Meter, _: (&Repository, u64), _: &Post) -> Result<PostOutcome, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn find(
        &self,
        _: &Meter,
        _: (&Repository, u64),
        _: &str,
        _: SystemTime,
        _: Option<&CheckRun>,
        _: Option<&Deployment>,
    ) -> Result<Found, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn move_label(&self, _: &Meter, _: (&Repository, u64), _: &str) -> Result<Vec<u64>, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn deliveries(&self, _: SystemTime) -> Result<Vec<SentDelivery>, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn delivery_payload(&self, _: &SentDelivery) -> Result<Bytes, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn pull_request(&self, meter: &Meter, repository: &Repository, number: u64) -> Result<PullRequest, Failure> {
        let path = format!("/repos/{repository}/pulls/{number}");
        let pull: wire::Pull = self
            .get_json(meter, Call::new("GET pulls", &Method::GET, &path))
            .await?
            .ok_or_else(|| absent(&format!("pull request {repository}#{number}")))?;
        let home = pull.base.repo.as_ref().map_or_else(|| repository.to_string(), |repo| repo.full_name.clone());
        let sha = &pull.head.sha;
        if !(40..=64).contains(&sha.len()) || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Failure::internal("github: GET pulls: head.sha is not a commit"));
        }
        Ok(PullRequest {
            // A fork that was deleted has no repository.
            fork: pull.head.repo.is_none_or(|repo| !repo.full_name.eq_ignore_ascii_case(&home)),
            head: pull.head.sha,
            author: String::new(),
            base: pull.base.r#ref,
            open: pull.state == "open",
            merged: pull.merged,
            draft: pull.draft,
            mergeable: pull.mergeable,
            merge_commit: pull.merge_commit_sha.filter(|_| pull.merged),
            seen: SystemTime::UNIX_EPOCH,
        })
    }

    async fn permission(&self, meter: &Meter, repository: &Repository, user: &str) -> Result<String, Failure> {
        let path = format!("/repos/{repository}/collaborators/{}/permission", encode(user));
        let found: Option<wire::PermissionOf> =
            self.get_json(meter, Call::new("GET collaborators permission", &Method::GET, &path)).await?;
        Ok(match found {
            None => "none".to_owned(),
            // `permission` knows neither maintain nor triage; a custom role is known by its base permission only.
            Some(found) => match found.role_name {
                Some(role) if ["triage", "maintain"].contains(&role.as_str()) => role,
                _ => found.permission,
            },
        })
    }

    async fn team_member(&self, meter: &Meter, team: &str, user: &str) -> Result<bool, Failure> {
        let (organization, team) = team.split_once('/').unwrap_or(("", team));
        let path = format!("/orgs/{}/teams/{}/memberships/{}", encode(organization), encode(team), encode(user));
        let found: Option<wire::Membership> =
            self.get_json(meter, Call::new("GET team memberships", &Method::GET, &path)).await?;
        Ok(found.is_some_and(|membership| membership.state == "active"))
    }

    async fn behind_by(&self, meter: &Meter, repository: &Repository, base: &str, head: &str) -> Result<u64, Failure> {
        // One page of commits with one entry: only the counts are wanted.
        let path = format!("/repos/{repository}/compare/{}...{head}?per_page=1", encode(base));
        let found: Option<wire::Comparison> =
            self.get_json(meter, Call::new("GET compare", &Method::GET, &path)).await?;
        found.map(|comparison| comparison.behind_by).ok_or_else(|| absent(&format!("{base} or {head} in {repository}")))
    }

    async fn archive(&self, meter: &Meter, repository: &Repository, commit: &str) -> Result<Bytes, Failure> {
        let path = format!("/repos/{repository}/tarball/{commit}");
        let call = Call { largest: LARGEST_ARCHIVE, ..Call::new("GET tarball", &Method::GET, &path) };
        accepted(call, self.get(meter, call).await?).map_err(|failure| Failure {
            reason: if failure.reason == Reason::NotFound { Reason::SourceUnavailable } else { failure.reason },
            retryable: false,
            ..failure
        })
    }

    async fn merge(&self, meter: &Meter, on: (&Repository, u64), commit: &str) -> Result<Merged, Failure> {
        let path = format!("/repos/{}/pulls/{}/merge", on.0, on.1);
        let call = Call::new("PUT merge", &Method::PUT, &path);
        let Answer { status, body } =
            self.change(meter, call, &json!({"sha": commit, "merge_method": self.merge_method.as_str()})).await?;
        let refused = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY];
        if refused.contains(&status) {
            return Ok(Merged::No(format!("{} {}", status.as_u16(), said(&body)).trim_end().to_owned()));
        }
        let result: wire::MergeResult = json(call, &accepted(call, Answer { status, body })?)?;
        Ok(if result.merged { Merged::Yes(result.sha.unwrap_or_default()) } else { Merged::No(result.message) })
    }
}
