//! What is asked, and what becomes of the answers.

use std::time::SystemTime;

use kfops_core::Reason;
use kfops_scm_bot::{
    MergeMethod,
    command::MergeState,
    ports::{CheckRun, Deployment, DeploymentState, GitHub as _, Meter, Post, Written},
};
use serde_json::{Value, json};

use super::server::{Say, Seen, Server, TestClock, admin, ok, repository};

fn check(completed: bool) -> CheckRun {
    let now = SystemTime::now();
    CheckRun {
        name: "kfops/build".into(),
        external_id: "c-1".into(),
        commit: "3".repeat(40),
        started: now,
        completed: completed.then_some(("cancelled", now)),
        title: "é".repeat(200),
        summary: String::new(),
        details_url: None,
        annotations: Vec::new(),
        buttons: Vec::new(),
    }
}

#[tokio::test]
async fn an_answer_that_has_not_changed_is_not_sent_again() {
    let server = Server::start(|seen, before| match (before, seen.header("if-none-match")) {
        (0, "") => Say::With(200, vec![("etag", "W/\"1\"".into())], admin()),
        (_, "W/\"1\"") => Say::With(304, vec![("etag", "W/\"1\"".into())], Value::Null),
        _ => Say::Json(400, json!({})),
    })
    .await;
    let (client, meter) = (server.client("t"), Meter::default());
    for _ in 0..3 {
        assert_eq!(client.permission(&meter, &repository(), "u").await.unwrap(), "admin");
    }
    let statuses: Vec<u16> = meter.take().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [200, 304, 304]);
}

#[tokio::test]
async fn redirects_are_followed_without_credentials_elsewhere() {
    let elsewhere = Server::start(|_, _| ok(json!("bytes"))).await;
    let to = format!("{}/archive?token=secret", elsewhere.url);
    let server = Server::start(move |seen, _| match seen.line.as_str() {
        "GET /api/v3/repos/o/r/tarball/abc" => Say::With(302, vec![("location", to.clone())], Value::Null),
        "GET /api/v3/repos/o/r/collaborators/u/permission" => {
            Say::With(301, vec![("location", "/api/v3/repositories/9/permission".into())], Value::Null)
        }
        "PUT /api/v3/repos/o/r/pulls/1/merge" => {
            Say::With(307, vec![("location", "/api/v3/repositories/9/merge".into())], Value::Null)
        }
        "PUT /api/v3/repositories/9/merge" => ok(json!({"merged": true, "sha": "m"})),
        "PUT /api/v3/repos/o/r/pulls/2/merge" => {
            Say::With(301, vec![("location", "/api/v3/repositories/9/merge".into())], Value::Null)
        }
        _ => ok(admin()),
    })
    .await;
    let (client, meter, repository) = (server.client("t"), Meter::default(), repository());
    assert_eq!(client.archive(&meter, &repository, "abc").await.unwrap(), "\"bytes\"");
    assert_eq!(elsewhere.seen()[0].header("authorization"), "");
    assert_eq!(client.permission(&meter, &repository, "u").await.unwrap(), "admin");
    assert_eq!(server.seen().last().unwrap().header("authorization"), "Bearer t");
    client.merge(&meter, (&repository, 1), "c").await.unwrap();
    assert_eq!(server.seen().last().unwrap().body["sha"], "c");
    let failure = client.merge(&meter, (&repository, 2), "c").await.unwrap_err();
    assert_eq!(failure.reason, Reason::NotFound, "{failure}");
}

