//! What is asked and done by REST.

use std::time::SystemTime;

use bytes::Bytes;
use http::{Method, StatusCode};
use kfops_core::{Failure, Reason};
use serde_json::json;

use super::{
    call::{About, Answer, Call, encode},
    client::GitHubClient,
    failure::{absent, accepted, json, said, unexpected},
    wire,
};
use crate::{
    command::{MergeState, PullRequest, Repository},
    ports::{Merged, Meter},
};

/// Largest source archive.
const LARGEST_ARCHIVE: usize = 512 << 20;
/// Largest file that is read on its own.
const LARGEST_FILE: usize = 1 << 20;

impl GitHubClient {
    pub(super) async fn read_pull(
        &self,
        meter: &Meter,
        repository: &Repository,
        number: u64,
    ) -> Result<PullRequest, Failure> {
        let path = format!("/repos/{repository}/pulls/{number}");
        let call = Call::get("GET pulls", path, About::Repository(repository));
        let pull: wire::Pull =
            self.read(meter, &call).await?.ok_or_else(|| absent(&format!("pull request {repository}#{number}")))?;
        let home = pull.base.repo.as_ref().map_or_else(|| repository.to_string(), |repo| repo.full_name.clone());
        if !wire::is_commit(&pull.head.sha) {
            return Err(unexpected(&call, &"head.sha is not a commit"));
        }
        Ok(PullRequest {
            // A fork that was deleted has no repository.
            fork: pull.head.repo.is_none_or(|repo| !repo.full_name.eq_ignore_ascii_case(&home)),
            head: pull.head.sha,
            author: pull.user.map(|user| user.login).unwrap_or_default(),
            base: pull.base.r#ref,
            open: pull.state == "open",
            merged: pull.merged,
            draft: pull.draft,
            mergeable: pull.mergeable,
            merge_state: pull.mergeable_state.as_deref().map(MergeState::parse).unwrap_or_default(),
            merge_commit: pull.merge_commit_sha.filter(|_| pull.merged),
            seen: SystemTime::UNIX_EPOCH,
        })
    }

    pub(super) async fn read_comment(
        &self,
        meter: &Meter,
        repository: &Repository,
        id: u64,
    ) -> Result<Option<String>, Failure> {
        let path = format!("/repos/{repository}/issues/comments/{id}");
        let call = Call::get("GET issue comment", path, About::Repository(repository));
        let answer = self.transport.send(meter, &call).await?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            return Ok(None);
        }
        let comment: wire::CommentOf = json(&call, &accepted(&call, answer)?)?;
        Ok(Some(comment.body.unwrap_or_default()))
    }

    pub(super) async fn read_permission(
        &self,
        meter: &Meter,
        repository: &Repository,
        user: &str,
    ) -> Result<String, Failure> {
        let path = format!("/repos/{repository}/collaborators/{}/permission", encode(user));
        let call =
            Call { keep: true, ..Call::get("GET collaborators permission", path, About::Repository(repository)) };
        let found: Option<wire::PermissionOf> = self.read(meter, &call).await?;
        Ok(match found {
            None => "none".to_owned(),
            // `permission` knows neither maintain nor triage; a custom role is known by its base permission only.
            Some(found) => match found.role_name {
                Some(role) if ["triage", "maintain"].contains(&role.as_str()) => role,
                _ => found.permission,
            },
        })
    }

    pub(super) async fn read_membership(&self, meter: &Meter, team: &str, user: &str) -> Result<bool, Failure> {
        let (organization, team) = team.split_once('/').unwrap_or(("", team));
        let path = format!("/orgs/{}/teams/{}/memberships/{}", encode(organization), encode(team), encode(user));
        let call = Call { keep: true, ..Call::get("GET team memberships", path, About::Organization(organization)) };
        let found: Option<wire::Membership> = self.read(meter, &call).await?;
        Ok(found.is_some_and(|membership| membership.state == "active"))
    }

    pub(super) async fn compare(
        &self,
        meter: &Meter,
        repository: &Repository,
        base: &str,
        head: &str,
    ) -> Result<u64, Failure> {
        // One page of commits with one entry: only the counts are wanted.
        let path = format!("/repos/{repository}/compare/{}...{}?per_page=1", encode(base), encode(head));
        let call = Call { keep: true, ..Call::get("GET compare", path, About::Repository(repository)) };
        let found: Option<wire::Comparison> = self.read(meter, &call).await?;
        found.map(|comparison| comparison.behind_by).ok_or_else(|| absent(&format!("{base} or {head} in {repository}")))
    }

    /// A file of the default branch.
    pub(super) async fn read_file(
        &self,
        meter: &Meter,
        repository: &Repository,
        path: &str,
    ) -> Result<Option<Bytes>, Failure> {
        let parts: Vec<String> = path.split('/').map(encode).collect();
        let path = format!("/repos/{repository}/contents/{}", parts.join("/"));
        let call = Call {
            accept: "application/vnd.github.raw+json",
            largest: LARGEST_FILE,
            keep: true,
            ..Call::get("GET contents", path, About::Repository(repository))
        };
        let answer = self.transport.send(meter, &call).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        accepted(&call, answer).map(Some)
    }

    pub(super) async fn read_archive(
        &self,
        meter: &Meter,
        repository: &Repository,
        commit: &str,
    ) -> Result<Bytes, Failure> {
        let path = format!("/repos/{repository}/tarball/{}", encode(commit));
        let call = Call {
            largest: LARGEST_ARCHIVE,
            long: true,
            ..Call::get("GET tarball", path, About::Repository(repository))
        };
        let answer = self.transport.send(meter, &call).await?;
        accepted(&call, answer).map_err(|failure| Failure {
            reason: if failure.reason == Reason::NotFound { Reason::SourceUnavailable } else { failure.reason },
            retryable: false,
            ..failure
        })
    }

    pub(super) async fn put_merge(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        commit: &str,
    ) -> Result<Merged, Failure> {
        let path = format!("/repos/{}/pulls/{}/merge", on.0, on.1);
        let body = json!({"sha": commit, "merge_method": self.merge_method.as_str()});
        let call = Call::change("PUT merge", Method::PUT, path, About::Repository(on.0), body);
        let answer: Answer = self.transport.send(meter, &call).await?;
        let refused = [StatusCode::METHOD_NOT_ALLOWED, StatusCode::CONFLICT, StatusCode::UNPROCESSABLE_ENTITY];
        if refused.contains(&answer.status) {
            let why = format!("{} {}", answer.status.as_u16(), said(&answer.body));
            return Ok(Merged::No(why.trim_end().to_owned()));
        }
        let result: wire::MergeResult = json(&call, &accepted(&call, answer)?)?;
        Ok(if result.merged { Merged::Yes(result.sha.unwrap_or_default()) } else { Merged::No(result.message) })
    }
}
