//! GitHub's example payloads.

use kfops_github_contract::{Judge, examples};
use serde_json::json;

use crate::lines;

#[test]
fn githubs_own_examples_fit() {
    let judge = Judge::from_env().unwrap();
    let examples = examples::webhooks().unwrap();
    assert!(examples.len() > 300, "{}", examples.len());
    let all = examples.iter().flat_map(|one| judge.webhook(&one.event, &one.payload));
    let comment = examples::comment_on_pull_request().unwrap();
    let all = all.chain(judge.webhook("issue_comment", &comment));
    // Many examples are older than fields that the schemas require; the rest contradicts the schemas, as published.
    let found: Vec<_> = all.filter(|one| !one.what.contains("is a required property")).collect();
    let published = |operation: &str| {
        ["check_run.", "code_scanning_alert.", "release.", "repository_vulnerability_alert.", "workflow_run."]
            .iter()
            .any(|event| operation.starts_with(event))
    };
    let new: Vec<_> = found.iter().filter(|one| !published(&one.operation)).collect();
    assert!(new.is_empty() && found.len() == 16, "{} of {}:{}", found.len(), examples.len(), lines(&found));
}

#[test]
fn mistakes_are_found() {
    let judge = Judge::from_env().unwrap();
    let good = examples::comment_on_pull_request().unwrap();
    let bad = |at: &str, value: serde_json::Value| {
        let mut payload = good.clone();
        *payload.pointer_mut(at).unwrap() = value;
        judge.webhook("issue_comment", &payload)
    };
    for (at, value) in [
        ("/comment/id", json!("7")),
        ("/comment/user/type", json!("Robot")),
        ("/issue/pull_request/url", json!(null)),
        ("/repository/private", json!("no")),
    ] {
        let found = bad(at, value);
        assert!(found.iter().any(|one| one.at == at), "{at}:{}", lines(&found));
    }
    assert_eq!(bad("/action", json!("shouted"))[0].at, "/action");
    assert_eq!(judge.webhook("issue_remark", &good)[0].at, "/action");
}
