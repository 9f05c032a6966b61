//! The rules of the gate, each a pure function. A refusal names the rule and the way out.

use kfops_core::{Failure, Reason};
use kfops_project::{Permission, Policy, ResolvedRule};

use crate::{
    command::{Command, MergeState, PullRequest},
    ports::{Review, Run},
    verb::Verb,
};

/// The first digits of a commit, for people.
#[must_use]
pub fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

/// A permission as GitHub names it; None for `none` and names of its own making.
#[must_use]
pub fn permission(name: &str) -> Option<Permission> {
    use Permission as P;
    [P::Read, P::Triage, P::Write, P::Maintain, P::Admin].into_iter().find(|permission| permission.as_str() == name)
}

/// The actor has the least permission.
pub fn actor(command: &Command, has: Option<Permission>, least: Permission, section: &str) -> Result<(), Failure> {
    if has.is_some_and(|has| has >= least) {
        return Ok(());
    }
    let rule = if section.is_empty() { String::new() } else { format!(" ({section})") };
    Err(Failure::new(
        Reason::PermissionDenied,
        format!(
            "{} has {} permission on {}, and /{} needs {}{rule}",
            command.actor,
            has.map_or("no", Permission::as_str),
            command.repository,
            command.verb.as_str(),
            least.as_str(),
        ),
    )
    .action("ask someone who has it to write the command"))
}

/// The pull request is open.
pub fn fit(pull: &PullRequest) -> Result<(), Failure> {
    if !pull.open {
        let what = if pull.merged { "merged" } else { "closed" };
        let action = if pull.merged { "open a new pull request for further changes" } else { "reopen it first" };
        return Err(Failure::new(Reason::PullRequestClosed, format!("the pull request is {what}")).action(action));
    }
    Ok(())
}

/// The pull request goes into a branch from which something may be deployed.
pub fn branch(command: &Command, policy: &Policy, base: &str, default_branch: &str) -> Result<(), Failure> {
    if policy.deploys_from(base, default_branch) {
        return Ok(());
    }
    Err(Failure::new(
        Reason::PolicyRefused,
        format!("the pull request goes into {base}, and models are deployed from pull requests into {default_branch}"),
    )
    .action(format!(
        "change its base to {default_branch} and /{} again, or name {base} under policy.branches in {default_branch}",
        command.verb.as_str()
    )))
}

/// The branch moved on before the command was begun, or before its head was read.
#[must_use]
pub fn superseded(command: &Command) -> Failure {
    let head = command.superseded_by.as_deref().unwrap_or_default();
    let what = if command.written.is_some() {
        "a commit was pushed after this comment".to_owned()
    } else {
        format!("the branch moved on from {} to {} before this was begun", short(command.commit()), short(head))
    };
    Failure::new(Reason::Superseded, what).action(format!(
        "write /{} again to mean {}",
        command.verb.as_str(),
        short(head)
    ))
}

/// The actor is among the named people.
pub fn named(command: &Command, rule: &ResolvedRule, in_team: bool) -> Result<(), Failure> {
    let open = rule.users.is_empty() && rule.teams.is_empty();
    if open || in_team || rule.users.iter().any(|user| user.eq_ignore_ascii_case(&command.actor)) {
        return Ok(());
    }
    let teams = rule.teams.iter().map(|team| format!("team {team}"));
    let who: Vec<String> = rule.users.iter().cloned().chain(teams).collect();
    Err(Failure::new(Reason::PolicyRefused, format!("{} lets only {} do this", rule.section, who.join(", ")))
        .action("ask one of them to write the command"))
}

/// Enough people other than `not` approved this very commit.
pub fn approved(command: &Command, rule: &ResolvedRule, reviews: &[Review], not: &str) -> Result<(), Failure> {
    let mut last: Vec<&Review> = Vec::new();
    let counts =
        |review: &&Review| review.insider && review.state != "COMMENTED" && !review.user.eq_ignore_ascii_case(not);
    for review in reviews.iter().filter(counts) {
        last.retain(|earlier| earlier.user != review.user);
        last.push(review);
    }
    let approvals: Vec<_> = last.iter().filter(|review| review.state == "APPROVED").collect();
    let current = approvals.iter().filter(|review| review.commit == command.commit()).count();
    if current >= rule.approvals as usize {
        return Ok(());
    }
    let older = approvals.len() - current;
    let older = if older > 0 { format!(", and {older} of an older commit") } else { String::new() };
    Err(Failure::new(
        Reason::PolicyRefused,
        format!(
            "{} asks for {} of {} by others than {}; there {} {current}{older}",
            rule.section,
            count(u64::from(rule.approvals), "approval"),
            short(command.commit()),
            not,
            if current == 1 { "is" } else { "are" },
        ),
    )
    .action(format!("get it reviewed, then /{} again", command.verb.as_str())))
}

