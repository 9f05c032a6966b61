//! One bearer per label and repository.

use std::fmt::Write as _;

use http::Method;
use kfops_core::{Failure, Reason};
use serde_json::{Map, Value, json};

use super::{
    call::{About, Call},
    client::GitHubClient,
    failure::{absent, accepted},
    graphql::Document,
    known::{Bearer, SeenLabel},
    wire::{Connection, id_at},
};
use crate::{command::Repository, ports::Meter};

/// Most pull requests from which it is taken in one request.
const AT_ONCE: usize = 50;
/// Most requests until nobody else bears it.
const ROUNDS: usize = 20;
const NEEDS: &str = "write access to issues and pull requests";
const BEARERS: &str = "pullRequests(first:100,labels:[$label]){pageInfo{hasNextPage endCursor} nodes{id number}}";

/// A label as it is now, and the pull request that shall bear it.
struct Seen {
    pull: String,
    label: SeenLabel,
}

impl GitHubClient {
    /// What is remembered from the last look is taken for true at first; the change itself says who bears it then.
    pub(super) async fn pass_label(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        label: &str,
    ) -> Result<Vec<u64>, Failure> {
        let remembered = self.known.label(on.0, label).zip(self.known.ids(on));
        let mut trusted = remembered.is_some();
        let mut seen = remembered.map(|(label, (_, pull))| Seen { pull, label });
        let mut taken = Vec::new();
        for _ in 0..ROUNDS {
            let now = match seen.take() {
                Some(seen) => seen,
                None => self.see_label(meter, on, label).await?,
            };
            let Some(id) = now.label.id.clone() else {
                // Whoever looked before may still think so.
                self.known.moved(on.0, label, None);
                self.make_label(meter, on, label).await?;
                self.known.moved(on.0, label, None);
                return Ok(taken);
            };
            match self.pass(meter, on, (label, &id), &now, &mut taken).await {
                Ok(left) if left.is_empty() => {
                    let bearers = vec![Bearer { id: now.pull, number: on.1 }];
                    self.known.moved(on.0, label, Some(SeenLabel { id: Some(id), bearers }));
                    taken.sort_unstable();
                    taken.dedup();
                    return Ok(taken);
                }
                Ok(bearers) => seen = Some(Seen { pull: now.pull, label: SeenLabel { id: Some(id), bearers } }),
                Err(failure) => {
                    self.known.forget(on.0);
                    // What was remembered is no longer so.
                    if !(trusted && failure.reason == Reason::NotFound) {
                        return Err(failure);
                    }
                    trusted = false;
                }
            }
        }
        let message = format!("github: others keep putting the label {label} on pull requests");
        Err(Failure::new(Reason::GithubUnavailable, message).on(on.0.to_string()))
    }

    /// Adds and removes, in one request. Who bears it after that, but for the pull request itself.
    async fn pass(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        label: (&str, &str),
        seen: &Seen,
        taken: &mut Vec<u64>,
    ) -> Result<Vec<Bearer>, Failure> {
        let others: Vec<&Bearer> =
            seen.label.bearers.iter().filter(|bearer| bearer.number != on.1).take(AT_ONCE).collect();
        let mut heads = "$label:String!,$add:AddLabelsToLabelableInput!".to_owned();
        // The parts are carried out one after the other: what this one shows is how it was before the others.
        let shown = format!("{{labelable{{... on PullRequest{{repository{{{BEARERS}}}}}}}}}");
        let mut parts = format!("add:addLabelsToLabelable(input:$add){shown} ");
        let mut variables = Map::new();
        variables.insert("label".into(), label.0.into());
        variables.insert("add".into(), json!({"labelableId": seen.pull, "labelIds": [label.1]}));
        for (number, other) in others.iter().enumerate() {
            let _ = write!(heads, ",$from{number}:RemoveLabelsFromLabelableInput!");
            let _ = write!(parts, "from{number}:removeLabelsFromLabelable(input:$from{number}){{clientMutationId}} ");
            let input = json!({"labelableId": other.id, "labelIds": [label.1]});
            variables.insert(format!("from{number}"), input);
        }
        let text = format!("mutation MoveLabel({heads}){{{parts}}}");
        let reply = self.mutate(meter, on.0, "mutation labels", &text, Value::Object(variables)).await?;
        if let Some(fault) = reply.faults().first() {
            let call = Call::graphql("mutation labels", About::Repository(on.0), false, Value::Null);
            return Err(fault.failure(&call, Some(NEEDS)));
        }
        let bearers = reply.data.pointer("/add/labelable/repository/pullRequests").cloned().unwrap_or_default();
        let bearers: Connection<Bearer> = serde_json::from_value(bearers)
            .map_err(|error| Failure::internal(format!("github: mutation labels: unexpected answer: {error}")))?;
        let more = bearers.page_info.has_next_page;
        let bearers: Vec<Bearer> = bearers.nodes.into_iter().flatten().filter(|bearer| bearer.number != on.1).collect();
        let had = |other: &&&Bearer| more || bearers.iter().any(|bearer| bearer.number == other.number);
        taken.extend(others.iter().filter(had).map(|other| other.number));
        Ok(bearers.into_iter().filter(|bearer| !others.iter().any(|other| other.number == bearer.number)).collect())
    }

    async fn see_label(&self, meter: &Meter, on: (&Repository, u64), label: &str) -> Result<Seen, Failure> {
        let text = format!(
            "query Label($owner:String!,$name:String!,$number:Int!,$label:String!){{repository(owner:$owner,name:$name){{\
             id label(name:$label){{id}} pullRequest(number:$number){{id}} {BEARERS}}}}}"
        );
        let document = Document { name: "query label", text: &text, needs: NEEDS };
        let variables = json!({"owner": on.0.owner, "name": on.0.name, "number": on.1, "label": label});
        let seen = self.query(meter, on.0, document, variables).await?;
        let pull = id_at(&seen, "/repository/pullRequest/id")
            .ok_or_else(|| absent(&format!("pull request {}#{}", on.0, on.1)))?;
        if let Some(repository) = id_at(&seen, "/repository/id") {
            self.known.note(on, &repository, &pull);
        }
        let id = id_at(&seen, "/repository/label/id");
        let bearers = seen.pointer("/repository/pullRequests").cloned().unwrap_or_default();
        let bearers: Connection<Bearer> = serde_json::from_value(bearers)
            .map_err(|error| Failure::internal(format!("github: query label: unexpected answer: {error}")))?;
        Ok(Seen { pull, label: SeenLabel { id, bearers: bearers.nodes.into_iter().flatten().collect() } })
    }

    /// GitHub makes a label that is not there yet.
    async fn make_label(&self, meter: &Meter, on: (&Repository, u64), label: &str) -> Result<(), Failure> {
        let path = format!("/repos/{}/issues/{}/labels", on.0, on.1);
        let body = json!({"labels": [label]});
        let call = Call::change("POST labels", Method::POST, path, About::Repository(on.0), body);
        let answer = self.transport.send(meter, &call).await?;
        accepted(&call, answer).map(drop)
    }
}
