//! The forge's REST API and webhooks as GitHub describes them.

pub(crate) mod world;

use std::collections::BTreeSet;

use kfops_github_contract::{Side, Violation};
use serde_json::{Value, json};

use self::world::World;
use crate::lines;

/// Every path that the bot and kfc use, once or more.
#[tokio::test]
async fn the_forge_speaks_as_github_does() {
    let world = World::start().await;
    read_repository(&world).await;
    let hook = hooks(&world).await;
    let head = pull_request(&world).await;
    comments(&world).await;
    checks(&world, &head).await;
    deployments(&world, &head).await;
    labels(&world).await;
    merge(&world, &head).await;
    deliveries(&world, hook).await;
    errors(&world).await;
    let webhooks = world.webhooks().await;
    let kinds: BTreeSet<&str> = webhooks.iter().map(|(event, _)| event.as_str()).collect();
    for event in ["ping", "issue_comment", "pull_request", "push", "check_run", "deployment", "deployment_status"] {
        assert!(kinds.contains(event), "no {event} in {kinds:?}");
    }
    let (exchanges, mut found) = world.seen();
    assert!(exchanges > 60, "{exchanges}");
    found.extend(webhooks.iter().flat_map(|(event, payload)| world.judge.webhook(event, payload)));
    let distinct: BTreeSet<&Violation> = found.iter().collect();
    // What the forge does not do yet, one line for each kind; the list only gets shorter.
    let known: BTreeSet<&str> = include_str!("forge/open.txt").lines().filter(|line| !line.is_empty()).collect();
    let kind =
        |one: &Violation| format!("{}: {}", if one.side == Side::Webhook { "webhook" } else { "answer" }, one.what);
    let seen: BTreeSet<String> = found.iter().map(kind).collect();
    let fixed: Vec<_> = known.iter().filter(|line| !seen.contains(**line)).collect();
    if !fixed.is_empty() {
        eprintln!("no longer wrong, to be taken out of open.txt:{}", lines(&fixed));
    }
    let distinct: Vec<_> = distinct.into_iter().filter(|one| !known.contains(kind(one).as_str())).collect();
    let of = |side: Side| distinct.iter().filter(|one| one.side == side).count();
    assert!(
        distinct.is_empty(),
        "{exchanges} exchanges, {} webhooks; wrong: {} requests, {} answers, {} webhooks{}",
        webhooks.len(),
        of(Side::Request),
        of(Side::Answer),
        of(Side::Webhook),
        lines(&distinct)
    );
}

async fn read_repository(world: &World) {
    for path in [
        "",
        "/branches",
        "/branches/main",
        "/git/ref/heads/main",
        "/commits",
        "/commits?sha=feature&per_page=1",
        "/commits/main",
        "/compare/main...feature",
        "/contents/",
        "/contents/README.md?ref=feature",
        "/contents/src",
        "/collaborators",
        "/collaborators/author/permission",
        "/labels",
        "/issues?state=all",
        "/pulls?state=open&head=team%3Afeature",
    ] {
        world.ok("GET", path, Value::Null).await;
    }
    world.at("GET", "/user", Value::Null).await;
    world.at("GET", "/users/author", Value::Null).await;
    world.at("GET", "/rate_limit", Value::Null).await;
    world.at("GET", "/user/repos", Value::Null).await;
    assert_eq!(world.ask("GET", "/tarball/feature", Value::Null).await.0, 302);
    assert_eq!(world.ask("GET", "/collaborators/author", Value::Null).await.0, 204);
}

async fn hooks(world: &World) -> u64 {
    let config = json!({"url": world.receiver, "content_type": "json", "secret": "s"});
    let made = world
        .as_owner("POST", "/hooks", json!({"name": "web", "active": true, "events": ["*"], "config": config}))
        .await;
    assert_eq!(made.0, 201, "{}", made.1);
    let hook = made.1["id"].as_u64().unwrap();
    world.as_owner("GET", "/hooks", Value::Null).await;
    world.as_owner("GET", &format!("/hooks/{hook}"), Value::Null).await;
    world.as_owner("PATCH", &format!("/hooks/{hook}"), json!({"active": true})).await;
    assert_eq!(world.as_owner("POST", &format!("/hooks/{hook}/pings"), Value::Null).await.0, 204);
    hook
}

