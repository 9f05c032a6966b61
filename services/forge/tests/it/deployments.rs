//! Deployments: older ones become inactive, webhooks tell each status, the page shows the environments.

use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Receiver, World, client};

async fn deploy(world: &World, environment: &str, transient: bool) -> Value {
    let new = json!({
        "ref": "feature", "environment": environment, "transient_environment": transient, "required_contexts": [],
        "auto_merge": false, "description": "iris", "payload": { "command": "c-1" },
    });
    let made = world.send("POST", "/deployments", Some(BOT), new).await;
    assert_eq!(made.status, 201, "{}", made.json);
    made.json["id"].clone()
}

async fn set(world: &World, deployment: &Value, fields: Value) -> Value {
    let made = world.send("POST", &format!("/deployments/{deployment}/statuses"), Some(BOT), fields).await;
    assert_eq!(made.status, 201, "{}", made.json);
    made.json
}

async fn states(world: &World, deployment: &Value) -> Vec<String> {
    let listed = world.get(&format!("/deployments/{deployment}/statuses")).await.json;
    listed.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn older_deployments_become_inactive() {
    let world = World::start().await;
    world.open().await;
    let receiver = Receiver::start().await;
    world
        .forge
        .add_hook(OWNER, REPO, "t", &receiver.url, &"s".into(), &["deployment", "deployment_status"])
        .await
        .unwrap();
    let (first, preview) = (deploy(&world, "staging", false).await, deploy(&world, "preview", true).await);
    let live = json!({ "state": "success", "environment_url": "http://staging.example/iris", "log_url": "http://log" });
    set(&world, &first, json!({ "state": "in_progress" })).await;
    let status = set(&world, &first, live.clone()).await;
    assert_eq!((&status["environment_url"], &status["log_url"]), (&live["environment_url"], &live["log_url"]));
    set(&world, &preview, live.clone()).await;
    set(&world, &preview, json!({ "state": "success", "description": "iris-00002 is live" })).await;
    set(&world, &preview, json!({ "state": "success" })).await;

    let second = deploy(&world, "staging", false).await;
    set(&world, &second, json!({ "state": "success", "auto_inactive": false })).await;
    assert_eq!(states(&world, &first).await, ["success", "in_progress"]);
    let third = deploy(&world, "staging", false).await;
    set(&world, &third, json!({ "state": "failure" })).await;
    assert_eq!(states(&world, &first).await[0], "success", "only a success replaces");
    set(&world, &third, live).await;
    assert_eq!(states(&world, &first).await[0], "inactive");
    assert_eq!(states(&world, &second).await, ["inactive", "success"]);
    assert_eq!(states(&world, &preview).await, ["success", "success", "success"], "another environment");
    assert_eq!(states(&world, &third).await, ["success", "failure"]);

    let event = receiver.wait("deployment_status.created").await.json();
    assert_eq!((&event["deployment"]["id"], &event["deployment"]["payload"]["command"]), (&first, &json!("c-1")));
    assert_eq!(event["deployment_status"]["state"], "in_progress");

    let page = format!("{}/team/iris/deployments", world.forge.url());
    let html = client().get(&page).send().await.unwrap().text().await.unwrap();
    for text in ["staging", "preview", "http:&#x2f;&#x2f;staging.example&#x2f;iris", "inactive", "kfops[bot]"] {
        assert!(html.contains(text), "{text}: {html}");
    }
    let preview = html.split("<h2>preview</h2>").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(
        preview.contains("iris-00002 is live · by") && !preview.contains("iris · by"),
        "the newest word: {preview}"
    );
    assert!(preview.contains(">feature<"), "{preview}");

    let sha = world.get(&format!("/deployments/{first}")).await.json["sha"].as_str().unwrap().to_owned();
    let new = json!({ "ref": sha, "environment": "commit", "required_contexts": [], "auto_merge": false });
    assert_eq!(world.send("POST", "/deployments", Some(BOT), new).await.status, 201);
    let html = client().get(&page).send().await.unwrap().text().await.unwrap();
    assert!(html.contains("<h2>commit</h2>") && !html.contains(&sha), "a commit is shown once, short: {html}");
    let one = world.get(&format!("/deployments/{first}/statuses/{}", status["id"])).await;
    assert_eq!((one.status, &one.json["state"]), (200, &json!("success")));
    world.forge.stop().await;
}
