//! GitHub's limits, and GitHub being away.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kfops_core::Reason;
use kfops_scm_bot::ports::{GitHub as _, Merged, Meter};
use serde_json::json;

use super::server::{Say, Server, TestClock, admin, ok, repository, tempo};
use kfops_scm_bot::{GitHubSettings, github::GitHubClient};

fn epoch(ahead: u64) -> String {
    (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + ahead).to_string()
}

#[tokio::test]
async fn a_spent_budget_stops_all_and_nobody_knocks() {
    let server = Server::start(|_, _| {
        let headers = vec![("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", epoch(1800))];
        Say::With(403, headers, json!({"message": "API rate limit exceeded"}))
    })
    .await;
    let (client, meter) = (server.client("t"), Meter::default());
    for _ in 0..5 {
        let failure = client.permission(&meter, &repository(), "u").await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::GithubUnavailable, true));
        assert!(failure.message.contains("not before 20"), "{failure}");
    }
    let merge = client.merge(&meter, (&repository(), 1), "c").await.unwrap_err();
    assert_eq!(merge.reason, Reason::GithubUnavailable);
    assert_eq!((server.seen().len(), meter.take().len()), (1, 1));
}

#[tokio::test]
async fn the_last_request_of_a_budget_counts_and_the_next_waits() {
    let server = Server::start(|_, _| {
        let headers = vec![("x-ratelimit-remaining", "0".into()), ("x-ratelimit-reset", epoch(1800))];
        Say::With(200, headers, admin())
    })
    .await;
    let client = server.client("t");
    assert_eq!(client.permission(&Meter::default(), &repository(), "u").await.unwrap(), "admin");
    assert!(client.permission(&Meter::default(), &repository(), "v").await.is_err());
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_secondary_limit_is_waited_for_also_by_writes() {
    let server = Server::start(|_, before| match before {
        0 | 1 => Say::Json(403, json!({"message": "You have exceeded a secondary rate limit. Please wait"})),
        _ => ok(json!({"merged": true, "sha": "m"})),
    })
    .await;
    let (client, start) = (server.client("t"), Instant::now());
    let merged = client.merge(&Meter::default(), (&repository(), 1), "c").await.unwrap();
    assert_eq!(merged, Merged::Yes("m".into()));
    // The second wait is twice the first.
    assert!(start.elapsed() >= tempo().secondary * 3, "{:?}", start.elapsed());
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn retry_after_is_believed() {
    let server = Server::start(|_, _| Say::With(429, vec![("retry-after", "3000".into())], json!({}))).await;
    let failure = server.client("t").permission(&Meter::default(), &repository(), "u").await.unwrap_err();
    assert_eq!(failure.reason, Reason::GithubUnavailable);
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn graphql_refuses_with_status_200() {
    let server = Server::start(|_, before| match before {
        0 => ok(json!({"data": null, "errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]})),
        1 => ok(json!({"data": null, "errors": [{"message": "Something went wrong while executing your query."}]})),
        _ => ok(json!({"data": {"repository": null}, "errors": [{"type": "NOT_FOUND", "path": ["repository"], "message": "no"}]})),
    })
    .await;
    let failure = server.client("t").look(&Meter::default(), (&repository(), 1)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::NotFound, "{failure}");
    assert_eq!(server.lines(), ["POST /api/graphql"; 3]);
}

#[tokio::test]
async fn reads_are_repeated_and_writes_are_not() {
    type Trouble = fn() -> Say;
    let troubles: [Trouble; 3] = [|| Say::Json(502, json!({})), || Say::Half, || Say::Hang];
    for trouble in troubles {
        let server = Server::start(move |seen, before| match (before, seen.line.starts_with("PUT")) {
            (_, true) | (0, _) => trouble(),
            _ => ok(admin()),
        })
        .await;
        let (client, meter) = (server.client("t"), Meter::default());
        assert_eq!(client.permission(&meter, &repository(), "u").await.unwrap(), "admin");
        assert_eq!(meter.take().len(), 2, "each request is counted");
        let failure = client.merge(&meter, (&repository(), 1), "c").await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::GithubUnavailable, true));
        assert_eq!(server.count("PUT"), 1);
    }
}

#[tokio::test]
async fn a_write_that_never_left_is_repeated() {
    // Nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let api_url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let settings = GitHubSettings { api_url, token: Some("secret-token".into()), ..GitHubSettings::default() };
    let client = GitHubClient::with_tempo(&settings, tempo(), TestClock::wrong_by(0)).unwrap();
    let meter = Meter::default();
    let failure = client.merge(&meter, (&repository(), 1), "c").await.unwrap_err();
    assert_eq!(failure.reason, Reason::GithubUnavailable);
    assert!(!format!("{failure:?}").contains("secret-token"));
    let calls = meter.take();
    assert_eq!(calls.len(), tempo().tries);
    assert!(calls.iter().all(|call| call.status == 0));
}

#[tokio::test]
async fn a_reads_trouble_ends() {
    let server = Server::start(|_, _| Say::Json(503, json!({}))).await;
    let start = Instant::now();
    let failure = server.client("t").permission(&Meter::default(), &repository(), "u").await.unwrap_err();
    assert_eq!(failure.reason, Reason::GithubUnavailable);
    assert_eq!(server.seen().len(), tempo().tries);
    assert!(start.elapsed() < Duration::from_secs(5));
}
