//! The exchange log: requests, answers and webhooks as lines, without credentials.

use kfops_forge::{Fault, Pick, Requests, Settings};
use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World, until};

#[tokio::test]
async fn every_exchange_is_written_down() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let world = World::with(|settings| Settings { exchange_log: Some(log.path().to_owned()), ..settings }).await;
    world.open().await;
    let receiver = Receiver::start().await;
    let hook = json!({ "events": ["issue_comment"], "config": { "url": receiver.url, "content_type": "json", "secret": "very secret" } });
    assert_eq!(world.send("POST", "/hooks", Some(BOT), hook).await.status, 201);
    world.forge.faults().requests(Requests::of("POST", "/repos/**").pick(Pick::once()), Fault::Lost);
    assert_eq!(world.send("POST", "/issues/1/comments", Some(BOT), json!({ "body": "hi" })).await.status, 502);
    world.get("/pulls/1?per_page=5").await;
    receiver.wait("issue_comment.created").await;
    let lines = until("all lines", async || {
        let text = std::fs::read_to_string(log.path()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Some(lines).filter(|lines| lines.iter().filter(|line| line["kind"] == "webhook").count() == 2)
    })
    .await;
    let text = std::fs::read_to_string(log.path()).unwrap();
    assert!(!text.contains("very secret") && !text.contains("token-of") && !text.contains("authorization"), "{text}");
    let asked = |method: &str, path: &str| {
        lines.iter().find(|line| line["method"] == method && line["path"] == path).cloned().unwrap()
    };
    let base = format!("/repos/{OWNER}/{REPO}");
    let comment = asked("POST", &format!("{base}/issues/1/comments"));
    assert_eq!((&comment["body"]["body"], &comment["fault"]), (&json!("hi"), &json!("lost")));
    assert_eq!((&comment["response"]["status"], &comment["content_type"]), (&json!(502), &json!("application/json")));
    let pull = asked("GET", &format!("{base}/pulls/1"));
    assert_eq!((&pull["query"], &pull["response"]["body"]["number"]), (&json!("per_page=5"), &json!(1)));
    let webhook = lines.iter().find(|line| line["event"] == "issue_comment").unwrap();
    assert_eq!((&webhook["action"], &webhook["body"]["comment"]["body"]), (&json!("created"), &json!("hi")));
    assert_eq!(webhook["response"]["status"], 202);
    world.forge.stop().await;
}
