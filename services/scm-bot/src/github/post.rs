//! Writes everything of a command that is to be written now, in as few requests as GitHub allows.

use std::{fmt::Write as _, time::Duration};

use http::Method;
use kfops_core::{Failure, Reason};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    call::{ANSWER, About, Call},
    client::GitHubClient,
    failure::{absent, accepted, json},
    graphql::{Document, Reply},
    input::{check_input, status_input},
    wire::{body, id_at, line},
};
use crate::{
    command::Repository,
    ports::{CheckRun, Deployment, Meter, Post, PostOutcome},
};

/// A commit status is not shown before a command took so long: it costs a request of its own.
const STATUS_AFTER: Duration = Duration::from_secs(60);
/// What stands for the id of a commit status: it is known by its name.
const STATUS: &str = "status";

#[derive(Deserialize)]
struct Made {
    id: u64,
    node_id: Option<String>,
}

/// The parts of one GraphQL request.
#[derive(Default)]
struct Batch {
    heads: String,
    parts: String,
    variables: Map<String, Value>,
}

impl Batch {
    fn add(&mut self, part: &str, mutation: &str, input: &str, shown: &str, value: Value) {
        let _ = write!(self.heads, "${part}:{input}! ");
        let _ = write!(self.parts, "{part}:{mutation}(input:${part}){{{shown}}} ");
        self.variables.insert(part.to_owned(), value);
    }
}

impl GitHubClient {
    pub(super) async fn post_all(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        post: &Post,
    ) -> Result<PostOutcome, Failure> {
        let mut outcome = PostOutcome::default();
        let mut deployment = None;
        if let Some(record) = &post.deployment {
            // By REST: GraphQL deploys the newest commit of a branch only.
            let id = match &record.id {
                Some(id) => Ok(id.clone()),
                None => self.make_deployment(meter, on.0, &record.content).await,
            };
            match id {
                Ok(id) => deployment = Some((id, &record.content)),
                Err(failure) => {
                    let away = failure.reason == Reason::GithubUnavailable;
                    outcome.deployment = Some(Err(failure));
                    if away {
                        return Ok(outcome);
                    }
                }
            }
        }
        let batch = self.batch(meter, on, post, deployment.as_ref()).await?;
        if !batch.parts.is_empty() {
            let text = format!("mutation Post({}){{{}}}", batch.heads, batch.parts);
            let first = post.comment.as_ref().is_some_and(|comment| comment.id.is_none());
            let answers = first && post.check.is_none() && post.deployment.is_none();
            let name = if answers { ANSWER } else { "mutation post" };
            let reply = self.mutate(meter, on.0, name, &text, Value::Object(batch.variables)).await?;
            let part = |name: &str, shown: &str, needs: &str| self.part(on, &reply, name, shown, needs);
            if let Some(comment) = &post.comment {
                let shown = if comment.id.is_some() { "issueComment/id" } else { "commentEdge/node/id" };
                outcome.comment = Some(part("comment", shown, "write access to issues and pull requests"));
            }
            if post.check.is_some() && self.writes_checks() {
                outcome.check = Some(part("check", "checkRun/id", "write access to checks"));
            }
            if let Some((id, _)) = deployment {
                let status = part("deployment", "deploymentStatus/id", "write access to deployments");
                if status.as_ref().is_err_and(|failure| failure.reason == Reason::NotFound) {
                    self.known.forget_deployment(&id);
                }
                outcome.deployment = Some(status.map(|_| id));
            }
        }
        if let (false, Some(check)) = (self.writes_checks(), &post.check) {
            outcome.check = self.post_status(meter, on.0, &check.content).await;
        }
        Ok(outcome)
    }

    fn writes_checks(&self) -> bool {
        self.transport.identity.writes_checks()
    }

    /// What is written by one request in GraphQL.
    async fn batch(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        post: &Post,
        deployment: Option<&(String, &Deployment)>,
    ) -> Result<Batch, Failure> {
        let mut batch = Batch::default();
        let check = post.check.as_ref().filter(|_| self.writes_checks());
        let new = post.comment.as_ref().is_some_and(|comment| comment.id.is_none());
        let (repository, pull) =
            if new || check.is_some() { self.ids(meter, on).await? } else { (String::new(), String::new()) };
        if let Some(comment) = &post.comment {
            let text = body(&comment.content);
            let (mutation, input, shown, value) = match &comment.id {
                Some(id) => {
                    let value = json!({"id": id, "body": text});
                    ("updateIssueComment", "UpdateIssueCommentInput", "issueComment{id}", value)
                }
                None => {
                    let value = json!({"subjectId": pull, "body": text});
                    ("addComment", "AddCommentInput", "commentEdge{node{id}}", value)
                }
            };
            batch.add("comment", mutation, input, shown, value);
        }
        if let Some(check) = check {
            let mut value = check_input(&check.content);
            value["repositoryId"] = repository.into();
            match &check.id {
                Some(id) => {
                    value["checkRunId"] = id.as_str().into();
                    batch.add("check", "updateCheckRun", "UpdateCheckRunInput", "checkRun{id}", value);
                }
                None => {
                    value["headSha"] = check.content.commit.as_str().into();
                    batch.add("check", "createCheckRun", "CreateCheckRunInput", "checkRun{id}", value);
                }
            }
        }
        if let Some((id, record)) = deployment {
            let (input, shown) = ("CreateDeploymentStatusInput", "deploymentStatus{id}");
            batch.add("deployment", "createDeploymentStatus", input, shown, status_input(id, record));
        }
        Ok(batch)
    }

