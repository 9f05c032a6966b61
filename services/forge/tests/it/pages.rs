//! The pages: what a person reads, writes, and what another site cannot make a browser write.

use serde_json::json;

use crate::world::{BOT, OWNER, REPO, Receiver, World, client};

async fn page(world: &World, path: &str) -> (u16, String) {
    let response = client().get(format!("{}{path}", world.forge.url())).send().await.unwrap();
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    (response.status().as_u16(), response.text().await.unwrap().replace("&#x2f;", "/"))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    text.split_once(before).unwrap().1.split_once(after).unwrap().0
}

#[tokio::test]
async fn a_person_reads_the_thread() {
    let world = World::start().await;
    let number = world.open().await;
    world.forge.comment(OWNER, REPO, number, "author", "/deploy <script>alert(1)</script>").await.unwrap();
    let table =
        "| step | state |\n|---|---|\n| gate | ✓ |\n\n<details><summary>log</summary>\n\n```\n<b>\n```\n</details>";
    world.forge.comment(OWNER, REPO, number, BOT, table).await.unwrap();
    world.crab("helper").issues(OWNER, REPO).add_labels(number, &["hot <i>".to_owned()]).await.unwrap();
    let sha = world.get("/pulls/1").await.json["head"]["sha"].clone();
    let check = json!({ "name": "kfops", "head_sha": sha, "details_url": "javascript:alert(1)" });
    assert_eq!(world.send("POST", "/check-runs", Some(BOT), check).await.status, 422);
    let check = json!({ "name": "kfops <s>", "head_sha": sha, "output": { "title": "t", "summary": "**s**" } });
    assert_eq!(world.send("POST", "/check-runs", Some(BOT), check).await.status, 201);

    let (status, html) = page(&world, "/team/iris/pull/1").await;
    assert_eq!(status, 200);
    for wanted in [
        "Deeper trees",
        "<table>",
        "<details><summary>log</summary>",
        "hot &lt;i&gt;",
        "kfops &lt;s&gt;",
        "<strong>s</strong>",
        "src/train.py",
        "depth = 4",
        "badge open",
    ] {
        assert!(html.contains(wanted), "{wanted} in {html}");
    }
    assert!(!html.contains("<script>alert"));
    assert!(page(&world, "/").await.1.contains("team/iris"));
    assert!(page(&world, "/team/iris").await.1.contains("Deeper trees"));
    assert_eq!(page(&world, "/team/iris/pull/99").await.0, 404);
    assert_eq!(page(&world, "/team/none").await.0, 404);
    for asset in ["/assets/forge.css", "/assets/thread.js", "/assets/avatar/kfops%5Bbot%5D"] {
        assert_eq!(page(&world, asset).await.0, 200, "{asset}");
    }
    world.forge.stop().await;
}

#[tokio::test]
async fn a_person_writes_and_no_other_site_does() {
    let world = World::start().await;
    let number = world.open().await;
    let receiver = Receiver::start().await;
    world.forge.add_hook(OWNER, REPO, "t", &receiver.url, &"s".into(), &["issue_comment", "check_run"]).await.unwrap();
    let (_, html) = page(&world, "/team/iris/pull/1").await;
    let token = between(&html, "name=\"token\" value=\"", "\"").to_owned();
    let action = format!("{}/team/iris/pull/1/act", world.forge.url());
    let post = |token: &str, user: &str, origin: &str, host: Option<&str>| {
        let mut request = client().post(&action).header("origin", origin);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.form(&[("token", token), ("user", user), ("body", "/build_run"), ("do", "comment")]).send()
    };
    let own = world.forge.url().to_owned();
    let good = post(&token, "boss", &own, None).await.unwrap();
    assert_eq!(good.status(), 303);
    assert!(good.headers()["location"].to_str().unwrap().starts_with("/team/iris/pull/1#issuecomment-"));
    assert_eq!(receiver.wait("issue_comment.created").await.json()["sender"]["login"], "boss");
    for (token, user, origin, host, why) in [
        ("wrong", "boss", own.as_str(), None, "token"),
        (token.as_str(), "boss", "http://evil.example", None, "origin"),
        (token.as_str(), "boss", "http://evil.example", Some("evil.example"), "rebound name"),
        (token.as_str(), BOT, own.as_str(), None, "bot"),
        (token.as_str(), "nobody", own.as_str(), None, "nobody"),
    ] {
        let refused = post(token, user, origin, host).await.unwrap();
        assert!(refused.status().is_client_error(), "{why}: {}", refused.status());
    }
    assert_eq!(world.get(&format!("/issues/{number}")).await.json["comments"], 1);

    // A button of a check run.
    let sha = world.get("/pulls/1").await.json["head"]["sha"].clone();
    let actions = json!([{ "label": "Cancel", "description": "Stops it", "identifier": "cancel" }]);
    let check = json!({ "name": "kfops", "head_sha": sha, "status": "in_progress", "actions": actions });
    let check = world.send("POST", "/check-runs", Some(BOT), check).await.json["id"].to_string();
    assert!(page(&world, "/team/iris/pull/1").await.1.contains("value=\"cancel\""));
    let form = [("token", token.as_str()), ("user", "author"), ("check", &check), ("press", "cancel")];
    assert_eq!(client().post(&action).form(&form).send().await.unwrap().status(), 303);
    let pressed = receiver.wait("check_run.requested_action").await.json();
    assert_eq!(pressed["requested_action"]["identifier"], "cancel");
    world.forge.stop().await;
}