#[tokio::test]
async fn a_missing_permission_is_named() {
    let server = Server::start(|seen, _| {
        let message = json!({"message": "Resource not accessible by integration"});
        match seen.line.as_str() {
            "POST /api/graphql" => ok(json!({"data": {"comment": null}, "errors": [{
                "type": "FORBIDDEN", "path": ["comment"], "message": "Resource not accessible by integration",
            }]})),
            _ => Say::With(
                403,
                vec![("x-accepted-github-permissions", "contents=write; pull_requests=write".into())],
                message,
            ),
        }
    })
    .await;
    let (client, meter) = (server.client("ghs_t"), Meter::default());
    let failure = client.merge(&meter, (&repository(), 1), "c").await.unwrap_err();
    assert_eq!(failure.reason, Reason::PermissionDenied);
    assert!(failure.action.contains("contents: write or pull_requests: write"), "{}", failure.action);
    let post = Post { comment: Some(Written { id: Some("IC_1".into()), content: "x".into() }), ..Post::default() };
    let failure = client.post(&meter, (&repository(), 1), &post).await.unwrap().comment.unwrap().unwrap_err();
    assert_eq!(failure.reason, Reason::PermissionDenied);
    assert!(failure.action.contains("write access to issues"), "{}", failure.action);
}

#[tokio::test]
async fn a_comment_is_read_as_it_stands() {
    let server = Server::start(|seen, _| match seen.line.as_str() {
        "GET /api/v3/repos/o/r/issues/comments/1" => ok(json!({"id": 1, "body": "never mind"})),
        "GET /api/v3/repos/o/r/issues/comments/2" => Say::Json(404, json!({"message": "Not Found"})),
        "GET /api/v3/repos/o/r/issues/comments/3" => Say::Json(410, json!({"message": "This issue was deleted"})),
        _ => Say::Json(403, json!({"message": "Resource not accessible by integration"})),
    })
    .await;
    let (client, meter, repository) = (server.client("t"), Meter::default(), repository());
    for (id, text) in [(1, Some("never mind".to_owned())), (2, None), (3, None)] {
        assert_eq!(client.comment(&meter, &repository, id).await.unwrap(), text);
    }
    // Who may not read it does not know.
    assert_eq!(client.comment(&meter, &repository, 4).await.unwrap_err().reason, Reason::PermissionDenied);
}

#[tokio::test]
async fn nobody_knows_a_user() {
    let server = Server::start(|_, _| Say::Json(404, json!({"message": "Not Found"}))).await;
    let client = server.client("t");
    assert_eq!(client.permission(&Meter::default(), &repository(), "no/body").await.unwrap(), "none");
    assert!(server.lines()[0].contains("/collaborators/no%2Fbody/permission"));
    assert!(!client.team_member(&Meter::default(), "o/t", "u").await.unwrap());
}

#[tokio::test]
async fn a_token_shows_the_end_as_a_commit_status() {
    let server = Server::start(|_, _| Say::Json(201, json!({"id": 1}))).await;
    let (client, on) = (server.client("ghp_t"), repository());
    let post = |completed| Post { check: Some(Written { id: None, content: check(completed) }), ..Post::default() };
    let begun = client.post(&Meter::default(), (&on, 1), &post(false)).await.unwrap();
    assert_eq!((begun.check, server.seen().len()), (None, 0));
    let done = client.post(&Meter::default(), (&on, 1), &post(true)).await.unwrap();
    assert_eq!(done.check, Some(Ok("status".into())));
    let seen = server.seen();
    assert!(seen[0].line.starts_with("POST /api/v3/repos/o/r/statuses/333"));
    assert_eq!((&seen[0].body["state"], &seen[0].body["context"]), (&json!("error"), &json!("kfops/build")));
    assert_eq!(seen[0].body["description"].as_str().unwrap().chars().count(), 140);
}

#[tokio::test]
async fn one_part_of_a_post_may_fail_alone() {
    let server = Server::start(|seen, _| {
        let query = seen.body["query"].as_str().unwrap();
        if query.starts_with("query Ids") {
            return ok(json!({"data": {"repository": {"id": "R_1", "pullRequest": {"id": "PR_1"}}}}));
        }
        assert!(query.contains("updateIssueComment") && query.contains("createCheckRun"), "{query}");
        assert_eq!(seen.body["variables"]["check"]["repositoryId"], "R_1");
        ok(json!({
            "data": {"comment": null, "check": {"checkRun": {"id": "CR_1"}}},
            "errors": [{"type": "NOT_FOUND", "path": ["comment"], "message": "Could not resolve to a node"}],
        }))
    })
    .await;
    let post = Post {
        comment: Some(Written { id: Some("IC_1".into()), content: "x".repeat(100_000) }),
        check: Some(Written { id: None, content: check(true) }),
        deployment: None,
    };
    let outcome = server.client("ghs_t").post(&Meter::default(), (&repository(), 1), &post).await.unwrap();
    assert_eq!(outcome.comment.unwrap().unwrap_err().reason, Reason::NotFound);
    assert_eq!(outcome.check, Some(Ok("CR_1".into())));
    let body = server.seen()[1].body["variables"]["comment"]["body"].clone();
    assert!(body.as_str().unwrap().len() < 65_536 && body.as_str().unwrap().contains("cut"));
}

