//! Names of repositories.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `owner/name`. Two that differ in case only are the same, as at GitHub.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository {
    /// Account that it belongs to.
    pub owner: String,
    /// Its name.
    pub name: String,
}

impl PartialEq for Repository {
    fn eq(&self, other: &Self) -> bool {
        self.owner.eq_ignore_ascii_case(&other.owner) && self.name.eq_ignore_ascii_case(&other.name)
    }
}

impl Eq for Repository {}

impl Repository {
    /// Reads `owner/name`. Anything that could change a URL or a key is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let part = |part: &str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            (1..=100).contains(&part.len()) && part.chars().all(plain) && part != "." && part != ".."
        };
        match text.split_once('/') {
            Some((owner, name)) if part(owner) && part(name) => {
                Ok(Self { owner: owner.to_owned(), name: name.to_owned() })
            }
            _ => Err(format!(
                "`{}` is not a repository, write it as owner/name",
                text.chars().take(80).collect::<String>()
            )),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

impl TryFrom<String> for Repository {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Repository> for String {
    fn from(repository: Repository) -> Self {
        repository.to_string()
    }
}
