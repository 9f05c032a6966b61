//! Labels, check runs, statuses, deployments, reactions, permissions.

use octocrab::params::checks::{CheckRunConclusion, CheckRunOutput, CheckRunStatus};
use octocrab::params::repos::Commitish;
use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World};

#[tokio::test]
async fn labels_move() {
    let world = World::start().await;
    let number = world.open().await;
    let crab = world.crab(BOT);
    let issues = crab.issues(OWNER, REPO);
    issues.create_label("Deployed-to-production", "1a7f4b", "live").await.unwrap();
    let twin = world.send("POST", "/labels", Some(BOT), json!({ "name": "deployed-to-PRODUCTION" })).await;
    assert_eq!((twin.status, &twin.json["errors"][0]["code"]), (422, &json!("already_exists")));
    let labels = issues.add_labels(number, &["Deployed-to-production".to_owned(), "a/b c".to_owned()]).await.unwrap();
    assert_eq!(labels.len(), 2);
    let found = issues.list().labels(&["Deployed-to-production".to_owned()]).send().await.unwrap();
    assert_eq!(found.items[0].number, number);
    let left = issues.remove_label(number, "a/b c").await.unwrap();
    assert_eq!(left.len(), 1);
    let absent = world.send("DELETE", "/issues/1/labels/absent", Some(BOT), Value::Null).await;
    assert_eq!((absent.status, &absent.json["message"]), (404, &json!("Not Found")));
    issues.replace_all_labels(number, &["z".to_owned()]).await.unwrap();
    let pull = crab.pulls(OWNER, REPO).get(number).await.unwrap();
    assert_eq!(pull.labels.unwrap().iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["z"]);
    assert_eq!(world.send("POST", "/issues/1/labels", Some("stranger"), json!({ "labels": ["x"] })).await.status, 403);
    world.forge.stop().await;
}

#[tokio::test]
async fn check_runs_are_made_by_apps() {
    let world = World::start().await;
    let number = world.open().await;
    let crab = world.crab(BOT);
    let sha = crab.pulls(OWNER, REPO).get(number).await.unwrap().head.sha;
    let checks = crab.checks(OWNER, REPO);
    let run = checks.create_check_run("kfops: build_run", &sha).external_id("c-1").status(CheckRunStatus::InProgress);
    let run = run.send().await.unwrap();
    assert_eq!((run.conclusion, run.pull_requests.len()), (None, 1));
    assert_eq!(world.get(&format!("/pulls/{number}")).await.json["mergeable_state"], "unstable");
    let output = CheckRunOutput {
        title: "built".into(),
        summary: "| a | b |".into(),
        text: None,
        annotations: Vec::new(),
        images: Vec::new(),
    };
    let done = checks.update_check_run(run.id).conclusion(CheckRunConclusion::Success).output(output).send();
    let done = done.await.unwrap();
    assert_eq!(done.conclusion.as_deref(), Some("success"));
    assert!(done.completed_at.is_some());
    let listed = checks.list_check_runs_for_git_ref(Commitish("feature".into())).send().await.unwrap();
    assert_eq!((listed.total_count, listed.check_runs[0].output.title.as_deref()), (1, Some("built")));
    assert_eq!(world.get(&format!("/pulls/{number}")).await.json["mergeable_state"], "clean");

    let person = json!({ "name": "x", "head_sha": sha });
    assert_eq!(world.send("POST", "/check-runs", Some("author"), person).await.status, 403);
    for bad in [
        json!({ "head_sha": sha }),
        json!({ "name": "x", "head_sha": "0".repeat(40) }),
        json!({ "name": "x", "head_sha": sha, "status": "completed" }),
        json!({ "name": "x", "head_sha": sha, "conclusion": "splendid" }),
        json!({ "name": "x", "head_sha": sha, "actions": [{ "label": "a label that is too long", "identifier": "x" }] }),
    ] {
        assert_eq!(world.send("POST", "/check-runs", Some(BOT), bad.clone()).await.status, 422, "{bad}");
    }
    world.forge.stop().await;
}

