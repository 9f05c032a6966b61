//! Pull requests as JSON.

use serde_json::{Value, json};

use super::{Urls, association, label, node, repository as render_repository, user};
use crate::model::{Issue, Pull, Repository, User};

/// What only git knows about a pull request.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) base_sha: String,
    /// None while nobody has computed it, as in payloads.
    pub(crate) mergeable: Option<bool>,
    pub(crate) mergeable_state: &'static str,
    /// The head lacks commits of its base.
    pub(crate) behind: bool,
    pub(crate) commits: i64,
    pub(crate) additions: u64,
    pub(crate) deletions: u64,
    pub(crate) changed_files: usize,
}

/// A pull request; the long form if git was asked for facts.
pub(crate) fn pull(urls: &Urls, repository: &Repository, issue: &Issue, pull: &Pull, facts: Option<&Facts>) -> Value {
    let (api, html, number) = (urls.api(repository), urls.html(repository), issue.number);
    let (url, page) = (format!("{api}/pulls/{number}"), format!("{html}/pull/{number}"));
    let issue_url = format!("{api}/issues/{number}");
    let statuses = format!("{api}/statuses/{}", pull.head_sha);
    let side = |name: &str, sha: &str, owner: &User, home: Option<&Repository>| {
        let label = format!("{}:{name}", owner.login);
        let repo = home.map(|home| render_repository(urls, home, None));
        json!({ "label": label, "ref": name, "sha": sha, "user": user(urls, owner), "repo": repo })
    };
    let head = match &pull.fork {
        None => side(&pull.head_ref, &pull.head_sha, &repository.owner, Some(repository)),
        Some(fork) => side(&pull.head_ref, &pull.head_sha, &fork.owner, fork.repository.as_deref()),
    };
    let labels: Vec<Value> = issue.labels.iter().map(|one| label(urls, repository, one)).collect();
    let base_sha = facts.map_or(pull.base_sha.as_str(), |facts| facts.base_sha.as_str());
    let mut value = json!({
        "id": issue.id,
        "node_id": node("PR", issue.id),
        "url": url,
        "html_url": page,
        "diff_url": format!("{page}.diff"),
        "patch_url": format!("{page}.patch"),
        "issue_url": issue_url,
        "number": number,
        "state": if issue.open { "open" } else { "closed" },
        "locked": false,
        "title": issue.title,
        "user": user(urls, &issue.user),
        "body": issue.body,
        "created_at": issue.created_at,
        "updated_at": issue.updated_at,
        "closed_at": issue.closed_at,
        "merged_at": pull.merged_at,
        "merge_commit_sha": pull.merge_commit_sha,
        "assignee": null,
        "assignees": [],
        "requested_reviewers": [],
        "requested_teams": [],
        "labels": labels,
        "milestone": null,
        "draft": pull.draft,
        "commits_url": format!("{url}/commits"),
        "review_comments_url": format!("{url}/comments"),
        "review_comment_url": format!("{api}/pulls/comments"),
        "comments_url": format!("{issue_url}/comments"),
        "statuses_url": statuses,
        "head": head,
        "base": side(&pull.base_ref, base_sha, &repository.owner, Some(repository)),
        "_links": {
            "self": { "href": url },
            "html": { "href": page },
            "issue": { "href": issue_url },
            "comments": { "href": format!("{issue_url}/comments") },
            "review_comments": { "href": format!("{url}/comments") },
            "review_comment": { "href": format!("{api}/pulls/comments") },
            "commits": { "href": format!("{url}/commits") },
            "statuses": { "href": statuses },
        },
        "author_association": association(repository, &issue.user),
        "auto_merge": null,
        "active_lock_reason": null,
    });
    if let Some(facts) = facts {
        value["merged"] = pull.merged_at.is_some().into();
        value["mergeable"] = facts.mergeable.into();
        value["rebaseable"] = facts.mergeable.into();
        value["mergeable_state"] = facts.mergeable_state.into();
        value["merged_by"] = pull.merged_by.as_ref().map_or(Value::Null, |by| user(urls, by));
        value["comments"] = issue.comments.into();
        value["review_comments"] = 0.into();
        value["maintainer_can_modify"] = false.into();
        value["commits"] = facts.commits.into();
        value["additions"] = facts.additions.into();
        value["deletions"] = facts.deletions.into();
        value["changed_files"] = facts.changed_files.into();
    }
    value
}