fn looked(page: &Seen) -> Value {
    let query = page.body["query"].as_str().unwrap();
    let review = |state: &str, bot: bool, insider: bool| {
        let kind = if bot { "Bot" } else { "User" };
        json!({"author": {"__typename": kind, "login": "r"}, "authorCanPushToRepository": insider, "state": state, "commit": null})
    };
    if query.starts_with("query More") {
        assert_eq!(page.body["variables"]["after"], "next");
        return json!({"repository": {"pullRequest": {"reviews": {
            "pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": [review("DISMISSED", true, false)],
        }}}});
    }
    let run = |name: &str, conclusion: Value| json!({"__typename": "CheckRun", "name": name, "conclusion": conclusion});
    let head = "a".repeat(40);
    let none = json!({"pageInfo": {"hasNextPage": false}, "nodes": []});
    let contexts = json!([
        run("good", json!("SUCCESS")), run("bad", json!("FAILURE")), run("running", Value::Null),
        run("twice", json!("SUCCESS")), run("twice", json!("FAILURE")), null,
        {"__typename": "StatusContext", "context": "ci/good", "state": "SUCCESS"},
        {"__typename": "StatusContext", "context": "ci/open", "state": "PENDING"},
    ]);
    let rollup = json!({"contexts": {"pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": contexts}});
    let pull = json!({
        "id": "PR_1", "state": "OPEN", "isDraft": true, "mergeable": "UNKNOWN", "merged": false,
        "mergeStateStatus": "BLOCKED", "isMergeQueueEnabled": true,
        "mergeCommit": {"oid": "t"}, "isCrossRepository": false, "headRepository": null, "headRefOid": head,
        "baseRefName": "trunk", "author": {"__typename": "Bot", "login": "updates"},
        "reviews": {
            "pageInfo": {"hasNextPage": true, "endCursor": "next"}, "nodes": [review("APPROVED", false, true), null],
        },
        "commits": {"nodes": [{"commit": {"oid": head, "statusCheckRollup": rollup}}]},
    });
    json!({"repository": {
        "id": "R_1", "defaultBranchRef": {"name": "trunk"}, "mergeCommitAllowed": false, "squashMergeAllowed": true,
        "rebaseMergeAllowed": true, "file0": null, "file1": {}, "file3": null,
        "file2": {"byteSize": 2_000_000, "isBinary": false, "isTruncated": true, "text": "cut"},
        "label0": null, "bearers0": none, "label1": null, "bearers1": none, "pullRequest": pull,
    }})
}

#[tokio::test]
async fn a_look_sees_what_counts() {
    let server = Server::start(|seen, _| match seen.line.as_str() {
        "POST /api/graphql" => ok(json!({"data": looked(seen)})),
        _ => ok(json!("whole")),
    })
    .await;
    let (client, meter, on) = (server.client("t"), Meter::default(), repository());
    let look = client.look(&meter, (&on, 1)).await.unwrap();
    assert_eq!(
        (look.pull.mergeable, look.pull.merge_commit, look.pull.draft, look.pull.fork),
        (None, None, true, true)
    );
    assert_eq!((look.pull.merge_state, look.merging.queue), (MergeState::Blocked, true));
    assert_eq!(look.merging.methods, [MergeMethod::Squash, MergeMethod::Rebase]);
    assert_eq!((look.pull.author.as_str(), look.default_branch.as_str()), ("updates[bot]", "trunk"));
    assert_eq!(look.project, Some(("config_files/config.yaml".into(), "\"whole\"".into())));
    let reviews: Vec<_> = look.reviews.iter().map(|one| (one.user.as_str(), one.insider, one.state.as_str())).collect();
    assert_eq!(reviews, [("r", true, "APPROVED"), ("r[bot]", false, "DISMISSED")]);
    assert_eq!(look.succeeded, ["ci/good", "good"]);
    assert_eq!(server.lines().len(), 3, "the rest of the file, and of the reviews");
}

