//! What each webhook says: actions, `before` and `after`, `changes`, who pressed which button.

use serde_json::{Value, json};

use crate::world::{BOT, OWNER, REPO, Received, Receiver, World, client, git, until};

async fn listening(world: &World) -> Receiver {
    let receiver = Receiver::start().await;
    world.forge.add_hook(OWNER, REPO, "all", &receiver.url, &"s".into(), &[]).await.unwrap();
    world.forge.set_app_hook(BOT, &Receiver::start().await.url, &"s".into(), &[]).await.unwrap();
    receiver
}

#[tokio::test]
async fn a_pull_request_tells_its_life() {
    let world = World::start().await;
    let receiver = listening(&world).await;
    let number = world.open().await;
    let opened = receiver.wait("pull_request.opened").await.json();
    assert_eq!((&opened["number"], &opened["pull_request"]["merged"]), (&json!(number), &json!(false)));
    let before = opened["pull_request"]["head"]["sha"].clone();

    world.send("POST", "/issues/1/labels", Some("helper"), json!({ "labels": ["hot", "new one"] })).await;
    world.send("DELETE", "/issues/1/labels/hot", Some("helper"), Value::Null).await;
    assert_eq!(receiver.wait("pull_request.unlabeled").await.json()["label"]["name"], "hot");
    let edit = json!({ "title": "Shallower", "body": "no" });
    world.send("PATCH", "/pulls/1", Some("author"), edit).await;
    let edited = receiver.wait("pull_request.edited").await.json();
    assert_eq!(edited["changes"], json!({ "title": { "from": "Deeper trees" }, "body": { "from": "because" } }));

    let written = opened["pull_request"]["updated_at"].as_str().unwrap().to_owned();
    world.forge.faults().shift_clock(60);
    let after = world.grow("feature", "src/x.py", "1\n").await;
    world.forge.faults().shift_clock(0);
    let moved = receiver.wait("pull_request.synchronize").await.json();
    assert_eq!((&moved["before"], &moved["after"]), (&before, &json!(after)));
    // When the push was made, for whoever asks whether a comment was written before it.
    assert!(moved["pull_request"]["updated_at"].as_str().unwrap() > written.as_str(), "{moved}");
    assert_eq!(receiver.wait("push").await.json()["pusher"]["name"], "author");

    let review = json!({ "event": "APPROVE", "body": "good" });
    world.send("POST", "/pulls/1/reviews", Some("boss"), review).await;
    let reviewed = receiver.wait("pull_request_review.submitted").await.json();
    assert_eq!((&reviewed["review"]["state"], &reviewed["review"]["commit_id"]), (&json!("approved"), &json!(after)));

    world.send("PATCH", "/pulls/1", Some("author"), json!({ "state": "closed" })).await;
    assert_eq!(receiver.wait("pull_request.closed").await.json()["pull_request"]["merged"], false);
    world.send("PATCH", "/pulls/1", Some("author"), json!({ "state": "open" })).await;
    receiver.wait("pull_request.reopened").await;
    git(&world.source, &["branch", "-q", "release", "main"]);
    world.forge.import_repository(OWNER, REPO, &world.source).await.unwrap();
    let retargeted = world.send("PATCH", "/pulls/1", Some("author"), json!({ "base": "release" })).await;
    assert_eq!((retargeted.status, &retargeted.json["base"]["ref"]), (200, &json!("release")));
    let told = until("the new base", async || {
        receiver.all().iter().map(Received::json).find(|event| event["changes"]["base"].is_object())
    })
    .await;
    assert_eq!(told["changes"]["base"]["ref"]["from"], "main");
    assert_eq!(world.send("PATCH", "/pulls/1", Some("author"), json!({ "base": "nowhere" })).await.status, 422);
    let draft = json!({ "title": "d", "head": "feature", "base": "release", "draft": true });
    assert_eq!(world.send("POST", "/pulls", Some("author"), draft).await.status, 422);
    world.forge.stop().await;
}

