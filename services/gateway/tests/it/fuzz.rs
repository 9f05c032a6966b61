//! Whatever is sent, the gateway has an answer that is the sender's fault or a success.

use proptest::{prelude::*, test_runner::TestRunner};

use crate::harness::{CLIENT, SECRET, gateway, sign};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::result_large_err, reason = "proptest's own error")]
async fn random_webhooks_are_never_our_fault() {
    let gateway = gateway().await;
    let url = gateway.url("/webhooks/github");
    let text = "[ -~]{0,60}";
    let strategy = (proptest::collection::vec(any::<u8>(), 0..400), any::<bool>(), text, text, text, text);
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let config = proptest::test_runner::Config { cases: 200, failure_persistence: None, ..Default::default() };
        TestRunner::new(config).run(&strategy, |(body, signed, signature, event, id, content_type)| {
            let signature = if signed { sign(SECRET, &body) } else { signature };
            let request = CLIENT
                .post(&url)
                .header("x-hub-signature-256", signature)
                .header("x-github-event", event)
                .header("x-github-delivery", id)
                .header("content-type", content_type)
                .body(body);
            let status = handle.block_on(request.send()).map_err(|e| TestCaseError::fail(e.to_string()))?.status();
            prop_assert!(status.is_client_error() || status.is_success(), "{}", status);
            prop_assert!(signed || status == 401, "{}", status);
            Ok(())
        })
    })
    .await
    .unwrap()
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_calls_are_never_our_fault() {
    let gateway = gateway().await;
    let base = gateway.url("");
    let piece = r#"([a-z*:{}%/=.&?+"\\-]|v1|commands|:watch|:cancel|%2[fF]|command_id=|pageSize=|[0-9]){0,12}"#;
    let body = r#"(\{|\}|\[|\]|,|:|"|verb|repository|VERB_RUN|null|true|-?[0-9]{1,20}|[ -~]){0,20}"#;
    let verb = prop_oneof![Just("GET"), Just("POST"), Just("PUT"), Just("DELETE"), Just("OPTIONS"), Just("BREW")];
    let strategy = (verb, any::<bool>(), piece, body, "[ -~]{0,40}");
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || {
        let config = proptest::test_runner::Config { cases: 300, failure_persistence: None, ..Default::default() };
        TestRunner::new(config).run(&strategy, |(verb, known, path, body, header)| {
            let prefix = if known { "/v1/commands" } else { "/" };
            // What no URL can be made of is not sent.
            let Ok(url) = format!("{base}{prefix}{path}").parse::<reqwest::Url>() else { return Ok(()) };
            let request = CLIENT
                .request(verb.parse().unwrap(), url)
                .header("content-type", "application/json")
                .header("accept", &header)
                .header("x-server-timeout", &header)
                .header("grpc-timeout", header)
                .body(body);
            let status = handle.block_on(request.send()).map_err(|e| TestCaseError::fail(e.to_string()))?.status();
            prop_assert!(status.is_client_error() || status.is_success(), "{}", status);
            Ok(())
        })
    })
    .await
    .unwrap()
    .unwrap();
}
