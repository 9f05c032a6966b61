//! Everything about a pull request that the gate needs, in one request.

use std::{collections::BTreeMap, fmt::Write as _, time::SystemTime};

use bytes::Bytes;
use kfops_core::{Failure, Reason};
use kfops_project::PROJECT_FILES;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    client::GitHubClient,
    failure::absent,
    graphql::Document,
    known::{Bearer, SeenLabel},
    wire::{Actor, Connection, is_commit},
};
use crate::{
    command::{MergeState, Merging, PullRequest, Repository},
    ports::{DEPLOYED_LABELS, Look, Meter, Review},
    settings::MergeMethod,
};

/// Most further pages of reviews and of checks, 100 each.
const PAGES: usize = 20;
const NEEDS: &str = "read access to contents, pull requests, checks and commit statuses";
const REVIEWS: &str =
    "pageInfo{hasNextPage endCursor} nodes{author{__typename login} authorCanPushToRepository state commit{oid}}";
const CONTEXTS: &str = "pageInfo{hasNextPage endCursor} \
    nodes{__typename ... on CheckRun{name conclusion} ... on StatusContext{context state}}";
/// A comment is no verdict, and does not take one back.
const VERDICTS: &str = "states:[APPROVED,CHANGES_REQUESTED,DISMISSED]";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullOf {
    id: String,
    state: String,
    is_draft: bool,
    mergeable: String,
    merge_state_status: String,
    is_merge_queue_enabled: bool,
    merged: bool,
    merge_commit: Option<Commit>,
    is_cross_repository: bool,
    head_repository: Option<Value>,
    head_ref_oid: String,
    base_ref_name: String,
    author: Option<Actor>,
    reviews: Connection<ReviewOf>,
    commits: Connection<PullCommit>,
}

