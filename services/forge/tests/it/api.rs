//! What holds for every call: tokens, pages, entity tags, limits, errors.

use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, World, client, token};

#[tokio::test]
async fn tokens_are_checked() {
    let world = World::start().await;
    assert_eq!(world.crab(BOT).current().user().await.unwrap().login, BOT);
    let bad = client().get(world.url("")).bearer_auth("nobody's").send().await.unwrap();
    assert_eq!(bad.status(), 401);
    let body: Value = bad.json().await.unwrap();
    assert_eq!((&body["message"], &body["status"]), (&json!("Bad credentials"), &json!("401")));
    assert_eq!(world.send("GET", "", None, Value::Null).await.status, 200);
    assert_eq!(world.send("POST", "/issues", None, json!({ "title": "x" })).await.status, 401);
    let classic = client().get(world.url("")).header("authorization", format!("token {}", token(BOT))).send();
    assert_eq!(classic.await.unwrap().status(), 200);
    for path in ["/nothing", "/pulls/0", "/pulls/x", "/issues/comments/9", "/commits/none/status"] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json["documentation_url"].is_string(), "{path}");
    }
    world.forge.stop().await;
}

#[tokio::test]
async fn lists_have_pages() {
    let world = World::start().await;
    let number = world.open().await;
    for index in 0..5 {
        world.forge.comment(OWNER, REPO, number, "author", &format!("comment {index}")).await.unwrap();
    }
    let crab = world.crab(BOT);
    let first = crab.issues(OWNER, REPO).list_comments(number).per_page(2).send().await.unwrap();
    assert_eq!(first.items.len(), 2);
    assert!(first.next.is_some() && first.prev.is_none());
    let all = crab.all_pages(first).await.unwrap();
    assert_eq!(
        all.iter().map(|one| one.body.clone().unwrap()).collect::<Vec<_>>(),
        (0..5).map(|n| format!("comment {n}")).collect::<Vec<_>>()
    );
    let last = world.get("/issues/1/comments?per_page=2&page=3").await;
    assert!(!last.header("link").contains("rel=\"next\"") && last.header("link").contains("rel=\"prev\""));
    world.forge.stop().await;
}

#[tokio::test]
async fn unchanged_answers_are_not_sent_twice() {
    let world = World::start().await;
    world.open().await;
    let first = world.get("/pulls/1").await;
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with("W/\""));
    for name in ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-github-request-id"] {
        assert!(!first.header(name).is_empty(), "{name}");
    }
    let ask = || client().get(world.url("/pulls/1")).bearer_auth(token(BOT)).header("if-none-match", &etag).send();
    let same = ask().await.unwrap();
    assert_eq!((same.status().as_u16(), same.content_length().unwrap_or(0)), (304, 0));
    world.send("PATCH", "/pulls/1", Some("author"), json!({ "title": "Another" })).await;
    assert_eq!(ask().await.unwrap().status(), 200);
    world.forge.stop().await;
}

#[tokio::test]
async fn a_limit_is_held() {
    let world = World::with(|mut settings| {
        settings.rate_limit = Some(3);
        settings
    })
    .await;
    for left in ["2", "1", "0"] {
        assert_eq!(world.get("").await.header("x-ratelimit-remaining"), left);
    }
    let refused = world.get("").await;
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (403, "0"));
    let free = client().get(format!("{}/rate_limit", world.forge.url())).bearer_auth(token(BOT)).send().await.unwrap();
    assert_eq!(free.json::<Value>().await.unwrap()["resources"]["core"]["remaining"], 0);
    let typed = world.crab("author").ratelimit().get().await.unwrap();
    assert_eq!(typed.rate.limit, 3);
    assert_eq!(world.send("GET", "", Some("author"), Value::Null).await.status, 200);
    world.forge.stop().await;
}
