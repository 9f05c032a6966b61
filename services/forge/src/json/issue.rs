//! Issues, comments, reactions and reviews as JSON.

use serde_json::{Value, json};

use super::{Urls, association, label, node, user};
use crate::model::{Comment, Issue, Reaction, Repository, Review};

/// An issue. A pull request has `pull_request`, which tells the two apart.
pub(crate) fn issue(urls: &Urls, repository: &Repository, issue: &Issue) -> Value {
    let (api, html, number) = (urls.api(repository), urls.html(repository), issue.number);
    let url = format!("{api}/issues/{number}");
    let labels: Vec<Value> = issue.labels.iter().map(|one| label(urls, repository, one)).collect();
    let mut value = json!({
        "id": issue.id,
        "node_id": node("I", issue.id),
        "url": url,
        "repository_url": api,
        "labels_url": format!("{url}/labels"),
        "comments_url": format!("{url}/comments"),
        "events_url": format!("{url}/events"),
        "timeline_url": format!("{url}/timeline"),
        "html_url": format!("{html}/issues/{number}"),
        "number": number,
        "title": issue.title,
        "body": issue.body,
        "user": user(urls, &issue.user),
        "labels": labels,
        "state": if issue.open { "open" } else { "closed" },
        "state_reason": null,
        "locked": false,
        "active_lock_reason": null,
        "assignee": null,
        "assignees": [],
        "milestone": null,
        "comments": issue.comments,
        "created_at": issue.created_at,
        "updated_at": issue.updated_at,
        "closed_at": issue.closed_at,
        "closed_by": issue.closed_by.as_ref().map(|by| user(urls, by)),
        "author_association": association(repository, &issue.user),
        "reactions": reactions(&url, &[]),
    });
    if let Some(pull) = &issue.pull {
        let page = format!("{html}/pull/{number}");
        value["node_id"] = node("PR", issue.id).into();
        value["html_url"] = page.clone().into();
        value["draft"] = pull.draft.into();
        value["pull_request"] = json!({
            "url": format!("{api}/pulls/{number}"),
            "html_url": page,
            "diff_url": format!("{page}.diff"),
            "patch_url": format!("{page}.patch"),
            "merged_at": pull.merged_at,
        });
    } else if !issue.open {
        value["state_reason"] = "completed".into();
    }
    value
}

/// A comment on an issue or a pull request.
pub(crate) fn comment(urls: &Urls, repository: &Repository, comment: &Comment, on_pull: bool) -> Value {
    let api = urls.api(repository);
    let url = format!("{api}/issues/comments/{}", comment.id);
    let kind = if on_pull { "pull" } else { "issues" };
    json!({
        "id": comment.id,
        "node_id": node("IC", comment.id),
        "url": url,
        "html_url": format!("{}/{kind}/{}#issuecomment-{}", urls.html(repository), comment.number, comment.id),
        "issue_url": format!("{api}/issues/{}", comment.number),
        "user": user(urls, &comment.user),
        "body": comment.body,
        "created_at": comment.created_at,
        "updated_at": comment.updated_at,
        "author_association": association(repository, &comment.user),
        "performed_via_github_app": null,
        "reactions": reactions(&url, &comment.reactions),
    })
}

/// How often what was reacted with.
fn reactions(url: &str, counts: &[(String, i64)]) -> Value {
    let total: i64 = counts.iter().map(|(_, count)| count).sum();
    let mut value = json!({ "url": format!("{url}/reactions"), "total_count": total });
    for content in ["+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"] {
        let count = counts.iter().find(|(name, _)| name == content).map_or(0, |(_, count)| *count);
        value[content] = count.into();
    }
    value
}

/// A reaction.
pub(crate) fn reaction(urls: &Urls, reaction: &Reaction) -> Value {
    json!({
        "id": reaction.id,
        "node_id": node("REA", reaction.id),
        "user": user(urls, &reaction.user),
        "content": reaction.content,
        "created_at": reaction.created_at,
    })
}

/// A review of a pull request.
pub(crate) fn review(urls: &Urls, repository: &Repository, number: i64, review: &Review) -> Value {
    let page = format!("{}/pull/{number}", urls.html(repository));
    let pull = format!("{}/pulls/{number}", urls.api(repository));
    json!({
        "id": review.id,
        "node_id": node("PRR", review.id),
        "user": user(urls, &review.user),
        "body": review.body,
        "state": review.state,
        "html_url": format!("{page}#pullrequestreview-{}", review.id),
        "pull_request_url": pull,
        "author_association": association(repository, &review.user),
        "_links": {
            "html": { "href": format!("{page}#pullrequestreview-{}", review.id) },
            "pull_request": { "href": pull },
        },
        "submitted_at": review.submitted_at,
        "commit_id": review.commit_id,
    })
}
