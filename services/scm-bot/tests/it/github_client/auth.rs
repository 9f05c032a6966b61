//! An App's statement, its installations, their tokens.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use kfops_core::Reason;
use kfops_scm_bot::ports::{GitHub as _, Meter};
use serde_json::{Value, json};

use super::server::{Say, Seen, Server, TestClock, admin, ok, repository};

fn now() -> i64 {
    i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn claims(seen: &Seen) -> Value {
    let token = seen.header("authorization").strip_prefix("Bearer ").unwrap();
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn minted(number: usize, life: i64) -> Value {
    let expires = std::time::SystemTime::now() + std::time::Duration::from_secs(u64::try_from(life).unwrap());
    let token = format!("ghs_{number}_{}", "x".repeat(520));
    json!({"token": token, "expires_at": time_text(expires)})
}

fn time_text(time: std::time::SystemTime) -> String {
    let time: time::OffsetDateTime = time.into();
    time.replace_nanosecond(0).unwrap().format(&time::format_description::well_known::Rfc3339).unwrap()
}

const INSTALLATION: &str = "GET /api/v3/repos/o/r/installation";
const MINT: &str = "POST /api/v3/app/installations/7/access_tokens";
const ASK: &str = "/collaborators/u/permission";

#[tokio::test]
async fn a_token_is_minted_once_for_all_and_renewed_early() {
    let server = Server::start(|seen, before| match seen.line.as_str() {
        INSTALLATION => ok(json!({"id": 7})),
        MINT => Say::Json(201, minted(before, 3600)),
        _ => ok(admin()),
    })
    .await;
    let clock = TestClock::wrong_by(0);
    let client = server.app(Arc::clone(&clock));
    let (meter, repository) = (Meter::default(), repository());
    let asks = (0..8).map(|_| client.permission(&meter, &repository, "u"));
    for answer in futures::future::join_all(asks).await {
        assert_eq!(answer.unwrap(), "admin");
    }
    assert_eq!((server.count(MINT), server.count(ASK)), (1, 8));
    let seen = server.seen();
    let mint = seen.iter().find(|seen| seen.line == MINT).unwrap();
    let claims = claims(mint);
    assert_eq!(claims["iss"], "Iv1.client");
    let (iat, exp) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    assert!((50..=70).contains(&(now() - iat)) && exp - iat <= 600, "{claims}");
    let asked = seen.iter().find(|seen| seen.line.contains(ASK)).unwrap();
    assert!(asked.header("authorization").starts_with("Bearer ghs_0_x"));
    assert_eq!(asked.header("x-github-api-version"), "2022-11-28");
    assert!(asked.header("user-agent").starts_with("kfops/"));
    assert_eq!(meter.take().len(), 8, "the App's own requests are nobody's");
    // The test's clock goes ahead of the server's, whose time is the one that counts: so the token stays.
    clock.advance(3400);
    client.permission(&meter, &repository, "u").await.unwrap();
    let minted = server.count(MINT);
    client.permission(&meter, &repository, "u").await.unwrap();
    assert_eq!(server.count(MINT), minted);
}

#[tokio::test]
async fn a_token_that_ends_soon_is_renewed_and_the_old_one_serves_while_github_is_away() {
    let server = Server::start(|seen, before| match (seen.line.as_str(), before) {
        (INSTALLATION, _) => ok(json!({"id": 7})),
        (MINT, 0) => Say::Json(201, minted(0, 200)),
        (MINT, _) => Say::Json(502, json!({})),
        _ => ok(admin()),
    })
    .await;
    let client = server.app(TestClock::wrong_by(0));
    client.permission(&Meter::default(), &repository(), "u").await.unwrap();
    client.permission(&Meter::default(), &repository(), "u").await.unwrap();
    assert!(server.count(MINT) >= 2);
    assert!(server.seen().last().unwrap().header("authorization").starts_with("Bearer ghs_0_"));
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    for forever in [false, true] {
        let server = Server::start(move |seen, before| match seen.line.as_str() {
            INSTALLATION => ok(json!({"id": 7})),
            MINT => Say::Json(201, minted(before, 3600)),
            _ if forever || seen.header("authorization").starts_with("Bearer ghs_0_") => {
                Say::Json(401, json!({"message": "Bad credentials"}))
            }
            _ => ok(admin()),
        })
        .await;
        let client = server.app(TestClock::wrong_by(0));
        let answer = client.permission(&Meter::default(), &repository(), "u").await;
        assert_eq!(server.count(MINT), 2);
        assert_eq!(
            answer.map_err(|failure| failure.reason),
            if forever { Err(Reason::Unauthenticated) } else { Ok("admin".into()) }
        );
    }
}

#[tokio::test]
async fn a_wrong_clock_is_set_by_githubs() {
    for wrong in [-3000, 3000] {
        let server = Server::start(|seen, _| {
            let far = |seen: &Seen| (claims(seen)["iat"].as_i64().unwrap() + 60 - now()).abs() > 30;
            match seen.line.as_str() {
                INSTALLATION if far(seen) => Say::Json(
                    401,
                    json!({"message": "'Issued at' claim ('iat') must be an Integer representing the time"}),
                ),
                INSTALLATION => ok(json!({"id": 7})),
                MINT if far(seen) => Say::Json(401, json!({"message": "'Expiration time' claim ('exp') is too far"})),
                MINT => Say::Json(201, minted(0, 3600)),
                _ => ok(admin()),
            }
        })
        .await;
        let client = server.app(TestClock::wrong_by(wrong));
        assert_eq!(client.permission(&Meter::default(), &repository(), "u").await.unwrap(), "admin");
        client.permission(&Meter::default(), &repository(), "u").await.unwrap();
        assert_eq!((server.count(INSTALLATION), server.count(MINT)), (2, 1), "{:?}", server.lines());
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_installation_is_said() {
    let cases = [
        (Say::Json as fn(u16, Value) -> Say, 404, "", "not installed on o/r", Reason::NotFound),
        (Say::Json, 200, "This installation has been suspended", "suspended", Reason::PermissionDenied),
        (Say::Json, 200, "A JSON web token could not be decoded", "not believed", Reason::Unauthenticated),
    ];
    for (say, found, refused, text, reason) in cases {
        let server = Server::start(move |seen, _| match seen.line.as_str() {
            INSTALLATION => say(found, json!({"id": 7, "message": "Not Found"})),
            _ => say(if refused.contains("suspended") { 403 } else { 401 }, json!({"message": refused})),
        })
        .await;
        let client = server.app(TestClock::wrong_by(0));
        let failure = client.permission(&Meter::default(), &repository(), "u").await.unwrap_err();
        assert!(failure.message.contains(text) && !failure.action.is_empty(), "{failure:?}");
        assert_eq!((failure.reason, failure.retryable), (reason, false));
    }
}

#[tokio::test]
async fn an_installation_that_came_back_has_another_id() {
    static LOOKED: AtomicUsize = AtomicUsize::new(7);
    let server = Server::start(|seen, _| match seen.line.as_str() {
        INSTALLATION => ok(json!({"id": LOOKED.fetch_add(1, Ordering::SeqCst)})),
        MINT => Say::Json(404, json!({"message": "Not Found"})),
        "POST /api/v3/app/installations/8/access_tokens" => Say::Json(201, minted(0, 3600)),
        _ => ok(admin()),
    })
    .await;
    let client = server.app(TestClock::wrong_by(0));
    assert_eq!(client.permission(&Meter::default(), &repository(), "u").await.unwrap(), "admin");
}

#[tokio::test]
async fn the_app_says_who_it_is() {
    let server = Server::start(|_, _| ok(json!({"slug": "kfops-dev", "login": "robot"}))).await;
    assert_eq!(server.app(TestClock::wrong_by(0)).login().await.unwrap().as_deref(), Some("kfops-dev[bot]"));
    assert_eq!(server.client("ghp_secret").login().await.unwrap().as_deref(), Some("robot"));
    assert_eq!(server.lines(), ["GET /api/v3/app", "GET /api/v3/user"]);
}