#[tokio::test]
async fn deliveries_are_listed_once_page_by_page() {
    let server = Server::start(|seen, _| {
        let item = |id: u64, guid: &str, at: &str| {
            json!({"id": id, "guid": guid, "delivered_at": at, "event": "issue_comment", "action": null, "status": "OK"})
        };
        match seen.line.as_str() {
            "GET /api/v3/app/hook/deliveries?per_page=100" => {
                let link = "<http://elsewhere.example/x?per_page=100&cursor=v1_2>; rel=\"next\"".to_owned();
                let page = json!([item(4, "b", "2026-11-21T10:00:04Z"), item(3, "a", "2026-11-21T10:00:03.5Z")]);
                Say::With(200, vec![("link", link)], page)
            }
            "GET /api/v3/app/hook/deliveries?per_page=100&cursor=v1_2" => {
                ok(json!([item(1, "a", "2026-11-21T10:00:01Z"), item(0, "old", "2026-11-20T10:00:00Z")]))
            }
            _ => ok(json!({"request": {"headers": {}, "payload": {"action": "created"}}})),
        }
    })
    .await;
    let client = server.app(TestClock::wrong_by(0));
    let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_795_255_200);
    let sent = client.deliveries(since).await.unwrap();
    let sent_of: Vec<_> = sent.iter().map(|one| (one.guid.as_str(), one.handle.as_str())).collect();
    assert_eq!(sent_of, [("a", "app/1"), ("b", "app/4")]);
    assert_eq!(client.delivery_payload(&sent[0]).await.unwrap(), "{\"action\":\"created\"}");
    let mut forged = sent[0].clone();
    for handle in ["app/../x", "app/1/2", "o/r/1/../2", "../../1/2"] {
        forged.handle = handle.into();
        assert_eq!(client.delivery_payload(&forged).await.unwrap_err().reason, Reason::InvalidArgument);
    }
}

#[tokio::test]
async fn a_deployment_is_made_once_though_its_status_fails() {
    let server = Server::start(|seen, before| match seen.line.as_str() {
        "POST /api/v3/repos/o/r/deployments" => Say::Json(201, json!({"id": 1, "node_id": "DE_1"})),
        _ if before == 0 => ok(json!({"data": {"deployment": null}, "errors": [{
            "type": "UNPROCESSABLE", "path": ["deployment"], "message": "environment_url must use http(s) scheme",
        }]})),
        _ => ok(json!({"data": {"deployment": {"deploymentStatus": {"id": "DS_1"}}}})),
    })
    .await;
    let (client, on) = (server.client("t"), repository());
    let content = Deployment {
        command: "c-1".into(),
        commit: "3".repeat(40),
        environment: "staging".into(),
        production: false,
        state: DeploymentState::Success,
        description: String::new(),
        environment_url: None,
        log_url: None,
    };
    let post = Post { deployment: Some(Written { id: None, content }), ..Post::default() };
    let first = client.post(&Meter::default(), (&on, 1), &post).await.unwrap();
    assert_eq!(first.deployment.unwrap().unwrap_err().reason, Reason::InvalidArgument);
    let second = client.post(&Meter::default(), (&on, 1), &post).await.unwrap();
    assert_eq!(second.deployment, Some(Ok("DE_1".into())));
    assert_eq!(server.count("/deployments"), 1);
    let made = &server.seen()[0].body;
    assert_eq!((&made["ref"], &made["auto_merge"]), (&json!("3".repeat(40)), &json!(false)));
    assert_eq!((&made["required_contexts"], &made["payload"]), (&json!([]), &json!({"command": "c-1"})));
}
