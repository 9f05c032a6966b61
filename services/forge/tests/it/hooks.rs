//! Webhooks: signed, in order, recorded, and sent again under the same GUID.

use hmac::{Hmac, KeyInit as _, Mac as _};
use kfops_forge::Settings;
use octocrab::models::webhook_events::{WebhookEvent, WebhookEventPayload};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::world::{Answer, BOT, OWNER, REPO, Received, Receiver, World, until};

const SECRET: &str = "It's a Secret to Everybody";

fn signature(received: &Received) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(&received.body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

async fn hooked(world: &World, events: &[&str]) -> (Receiver, u64) {
    let receiver = Receiver::start().await;
    let id = world.forge.add_hook(OWNER, REPO, "test", &receiver.url, &SECRET.into(), events).await.unwrap();
    (receiver, id)
}

#[tokio::test]
async fn a_comment_arrives_signed() {
    let world = World::start().await;
    let number = world.open().await;
    let (receiver, id) = hooked(&world, &["issue_comment"]).await;
    let issues = world.crab("author");
    let issues = issues.issues(OWNER, REPO);
    let comment = issues.create_comment(number, "/build_run `x` <b>&").await.unwrap();
    let received = receiver.wait("issue_comment.created").await;
    assert_eq!(received.header("x-hub-signature-256"), signature(&received));
    assert_eq!(received.header("x-github-hook-id"), id.to_string());
    assert_eq!(received.header("content-type"), "application/json");
    assert!(received.header("user-agent").starts_with("GitHub-Hookshot/"));
    assert_eq!(received.header("x-github-delivery").len(), 36);
    let event = WebhookEvent::try_from_header_and_body(received.header("x-github-event"), &received.body).unwrap();
    assert_eq!(event.sender.unwrap().login, "author");
    assert_eq!(event.repository.unwrap().full_name.unwrap(), "team/iris");
    let WebhookEventPayload::IssueComment(payload) = event.specific else { panic!("no comment") };
    assert_eq!(payload.comment.id, comment.id);
    assert_eq!(payload.comment.body.unwrap(), "/build_run `x` <b>&");
    assert!(payload.issue.pull_request.is_some());
    assert_eq!((payload.issue.number, payload.issue.comments), (number, 1));

    issues.update_comment(comment.id, "/help").await.unwrap();
    let edited = receiver.wait("issue_comment.edited").await.json();
    assert_eq!(edited["changes"]["body"]["from"], "/build_run `x` <b>&");
    issues.delete_comment(comment.id).await.unwrap();
    receiver.wait("issue_comment.deleted").await;

    // A plain issue has no pull_request.
    let issue = world.send("POST", "/issues", Some("stranger"), json!({ "title": "help" })).await;
    issues.create_comment(issue.json["number"].as_u64().unwrap(), "/build").await.unwrap();
    let all = receiver.wait_count(4).await;
    assert!(all[3].json()["issue"].get("pull_request").is_none());
    world.forge.stop().await;
}

#[tokio::test]
async fn events_come_in_order() {
    let world = World::start().await;
    let (receiver, _) = hooked(&world, &[]).await;
    let number = world.open().await;
    world.crab("helper").issues(OWNER, REPO).add_labels(number, &["hot".to_owned()]).await.unwrap();
    world.grow("feature", "src/x.py", "1\n").await;
    let head = world.crab(BOT).pulls(OWNER, REPO).get(number).await.unwrap().head.sha;
    world.crab(BOT).pulls(OWNER, REPO).merge(number).sha(&head).send().await.unwrap();
    let all = receiver.wait_count(6).await;
    assert_eq!(
        receiver.kinds(),
        [
            "pull_request.opened",
            "pull_request.labeled",
            "push",
            "pull_request.synchronize",
            "push",
            "pull_request.closed"
        ]
    );
    assert_eq!(all[1].json()["label"]["name"], "hot");
    assert_eq!(
        (all[2].json()["ref"].as_str(), all[2].json()["after"].as_str()),
        (Some("refs/heads/feature"), Some(head.as_str()))
    );
    assert_eq!(all[2].json()["commits"][0]["added"], json!(["src/x.py"]));
    assert_eq!(all[3].json()["after"], json!(head));
    assert_eq!(all[5].json()["pull_request"]["merged"], true);
    for one in &all {
        WebhookEvent::try_from_header_and_body(one.header("x-github-event"), &one.body).unwrap();
    }
    world.forge.stop().await;
}

async fn deliveries(world: &World, hook: u64, query: &str, count: usize) -> Answer {
    let path = format!("/hooks/{hook}/deliveries{query}");
    until("deliveries", async || {
        Some(world.get(&path).await).filter(|list| list.json.as_array().unwrap().len() >= count)
    })
    .await
}

#[tokio::test]
async fn deliveries_are_recorded_and_sent_again() {
    let world = World::start().await;
    let number = world.open().await;
    let (receiver, hook) = hooked(&world, &["issue_comment"]).await;
    receiver.answer(503);
    world.forge.comment(OWNER, REPO, number, "author", "/deploy").await.unwrap();
    let first = receiver.wait("issue_comment.created").await;
    let list = deliveries(&world, hook, "", 1).await;
    let failed = &list.json[0];
    assert_eq!((failed["status_code"].as_u64(), failed["redelivery"].as_bool()), (Some(503), Some(false)));
    assert_eq!(failed["guid"], first.header("x-github-delivery"));
    assert_eq!(receiver.all().len(), 1, "one attempt only");

    receiver.answer(202);
    let id = failed["id"].as_u64().unwrap();
    let retried = world.send("POST", &format!("/hooks/{hook}/deliveries/{id}/attempts"), Some(BOT), Value::Null).await;
    assert_eq!(retried.status, 202);
    let both = receiver.wait_count(2).await;
    assert_eq!(both[1].header("x-github-delivery"), first.header("x-github-delivery"));
    assert_eq!((&both[1].body, both[1].header("x-hub-signature-256")), (&first.body, signature(&first).as_str()));
    let list = deliveries(&world, hook, "", 2).await;
    assert_eq!((list.json[0]["redelivery"].as_bool(), list.json[0]["status"].as_str()), (Some(true), Some("OK")));
    let detail = world.get(&format!("/hooks/{hook}/deliveries/{id}")).await.json;
    assert_eq!(detail["request"]["payload"]["comment"]["body"], "/deploy");
    assert_eq!(detail["request"]["headers"]["x-github-event"], "issue_comment");

    // Newest first, by cursor.
    for _ in 0..3 {
        world.forge.comment(OWNER, REPO, number, "author", "again").await.unwrap();
    }
    deliveries(&world, hook, "", 5).await;
    let (mut query, mut seen) = ("?per_page=2".to_owned(), Vec::new());
    loop {
        let page = deliveries(&world, hook, &query, 1).await;
        seen.extend(page.json.as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()));
        let link = page.header("link").to_owned();
        let Some(end) = link.find(">; rel=\"next\"") else { break };
        query = link[..end].split_once('?').map(|(_, query)| format!("?{query}")).unwrap();
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|a, b| a > b), "{seen:?}");
    let crab = world.crab(BOT);
    let handler = crab.hooks(OWNER).repo(REPO.to_owned());
    assert_eq!(handler.list_deliveries(hook.into()).send().await.unwrap().items.len(), 5);
    assert_eq!(world.send("GET", &format!("/hooks/{hook}/deliveries"), Some("author"), Value::Null).await.status, 404);
    world.forge.stop().await;
}

