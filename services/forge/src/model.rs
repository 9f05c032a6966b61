//! What the forge keeps: users, repositories, issues, pull requests and what hangs on them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a user may do in a repository, from nothing to everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Nothing but what everybody may: read and comment in a public repository.
    None,
    /// Read and comment.
    Read,
    /// Labels and states of issues.
    Triage,
    /// Push and merge.
    Write,
    /// Write, and settings that are not dangerous.
    Maintain,
    /// Everything.
    Admin,
}

impl Role {
    /// As in `role_name`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read => "read",
            Self::Triage => "triage",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Admin => "admin",
        }
    }

    /// As in `permission`, which knows four values only.
    #[must_use]
    pub const fn legacy(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Read | Self::Triage => "read",
            Self::Write | Self::Maintain => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "none" => Self::None,
            "read" | "pull" => Self::Read,
            "triage" => Self::Triage,
            "write" | "push" => Self::Write,
            "maintain" => Self::Maintain,
            "admin" => Self::Admin,
            other => return Err(format!("no role {other:?}: none, read, triage, write, maintain or admin")),
        })
    }
}

/// A user or an app.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) login: String,
    pub(crate) role: Role,
    pub(crate) organization: bool,
}

impl User {
    pub(crate) fn is_bot(&self) -> bool {
        self.login.ends_with("[bot]")
    }
}

/// A repository.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) id: i64,
    pub(crate) owner: User,
    pub(crate) name: String,
    pub(crate) default_branch: String,
    pub(crate) description: Option<String>,
    pub(crate) created_at: String,
    pub(crate) pushed_at: String,
    pub(crate) open_issues: i64,
    /// What it is a fork of.
    pub(crate) parent_id: Option<i64>,
    pub(crate) archived: bool,
    pub(crate) deleted: bool,
    pub(crate) people: People,
}

/// Who is something to a repository.
#[derive(Debug, Clone, Default)]
pub(crate) struct People {
    /// Users with a role of their own here.
    pub(crate) collaborators: Vec<(i64, Role)>,
    /// Members of the teams of the organization that owns it.
    pub(crate) members: Vec<i64>,
    /// Authors of what was merged.
    pub(crate) contributors: Vec<i64>,
}

/// A team of an organization.
#[derive(Debug, Clone)]
pub(crate) struct Team {
    pub(crate) id: i64,
    pub(crate) slug: String,
}

impl Repository {
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.owner.login, self.name)
    }
}

/// An issue; a pull request is one too.
#[derive(Debug, Clone)]
pub(crate) struct Issue {
    pub(crate) id: i64,
    pub(crate) number: i64,
    pub(crate) title: String,
    pub(crate) body: Option<String>,
    pub(crate) open: bool,
    pub(crate) user: User,
    pub(crate) labels: Vec<Label>,
    pub(crate) comments: i64,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    pub(crate) closed_at: Option<String>,
    pub(crate) closed_by: Option<User>,
    pub(crate) pull: Option<Pull>,
}

/// What a pull request has more than an issue.
#[derive(Debug, Clone)]
pub(crate) struct Pull {
    pub(crate) head_ref: String,
    pub(crate) head_sha: String,
    /// Where the head is, if it is in another repository.
    pub(crate) fork: Option<Fork>,
    pub(crate) base_ref: String,
    /// Frozen when the pull request is merged or closed.
    pub(crate) base_sha: String,
    pub(crate) draft: bool,
    pub(crate) merged_at: Option<String>,
    pub(crate) merged_by: Option<User>,
    pub(crate) merge_commit_sha: Option<String>,
    /// Set before the base branch moves to it, so that a restart can finish the merge.
    pub(crate) merging: Option<(String, User)>,
}

/// The other repository that a head is in.
#[derive(Debug, Clone)]
pub(crate) struct Fork {
    pub(crate) id: i64,
    pub(crate) owner: User,
    /// None once it is deleted.
    pub(crate) repository: Option<Box<Repository>>,
}