#[tokio::test]
async fn statuses_and_deployments() {
    let world = World::start().await;
    world.open().await;
    let sha = world.get("/pulls/1").await.json["head"]["sha"].as_str().unwrap().to_owned();
    let receiver = Receiver::start().await;
    world.forge.add_hook(OWNER, REPO, "t", &receiver.url, &"s".into(), &["deployment_status"]).await.unwrap();
    let set = json!({ "state": "pending", "context": "test" });
    assert_eq!(world.send("POST", &format!("/statuses/{sha}"), Some(BOT), set).await.status, 201);
    let set = json!({ "state": "success", "context": "test", "target_url": "http://x/1" });
    world.send("POST", &format!("/statuses/{sha}"), Some(BOT), set).await;
    let combined = world.get(&format!("/commits/{sha}/status")).await.json;
    assert_eq!((combined["state"].as_str(), combined["total_count"].as_u64()), (Some("success"), Some(1)));
    assert_eq!(world.get("/commits/feature/statuses").await.json.as_array().unwrap().len(), 2);
    assert_eq!(
        world.send("POST", &format!("/statuses/{sha}"), Some(BOT), json!({ "state": "fine" })).await.status,
        422
    );

    let new = json!({ "ref": "feature", "environment": "staging" });
    let made = world.send("POST", "/deployments", Some(BOT), new).await;
    assert_eq!((made.status, &made.json["sha"]), (201, &json!(sha)));
    let _: octocrab::models::repos::Deployment = serde_json::from_value(made.json.clone()).unwrap();
    let path = format!("/deployments/{}/statuses", made.json["id"]);
    let status =
        world.send("POST", &path, Some(BOT), json!({ "state": "success", "environment_url": "http://x" })).await;
    assert_eq!(status.status, 201);
    let _: octocrab::models::repos::DeploymentStatus = serde_json::from_value(status.json).unwrap();
    assert_eq!(world.get("/deployments?environment=staging").await.json.as_array().unwrap().len(), 1);
    receiver.wait("deployment_status.created").await;
    world.forge.stop().await;
}

#[tokio::test]
async fn permissions_and_reactions() {
    let world = World::start().await;
    let number = world.open().await;
    world.forge.set_role(OWNER, REPO, "stranger", kfops_forge::Role::Admin).await.unwrap();
    for (login, legacy, role) in [
        ("boss", "write", "maintain"),
        ("author", "write", "write"),
        ("helper", "read", "triage"),
        ("stranger", "admin", "admin"),
        (BOT, "write", "write"),
        ("team", "admin", "admin"),
    ] {
        let answer = world.get(&format!("/collaborators/{login}/permission")).await;
        assert_eq!((&answer.json["permission"], &answer.json["role_name"]), (&json!(legacy), &json!(role)), "{login}");
    }
    let nobody = world.get("/collaborators/nobody/permission").await;
    assert_eq!((nobody.status, &nobody.json["message"]), (404, &json!("nobody is not a user")));
    let asked = world.send("GET", "/collaborators/boss/permission", Some("helper"), Value::Null).await;
    assert_eq!(asked.status, 403);

    let comment = world.forge.comment(OWNER, REPO, number, "author", "/deploy").await.unwrap();
    let path = format!("/issues/comments/{comment}/reactions");
    let react = json!({ "content": "eyes" });
    assert_eq!(world.send("POST", &path, Some(BOT), react.clone()).await.status, 201);
    assert_eq!(world.send("POST", &path, Some(BOT), react).await.status, 200);
    assert_eq!(world.send("POST", &path, Some(BOT), json!({ "content": "bread" })).await.status, 422);
    assert_eq!(world.get(&format!("/issues/comments/{comment}")).await.json["reactions"]["eyes"], 1);
    world.forge.stop().await;
}
