//! GitHub's JSON, as far as it is read, and its limits.

use serde::Deserialize;
use serde_json::Value;

/// GitHub's limit of a body is 65,536 characters.
const LONGEST_BODY: usize = 65_000;
/// Of a description.
const LONGEST_LINE: usize = 140;

#[derive(Deserialize)]
pub(super) struct Pull {
    pub(super) state: String,
    #[serde(default)]
    pub(super) merged: bool,
    #[serde(default)]
    pub(super) draft: bool,
    pub(super) mergeable: Option<bool>,
    pub(super) mergeable_state: Option<String>,
    pub(super) merge_commit_sha: Option<String>,
    pub(super) user: Option<User>,
    pub(super) head: Side,
    pub(super) base: Side,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) login: String,
}

#[derive(Deserialize)]
pub(super) struct Side {
    pub(super) sha: String,
    pub(super) r#ref: String,
    pub(super) repo: Option<Repo>,
}

#[derive(Deserialize)]
pub(super) struct Repo {
    pub(super) full_name: String,
}

#[derive(Deserialize)]
pub(super) struct CommentOf {
    pub(super) body: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct PermissionOf {
    pub(super) permission: String,
    pub(super) role_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Membership {
    pub(super) state: String,
}

#[derive(Deserialize)]
pub(super) struct Comparison {
    pub(super) behind_by: u64,
}

#[derive(Deserialize)]
pub(super) struct MergeResult {
    pub(super) sha: Option<String>,
    #[serde(default)]
    pub(super) merged: bool,
    #[serde(default)]
    pub(super) message: String,
}

/// A page of a GraphQL connection.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Connection<T> {
    #[serde(default)]
    pub(super) page_info: PageInfo,
    /// What may not be seen is null.
    #[serde(default = "Vec::new")]
    pub(super) nodes: Vec<Option<T>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageInfo {
    pub(super) has_next_page: bool,
    pub(super) end_cursor: Option<String>,
    pub(super) has_previous_page: bool,
    pub(super) start_cursor: Option<String>,
}

impl<T> Connection<T> {
    /// Where the next page begins.
    pub(super) fn next(&self) -> Option<String> {
        self.page_info.end_cursor.clone().filter(|_| self.page_info.has_next_page)
    }

    /// Where the page before it ends.
    pub(super) fn previous(&self) -> Option<String> {
        self.page_info.start_cursor.clone().filter(|_| self.page_info.has_previous_page)
    }
}

/// Who did something. GraphQL leaves out what REST and webhooks put behind the names of bots.
#[derive(Deserialize)]
pub(super) struct Actor {
    #[serde(rename = "__typename", default)]
    kind: String,
    login: String,
}

impl Actor {
    /// The login as REST and webhooks write it.
    pub(super) fn login(&self) -> String {
        if self.kind == "Bot" && !self.login.ends_with("[bot]") {
            format!("{}[bot]", self.login)
        } else {
            self.login.clone()
        }
    }
}

/// An id at a place of a GraphQL answer.
pub(super) fn id_at(data: &Value, pointer: &str) -> Option<String> {
    data.pointer(pointer)?.as_str().map(str::to_owned)
}

/// Whether it is a commit's name.
pub(super) fn is_commit(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A body as long as GitHub takes it, with a word on what is missing.
pub(super) fn body(text: &str) -> String {
    const NOTE: &str = "\n\n*(cut: GitHub takes no longer text)*";
    if text.chars().nth(LONGEST_BODY).is_none() {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(LONGEST_BODY - NOTE.len() - 8).collect();
    // An open code block would swallow the note.
    if kept.lines().filter(|line| line.trim_start().starts_with("```")).count() % 2 == 1 {
        kept.push_str("\n```");
    }
    kept + NOTE
}

/// A description as long as GitHub takes it.
pub(super) fn line(text: &str) -> String {
    shortened(text, LONGEST_LINE)
}

pub(super) fn shortened(text: &str, longest: usize) -> String {
    if text.chars().nth(longest).is_none() {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(body("as it is"), "as it is");
        let cut = body(&format!("```\n{}", "é".repeat(70_000)));
        assert!(
            cut.chars().count() <= LONGEST_BODY && cut.ends_with("longer text)*") && cut.contains("é\n```\n\n*(cut")
        );
        let exact = "é".repeat(LONGEST_BODY);
        assert_eq!(body(&exact), exact);
        assert_eq!(line(&"é".repeat(141)).chars().count(), 140);
        assert_eq!(line(&"é".repeat(140)), "é".repeat(140));
    }
}
