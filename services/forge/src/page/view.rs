//! What the pages show, read from the database and git.

use rusqlite::Connection;
use serde_json::{Value, json};

use super::act::form_token;
use super::markdown;
use crate::clock::ago;
use crate::error::{Error, Result};
use crate::git::Change;
use crate::hub::Hub;
use crate::json::{Facts, encode};
use crate::model::{CheckRun, Comment, Issue, Pull, Repository, Role, User};
use crate::store::{self, Page};

/// Most comments, files and lines that a page shows.
const COMMENTS: usize = 500;
const FILES: usize = 100;
const LINES: usize = 400;
/// Most annotations of one check.
const ANNOTATIONS: usize = 50;

pub(super) async fn index(hub: &Hub) -> Result<Value> {
    let all = hub.store.read(store::repositories).await?;
    let rows: Vec<Value> = all
        .iter()
        .map(|one| json!({ "name": one.full_name(), "open": one.open_issues, "branch": one.default_branch }))
        .collect();
    Ok(json!({ "title": "forge", "repositories": rows }))
}

fn state(issue: &Issue) -> &'static str {
    match (&issue.pull, issue.open) {
        (_, true) => "open",
        (Some(pull), false) if pull.merged_at.is_some() => "merged",
        _ => "closed",
    }
}

fn labels(issue: &Issue) -> Vec<&str> {
    issue.labels.iter().map(|label| label.name.as_str()).collect()
}

pub(super) async fn repository(hub: &Hub, repository: &Repository) -> Result<Value> {
    let id = repository.id;
    let first = Page { number: 1, size: 100 };
    let all = hub.store.read(move |db| store::issues(db, id, &store::Filter::default(), first)).await?;
    let rows: Vec<Value> = all
        .iter()
        .map(|issue| {
            json!({
                "number": issue.number,
                "kind": if issue.pull.is_some() { "pull" } else { "issues" },
                "title": issue.title,
                "state": state(issue),
                "user": issue.user.login,
                "ago": ago(&issue.created_at),
                "comments": issue.comments,
                "labels": labels(issue),
                "head": issue.pull.as_ref().map(|pull| pull.head_ref.as_str()),
            })
        })
        .collect();
    Ok(json!({
        "title": repository.full_name(),
        "repository": repository.full_name(),
        "default_branch": repository.default_branch,
        "clone_url": format!("{}.git", hub.urls.html(repository)),
        "pulls": rows,
    }))
}

/// Everybody who can send a form, with the role in a repository.
pub(super) fn people(db: &Connection, repository: i64) -> Result<Vec<(User, Role)>> {
    let users = store::users(db)?.into_iter().filter(|user| !user.is_bot());
    users.map(|user| store::role_in(db, repository, &user).map(|role| (user, role))).collect()
}

pub(super) fn choices(people: &[(User, Role)]) -> Value {
    people.iter().map(|(user, role)| json!({ "login": user.login, "role": role })).collect()
}

/// One issue or pull request, whole.
pub(super) async fn thread(hub: &Hub, repository: &Repository, number: i64, local: bool, files: bool) -> Result<Value> {
    let issue = hub.issue(repository, number).await?;
    let (id, home) = (issue.id, repository.id);
    let sha = issue.pull.as_ref().map(|pull| pull.head_sha.clone()).unwrap_or_default();
    let (mut comments, reviews, checks, statuses, people) = hub
        .store
        .read(move |db| {
            Ok((
                store::comments(db, id, None, Page::ALL)?,
                store::reviews(db, id, Page::ALL)?,
                store::check_runs(db, home, &sha, true, Page::ALL)?,
                store::statuses(db, home, &sha, true, Page::ALL)?,
                people(db, home)?,
            ))
        })
        .await?;
    let hidden = comments.len().saturating_sub(COMMENTS);
    comments.drain(..hidden);
    let author = people.iter().find(|(user, _)| user.id == issue.user.id).or(people.first());
    let person = author.map(|(user, _)| user.login.clone());
    let mut rows: Vec<Value> = checks.iter().map(check).collect();
    rows.extend(statuses.iter().map(|status| {
        let state = if status.state == "pending" { "in_progress" } else { status.state.as_str() };
        json!({ "name": status.context, "state": state, "word": status.state, "title": status.description,
            "url": web(status.target_url.as_deref()) })
    }));
    let mut page = json!({
        "title": format!("{} · #{number}", issue.title),
        "repository": repository.full_name(),
        "source": format!("/{}/pull/{number}/thread", repository.full_name()),
        "action": format!("/{}/pull/{number}/act", repository.full_name()),
        "token": form_token(hub, repository, number),
        "writable": local && person.is_some(),
        "person": person,
        "people": choices(&people),
        "issue": {
            "number": number,
            "title": issue.title,
            "state": state(&issue),
            "user": issue.user.login,
            "avatar": avatar(&issue.user),
            "ago": ago(&issue.created_at),
            "body": issue.body.as_deref().filter(|body| !body.trim().is_empty()).map(markdown::render),
            "labels": labels(&issue),
        },
        "comments": comments.iter().map(comment).collect::<Vec<_>>(),
        "reviews": reviews.iter().map(|one| json!({ "user": one.user.login, "state": one.state.to_lowercase().replace('_', " ") })).collect::<Vec<_>>(),
        "checks": rows,
    });
    if let Some(pull) = &issue.pull {
        let facts = hub.facts(repository, &issue, pull).await?;
        page["pull"] = describe(pull, &facts);
        if files {
            let bare = hub.bare(repository)?;
            let merge_base = bare.merge_base(&pull.base_sha, &pull.head_sha).await?;
            let changes = bare.changes(merge_base.as_deref(), &pull.head_sha, true).await;
            let changes = match changes {
                Err(Error::TooLarge(_)) => Vec::new(),
                other => other?,
            };
            page["files"] = changes.iter().take(FILES).map(file).collect();
        }
    }
    Ok(page)
}

