//! GitHub's example payloads before the reader of deliveries.

use kfops_github_contract::examples;
use kfops_scm_bot::delivery::{self, Event};
use serde_json::Value;

fn read(event: &str, payload: &Value) -> Option<Event> {
    let text = serde_json::to_vec(payload).unwrap();
    delivery::read(event, &text, "kfops[bot]").unwrap_or_else(|failure| panic!("{event}: {failure}: {payload}"))
}

#[test]
fn every_example_is_read() {
    let examples = examples::webhooks().unwrap();
    assert!(examples.len() > 300, "{}", examples.len());
    for example in &examples {
        read(&example.event, &example.payload);
    }
}

#[test]
fn a_comment_on_a_pull_request_is_heard_and_one_on_an_issue_is_not() {
    let mut payload = examples::comment_on_pull_request().unwrap();
    payload["comment"]["body"] = "Looks good.\r\n\r\n/build_run\r\n".into();
    let Some(Event::Comment(comment)) = read("issue_comment", &payload) else { panic!("not heard") };
    assert_eq!(comment.repository.to_string(), payload["repository"]["full_name"].as_str().unwrap());
    assert_eq!(Some(comment.id), payload["comment"]["id"].as_u64());
    assert_eq!(Some(comment.actor.as_str()), payload["comment"]["user"]["login"].as_str());
    assert_eq!(comment.lines.len(), 1);
    let issue = payload["issue"].as_object_mut().unwrap();
    issue.remove("pull_request");
    assert!(!matches!(read("issue_comment", &payload), Some(Event::Comment(_))));
}