#[tokio::test]
async fn comments_tell_what_they_said() {
    let world = World::start().await;
    world.open().await;
    let receiver = listening(&world).await;
    let made = world.send("POST", "/issues/1/comments", Some("author"), json!({ "body": "/deploy" })).await;
    let path = format!("/issues/comments/{}", made.json["id"]);
    world.send("PATCH", &path, Some("author"), json!({ "body": "/deploy --force" })).await;
    let edited = receiver.wait("issue_comment.edited").await.json();
    assert_eq!(edited["changes"], json!({ "body": { "from": "/deploy" } }));
    assert_eq!(world.send("DELETE", &path, Some("boss"), Value::Null).await.status, 204);
    let deleted = receiver.wait("issue_comment.deleted").await.json();
    assert_eq!((&deleted["comment"]["body"], &deleted["sender"]["login"]), (&json!("/deploy --force"), &json!("boss")));
    assert_eq!(world.get(&path).await.status, 404);

    let long = json!({ "body": "x".repeat(65_537) });
    let refused = world.send("POST", "/issues/1/comments", Some(BOT), long).await;
    assert_eq!((refused.status, &refused.json["message"]), (422, &json!("Validation Failed")));
    let longest = json!({ "body": "ü".repeat(65_536) });
    assert_eq!(world.send("POST", "/issues/1/comments", Some(BOT), longest).await.status, 201);

    let issue = world.send("POST", "/issues", Some("author"), json!({ "title": "plain" })).await;
    let path = format!("/issues/{}", issue.json["number"]);
    world.send("POST", &format!("{path}/labels"), Some("helper"), json!({ "labels": ["bug"] })).await;
    world.send("PATCH", &path, Some("author"), json!({ "title": "plainer" })).await;
    world.send("PATCH", &path, Some("author"), json!({ "state": "closed" })).await;
    receiver.wait("issues.closed").await;
    world.forge.stop().await;
}

/// A check run with two buttons and an annotation, on the head of the pull request.
async fn checked(world: &World) -> (Value, Receiver) {
    let number = world.open().await;
    let receiver = listening(world).await;
    let sha = world.get(&format!("/pulls/{number}")).await.json["head"]["sha"].clone();
    let run = json!({
        "name": "kfops: deploy", "head_sha": sha, "external_id": "command-7", "status": "completed",
        "conclusion": "failure",
        "output": {
            "title": "no image", "summary": "the image `iris` cannot be built",
            "annotations": [{
                "path": "images/<iris>/Dockerfile", "start_line": 3, "end_line": 4, "annotation_level": "failure",
                "title": "unknown instruction", "message": "FORM is none; did you mean FROM?",
            }],
        },
        "actions": [
            { "label": "Retry", "description": "redo what failed", "identifier": "retry" },
            { "label": "Cancel", "description": "give up", "identifier": "cancel" },
        ],
    });
    let made = world.send("POST", "/check-runs", Some(BOT), run).await;
    assert_eq!(made.status, 201, "{}", made.json);
    (made.json, receiver)
}

fn described(received: &Received) -> Value {
    let event = received.json();
    json!([
        event["requested_action"]["identifier"],
        event["sender"]["login"],
        event["check_run"]["external_id"],
        event["check_run"]["pull_requests"][0]["number"],
    ])
}

#[tokio::test]
async fn buttons_and_annotations_of_a_check_run() {
    let world = World::start().await;
    let (run, receiver) = checked(&world).await;
    let annotations = world.get(&format!("/check-runs/{}/annotations", run["id"])).await.json;
    assert_eq!(
        (&annotations[0]["start_line"], &annotations[0]["path"]),
        (&json!(3), &json!("images/<iris>/Dockerfile"))
    );
    assert!(annotations[0]["blob_href"].as_str().unwrap().ends_with("Dockerfile"));

    let page = format!("{}/team/iris/pull/1", world.forge.url());
    let html = client().get(&page).send().await.unwrap().text().await.unwrap();
    assert!(
        html.contains("images&#x2f;&lt;iris&gt;&#x2f;Dockerfile:3")
            || html.contains("images/&lt;iris&gt;/Dockerfile:3")
    );
    assert!(html.contains("did you mean FROM?") && html.contains(">Retry<"));
    let own = html.split("<button class=\"own\"").nth(1).unwrap().split("</button>").next().unwrap();
    assert!(own.contains("as on GitHub") && own.ends_with(">Re-run"), "{own}");
    let token = html.split("name=\"token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let press = async |user: &str, what: &str| {
        let fields = [("token", token.as_str()), ("user", user), ("check", &run["id"].to_string()), ("press", what)];
        let sent = client().post(format!("{page}/act")).form(&fields).send().await.unwrap();
        sent.status().as_u16()
    };
    assert_eq!(press("boss", "cancel").await, 303);
    let pressed = receiver.wait("check_run.requested_action").await;
    assert_eq!(described(&pressed), json!(["cancel", "boss", "command-7", 1]));
    assert_eq!(press("boss", "explode").await, 404);
    assert_eq!(press("stranger", "retry").await, 403);
    assert_eq!(press("author", "").await, 303, "re-run");
    let again = receiver.wait("check_run.rerequested").await;
    assert_eq!(described(&again), json!([null, "author", "command-7", 1]));
    let rest = world.send("POST", &format!("/check-runs/{}/rerequest", run["id"]), Some("author"), Value::Null).await;
    assert_eq!(rest.status, 201);
    world.forge.stop().await;
}
