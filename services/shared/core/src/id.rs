//! Ids that callers choose: the last part of a resource name (AIP-122).

use std::fmt;

use crate::Digest;

/// 1 to 63 characters of `[a-z0-9-]`, starting with a letter, not ending with `-` (RFC 1123 label, AIP-122).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(String);

/// The text is no resource id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a valid id: use 1 to 63 characters of [a-z0-9-], starting with a letter")]
pub struct ResourceIdError(String);

impl ResourceId {
    /// Reads an id.
    pub fn parse(text: &str) -> Result<Self, ResourceIdError> {
        let valid = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
            && !text.ends_with('-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ResourceIdError(text.chars().take(80).collect())) }
    }

    /// The id of `name` in `collection`: `("builds", "builds/b-1")` gives `b-1`.
    pub fn of_name(collection: &str, name: &str) -> Result<Self, ResourceIdError> {
        match name.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')) {
            Some(id) => Self::parse(id),
            None => Err(ResourceIdError(name.chars().take(80).collect())),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first `length` hex digits (at most 64) of the digest of `parts`: the same parts always give the same text.
#[must_use]
pub fn short_hash(parts: &[&str], length: usize) -> String {
    let mut hasher = crate::Hasher::default();
    for part in parts {
        hasher.field(part);
    }
    let digest: Digest = hasher.finish();
    digest.hex().chars().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        assert_eq!(ResourceId::of_name("builds", "builds/b-1").unwrap().as_str(), "b-1");
        for bad in ["", "B", "1a", "a_b", "a-", "a/b", "$(touch x)", &"a".repeat(64)] {
            assert!(ResourceId::parse(bad).is_err(), "{bad}");
        }
    }
}