    /// What became of a part: its id, or why not.
    fn part(
        &self,
        on: (&Repository, u64),
        reply: &Reply,
        name: &str,
        shown: &str,
        needs: &str,
    ) -> Result<String, Failure> {
        let call = Call::graphql("mutation post", About::Repository(on.0), false, Value::Null);
        if let Some(fault) = reply.faults().iter().find(|fault| fault.of(name)) {
            if fault.missing() {
                // An id that was remembered may be the wrong one.
                self.known.forget(on.0);
            }
            return Err(fault.failure(&call, Some(needs)));
        }
        id_at(&reply.data, &format!("/{name}/{shown}"))
            .ok_or_else(|| super::failure::unexpected(&call, &format!("{name} has no id")))
    }

    /// Node ids of the repository and the pull request.
    async fn ids(&self, meter: &Meter, on: (&Repository, u64)) -> Result<(String, String), Failure> {
        if let Some(ids) = self.known.ids(on) {
            return Ok(ids);
        }
        let document = Document {
            name: "query ids",
            text: "query Ids($owner:String!,$name:String!,$number:Int!){repository(owner:$owner,name:$name){id pullRequest(number:$number){id}}}",
            needs: "read access to pull requests",
        };
        let variables = json!({"owner": on.0.owner, "name": on.0.name, "number": on.1});
        let seen = self.query(meter, on.0, document, variables).await?;
        let ids = id_at(&seen, "/repository/id").zip(id_at(&seen, "/repository/pullRequest/id"));
        let (repository, pull) = ids.ok_or_else(|| absent(&format!("pull request {}#{}", on.0, on.1)))?;
        self.known.note(on, &repository, &pull);
        Ok((repository, pull))
    }

    async fn make_deployment(
        &self,
        meter: &Meter,
        repository: &Repository,
        record: &Deployment,
    ) -> Result<String, Failure> {
        if let Some(id) = self.known.deployment(&record.command, &record.environment) {
            return Ok(id);
        }
        let content = json!({
            "ref": record.commit,
            "task": "deploy",
            "auto_merge": false,
            "required_contexts": [],
            "payload": {"command": record.command},
            "environment": record.environment,
            "description": line(&record.description),
            "transient_environment": false,
            "production_environment": record.production,
        });
        let path = format!("/repos/{repository}/deployments");
        let call = Call::change("POST deployments", Method::POST, path, About::Repository(repository), content);
        let answer = self.transport.send(meter, &call).await?;
        let made: Made = json(&call, &accepted(&call, answer)?)?;
        let id = made
            .node_id
            .ok_or_else(|| super::failure::unexpected(&call, &format!("deployment {} has no node_id", made.id)))?;
        self.known.note_deployment(&record.command, &record.environment, &id);
        Ok(id)
    }

    /// A commit status instead of a check run. None: not yet.
    async fn post_status(
        &self,
        meter: &Meter,
        repository: &Repository,
        check: &CheckRun,
    ) -> Option<Result<String, Failure>> {
        let age = self.transport.clock.now().duration_since(check.started).unwrap_or_default();
        let state = match check.completed {
            None if age < STATUS_AFTER => return None,
            None => "pending",
            Some(("success", _)) => "success",
            Some(("failure" | "timed_out" | "action_required", _)) => "failure",
            Some(_) => "error",
        };
        let mut content = json!({"state": state, "context": check.name, "description": line(&check.title)});
        if let Some(url) = &check.details_url {
            content["target_url"] = url.as_str().into();
        }
        let path = format!("/repos/{repository}/statuses/{}", check.commit);
        let call = Call::change("POST statuses", Method::POST, path, About::Repository(repository), content);
        let posted = self.transport.send(meter, &call).await.and_then(|answer| accepted(&call, answer));
        Some(posted.map(|_| STATUS.to_owned()))
    }
}
