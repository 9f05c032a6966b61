//! What the unit tests begin with.

use std::time::UNIX_EPOCH;

use crate::{command::PullRequest, merging::MergeState};

/// An open pull request that can be merged.
pub(crate) fn pull() -> PullRequest {
    PullRequest {
        head: "3f2c1e7".repeat(6)[..40].to_owned(),
        author: String::new(),
        base: "main".into(),
        open: true,
        merged: false,
        fork: false,
        draft: false,
        mergeable: Some(true),
        merge_state: MergeState::Free,
        merge_commit: None,
        seen: UNIX_EPOCH,
    }
}