#[derive(Deserialize)]
struct Commit {
    oid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReviewOf {
    author: Option<Actor>,
    #[serde(default)]
    author_can_push_to_repository: bool,
    state: String,
    commit: Option<Commit>,
}

#[derive(Deserialize)]
struct PullCommit {
    commit: CommitOf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitOf {
    oid: String,
    status_check_rollup: Option<Rollup>,
}

#[derive(Deserialize)]
struct Rollup {
    contexts: Connection<Context>,
}

#[derive(Deserialize)]
struct Context {
    name: Option<String>,
    conclusion: Option<String>,
    context: Option<String>,
    state: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blob {
    byte_size: u64,
    is_binary: Option<bool>,
    is_truncated: bool,
    text: Option<String>,
}

/// What the repository allows.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Methods {
    merge_commit_allowed: bool,
    squash_merge_allowed: bool,
    rebase_merge_allowed: bool,
}

#[derive(Deserialize)]
struct LabelOf {
    id: String,
}

/// Of a connection, a page from a cursor on.
#[derive(Clone, Copy)]
enum Rest {
    Reviews,
    Contexts,
}

fn text() -> String {
    let mut files = String::new();
    for (number, path) in PROJECT_FILES.iter().enumerate() {
        let _ = write!(
            files,
            "file{number}:object(expression:\"HEAD:{path}\"){{... on Blob{{byteSize isBinary isTruncated text}}}} "
        );
    }
    let mut labels = String::new();
    for (number, label) in DEPLOYED_LABELS.iter().enumerate() {
        let _ = write!(
            labels,
            "label{number}:label(name:\"{label}\"){{id}} \
             bearers{number}:pullRequests(first:20,labels:[\"{label}\"]){{pageInfo{{hasNextPage}} nodes{{id number}}}} "
        );
    }
    format!(
        "query Look($owner:String!,$name:String!,$number:Int!){{repository(owner:$owner,name:$name){{\
         id defaultBranchRef{{name}} mergeCommitAllowed squashMergeAllowed rebaseMergeAllowed {files}{labels}\
         pullRequest(number:$number){{id state isDraft mergeable mergeStateStatus isMergeQueueEnabled merged mergeCommit{{oid}} isCrossRepository \
         headRepository{{id}} headRefOid baseRefName author{{__typename login}} \
         reviews(first:100,{VERDICTS}){{{REVIEWS}}} \
         commits(last:1){{nodes{{commit{{oid statusCheckRollup{{contexts(first:100){{{CONTEXTS}}}}}}}}}}}}}}}}}"
    )
}

fn part<T: DeserializeOwned>(value: &mut Value, pointer: &str) -> Result<T, Failure> {
    let value = value.pointer_mut(pointer).map(Value::take).unwrap_or_default();
    serde_json::from_value(value).map_err(|error| Failure::internal(format!("github: look: {pointer}: {error}")))
}

impl GitHubClient {
    pub(super) async fn look_at(&self, meter: &Meter, on: (&Repository, u64)) -> Result<Look, Failure> {
        let (repository, number) = on;
        let missing =
            || absent(&format!("pull request {repository}#{number}")).on(format!("{repository}/pulls/{number}"));
        let moves = self.known.moves();
        let variables = json!({"owner": repository.owner, "name": repository.name, "number": number});
        let document = Document { name: "query pull request", text: &text(), needs: NEEDS };
        let mut seen = self.query(meter, repository, document, variables).await?;
        if seen.pointer("/repository/pullRequest").is_none_or(Value::is_null) {
            return Err(missing());
        }
        let pull: PullOf = part(&mut seen, "/repository/pullRequest")?;
        if !is_commit(&pull.head_ref_oid) {
            return Err(Failure::internal("github: look: headRefOid is not a commit"));
        }
        let id: String = part(&mut seen, "/repository/id")?;
        self.known.note(on, &id, &pull.id);
        self.note_labels(repository, &mut seen, moves)?;
        let methods = methods(&seen)?;
        let default_branch = seen.pointer("/repository/defaultBranchRef/name").and_then(Value::as_str);
        let default_branch = default_branch.unwrap_or_default().to_owned();
        let project = self.project_of(meter, repository, &mut seen).await?;
        let more = pull.reviews.next();
        let mut reviews = pull.reviews.nodes;
        self.rest(meter, on, Rest::Reviews, more, &mut reviews).await?;
        let head = pull.commits.nodes.into_iter().flatten().next().map(|commit| commit.commit);
        let rollup = head.filter(|head| head.oid == pull.head_ref_oid).and_then(|head| head.status_check_rollup);
        let mut contexts = Vec::new();
        if let Some(rollup) = rollup {
            let more = rollup.contexts.next();
            contexts = rollup.contexts.nodes;
            self.rest(meter, on, Rest::Contexts, more, &mut contexts).await?;
        }
        Ok(Look {
            pull: PullRequest {
                // A fork that was deleted has no repository.
                fork: pull.is_cross_repository || pull.head_repository.is_none(),
                head: pull.head_ref_oid,
                author: pull.author.map(|author| author.login()).unwrap_or_default(),
                base: pull.base_ref_name,
                open: pull.state == "OPEN",
                merged: pull.merged,
                draft: pull.is_draft,
                mergeable: match pull.mergeable.as_str() {
                    "MERGEABLE" => Some(true),
                    "CONFLICTING" => Some(false),
                    _ => None,
                },
                merge_state: MergeState::parse(&pull.merge_state_status),
                merge_commit: pull.merge_commit.map(|commit| commit.oid).filter(|_| pull.merged),
                seen: SystemTime::UNIX_EPOCH,
            },
            default_branch,
            project,
            reviews: reviews.into_iter().flatten().filter_map(review).collect(),
            succeeded: succeeded(contexts.into_iter().flatten()),
            merging: Merging { queue: pull.is_merge_queue_enabled, methods },
        })
    }

    fn note_labels(&self, repository: &Repository, seen: &mut Value, moves: u64) -> Result<(), Failure> {
        for (number, label) in DEPLOYED_LABELS.iter().enumerate() {
            let found: Option<LabelOf> = part(seen, &format!("/repository/label{number}"))?;
            let bearers: Option<Connection<Bearer>> = part(seen, &format!("/repository/bearers{number}"))?;
            let Some(bearers) = bearers.filter(|bearers| !bearers.page_info.has_next_page) else { continue };
            let bearers = bearers.nodes.into_iter().flatten().collect();
            let seen = SeenLabel { id: found.map(|found| found.id), bearers };
            self.known.note_label(repository, label, seen, moves);
        }
        Ok(())
    }