async fn pull_request(world: &World) -> String {
    let new = json!({"title": "Deeper trees", "head": "feature", "base": "main", "body": "because"});
    let made = world.ok("POST", "/pulls", new).await;
    assert_eq!(made["number"], 1);
    for path in ["/pulls", "/pulls/1", "/pulls/1/files", "/pulls/1/commits", "/pulls/1/reviews", "/issues/1"] {
        world.ok("GET", path, Value::Null).await;
    }
    world.ok("PATCH", "/pulls/1", json!({"title": "Deeper"})).await;
    let review = json!({"event": "APPROVE", "body": "fine"});
    assert_eq!(world.by("boss", "POST", "/pulls/1/reviews", review).await.0, 200);
    world.ok("GET", "/pulls/1/reviews", Value::Null).await;
    made["head"]["sha"].as_str().unwrap().to_owned()
}

async fn comments(world: &World) {
    let made = world.ok("POST", "/issues/1/comments", json!({"body": "/deploy"})).await;
    let path = format!("/issues/comments/{}", made["id"]);
    world.ok("GET", &path, Value::Null).await;
    world.ok("PATCH", &path, json!({"body": "done"})).await;
    world.ok("GET", "/issues/1/comments?per_page=1", Value::Null).await;
    world.ok("POST", &format!("{path}/reactions"), json!({"content": "eyes"})).await;
    world.ok("GET", &format!("{path}/reactions"), Value::Null).await;
    let other = world.ok("POST", "/issues/1/comments", json!({"body": "second"})).await;
    assert_eq!(world.ask("DELETE", &format!("/issues/comments/{}", other["id"]), Value::Null).await.0, 204);
    let issue = world.ok("POST", "/issues", json!({"title": "An issue", "body": "x"})).await;
    let path = format!("/issues/{}", issue["number"]);
    world.ok("PATCH", &path, json!({"state": "closed"})).await;
    world.ok("GET", &path, Value::Null).await;
}

async fn checks(world: &World, head: &str) {
    let actions = json!([{"label": "Retry", "identifier": "retry", "description": "the failed step"}]);
    let output = json!({"title": "built", "summary": "| a | b |", "annotations": [{
        "path": "src/train.py", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "x",
    }]});
    let new = json!({"name": "kfops", "head_sha": head, "status": "in_progress", "external_id": "c-1",
        "started_at": "2026-01-01T00:00:00Z", "details_url": "http://localhost/x"});
    let run = world.ok("POST", "/check-runs", new).await;
    let path = format!("/check-runs/{}", run["id"]);
    let done = json!({"status": "completed", "conclusion": "failure", "completed_at": "2026-01-01T00:00:01Z",
        "output": output, "actions": actions});
    world.ok("PATCH", &path, done).await;
    world.ok("GET", &path, Value::Null).await;
    world.ok("GET", &format!("{path}/annotations"), Value::Null).await;
    world.ok("GET", &format!("/commits/{head}/check-runs"), Value::Null).await;
    world.ok("GET", "/commits/feature/check-runs?check_name=kfops&filter=latest", Value::Null).await;
    assert_eq!(world.ask("POST", &format!("{path}/rerequest"), Value::Null).await.0, 201);
    world.ok("PATCH", &path, json!({"status": "completed", "conclusion": "success"})).await;
    world.ok("POST", &format!("/statuses/{head}"), json!({"state": "success", "context": "test"})).await;
    world.ok("GET", &format!("/commits/{head}/status"), Value::Null).await;
    world.ok("GET", &format!("/commits/{head}/statuses"), Value::Null).await;
}