#[tokio::test]
async fn a_receiver_that_is_away_is_recorded() {
    let world = World::start().await;
    let number = world.open().await;
    let hook = world.forge.add_hook(OWNER, REPO, "test", "http://127.0.0.1:9/none", &SECRET.into(), &[]).await.unwrap();
    world.forge.comment(OWNER, REPO, number, "author", "hello").await.unwrap();
    let list = deliveries(&world, hook, "", 1).await;
    assert_eq!(
        (list.json[0]["status_code"].as_u64(), list.json[0]["status"].as_str()),
        (Some(0), Some("failed to connect to host"))
    );
    world.forge.stop().await;
}

#[tokio::test]
async fn hooks_are_made_over_rest() {
    let world = World::start().await;
    let receiver = Receiver::start().await;
    let new = json!({
        "name": "web",
        "events": ["push", "issue_comment"],
        "config": { "url": receiver.url, "content_type": "json", "secret": SECRET },
    });
    let made = world.send("POST", "/hooks", Some(BOT), new.clone()).await;
    assert_eq!((made.status, &made.json["config"]["secret"]), (201, &json!("********")));
    let _: octocrab::models::hooks::Hook = serde_json::from_value(made.json).unwrap();
    let ping = receiver.wait("ping").await;
    assert_eq!(ping.header("x-hub-signature-256"), signature(&ping));
    assert_eq!(world.send("POST", "/hooks", Some(BOT), new).await.status, 422);
    let bad = json!({ "config": { "url": "ftp://x" } });
    assert_eq!(world.send("POST", "/hooks", Some(BOT), bad).await.status, 422);
    assert_eq!(world.get("/hooks").await.json.as_array().unwrap().len(), 1);
    world.forge.stop().await;
}

#[tokio::test]
async fn what_a_hook_has_not_sent_an_apps_hook_sends() {
    let world = World::with(|settings| Settings { hold_deliveries: true, ..settings }).await;
    let number = world.open().await;
    let (old, _) = hooked(&world, &["issue_comment"]).await;
    world.forge.comment(OWNER, REPO, number, "author", "/build").await.unwrap();
    let new = Receiver::start().await;
    world.forge.set_app_hook(BOT, &new.url, &SECRET.into(), &["issue_comment"]).await.unwrap();
    for _ in 0..2 {
        world.forge.hand_over_hook(OWNER, REPO, "test", BOT).await.unwrap();
    }
    world.forge.deliver();
    assert_eq!(new.wait("issue_comment.created").await.json()["comment"]["body"], "/build");
    world.forge.comment(OWNER, REPO, number, "author", "/run").await.unwrap();
    assert_eq!(new.wait_count(2).await[1].json()["comment"]["body"], "/run");
    assert!(old.all().is_empty());
    world.forge.stop().await;
}
