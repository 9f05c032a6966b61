//! What the forge keeps, in the JSON of GitHub's REST API and webhooks.

mod app;
mod check;
mod commit;
mod hook;
mod issue;
mod pull;

use serde_json::{Value, json};

pub(crate) use app::{app, installation, installation_token, selection};
pub(crate) use check::{annotation, check_run, combined_status, deployment, deployment_status, status};
pub(crate) use commit::{commit, comparison, content, file, push_commit};
pub(crate) use hook::{delivery, delivery_detail, hook, hook_config};
pub(crate) use issue::{comment, issue, reaction, review};
pub(crate) use pull::{Facts, pull};

use crate::model::{Label, Repository, Role, User};
pub(crate) use crate::node_id::row as node;

/// Where the forge is, for every URL that it writes.
#[derive(Debug, Clone)]
pub(crate) struct Urls {
    base: String,
}

impl Urls {
    pub(crate) fn new(base: &str) -> Self {
        Self { base: base.trim_end_matches('/').to_owned() }
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// REST.
    pub(crate) fn api(&self, repository: &Repository) -> String {
        format!("{}/repos/{}", self.base, repository.full_name())
    }

    /// Pages.
    pub(crate) fn html(&self, repository: &Repository) -> String {
        format!("{}/{}", self.base, repository.full_name())
    }
}

/// Percent-encodes everything that is not unreserved; slashes stay.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A user.
pub(crate) fn user(urls: &Urls, user: &User) -> Value {
    let login = encode(&user.login);
    let api = format!("{}/users/{login}", urls.base);
    let kind = match user {
        User { organization: true, .. } => "Organization",
        user if user.is_bot() => "Bot",
        _ => "User",
    };
    json!({
        "login": user.login,
        "id": user.id,
        "node_id": node(if user.is_bot() { "BOT" } else { "U" }, user.id),
        "avatar_url": format!("{}/assets/avatar/{login}", urls.base),
        "gravatar_id": "",
        "url": api,
        "html_url": format!("{}/{login}", urls.base),
        "followers_url": format!("{api}/followers"),
        "following_url": format!("{api}/following"),
        "gists_url": format!("{api}/gists"),
        "starred_url": format!("{api}/starred"),
        "subscriptions_url": format!("{api}/subscriptions"),
        "organizations_url": format!("{api}/orgs"),
        "repos_url": format!("{api}/repos"),
        "events_url": format!("{api}/events"),
        "received_events_url": format!("{api}/received_events"),
        "type": kind,
        "site_admin": false,
    })
}

/// An organization, as payloads name it.
pub(crate) fn organization(urls: &Urls, who: &User) -> Value {
    let api = format!("{}/orgs/{}", urls.base, who.login);
    json!({
        "login": who.login,
        "id": who.id,
        "node_id": node("O", who.id),
        "url": api,
        "repos_url": format!("{api}/repos"),
        "events_url": format!("{api}/events"),
        "hooks_url": format!("{api}/hooks"),
        "issues_url": format!("{api}/issues"),
        "members_url": format!("{api}/members{{/member}}"),
        "public_members_url": format!("{api}/public_members{{/member}}"),
        "avatar_url": format!("{}/assets/avatar/{}", urls.base, who.login),
        "description": "",
    })
}

/// A user with a role in a repository.
pub(crate) fn collaborator(urls: &Urls, who: &User, role: Role) -> Value {
    let mut value = user(urls, who);
    value["permissions"] = permissions(role);
    value["role_name"] = role.as_str().into();
    value
}

fn permissions(role: Role) -> Value {
    json!({
        "admin": role >= Role::Admin,
        "maintain": role >= Role::Maintain,
        "push": role >= Role::Write,
        "triage": role >= Role::Triage,
        "pull": true,
    })
}

/// A repository; with the caller's role in REST answers, without in payloads.
pub(crate) fn repository(urls: &Urls, repository: &Repository, role: Option<Role>) -> Value {
    let (api, html) = (urls.api(repository), urls.html(repository));
    let mut value = json!({
        "id": repository.id,
        "node_id": node("R", repository.id),
        "name": repository.name,
        "full_name": repository.full_name(),
        "private": false,
        "owner": user(urls, &repository.owner),
        "html_url": html,
        "description": repository.description,
        "fork": repository.parent_id.is_some(),
        "url": api,
        "default_branch": repository.default_branch,
        "created_at": repository.created_at,
        "updated_at": repository.pushed_at,
        "pushed_at": repository.pushed_at,
        "clone_url": format!("{html}.git"),
        "git_url": format!("{html}.git"),
        "ssh_url": format!("{html}.git"),
        "svn_url": html,
        "mirror_url": null,
        "custom_properties": {},
        "homepage": null,
        "size": 0,
        "stargazers_count": 0,
        "watchers_count": 0,
        "forks_count": 0,
        "forks": 0,
        "watchers": 0,
        "language": null,
        "license": null,
        "open_issues_count": repository.open_issues,
        "open_issues": repository.open_issues,
        "has_issues": true,
        "has_projects": false,
        "has_wiki": false,
        "has_pages": false,
        "has_downloads": false,
        "has_discussions": false,
        "archived": repository.archived,
        "disabled": false,
        "allow_forking": true,
        "web_commit_signoff_required": false,
        "is_template": false,
        "topics": [],
        "visibility": "public",
    });
    for (name, path) in [
        ("archive_url", "tarball"),
        ("assignees_url", "assignees"),
        ("blobs_url", "git/blobs"),
        ("branches_url", "branches"),
        ("collaborators_url", "collaborators"),
        ("comments_url", "comments"),
        ("commits_url", "commits"),
        ("compare_url", "compare"),
        ("contents_url", "contents"),
        ("contributors_url", "contributors"),
        ("deployments_url", "deployments"),
        ("downloads_url", "downloads"),
        ("events_url", "events"),
        ("forks_url", "forks"),
        ("git_commits_url", "git/commits"),
        ("git_refs_url", "git/refs"),
        ("git_tags_url", "git/tags"),
        ("hooks_url", "hooks"),
        ("issue_comment_url", "issues/comments"),
        ("issue_events_url", "issues/events"),
        ("issues_url", "issues"),
        ("keys_url", "keys"),
        ("labels_url", "labels"),
        ("languages_url", "languages"),
        ("merges_url", "merges"),
        ("milestones_url", "milestones"),
        ("notifications_url", "notifications"),
        ("pulls_url", "pulls"),
        ("releases_url", "releases"),
        ("stargazers_url", "stargazers"),
        ("statuses_url", "statuses"),
        ("subscribers_url", "subscribers"),
        ("subscription_url", "subscription"),
        ("tags_url", "tags"),
        ("teams_url", "teams"),
        ("trees_url", "git/trees"),
    ] {
        value[name] = format!("{api}/{path}").into();
    }
    if let Some(role) = role {
        value["permissions"] = permissions(role);
        value["allow_merge_commit"] = true.into();
        value["allow_squash_merge"] = true.into();
        value["allow_rebase_merge"] = true.into();
        value["allow_update_branch"] = true.into();
        value["delete_branch_on_merge"] = false.into();
    }
    value
}

/// A label.
pub(crate) fn label(urls: &Urls, repository: &Repository, label: &Label) -> Value {
    json!({
        "id": label.id,
        "node_id": node("LA", label.id),
        "url": format!("{}/labels/{}", urls.api(repository), encode(&label.name)),
        "name": label.name,
        "color": label.color,
        "default": false,
        "description": label.description,
    })
}

/// What a user is to a repository.
pub(crate) fn association(repository: &Repository, user: &User) -> &'static str {
    let people = &repository.people;
    let own = people.collaborators.iter().find(|(id, _)| *id == user.id).map(|(_, role)| *role);
    if user.id == repository.owner.id {
        "OWNER"
    } else if people.members.contains(&user.id) {
        "MEMBER"
    } else if own.unwrap_or(user.role) >= Role::Read && !user.is_bot() {
        "COLLABORATOR"
    } else if people.contributors.contains(&user.id) {
        "CONTRIBUTOR"
    } else {
        "NONE"
    }
}
