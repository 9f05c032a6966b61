//! What GitHub asks for before it merges, besides that nothing conflicts: the protection of the base branch, its merge
//! queue, the methods that the repository allows. It is looked at before a model goes live, for afterwards it is too late.

use kfops_core::{Failure, Reason};
use serde::{Deserialize, Serialize};

use crate::{command::Command, settings::MergeMethod};

/// What GitHub says of a merge besides conflicts (`mergeStateStatus`, `mergeable_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeState {
    /// It does not know yet.
    #[default]
    Unknown,
    /// Nothing forbids it.
    Free,
    /// The protection of the base branch is not satisfied.
    Blocked,
    /// The protection asks for all commits of the base.
    Behind,
}

impl MergeState {
    /// GraphQL writes it in capitals, REST in small letters.
    #[must_use]
    pub fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "blocked" => Self::Blocked,
            "behind" => Self::Behind,
            // Conflicts and drafts are known by themselves; a check that is not required stops no merge.
            "clean" | "dirty" | "draft" | "has_hooks" | "unstable" => Self::Free,
            _ => Self::Unknown,
        }
    }
}

/// How a repository merges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merging {
    /// The base branch has a merge queue.
    pub queue: bool,
    /// What the repository allows.
    pub methods: Vec<MergeMethod>,
}

/// GitHub would let the bot merge in its way. `bypasses`: the bot may merge what the protection blocks.
pub fn allowed(
    command: &Command,
    base: &str,
    state: MergeState,
    merging: &Merging,
    method: MergeMethod,
    bypasses: bool,
) -> Result<(), Failure> {
    let refusal = |what: String, action: String| Err(Failure::new(Reason::NotMergeable, what).on(base).action(action));
    let again = format!("then /{} again", command.verb.as_str());
    if merging.queue {
        return refusal(
            format!(
                "{base} has a merge queue, and Kfops cannot merge through one: it merges at once, and this very commit"
            ),
            format!("take the merge queue off {base}, {again}"),
        );
    }
    if !merging.methods.contains(&method) {
        let allowed: Vec<&str> = merging.methods.iter().map(|method| method.as_str()).collect();
        return refusal(
            format!(
                "github.merge_method of scm-bot's settings is {}, and {} allows only {}",
                method.as_str(),
                command.repository,
                if allowed.is_empty() { "other ways".to_owned() } else { allowed.join(", ") },
            ),
            format!("allow it in the settings of the repository, or change github.merge_method, {again}"),
        );
    }
    let bypass = "where the bot may bypass the protection, github.bypasses_protection of scm-bot's settings says so";
    match state {
        MergeState::Blocked if !bypasses => refusal(
            format!("the protection of {base} is not satisfied: GitHub would refuse the merge, with --force too"),
            format!("get the reviews and checks that {base} asks for, {again}; {bypass}"),
        ),
        MergeState::Behind if !bypasses => refusal(
            format!("the protection of {base} asks for a branch that has all its commits, with --force too"),
            format!("update the branch and /build_run, {again}; {bypass}"),
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use kfops_core::TraceContext;

    use super::*;
    use crate::{
        command::{Origin, Repository},
        verb::Verb,
    };

    fn refusal(state: MergeState, merging: &Merging, bypasses: bool) -> Option<String> {
        let on = (Repository::parse("o/r").unwrap(), 1);
        let trace = TraceContext::from_random([1; 24]);
        let command = Command::new("c-1".into(), Verb::Ship, on, "author".into(), Origin::Api, trace, UNIX_EPOCH);
        let failure = allowed(&command, "main", state, merging, MergeMethod::Merge, bypasses).err()?;
        assert_eq!(failure.reason, Reason::NotMergeable);
        assert!(failure.action.contains("then /ship again"), "no way out: {failure:?}");
        Some(failure.message)
    }

    #[test]
    fn what_github_would_refuse_is_refused() {
        let merging = Merging { queue: false, methods: vec![MergeMethod::Merge, MergeMethod::Squash] };
        let says = |state, merging: &Merging, bypasses, part: &str| {
            let said = refusal(state, merging, bypasses).unwrap();
            assert!(said.contains(part), "{said}");
        };
        assert_eq!(refusal(MergeState::Free, &merging, false), None);
        says(MergeState::Blocked, &merging, false, "the protection of main is not satisfied");
        says(MergeState::Behind, &merging, false, "the protection of main asks for");
        for state in [MergeState::Blocked, MergeState::Behind] {
            assert_eq!(refusal(state, &merging, true), None, "{state:?}");
        }
        let squash = Merging { methods: vec![MergeMethod::Squash], ..merging.clone() };
        // Whoever may bypass a protection may not bypass the rest.
        says(
            MergeState::Free,
            &squash,
            true,
            "merge_method of scm-bot's settings is merge, and o/r allows only squash",
        );
        says(MergeState::Free, &Merging { queue: true, ..merging }, true, "main has a merge queue");
    }

    #[test]
    fn states_are_read_as_either_api_writes_them() {
        for (names, state) in [
            (["BLOCKED", "blocked"], MergeState::Blocked),
            (["BEHIND", "behind"], MergeState::Behind),
            (["UNSTABLE", "has_hooks"], MergeState::Free),
            (["UNKNOWN", "something new"], MergeState::Unknown),
        ] {
            assert_eq!(names.map(MergeState::parse), [state; 2]);
        }
    }
}
