//! What a command has on GitHub already, looked up after a crash.

use std::time::SystemTime;

use kfops_core::Failure;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    client::GitHubClient,
    graphql::Document,
    wire::{Actor, Connection},
};
use crate::{
    command::Repository,
    ports::{CheckRun, Deployment, Found, Meter},
};

/// Most pages of comments and of deployments, 100 and 50 each.
const PAGES: usize = 10;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommentOf {
    id: String,
    body: String,
    created_at: String,
    viewer_did_author: bool,
    author: Option<Actor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentOf {
    id: String,
    payload: Option<String>,
    created_at: String,
    commit_oid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckOf {
    id: String,
    external_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Suite {
    check_runs: Option<Connection<CheckOf>>,
}

/// What is still to be read.
struct Wanted {
    comments: bool,
    checks: bool,
    deployments: bool,
}

impl Wanted {
    fn anything(&self) -> bool {
        self.comments || self.checks || self.deployments
    }

    fn text(&self) -> String {
        let mut heads = "query Written($owner:String!,$name:String!,$number:Int!".to_owned();
        let mut parts = String::new();
        if self.comments {
            heads += ",$before:String";
            parts += "pullRequest(number:$number){id comments(last:100,before:$before){pageInfo{hasPreviousPage startCursor} \
                      nodes{id body createdAt viewerDidAuthor author{__typename login}}}} ";
        } else {
            parts += "pullRequest(number:$number){id} ";
        }
        if self.checks {
            heads += ",$commit:GitObjectID!,$check:String!";
            parts += "object(oid:$commit){... on Commit{checkSuites(first:20,filterBy:{checkName:$check}){nodes{\
                      checkRuns(first:50,filterBy:{checkName:$check,checkType:ALL}){nodes{id externalId}}}}}} ";
        }
        if self.deployments {
            heads += ",$environment:String!,$after:String";
            parts += "deployments(first:50,after:$after,environments:[$environment],\
                      orderBy:{field:CREATED_AT,direction:DESC}){pageInfo{hasNextPage endCursor} \
                      nodes{id payload createdAt commitOid}} ";
        }
        format!("{heads}){{repository(owner:$owner,name:$name){{id {parts}}}}}")
    }
}

fn part<T: DeserializeOwned>(seen: &mut Value, pointer: &str) -> Result<Option<T>, Failure> {
    let value = seen.pointer_mut(pointer).map(Value::take).unwrap_or_default();
    serde_json::from_value(value).map_err(|error| Failure::internal(format!("github: find: {pointer}: {error}")))
}

/// GitHub's times have whole seconds.
fn older(time: &str, since: SystemTime) -> bool {
    humantime::parse_rfc3339_weak(time).is_ok_and(|time| time + std::time::Duration::from_secs(1) < since)
}

impl GitHubClient {
    pub(super) async fn find_all(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        marker: &str,
        since: SystemTime,
        check: Option<&CheckRun>,
        deployment: Option<&Deployment>,
    ) -> Result<Found, Failure> {
        // A commit status is known by its name, and posting it again changes nothing.
        let check = check.filter(|_| self.transport.identity.writes_checks());
        let mut wanted = Wanted { comments: true, checks: check.is_some(), deployments: deployment.is_some() };
        let (mut before, mut after) = (None::<String>, None::<String>);
        let mut found = Found::default();
        for _ in 0..PAGES {
            if !wanted.anything() {
                break;
            }
            let mut variables = json!({"owner": on.0.owner, "name": on.0.name, "number": on.1});
            if wanted.comments {
                variables["before"] = json!(before);
            }
            if let Some(check) = check.filter(|_| wanted.checks) {
                variables["commit"] = check.commit.as_str().into();
                variables["check"] = check.name.as_str().into();
            }
            if let Some(record) = deployment.filter(|_| wanted.deployments) {
                variables["environment"] = record.environment.as_str().into();
                variables["after"] = json!(after);
            }
            let text = wanted.text();
            let needs = "read access to pull requests, checks and deployments";
            let document = Document { name: "query written", text: &text, needs };
            let mut seen = self.query(meter, on.0, document, variables).await?;
            let ids = (seen.pointer("/repository/id"), seen.pointer("/repository/pullRequest/id"));
            if let (Some(Value::String(repository)), Some(Value::String(pull))) = ids {
                self.known.note(on, repository, pull);
            }
            if wanted.comments {
                let page: Option<Connection<CommentOf>> = part(&mut seen, "/repository/pullRequest/comments")?;
                before = page.as_ref().and_then(Connection::previous);
                let comments: Vec<CommentOf> = page.into_iter().flat_map(|page| page.nodes).flatten().collect();
                let past = comments.iter().any(|comment| older(&comment.created_at, since));
                let ours = |comment: &&CommentOf| {
                    let bot = self.bot_login.as_deref();
                    let author = comment.author.as_ref().map(Actor::login);
                    let ours = comment.viewer_did_author || (bot.is_some() && author.as_deref() == bot);
                    ours && comment.body.starts_with(marker) && !older(&comment.created_at, since)
                };
                found.comment = comments.iter().find(ours).map(|comment| comment.id.clone());
                wanted.comments = found.comment.is_none() && !past && before.is_some();
            }
            if let Some(check) = check.filter(|_| wanted.checks) {
                let suites: Option<Connection<Suite>> = part(&mut seen, "/repository/object/checkSuites")?;
                let suites = suites.into_iter().flat_map(|suites| suites.nodes).flatten();
                let mut runs = suites.filter_map(|suite| suite.check_runs).flat_map(|runs| runs.nodes).flatten();
                let ours = runs.find(|run| run.external_id.as_deref() == Some(&check.external_id));
                found.check = ours.map(|run| run.id);
                wanted.checks = false;
            }
            if let Some(record) = deployment.filter(|_| wanted.deployments) {
                let page: Option<Connection<DeploymentOf>> = part(&mut seen, "/repository/deployments")?;
                after = page.as_ref().and_then(Connection::next);
                let all: Vec<DeploymentOf> = page.into_iter().flat_map(|page| page.nodes).flatten().collect();
                let past = all.iter().any(|deployment| older(&deployment.created_at, since));
                let ours = all.into_iter().find(|one| one.commit_oid == record.commit && names(one, &record.command));
                found.deployment = ours.map(|deployment| deployment.id);
                wanted.deployments = found.deployment.is_none() && !past && after.is_some();
            }
        }
        Ok(found)
    }
}

/// Whether the payload names the command; GitHub shows it as text, at times as text of text.
fn names(deployment: &DeploymentOf, command: &str) -> bool {
    let mut payload = deployment.payload.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
    if let Some(Value::String(inner)) = &payload {
        payload = serde_json::from_str(inner).ok();
    }
    payload.is_some_and(|payload| payload["command"] == command)
}