impl Pull {
    /// Whose branch the head is.
    pub(crate) fn head_owner<'a>(&'a self, base: &'a Repository) -> &'a User {
        self.fork.as_ref().map_or(&base.owner, |fork| &fork.owner)
    }

    /// Whether the head is that branch of that repository; none is the pull request's own.
    pub(crate) fn comes_from(&self, fork: Option<i64>, branch: &str) -> bool {
        self.head_ref == branch && self.fork.as_ref().map(|fork| fork.id) == fork
    }
}

/// A label of a repository.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) color: String,
    pub(crate) description: Option<String>,
}

/// A comment on an issue or a pull request.
#[derive(Debug, Clone)]
pub(crate) struct Comment {
    pub(crate) id: i64,
    pub(crate) number: i64,
    pub(crate) user: User,
    pub(crate) body: String,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// Reactions by content, in GitHub's order.
    pub(crate) reactions: Vec<(String, i64)>,
}

/// A reaction to a comment.
#[derive(Debug, Clone)]
pub(crate) struct Reaction {
    pub(crate) id: i64,
    pub(crate) user: User,
    pub(crate) content: String,
    pub(crate) created_at: String,
}

/// A review of a pull request.
#[derive(Debug, Clone)]
pub(crate) struct Review {
    pub(crate) id: i64,
    pub(crate) user: User,
    pub(crate) state: String,
    pub(crate) body: String,
    pub(crate) commit_id: String,
    pub(crate) submitted_at: String,
}

/// A check run.
#[derive(Debug, Clone)]
pub(crate) struct CheckRun {
    pub(crate) id: i64,
    pub(crate) head_sha: String,
    /// The bot of the App.
    pub(crate) app: User,
    /// The App; the bot's own id where a bot is no App.
    pub(crate) app_id: i64,
    pub(crate) suite: i64,
    pub(crate) fields: CheckFields,
}

/// What a caller may set on a check run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CheckFields {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) conclusion: Option<String>,
    pub(crate) external_id: Option<String>,
    pub(crate) details_url: Option<String>,
    pub(crate) started_at: Option<String>,
    pub(crate) completed_at: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) summary: Option<String>,
    pub(crate) text: Option<String>,
    pub(crate) annotations: Vec<serde_json::Value>,
    pub(crate) actions: Vec<CheckAction>,
}

/// A button on a check run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CheckAction {
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) identifier: String,
}

/// A commit status.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) id: i64,
    pub(crate) state: String,
    pub(crate) context: String,
    pub(crate) description: Option<String>,
    pub(crate) target_url: Option<String>,
    pub(crate) creator: User,
    pub(crate) created_at: String,
}

/// A webhook.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    pub(crate) id: i64,
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    pub(crate) form: bool,
    pub(crate) events: Vec<String>,
    pub(crate) active: bool,
    pub(crate) created_at: String,
    pub(crate) updated_at: String,
    /// Whose it is: a repository's or an app's.
    pub(crate) repository_id: Option<i64>,
    pub(crate) app_id: Option<i64>,
}

/// One sending of one event to one hook.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) id: i64,
    pub(crate) repository_id: Option<i64>,
    pub(crate) installation_id: Option<i64>,
    pub(crate) guid: String,
    pub(crate) event: String,
    pub(crate) action: Option<String>,
    pub(crate) payload: String,
    pub(crate) redelivery: bool,
    pub(crate) delivered_at: String,
    pub(crate) outcome: Outcome,
}

/// How a delivery went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) status: String,
    pub(crate) status_code: u16,
    pub(crate) duration: f64,
    pub(crate) url: String,
    pub(crate) request_headers: serde_json::Map<String, serde_json::Value>,
    pub(crate) response_headers: serde_json::Map<String, serde_json::Value>,
    pub(crate) response_body: String,
}
