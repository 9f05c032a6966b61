//! What a branch asks for before a merge: shown by REST and GraphQL alike, and enforced by both.

use kfops_forge::{MergeMethods, Protection, Settings};
use serde_json::{Value, json};

use crate::world::{BOT, World, client};

async fn graphql(world: &World, query: &str) -> Value {
    let url = format!("{}/graphql", world.forge.url());
    let asked = client().post(url).bearer_auth(crate::world::token(BOT)).json(&json!({ "query": query })).send();
    asked.await.unwrap().json().await.unwrap()
}

/// State by REST and by GraphQL, whether there is a queue, and what a merge is told.
async fn seen(world: &World, method: &str) -> (String, String, bool, u16, String) {
    let rest = world.get("/pulls/1").await.json;
    assert_eq!(rest["mergeable"], true);
    let query = "{ repository(owner: \"team\", name: \"iris\") { mergeCommitAllowed squashMergeAllowed rebaseMergeAllowed \
                 pullRequest(number: 1) { id mergeable mergeStateStatus isMergeQueueEnabled } } }";
    let found = graphql(world, query).await["data"]["repository"]["pullRequest"].take();
    assert_eq!(found["mergeable"], "MERGEABLE", "{found}");
    let order = json!({ "sha": rest["head"]["sha"], "merge_method": method });
    let merged = world.send("PUT", "/pulls/1/merge", Some("author"), order).await;
    let mutation = format!(
        "mutation {{ mergePullRequest(input: {{ pullRequestId: {}, mergeMethod: {} }}) {{ pullRequest {{ merged }} }} }}",
        found["id"],
        method.to_uppercase()
    );
    if merged.status != 200 {
        let other = graphql(world, &mutation).await;
        assert_eq!(other["errors"][0]["message"], merged.json["message"], "{other}");
    }
    (
        rest["mergeable_state"].as_str().unwrap().to_owned(),
        found["mergeStateStatus"].as_str().unwrap().to_owned(),
        found["isMergeQueueEnabled"].as_bool().unwrap(),
        merged.status,
        merged.json["message"].as_str().unwrap_or_default().to_owned(),
    )
}

#[tokio::test]
async fn reviews_and_checks_are_asked_for() {
    let world = World::start().await;
    world.open().await;
    let protection = Protection { approvals: 1, checks: vec!["test".into()], ..Protection::default() };
    world.forge.protections().protect("Team/Iris", "main", protection);
    let blocked = async |part: &str| {
        let seen = seen(&world, "merge").await;
        assert_eq!((seen.0.as_str(), seen.1.as_str(), seen.2, seen.3), ("blocked", "BLOCKED", false, 405), "{seen:?}");
        assert!(seen.4.contains(part), "{seen:?}");
    };
    blocked("1 approving reviews are required, there are 0").await;
    let review = async |who: &str, event: &str| {
        let made = world.send("POST", "/pulls/1/reviews", Some(who), json!({ "event": event, "body": "x" })).await;
        assert_eq!(made.status, 200, "{}", made.json);
    };
    review("helper", "APPROVE").await;
    blocked("there are 0").await;
    review(BOT, "REQUEST_CHANGES").await;
    blocked("Changes were requested").await;
    review(BOT, "APPROVE").await;
    blocked("Required status check \"test\"").await;
    let head = world.get("/pulls/1").await.json["head"]["sha"].as_str().unwrap().to_owned();
    let green = json!({ "state": "success", "context": "test" });
    assert_eq!(world.send("POST", &format!("/statuses/{head}"), Some(BOT), green).await.status, 201);
    let seen = seen(&world, "merge").await;
    assert_eq!((seen.0.as_str(), seen.1.as_str(), seen.3), ("clean", "CLEAN", 200), "{seen:?}");
    world.forge.stop().await;
}

#[tokio::test]
async fn methods_queues_and_old_branches_are_refused() {
    let world = World::start().await;
    world.open().await;
    let rules = world.forge.protections();
    rules.merge_methods("team/iris", MergeMethods { merge: false, ..MergeMethods::default() });
    let merge = seen(&world, "merge").await;
    assert_eq!((merge.3, merge.4.as_str()), (405, "Merge commits are not allowed on this repository."));
    let found =
        graphql(&world, "{ repository(owner: \"team\", name: \"iris\") { mergeCommitAllowed squashMergeAllowed } }");
    let found = found.await["data"]["repository"].take();
    assert_eq!(found, json!({ "mergeCommitAllowed": false, "squashMergeAllowed": true }));
    rules.merge_methods("team/iris", MergeMethods::default());
    rules.protect("team/iris", "main", Protection { merge_queue: true, ..Protection::default() });
    let queued = seen(&world, "merge").await;
    assert_eq!((queued.0.as_str(), queued.2, queued.3), ("clean", true, 405), "{queued:?}");
    world.grow("main", "NEWS.md", "news\n").await;
    rules.protect("team/iris", "main", Protection { up_to_date: true, ..Protection::default() });
    let behind = seen(&world, "squash").await;
    assert_eq!((behind.0.as_str(), behind.1.as_str(), behind.3), ("behind", "BEHIND", 405), "{behind:?}");
    let bypass = Protection { approvals: 2, up_to_date: true, bypass: vec!["author".into()], ..Protection::default() };
    rules.protect("team/iris", "main", bypass);
    let through = seen(&world, "squash").await;
    assert_eq!((through.1.as_str(), through.3), ("BLOCKED", 200), "{through:?}");
    world.forge.stop().await;
}

#[tokio::test]
async fn other_processes_protect_where_they_may() {
    let world = World::with(|settings| Settings { fault_admin: true, ..settings }).await;
    world.open().await;
    let state = async || world.get("/pulls/1").await.json["mergeable_state"].as_str().unwrap().to_owned();
    let change =
        json!({ "protect": { "repository": "team/iris", "branch": "main", "protection": { "approvals": 1 } } });
    let url = format!("{}/_forge/world", world.forge.url());
    assert_eq!(client().post(&url).json(&change).send().await.unwrap().status(), 200);
    assert_eq!(state().await, "blocked");
    let url = format!("{}/_forge/faults", world.forge.url());
    assert_eq!(client().delete(&url).send().await.unwrap().status(), 204);
    assert_eq!(state().await, "clean");
    world.forge.stop().await;
}
