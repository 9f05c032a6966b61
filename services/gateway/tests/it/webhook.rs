//! `POST /webhooks/github`.

use std::time::{Duration, Instant};

use kfops_core::{Failure, Reason};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{CLIENT, GUID, SECRET, gateway, gateway_with, sign, until};

async fn status_and_message(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let json: Value = response.json().await.unwrap();
    assert_eq!(json["error"]["code"], status.as_u16(), "{json}");
    (status, json["error"]["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_signed_webhook_is_stored_and_traced() {
    let gateway = gateway().await;
    let response = gateway.webhook("issue_comment", "{\"action\": \"created\"}").send().await.unwrap();
    assert_eq!(response.status(), 202);
    let json: Value = response.json().await.unwrap();
    assert_eq!(json["commands"][0], "commands/c-1");
    let seen = gateway.bot.seen.lock().unwrap();
    assert_eq!(seen.deliveries[0].delivery_id, GUID);
    assert_eq!(seen.deliveries[0].event, "issue_comment");
    assert_eq!(seen.deliveries[0].payload, "{\"action\": \"created\"}");
    assert!(seen.deliveries[0].receive_time.is_some());
    assert!(seen.roots[0].unwrap().sampled);
    assert_eq!(gateway.tracer.recorded(), 1);
}

#[tokio::test]
async fn a_redelivery_changes_nothing_and_only_commands_are_traced() {
    let gateway = gateway().await;
    for _ in 0..2 {
        let response = gateway.webhook("issue_comment", "{}").send().await.unwrap();
        assert_eq!(response.status(), 202);
    }
    let response = gateway.webhook("push", "{}").header("x-github-delivery", "").send().await.unwrap();
    assert_eq!(response.status(), 400, "two delivery headers");
    assert_eq!(gateway.tracer.recorded(), 1);
    let seen = gateway.bot.seen.lock().unwrap();
    assert_ne!(seen.roots[0].unwrap().trace_id, seen.roots[1].unwrap().trace_id);
}

#[tokio::test]
async fn an_event_without_a_command_makes_no_span() {
    let gateway = gateway().await;
    assert_eq!(gateway.webhook("push", "{}").send().await.unwrap().status(), 202);
    assert_eq!(gateway.tracer.recorded(), 0);
}

#[tokio::test]
async fn the_signature_comes_before_everything_else() {
    let gateway = gateway().await;
    let post = || CLIENT.post(gateway.url("/webhooks/github"));
    let (status, message) = status_and_message(post().body("{").send().await.unwrap()).await;
    assert_eq!((status.as_u16(), message.as_str()), (401, "the request has no X-Hub-Signature-256"));
    let wrong = post().header("x-hub-signature-256", sign("guess", b"{}")).body("{}").send().await.unwrap();
    assert_eq!(status_and_message(wrong).await.0, 401);
    // GitHub's own vector passes this gate and fails at the next.
    let body = "Hello, World!";
    let vector = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(vector, sign(SECRET, body.as_bytes()));
    let right = post().header("x-hub-signature-256", vector).body(body).send().await.unwrap();
    let (status, message) = status_and_message(right).await;
    assert_eq!((status.as_u16(), message.as_str()), (400, "the header X-GitHub-Delivery is missing"));
    // The other secret is as good.
    let older = post().header("x-hub-signature-256", sign("an older secret", b"{}")).body("{}").send().await.unwrap();
    assert_eq!(older.status(), 400);
    assert_eq!(gateway.delivered(), 0);
}

#[tokio::test]
async fn what_is_signed_and_still_wrong() {
    let gateway = gateway().await;
    let cases = [
        (gateway.webhook("issue_comment", "{\"a\": "), 400, "not a JSON object"),
        (gateway.webhook("issue_comment", "[]"), 400, "not a JSON object"),
        (gateway.webhook("issue_comment", ""), 400, "not a JSON object"),
        (gateway.webhook("$(touch x)", "{}"), 400, "X-GitHub-Event"),
        (
            CLIENT
                .post(gateway.url("/webhooks/github"))
                .header("x-hub-signature-256", sign(SECRET, b"payload=%7B%7D"))
                .header("x-github-event", "push")
                .header("x-github-delivery", GUID)
                .form(&[("payload", "{}")]),
            415,
            "application/json",
        ),
    ];
    for (request, expected, words) in cases {
        let (status, message) = status_and_message(request.send().await.unwrap()).await;
        assert_eq!(status.as_u16(), expected, "{message}");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(gateway.delivered(), 0);
}

#[tokio::test]
async fn a_ping_is_answered_here() {
    let gateway = gateway().await;
    let response = gateway.webhook("ping", "{\"zen\": \"Keep it logically awesome.\"}").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await.unwrap()["message"], "pong");
    assert_eq!(gateway.delivered(), 0);
}

#[tokio::test]
async fn too_large_with_and_without_a_length() {
    let gateway = gateway_with(|s| s.webhook.body_timeout = kfops_settings::HumanDuration::from_secs(20)).await;
    let response = gateway.webhook("push", vec![b'x'; 30 << 20]).send().await.unwrap();
    assert_eq!(status_and_message(response).await.0, 413);
    let pieces = futures::stream::iter((0..30).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1 << 20])));
    let request = gateway.webhook("push", "").body(reqwest::Body::wrap_stream(pieces));
    assert_eq!(status_and_message(request.send().await.unwrap()).await.0, 413);
    // The largest that GitHub sends goes through.
    let body = format!("{{\"a\": \"{}\"}}", "x".repeat((25 << 20) - 9));
    assert_eq!(body.len(), 25 << 20);
    assert_eq!(gateway.webhook("push", body).send().await.unwrap().status(), 202);
    assert_eq!(gateway.delivered(), 1);
}

