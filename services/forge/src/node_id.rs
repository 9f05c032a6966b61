//! Global node ids: opaque to clients, the same in REST (`node_id`) and GraphQL (`id`), and checked when they come back.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Bytes of the check value.
const CHECK: usize = 4;
/// Longest id that is looked at.
const LIMIT: usize = 1024;

/// What a node id stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeId {
    /// GitHub's prefix: `PR`, `IC`, `CR`, ...
    pub(crate) kind: String,
    /// The row, or the repository of what lives in git.
    pub(crate) row: i64,
    /// The object or ref in git, if it is one.
    pub(crate) name: String,
}

fn check(kind: &str, payload: &[u8]) -> [u8; CHECK] {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(payload).finalize();
    let mut check = [0; CHECK];
    check.copy_from_slice(&digest[..CHECK]);
    check
}

/// The id of a row.
pub(crate) fn row(kind: &str, row: i64) -> String {
    in_git(kind, row, "")
}

/// The id of an object or a ref of a repository.
pub(crate) fn in_git(kind: &str, repository: i64, name: &str) -> String {
    let mut payload = repository.to_be_bytes().to_vec();
    payload.extend_from_slice(name.as_bytes());
    let mut bytes = check(kind, &payload).to_vec();
    bytes.extend_from_slice(&payload);
    format!("{kind}_{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

impl NodeId {
    /// Reads an id that this forge gave out; anything else is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, encoded) = text.split_once('_').filter(|_| text.len() <= LIMIT)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?;
        let (sum, payload) = bytes.split_at_checked(CHECK)?;
        let (number, name) = payload.split_at_checked(8)?;
        if sum != check(kind, payload) {
            return None;
        }
        let row = i64::from_be_bytes(number.try_into().ok()?);
        Some(Self { kind: kind.to_owned(), row, name: String::from_utf8(name.to_vec()).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_and_others_do_not() {
        let id = in_git("REF", 7, "refs/heads/ünï");
        assert_eq!(NodeId::parse(&id), Some(NodeId { kind: "REF".into(), row: 7, name: "refs/heads/ünï".into() }));
        assert_ne!(row("PR", 1), row("I", 1));
        let moved = row("PR", 1).replace("PR_", "I_");
        for bad in ["", "PR", "PR_", "PR_!!", "PR_000000000001", &moved, &format!("{id}A")] {
            assert_eq!(NodeId::parse(bad), None, "{bad}");
        }
    }
}
