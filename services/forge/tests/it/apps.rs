//! The webhook of an app: every repository's events with the installation, and the deliveries API.

use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World, client, token, until};

async fn ask(world: &World, method: &str, path: &str, login: &str) -> (u16, Option<String>, Value) {
    let request = client().request(method.parse().unwrap(), format!("{}/api/v3{path}", world.forge.url()));
    let response = request.bearer_auth(token(login)).send().await.unwrap();
    let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
    (response.status().as_u16(), link, response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn an_app_hears_of_every_repository() {
    let world = World::start().await;
    world.open().await;
    world.forge.import_repository("other", "wine", &world.source).await.unwrap();
    let receiver = Receiver::start().await;
    world.forge.set_app_hook(BOT, &receiver.url, &"app secret".into(), &["issue_comment", "issues"]).await.unwrap();
    world.forge.comment(OWNER, REPO, 1, "author", "/build").await.unwrap();
    let url = format!("{}/repos/other/wine/issues", world.forge.url());
    let new = json!({ "title": "help" });
    assert_eq!(client().post(url).bearer_auth(token("author")).json(&new).send().await.unwrap().status(), 201);
    let all = receiver.wait_count(2).await;
    for (one, repository) in all.iter().zip(["team/iris", "other/wine"]) {
        assert_eq!(one.json()["repository"]["full_name"], repository);
        assert!(one.json()["installation"]["id"].is_u64());
        assert_eq!(one.header("x-github-hook-installation-target-type"), "integration");
        assert!(!one.header("x-hub-signature-256").is_empty());
    }
    world.forge.stop().await;
}

#[tokio::test]
async fn an_app_reads_and_repeats_its_deliveries() {
    let world = World::start().await;
    world.open().await;
    let receiver = Receiver::start().await;
    world.forge.set_app_hook(BOT, &receiver.url, &"app secret".into(), &["issue_comment"]).await.unwrap();
    receiver.answer(500);
    for text in ["one", "two", "three"] {
        world.forge.comment(OWNER, REPO, 1, "author", text).await.unwrap();
    }
    let path = "/app/hook/deliveries";
    let listed = until("deliveries", async || {
        let (_, _, listed) = ask(&world, "GET", path, BOT).await;
        Some(listed).filter(|listed| listed.as_array().is_some_and(|all| all.len() == 3))
    })
    .await;
    assert_eq!((&listed[0]["status_code"], &listed[0]["action"]), (&json!(500), &json!("created")));
    assert!(listed[0]["installation_id"].is_u64() && listed[0]["repository_id"].is_u64());
    let (_, link, first) = ask(&world, "GET", &format!("{path}?per_page=2"), BOT).await;
    let link = link.unwrap();
    assert!(link.contains("rel=\"next\"") && link.contains("cursor="), "{link}");
    let next = link.split(['<', '>']).nth(1).unwrap();
    let rest: Value = client().get(next).bearer_auth(token(BOT)).send().await.unwrap().json().await.unwrap();
    assert_eq!((first.as_array().unwrap().len(), &rest[0]["id"]), (2, &listed[2]["id"]));

    let one = format!("{path}/{}", listed[2]["id"]);
    let (_, _, detail) = ask(&world, "GET", &one, BOT).await;
    assert_eq!(detail["request"]["payload"]["comment"]["body"], "one");
    assert_eq!(detail["request"]["headers"]["x-github-delivery"], detail["guid"]);
    assert_eq!((&detail["response"]["payload"], &detail["url"]), (&json!(""), &json!(receiver.url)));
    receiver.answer(202);
    assert_eq!(ask(&world, "POST", &format!("{one}/attempts"), BOT).await.0, 202);
    let again = receiver.wait_count(4).await;
    assert_eq!(again[3].header("x-github-delivery"), detail["guid"]);
    let newest = until("the redelivery", async || {
        let (_, _, listed) = ask(&world, "GET", path, BOT).await;
        Some(listed[0].clone()).filter(|newest| newest["redelivery"] == true)
    })
    .await;
    assert_ne!(newest["id"], detail["id"]);
    assert_eq!((&newest["guid"], &newest["status"]), (&detail["guid"], &json!("OK")));

    assert_eq!(ask(&world, "GET", path, "boss").await.0, 401, "only apps have one");
    assert_eq!(ask(&world, "GET", &format!("{path}/999"), BOT).await.0, 404);
    let (_, _, config) = ask(&world, "GET", "/app/hook/config", BOT).await;
    assert_eq!((&config["secret"], &config["url"]), (&json!("********"), &json!(receiver.url)));
    world.forge.stop().await;
}