/// The checks succeeded on this commit.
pub fn checked(command: &Command, rule: &ResolvedRule, succeeded: &[String]) -> Result<(), Failure> {
    let missing: Vec<&str> =
        rule.checks.iter().filter(|check| !succeeded.contains(check)).map(String::as_str).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Reason::PolicyRefused,
        format!(
            "{} asks that {} {} succeeded on {}",
            rule.section,
            missing.join(", "),
            if missing.len() == 1 { "has" } else { "have" },
            short(command.commit()),
        ),
    )
    .action(format!("wait for it or mend it, then /{} again", command.verb.as_str())))
}

/// The run to deploy succeeded, and was made from the commit to deploy.
pub fn run(command: &Command, run: Option<(&str, &Run)>) -> Result<(), Failure> {
    let commit = short(command.commit());
    let again = format!("do /build_run first, then /{}", command.verb.as_str());
    let Some((id, run)) = run else {
        return Err(Failure::new(Reason::NoRun, "nothing was run in this pull request yet").action(again));
    };
    if !run.succeeded {
        return Err(Failure::new(Reason::NoRun, format!("run {id} did not succeed"))
            .on(format!("runs/{id}"))
            .action(again));
    }
    if run.commit != command.commit() {
        return Err(Failure::new(
            Reason::RunOfOtherCommit,
            format!("run {id} was made from {}, and the head was {commit} when the command came", short(&run.commit)),
        )
        .on(format!("runs/{id}"))
        .action(again));
    }
    if run.model.is_none() {
        return Err(Failure::new(Reason::ModelMissing, format!("run {id} wrote no model"))
            .on(format!("runs/{id}"))
            .action("write one as pipeline.model of kfops.yaml says, then /build_run"));
    }
    Ok(())
}

/// The head is still the commit that the command is about.
pub fn unmoved(command: &Command, pull: &PullRequest) -> Result<(), Failure> {
    if pull.head == command.commit() {
        return Ok(());
    }
    Err(Failure::new(
        Reason::RunOfOtherCommit,
        format!("the branch has moved on from {} to {}", short(command.commit()), short(&pull.head)),
    )
    .action(format!(
        "write /{} again for the new commit{}",
        command.verb.as_str(),
        if command.verb == Verb::Ship { "" } else { ", after /build_run" }
    )))
}

/// The branch has all commits of its base.
pub fn current(command: &Command, base: &str, behind: u64, who_may_force: &str) -> Result<(), Failure> {
    if behind == 0 {
        return Ok(());
    }
    let then = if command.verb == Verb::Ship { "/ship again" } else { "/build_run again" };
    Err(Failure::new(Reason::BehindBase, format!("the branch is {} behind {base}", count(behind, "commit")))
        .action(format!("update it and {then}, or /{} --force (who may: {who_may_force})", command.verb.as_str())))
}

/// GitHub would merge it.
pub fn mergeable(command: &Command, pull: &PullRequest) -> Result<(), Failure> {
    let again = format!("then /{} again", command.verb.as_str());
    if pull.draft {
        return Err(Failure::new(Reason::NotMergeable, "the pull request is a draft")
            .action(format!("mark it as ready for review, {again}")));
    }
    match pull.mergeable {
        Some(true) if pull.merge_state != MergeState::Unknown => Ok(()),
        Some(false) => Err(Failure::new(Reason::NotMergeable, format!("the branch conflicts with {}", pull.base))
            .action(format!("resolve the conflicts and /build_run, {again}"))),
        _ => Err(Failure::new(
            Reason::NotMergeable,
            "GitHub has not found out yet whether the pull request can be merged",
        )
        .action(format!("wait a little, {again}"))),
    }
}

/// `1 commit`, `2 commits`.
#[must_use]
pub fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Who a rule lets through, for people.
#[must_use]
pub fn who(rule: &ResolvedRule) -> String {
    let people: Vec<String> =
        rule.users.iter().cloned().chain(rule.teams.iter().map(|team| format!("team {team}"))).collect();
    if people.is_empty() { format!("{} permission and above", rule.permission.as_str()) } else { people.join(", ") }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
