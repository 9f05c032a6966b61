//! A forge that misbehaves: refused, hung, cut, lost and limited requests, webhooks that go astray, a wrong clock.

use std::time::{Duration, Instant};

use kfops_forge::{Fault, Pick, Requests, WebhookFault, Webhooks};
use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World, client, token, until};

const COMMENTS: &str = "/repos/*/*/issues/*/comments";

async fn post(world: &World, text: &str) -> Result<(u16, Value), reqwest::Error> {
    let request = client().post(world.url("/issues/1/comments")).bearer_auth(token(BOT)).json(&json!({ "body": text }));
    let response = request.send().await?;
    Ok((response.status().as_u16(), response.json().await?))
}

async fn comments(world: &World) -> Vec<String> {
    let listed = world.get("/issues/1/comments").await.json;
    listed.as_array().unwrap().iter().map(|one| one["body"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn requests_are_refused_cut_and_lost() {
    let world = World::start().await;
    world.open().await;
    let faults = world.forge.faults();
    let comments_of = || Requests::of("POST", COMMENTS).pick(Pick::once());

    let rule = faults.requests(comments_of(), Fault::Refuse);
    assert!(post(&world, "refused").await.is_err());
    assert_eq!((faults.hits(rule), comments(&world).await.len()), (1, 0));

    faults.requests(comments_of(), Fault::Half);
    let error = post(&world, "half").await.unwrap_err();
    assert!(error.is_body() || error.is_decode() || error.is_request(), "{error:?}");
    assert_eq!(comments(&world).await, ["half"]);

    faults.requests(comments_of(), Fault::Lost);
    assert_eq!(post(&world, "lost").await.unwrap().0, 502);
    faults.requests(comments_of(), Fault::status(503));
    assert_eq!(post(&world, "never").await.unwrap().0, 503);
    faults.requests(comments_of(), Fault::status_after_effect(500));
    assert_eq!(post(&world, "done").await.unwrap().0, 500);
    assert_eq!(comments(&world).await, ["half", "lost", "done"]);

    // The second match only, then all is well.
    faults.requests(Requests::of("POST", COMMENTS).pick(Pick::nth(2)), Fault::status(500));
    let mut seen = Vec::new();
    for text in ["a", "b", "c"] {
        seen.push(post(&world, text).await.unwrap().0);
    }
    assert_eq!(seen, [201, 500, 201]);
    world.forge.stop().await;
}

#[tokio::test]
async fn requests_hang_and_are_slow() {
    let world = World::start().await;
    world.open().await;
    let faults = world.forge.faults();
    let hang = Fault::Hang { effect: true, limit_millis: 150 };
    faults.requests(Requests::of("POST", COMMENTS).pick(Pick::once()), hang);
    let begun = Instant::now();
    assert!(post(&world, "hung").await.is_err());
    assert!(begun.elapsed() >= Duration::from_millis(150));
    assert_eq!(comments(&world).await, ["hung"]);

    // A caller that gives up: what it asked for happens all the same.
    faults.requests(
        Requests::of("POST", COMMENTS).pick(Pick::once()),
        Fault::Hang { effect: true, limit_millis: 60_000 },
    );
    let impatient = tokio::time::timeout(Duration::from_millis(400), post(&world, "left")).await;
    assert!(impatient.is_err());
    until("the comment", async || Some(comments(&world).await).filter(|all| all.contains(&"left".to_owned()))).await;

    faults.requests(Requests::of("GET", "/repos/**"), Fault::Slow { millis: 120 });
    let begun = Instant::now();
    assert_eq!(world.get("/pulls/1").await.status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(120));
    world.forge.stop().await;
}

#[tokio::test]
async fn limits_are_told_as_github_tells_them() {
    let world = World::start().await;
    let faults = world.forge.faults();
    faults.requests(Requests::default().pick(Pick::once()), Fault::secondary_limit(7));
    let limited = world.get("").await;
    assert_eq!((limited.status, limited.header("retry-after")), (403, "7"));
    assert!(limited.json["message"].as_str().unwrap().contains("secondary rate limit"));
    faults.requests(Requests::default().pick(Pick::once()), Fault::rate_limit(1_900_000_000));
    let limited = world.get("").await;
    assert_eq!((limited.status, limited.header("x-ratelimit-remaining")), (403, "0"));
    assert_eq!(limited.header("x-ratelimit-reset"), "1900000000");
    assert_eq!(world.get("").await.status, 200);

    let look = faults.requests(Requests::graphql("LookAtPull"), Fault::status(502));
    let ask = async |name: &str| {
        let body = json!({ "operationName": name, "query": format!("query {name} {{ viewer {{ login }} }}") });
        let url = format!("{}/api/graphql", world.forge.url());
        client().post(url).bearer_auth(token(BOT)).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask("LookAtPull").await, 502);
    assert_ne!(ask("Other").await, 502);
    assert_eq!(faults.hits(look), 1);
    world.forge.stop().await;
}

#[tokio::test]
async fn webhooks_are_dropped_doubled_and_reordered() {
    let world = World::start().await;
    let number = world.open().await;
    let receiver = Receiver::start().await;
    let hook = world.forge.add_hook(OWNER, REPO, "t", &receiver.url, &"s".into(), &["issue_comment"]).await.unwrap();
    let faults = world.forge.faults();
    let say = async |text: &str| world.forge.comment(OWNER, REPO, number, "author", text).await.unwrap();
    let bodies = || {
        let all = receiver.all();
        all.iter().map(|one| one.json()["comment"]["body"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };

    faults.webhooks(Webhooks::of("issue_comment.created").pick(Pick::once()), WebhookFault::Drop);
    say("dropped").await;
    let path = format!("/hooks/{hook}/deliveries");
    let listed = until("the delivery", async || {
        Some(world.get(&path).await.json).filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
    })
    .await;
    assert_eq!((&listed[0]["status"], receiver.all().len()), (&json!("timed out"), 0));
    let again = format!("{path}/{}/attempts", listed[0]["id"]);
    assert_eq!(world.send("POST", &again, Some(BOT), Value::Null).await.status, 202);
    receiver.wait_count(1).await;
    assert_eq!(receiver.all()[0].header("x-github-delivery"), listed[0]["guid"]);

    faults.webhooks(Webhooks::of("issue_comment").pick(Pick::once()), WebhookFault::Duplicate);
    say("doubled").await;
    let all = receiver.wait_count(3).await;
    assert_eq!(all[1].header("x-github-delivery"), all[2].header("x-github-delivery"));

    faults.webhooks(Webhooks::of("issue_comment").pick(Pick::once()), WebhookFault::Reorder { limit_millis: 60_000 });
    say("first").await;
    say("second").await;
    receiver.wait_count(5).await;
    assert_eq!(bodies(), ["dropped", "doubled", "doubled", "second", "first"]);

    faults.webhooks(Webhooks::of("issue_comment").pick(Pick::once()), WebhookFault::Reorder { limit_millis: 50 });
    say("alone").await;
    receiver.wait_count(6).await;
    faults.webhooks(Webhooks::default().pick(Pick::once()), WebhookFault::Delay { millis: 400 });
    say("late").await;
    say("early").await;
    receiver.wait_count(8).await;
    assert_eq!(bodies()[5..], ["alone", "early", "late"]);
    world.forge.stop().await;
}

#[tokio::test]
async fn the_clock_and_merges_can_be_wrong() {
    let world = World::start().await;
    world.open().await;
    let faults = world.forge.faults();
    faults.shift_clock(-86_400 * 400);
    let made = world.send("POST", "/issues/1/comments", Some(BOT), json!({ "body": "old" })).await;
    let year = |text: &str| text.get(..4).and_then(|year| year.parse::<i32>().ok()).unwrap();
    let then = year(made.json["created_at"].as_str().unwrap());
    assert!(made.header("date").contains(&format!(" {then} ")), "{}", made.header("date"));
    let reset: i64 = made.header("x-ratelimit-reset").parse().unwrap();
    faults.shift_clock(0);
    let made = world.send("POST", "/issues/1/comments", Some(BOT), json!({ "body": "new" })).await;
    assert!(year(made.json["created_at"].as_str().unwrap()) > then);
    assert!(made.header("x-ratelimit-reset").parse::<i64>().unwrap() > reset + 86_400 * 300);

    faults.hold_mergeable(true);
    let pull = world.get("/pulls/1").await.json;
    assert_eq!((&pull["mergeable"], &pull["mergeable_state"]), (&Value::Null, &json!("unknown")));
    faults.clear();
    assert_eq!(world.get("/pulls/1").await.json["mergeable"], true);

    faults.compute_merges_when_asked(true);
    let look = async || world.get("/pulls/1").await.json["mergeable"].clone();
    assert_eq!((look().await, look().await), (Value::Null, json!(true)));
    world.grow("feature", "src/x.py", "1\n").await;
    assert_eq!((look().await, look().await), (Value::Null, json!(true)));
    world.forge.stop().await;
}

#[tokio::test]
async fn other_processes_arrange_faults_only_where_allowed() {
    let plain = World::start().await;
    let url = format!("{}/_forge/faults", plain.forge.url());
    assert_eq!(client().get(&url).send().await.unwrap().status(), 404);
    plain.forge.stop().await;

    let world = World::with(|settings| kfops_forge::Settings { fault_admin: true, ..settings }).await;
    world.open().await;
    let url = format!("{}/_forge/faults", world.forge.url());
    let rule = json!({
        "requests": { "method": "GET", "path": "/repos/*/*/pulls/*", "times": 1 },
        "fault": { "kind": "status", "status": 504 },
    });
    let made: Value = client().post(&url).json(&rule).send().await.unwrap().json().await.unwrap();
    assert_eq!(world.get("/pulls/1").await.status, 504);
    assert_eq!(world.get("/pulls/1").await.status, 200);
    let hook = json!({ "webhooks": { "event": "push" }, "fault": { "kind": "drop" } });
    assert_eq!(client().post(&url).json(&hook).send().await.unwrap().status(), 201);
    let listed: Value = client().get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&listed["requests"][0]["id"], &listed["requests"][0]["hits"]), (&made["id"], &json!(1)));
    let form = client().post(&url).body(hook.to_string()).send().await.unwrap();
    assert_eq!(form.status(), 415, "a form of another site cannot send JSON");
    let moved = json!({ "clock_shift_seconds": 3600 });
    let shift = client().post(format!("{}/_forge/world", world.forge.url())).json(&moved).send().await.unwrap();
    assert_eq!(shift.json::<Value>().await.unwrap()["clock_shift_seconds"], 3600);
    assert_eq!(client().delete(&url).send().await.unwrap().status(), 204);
    let listed: Value = client().get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((&listed["webhooks"], &listed["clock_shift_seconds"]), (&json!([]), &json!(0)));
    world.forge.stop().await;
}