    /// The first of the files that is there.
    async fn project_of(
        &self,
        meter: &Meter,
        repository: &Repository,
        seen: &mut Value,
    ) -> Result<Option<(String, Bytes)>, Failure> {
        for (number, path) in PROJECT_FILES.iter().enumerate() {
            let object: Value = part(seen, &format!("/repository/file{number}"))?;
            // A folder of that name has none of a file's fields.
            let Ok(blob) = serde_json::from_value::<Blob>(object) else { continue };
            let whole = |text: &String| text.len() as u64 == blob.byte_size;
            if let Some(text) = blob.text.filter(whole).filter(|_| !blob.is_truncated && blob.is_binary != Some(true)) {
                return Ok(Some(((*path).to_owned(), Bytes::from(text))));
            }
            if let Some(bytes) = self.read_file(meter, repository, path).await? {
                return Ok(Some(((*path).to_owned(), bytes)));
            }
        }
        Ok(None)
    }

    /// The pages after the first.
    async fn rest<T: DeserializeOwned>(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        what: Rest,
        mut from: Option<String>,
        nodes: &mut Vec<Option<T>>,
    ) -> Result<(), Failure> {
        let (name, inner, pointer) = match what {
            Rest::Reviews => (
                "query reviews",
                format!("reviews(first:100,after:$after,{VERDICTS}){{{REVIEWS}}}"),
                "/repository/pullRequest/reviews",
            ),
            Rest::Contexts => (
                "query checks",
                format!(
                    "commits(last:1){{nodes{{commit{{statusCheckRollup{{contexts(first:100,after:$after){{{CONTEXTS}}}}}}}}}}}"
                ),
                "/repository/pullRequest/commits/nodes/0/commit/statusCheckRollup/contexts",
            ),
        };
        let text = format!(
            "query More($owner:String!,$name:String!,$number:Int!,$after:String!){{repository(owner:$owner,name:$name){{\
             pullRequest(number:$number){{{inner}}}}}}}"
        );
        for _ in 0..PAGES {
            let Some(after) = from else { return Ok(()) };
            let variables = json!({"owner": on.0.owner, "name": on.0.name, "number": on.1, "after": after});
            let document = Document { name, text: &text, needs: NEEDS };
            let mut seen = self.query(meter, on.0, document, variables).await?;
            let page: Connection<T> = part(&mut seen, pointer)?;
            from = page.next();
            nodes.extend(page.nodes);
        }
        match from {
            None => Ok(()),
            // What was not read could be what forbids.
            Some(_) => Err(Failure::new(
                Reason::ResourceExhausted,
                format!("github: {name}: {}#{} has more than {} of them", on.0, on.1, (PAGES + 1) * 100),
            )),
        }
    }
}

fn methods(seen: &Value) -> Result<Vec<MergeMethod>, Failure> {
    let allowed = Methods::deserialize(seen.pointer("/repository").unwrap_or(&Value::Null))
        .map_err(|error| Failure::internal(format!("github: look: /repository: {error}")))?;
    let all = [
        (MergeMethod::Merge, allowed.merge_commit_allowed),
        (MergeMethod::Squash, allowed.squash_merge_allowed),
        (MergeMethod::Rebase, allowed.rebase_merge_allowed),
    ];
    Ok(all.into_iter().filter_map(|(method, allowed)| allowed.then_some(method)).collect())
}

fn review(review: ReviewOf) -> Option<Review> {
    Some(Review {
        user: review.author?.login(),
        insider: review.author_can_push_to_repository,
        state: review.state,
        commit: review.commit.map(|commit| commit.oid).unwrap_or_default(),
    })
}

/// The names of which all that count succeeded: two workflows may have a check of the same name.
fn succeeded(contexts: impl Iterator<Item = Context>) -> Vec<String> {
    let mut names: BTreeMap<String, bool> = BTreeMap::new();
    for context in contexts {
        let (Some(name), result) = (context.name.or(context.context), context.conclusion.or(context.state)) else {
            continue;
        };
        let result = result.unwrap_or_default();
        if !matches!(result.as_str(), "NEUTRAL" | "SKIPPED") {
            *names.entry(name).or_insert(true) &= result == "SUCCESS";
        }
    }
    names.into_iter().filter_map(|(name, good)| good.then_some(name)).collect()
}