/// Sends `head`, then nothing more; what comes back until the other side closes.
async fn say_and_wait(address: std::net::SocketAddr, head: &str) -> (String, Duration) {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // An answer that ends the exchange may come with the connection still open for more.
    while let Ok(Ok(n)) = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut buffer)).await {
        if n == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..n]);
        if answer.ends_with(b"}") {
            break;
        }
    }
    (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
}

#[tokio::test]
async fn slow_senders_are_cut_off() {
    let gateway = gateway().await;
    let signature = sign(SECRET, b"{}");
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\nx-hub-signature-256: {signature}\r\ncontent-length: 2\r\n\r\n{{"
    );
    let (answer, took) = say_and_wait(gateway.address, &head).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    // Nothing, half a preface, half a head.
    for head in ["", "P", "POST /webhooks/github HTTP/1.1\r\nhost: loc"] {
        let (answer, took) = say_and_wait(gateway.address, head).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{head}: {answer}");
        assert!(took < Duration::from_secs(5), "{head}: {took:?}");
    }
    // The first of two promised pieces is refused at once when the promise is too large.
    let head = head.replace("content-length: 2", "content-length: 31457280");
    let (answer, took) = say_and_wait(gateway.address, &head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(took < Duration::from_millis(600), "{took:?}");
}

#[tokio::test]
async fn answered_only_when_stored() {
    let gateway = gateway().await;
    gateway.bot.gate.forget_permits(usize::MAX >> 4);
    let sent = tokio::spawn(gateway.webhook("issue_comment", "{}").send());
    until("scm-bot is asked", || !gateway.bot.seen.lock().unwrap().roots.is_empty()).await;
    assert!(!sent.is_finished());
    gateway.bot.gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap().status(), 202);
    assert_eq!(gateway.delivered(), 1);
}

#[tokio::test]
async fn a_sender_that_hangs_up_loses_nothing() {
    let gateway = gateway().await;
    gateway.bot.gate.forget_permits(usize::MAX >> 4);
    let sent = tokio::spawn(gateway.webhook("issue_comment", "{}").send());
    until("scm-bot is asked", || !gateway.bot.seen.lock().unwrap().roots.is_empty()).await;
    sent.abort();
    sent.await.unwrap_err();
    gateway.bot.gate.add_permits(1);
    until("the delivery is stored", || gateway.delivered() == 1).await;
    until("its span is recorded", || gateway.tracer.recorded() == 1).await;
}

#[tokio::test]
async fn scm_bot_away_slow_or_unwilling_is_503() {
    let gateway = gateway_with(|settings| {
        settings.webhook.accept_timeout = kfops_settings::HumanDuration(Duration::from_millis(800));
    })
    .await;
    let unavailable = |response: Response| {
        assert_eq!(response.status(), 503);
        assert!(response.headers().contains_key("retry-after"));
    };
    *gateway.bot.fails.lock().unwrap() = Some(Failure::new(Reason::StoreUnavailable, "disk full"));
    unavailable(gateway.webhook("push", "{}").send().await.unwrap());
    *gateway.bot.fails.lock().unwrap() = Some(Failure::new(Reason::InvalidArgument, "no comment in it"));
    assert_eq!(gateway.webhook("push", "{}").send().await.unwrap().status(), 400);
    *gateway.bot.fails.lock().unwrap() = None;
    gateway.bot.gate.forget_permits(usize::MAX >> 4);
    unavailable(gateway.webhook("push", "{}").send().await.unwrap());
    let nobody = gateway_with(|settings| settings.scm_bot = "http://127.0.0.1:1".into()).await;
    let response = nobody.webhook("push", "{}").send().await.unwrap();
    assert!(response.headers().contains_key("retry-after"));
    let (status, message) = status_and_message(response).await;
    assert_eq!((status.as_u16(), message.as_str()), (503, "the delivery was not stored: scm-bot does not answer"));
}

#[tokio::test]
async fn too_many_at_once_is_503() {
    let gateway = gateway_with(|settings| settings.webhook.max_concurrent = 1).await;
    gateway.bot.gate.forget_permits(usize::MAX >> 4);
    let first = tokio::spawn(gateway.webhook("push", "{}").send());
    until("the first is under way", || !gateway.bot.seen.lock().unwrap().roots.is_empty()).await;
    let second = gateway.webhook("push", "{}").send().await.unwrap();
    assert_eq!(second.status(), 503);
    assert!(second.headers().contains_key("retry-after"));
    gateway.bot.gate.add_permits(1);
    assert_eq!(first.await.unwrap().unwrap().status(), 202);
}

#[tokio::test]
async fn other_methods_are_405() {
    let gateway = gateway().await;
    let response = CLIENT.get(gateway.url("/webhooks/github")).send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST");
}
