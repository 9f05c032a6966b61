//! Every rule of the gate: what it lets pass, and what it says when it does not.

use std::{collections::BTreeMap, time::UNIX_EPOCH};

use kfops_core::TraceContext;
use kfops_project::{Policy, Rule};

use super::*;
use crate::{
    command::{Model, Origin, Repository},
    samples::pull,
};

fn command(verb: Verb) -> Command {
    let on = (Repository::parse("o/r").unwrap(), 1);
    let trace = TraceContext::from_random([1; 24]);
    let mut command = Command::new("c-1".into(), verb, on, "author".into(), Origin::Api, trace, UNIX_EPOCH);
    command.pull = Some(pull());
    command
}

fn rule(rule: Rule) -> ResolvedRule {
    Policy { deploy: Some(rule), ..Policy::default() }.rules("deploy", false).remove(0)
}

fn refusal(result: Result<(), Failure>) -> (Reason, String) {
    let failure = result.unwrap_err();
    assert!(!failure.action.is_empty(), "no way out: {failure:?}");
    (failure.reason, failure.message)
}

#[test]
fn permissions() {
    let deploy = command(Verb::Deploy);
    actor(&deploy, permission("write"), Permission::Write, "").unwrap();
    actor(&deploy, permission("admin"), Permission::Write, "").unwrap();
    for has in ["none", "read", "triage", "owner-of-everything"] {
        assert_eq!(
            refusal(actor(&deploy, permission(has), Permission::Write, "")).0,
            Reason::PermissionDenied,
            "{has}"
        );
    }
    let message = refusal(actor(&deploy, permission("write"), Permission::Maintain, "policy.deploy")).1;
    assert_eq!(message, "author has write permission on o/r, and /deploy needs maintain (policy.deploy)");
}

#[test]
fn closed_and_merged() {
    fit(&pull()).unwrap();
    assert_eq!(refusal(fit(&PullRequest { open: false, ..pull() })).0, Reason::PullRequestClosed);
    assert_eq!(refusal(fit(&PullRequest { open: false, merged: true, ..pull() })).1, "the pull request is merged");
}

#[test]
fn only_the_named() {
    let deploy = command(Verb::Deploy);
    let users = rule(Rule { users: vec!["Author".into()], ..Rule::default() });
    named(&deploy, &users, false).unwrap();
    let teams = rule(Rule { teams: vec!["ml".into()], ..Rule::default() });
    named(&deploy, &teams, true).unwrap();
    assert_eq!(refusal(named(&deploy, &teams, false)).1, "policy.deploy lets only team ml do this");
}

#[test]
fn approvals_are_of_this_commit_and_by_insiders() {
    let deploy = command(Verb::Deploy);
    let one = rule(Rule { approvals: 1, ..Rule::default() });
    let review = |user: &str, state: &str, commit: &str, insider| Review {
        user: user.into(),
        insider,
        state: state.into(),
        commit: commit.into(),
    };
    let head = deploy.commit().to_owned();
    approved(&deploy, &one, &[review("a", "APPROVED", &head, true), review("a", "COMMENTED", &head, true)], "author")
        .unwrap();
    for reviews in [
        vec![],
        vec![review("a", "APPROVED", &head, false)],
        // The actor does not approve what the actor asks for, however the login is written.
        vec![review("author", "APPROVED", &head, true)],
        vec![review("Author", "APPROVED", &head, true)],
        vec![review("a", "APPROVED", &head, true), review("a", "CHANGES_REQUESTED", &head, true)],
        vec![review("a", "APPROVED", &head, true), review("a", "DISMISSED", &head, true)],
    ] {
        assert_eq!(refusal(approved(&deploy, &one, &reviews, "author")).0, Reason::PolicyRefused);
    }
    let message = refusal(approved(&deploy, &one, &[review("a", "APPROVED", "old", true)], "author")).1;
    assert_eq!(
        message,
        "policy.deploy asks for 1 approval of 3f2c1e7 by others than author; there are 0, and 1 of an older commit"
    );
}

#[test]
fn checks() {
    let deploy = command(Verb::Deploy);
    let test = rule(Rule { checks: vec!["test".into()], ..Rule::default() });
    checked(&deploy, &test, &["lint".into(), "test".into()]).unwrap();
    assert_eq!(refusal(checked(&deploy, &test, &[])).1, "policy.deploy asks that test has succeeded on 3f2c1e7");
}

#[test]
fn runs() {
    let deploy = command(Verb::Deploy);
    let good = Run {
        succeeded: true,
        commit: deploy.commit().to_owned(),
        version: "v-1".into(),
        arguments: BTreeMap::new(),
        metrics: BTreeMap::new(),
        model: Some(Model::default()),
    };
    run(&deploy, Some(("r-1", &good))).unwrap();
    assert_eq!(refusal(run(&deploy, None)).0, Reason::NoRun);
    assert_eq!(refusal(run(&deploy, Some(("r-1", &Run { succeeded: false, ..good.clone() })))).0, Reason::NoRun);
    assert_eq!(refusal(run(&deploy, Some(("r-1", &Run { model: None, ..good.clone() })))).0, Reason::ModelMissing);
    let other = Run { commit: "0123456789".into(), ..good };
    let (reason, message) = refusal(run(&deploy, Some(("r-1", &other))));
    assert_eq!(reason, Reason::RunOfOtherCommit);
    assert_eq!(message, "run r-1 was made from 0123456, and the head was 3f2c1e7 when the command came");
}

#[test]
fn behind_moved_and_conflicting() {
    let deploy = command(Verb::Deploy);
    current(&deploy, "main", 0, "").unwrap();
    let failure = current(&deploy, "main", 2, "maintain permission and above").unwrap_err();
    assert_eq!(failure.message, "the branch is 2 commits behind main");
    assert_eq!(
        failure.action,
        "update it and /build_run again, or /deploy --force (who may: maintain permission and above)"
    );
    mergeable(&deploy, &pull()).unwrap();
    for pull in [
        PullRequest { mergeable: Some(false), ..pull() },
        PullRequest { mergeable: None, ..pull() },
        PullRequest { draft: true, ..pull() },
    ] {
        assert_eq!(refusal(mergeable(&deploy, &pull)).0, Reason::NotMergeable);
    }
    unmoved(&deploy, &pull()).unwrap();
    assert_eq!(refusal(unmoved(&deploy, &PullRequest { head: "b".repeat(40), ..pull() })).0, Reason::RunOfOtherCommit);
}