fn avatar(user: &User) -> String {
    format!("/assets/avatar/{}", encode(&user.login))
}

fn describe(pull: &Pull, facts: &Facts) -> Value {
    let (merge, tone) = match (facts.mergeable, facts.mergeable_state) {
        _ if pull.merged_at.is_some() => ("Merged.", "dim"),
        (None, _) => ("Closed without a merge.", "dim"),
        (Some(false), _) => ("Conflicts with the base branch; they must be resolved in the branch.", "bad"),
        (_, "blocked") => ("Blocked: the base branch asks for reviews or checks that are missing.", "bad"),
        _ if facts.behind => ("Can be merged; the branch lacks commits of its base.", "warn"),
        (_, "draft") => ("A draft; it cannot be merged yet.", "dim"),
        (_, "unstable") => ("Can be merged; a check has failed or is still running.", "warn"),
        _ => ("Up to date with its base, and can be merged.", "dim"),
    };
    json!({
        "head": match &pull.fork {
            None => pull.head_ref.clone(),
            Some(fork) => format!("{}:{}", fork.owner.login, pull.head_ref),
        },
        "base": pull.base_ref,
        "sha": pull.head_sha.get(..7),
        "merge": merge,
        "tone": tone,
        "behind": facts.behind,
        "commits": facts.commits,
        "files": facts.changed_files,
        "additions": facts.additions,
        "deletions": facts.deletions,
    })
}

fn comment(one: &Comment) -> Value {
    let sign = |content: &str| match content {
        "+1" => "👍",
        "-1" => "👎",
        "laugh" => "😄",
        "hooray" => "🎉",
        "confused" => "😕",
        "heart" => "❤️",
        "rocket" => "🚀",
        _ => "👀",
    };
    let reactions: Vec<String> =
        one.reactions.iter().map(|(content, count)| format!("{} {count}", sign(content))).collect();
    json!({
        "id": one.id,
        "user": one.user.login,
        "avatar": avatar(&one.user),
        "bot": one.user.is_bot(),
        "at": one.created_at,
        "ago": ago(&one.created_at),
        "edited": one.updated_at != one.created_at,
        "body": markdown::render(&one.body),
        "reactions": reactions,
    })
}

fn check(run: &CheckRun) -> Value {
    let fields = &run.fields;
    let state = fields.conclusion.as_deref().unwrap_or(&fields.status);
    json!({
        "id": run.id,
        "name": fields.name,
        "state": state,
        "word": state.replace('_', " "),
        "title": fields.title,
        "summary": fields.summary.as_deref().map(markdown::render),
        "url": web(fields.details_url.as_deref()),
        "actions": fields.actions,
        "annotations": fields.annotations.iter().take(ANNOTATIONS).map(annotation).collect::<Vec<_>>(),
        "hidden": fields.annotations.len().saturating_sub(ANNOTATIONS),
    })
}

/// Where something is wrong, and what.
fn annotation(one: &Value) -> Value {
    let line = one["start_line"].as_i64().unwrap_or_default();
    json!({
        "place": format!("{}:{line}", one["path"].as_str().unwrap_or_default()),
        "level": one["annotation_level"],
        "title": one["title"],
        "message": one["message"],
    })
}

/// Only addresses that a link may lead to.
pub(super) fn web(url: Option<&str>) -> Option<&str> {
    url.filter(|url| url.starts_with("http://") || url.starts_with("https://"))
}

fn file(change: &Change) -> Value {
    let lines = change.patch.as_deref().unwrap_or_default().lines().take(LINES).map(|text| {
        let kind = match text.as_bytes().first() {
            Some(b'+') => "p",
            Some(b'-') => "m",
            Some(b'@') => "h",
            _ => "",
        };
        json!({ "kind": kind, "text": text })
    });
    json!({
        "path": change.path,
        "previous": change.previous,
        "status": change.status,
        "additions": change.additions,
        "deletions": change.deletions,
        "lines": lines.collect::<Vec<_>>(),
    })
}