async fn deployments(world: &World, head: &str) {
    let new = json!({"ref": head, "environment": "production", "auto_merge": false, "required_contexts": [],
        "production_environment": true, "description": "iris", "payload": {"command": "c-1"}});
    let made = world.ok("POST", "/deployments", new).await;
    let path = format!("/deployments/{}", made["id"]);
    let status = json!({"state": "success", "environment_url": "http://localhost/x", "log_url": "http://localhost/y",
        "description": "live"});
    world.ok("POST", &format!("{path}/statuses"), status).await;
    for path in [path.clone(), format!("{path}/statuses"), "/deployments?environment=production".into()] {
        world.ok("GET", &path, Value::Null).await;
    }
}

async fn labels(world: &World) {
    let name = "Deployed-to-production";
    world.ok("POST", "/labels", json!({"name": name, "color": "1a7f4b", "description": "live"})).await;
    world.ok("GET", &format!("/labels/{name}"), Value::Null).await;
    world.ok("PATCH", &format!("/labels/{name}"), json!({"color": "1a7f37"})).await;
    world.ok("POST", "/issues/1/labels", json!({"labels": [name, "a/b c"]})).await;
    world.ok("GET", "/issues/1/labels", Value::Null).await;
    world.ok("GET", &format!("/issues?labels={name}&state=all"), Value::Null).await;
    world.ok("DELETE", "/issues/1/labels/a%2Fb%20c", Value::Null).await;
    world.ok("PUT", "/issues/1/labels", json!({"labels": [name]})).await;
    world.ok("GET", "/pulls/1", Value::Null).await;
    assert_eq!(world.ask("DELETE", "/issues/1/labels", Value::Null).await.0, 204);
}

async fn merge(world: &World, head: &str) {
    assert_eq!(world.ask("GET", "/pulls/1/merge", Value::Null).await.0, 404);
    let wrong = json!({"sha": "0".repeat(40), "merge_method": "merge"});
    assert_eq!(world.ask("PUT", "/pulls/1/merge", wrong).await.0, 409);
    let merge = json!({"sha": head, "merge_method": "squash", "commit_title": "Deeper (#1)", "commit_message": ""});
    world.ok("PUT", "/pulls/1/merge", merge).await;
    assert_eq!(world.ask("GET", "/pulls/1/merge", Value::Null).await.0, 204);
    world.ok("GET", "/pulls/1", Value::Null).await;
    world.ok("GET", "/pulls?state=closed", Value::Null).await;
}

async fn deliveries(world: &World, hook: u64) {
    world.webhooks().await;
    let path = format!("/hooks/{hook}/deliveries");
    let list = world.as_owner("GET", &format!("{path}?per_page=5"), Value::Null).await.1;
    let one = format!("{path}/{}", list[0]["id"]);
    assert_eq!(world.as_owner("GET", &one, Value::Null).await.0, 200);
    assert_eq!(world.as_owner("POST", &format!("{one}/attempts"), Value::Null).await.0, 202);
}

async fn errors(world: &World) {
    for (method, path, body, status) in [
        ("GET", "/pulls/99", Value::Null, 404),
        ("GET", "/contents/none", Value::Null, 404),
        ("GET", "/git/ref/heads/none", Value::Null, 404),
        ("POST", "/labels", json!({"name": "Deployed-to-production"}), 422),
        ("PUT", "/pulls/1/merge", json!({}), 405),
        ("POST", "/pulls", json!({"title": "x", "head": "none", "base": "main"}), 422),
    ] {
        let (got, answer) = world.ask(method, path, body).await;
        assert_eq!(got, status, "{method} {path}: {answer}");
    }
    assert_eq!(world.by("stranger", "POST", "/issues/1/labels", json!({"labels": ["x"]})).await.0, 403);
    assert_eq!(world.by("nobody", "GET", "", Value::Null).await.0, 401);
}
