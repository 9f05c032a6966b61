//! The client against every kind of answer that was seen, and some that nobody should give.

use std::{collections::BTreeMap, time::Duration};

use kfops_settings::HumanDuration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{Client, Problem, RunRequest};
use crate::cluster::settings::KfpSettings;

/// What a real server was asked and how it answered.
const OBSERVED: &str = include_str!("../../../../../tests/kfp-standin/check/observed.json");

/// Answers everything with these bytes; gives its address.
async fn canned(answer: Vec<u8>) -> String {
    serve(move |_| answer.clone()).await
}

/// Answers each request by its head.
async fn serve(answer: impl Fn(&str) -> Vec<u8> + Clone + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 65536];
                let length = connection.read(&mut head).await.unwrap_or_default();
                let answer = answer(&String::from_utf8_lossy(&head[..length]));
                connection.write_all(&answer).await.ok();
                connection.shutdown().await.ok();
            });
        }
    });
    format!("http://{address}")
}

fn client(url: String) -> Client {
    let request_timeout = HumanDuration(Duration::from_millis(300));
    Client::new(&KfpSettings { url, requests_per_second: 1000.0, request_timeout, ..KfpSettings::default() }).unwrap()
}

fn answer(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nconnection: close\r\nlocation: /dex/auth\r\n");
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// What each call makes of the same answer: `None` when it takes it for a success.
async fn all(client: &Client) -> Vec<(&'static str, Option<Problem>)> {
    let arguments = BTreeMap::new();
    let request = RunRequest {
        run_id: "r",
        name: "n",
        description: "",
        experiment: "e",
        pipeline: "p",
        version: "v",
        arguments: &arguments,
        pipeline_root: "minio://b/r",
        service_account: Some("a"),
    };
    vec![
        ("health", client.health().await.err()),
        ("experiment", client.experiment("e").await.err()),
        ("find_pipeline", client.find_pipeline("p").await.err()),
        ("upload_pipeline", client.upload_pipeline("p", "{}").await.err()),
        ("find_version", client.find_version("../p?x", "v").await.err()),
        ("upload_version", client.upload_version("p", "v", "{}").await.err()),
        ("create_run", client.create_run(&request).await.err()),
        ("run", client.run("a/../b", true).await.err()),
        ("runs_named", client.runs_named("n").await.err()),
        ("terminate", client.terminate("r").await.err()),
    ]
}

#[tokio::test]
async fn every_observed_refusal_is_one() {
    let observed: serde_json::Value = serde_json::from_str(OBSERVED).unwrap();
    let mut kinds = std::collections::BTreeSet::new();
    for entry in observed.as_object().unwrap().values().flat_map(|entries| entries.as_array().unwrap()) {
        let status = u16::try_from(entry["status"].as_u64().unwrap()).unwrap();
        let kind = entry["type"].as_str().unwrap().to_owned();
        let fields: Vec<&str> =
            entry["fields"].as_array().into_iter().flatten().filter_map(|field| field.as_str()).collect();
        let body = match (entry["code"].as_u64(), fields.contains(&"error_message")) {
            (Some(code), _) => format!(r#"{{"code":{code},"message":"why","details":[{{"message":"why"}}]}}"#),
            (None, true) => r#"{"error_message":"why","error_details":"why\n\tat"}"#.to_owned(),
            (None, false) => "why\n".to_owned(),
        };
        if status != 200 {
            kinds.insert((status, kind, body));
        }
    }
    assert!(kinds.len() >= 10, "{kinds:?}");
    for (status, kind, body) in kinds {
        let client = client(canned(answer(status, &kind, &body)).await);
        for (call, problem) in all(&client).await {
            // What is not there, or has ended, is what these were asked for.
            let fine = (call == "run" && status == 404) || (call == "terminate" && matches!(status, 400 | 404));
            let expected = (!fine).then(|| Problem::Refused { status, message: "why".into() });
            assert_eq!(problem, expected, "{call} with {status} {body}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_none_leaves_open_whether_it_worked() {
    let whole = answer(200, "application/json", r#"{"run_id":"r"}"#);
    let cut = whole[..whole.len() - 3].to_vec();
    let rows = [
        answer(200, "text/html", "<html>welcome</html>"),
        answer(200, "application/json", ""),
        answer(200, "application/json", "[]"),
        answer(200, "application/json", r#"{"run_id":"r""#),
        answer(204, "application/json", ""),
        cut,
        b"nonsense\r\n\r\n".to_vec(),
        Vec::new(),
    ];
    for row in rows {
        let shown = String::from_utf8_lossy(&row).into_owned();
        let client = client(canned(row).await);
        for (call, problem) in all(&client).await {
            // JSON of another kind is taken by those who read nothing of it.
            if call == "terminate" && problem.is_none() {
                continue;
            }
            let problem = problem.unwrap_or_else(|| panic!("{call} takes {shown}"));
            assert!(problem.may_have_worked() && problem.passes(), "{call}: {problem:?} for {shown}");
        }
    }
    let login = client(canned(answer(302, "text/html", "")).await);
    for (call, problem) in all(&login).await {
        assert!(problem.is_some_and(|problem| problem.is(302)), "{call}");
    }
}

#[tokio::test]
async fn every_page_of_a_list_is_read_and_a_list_without_end_is_left() {
    let page = |token: &str, id: &str| {
        let body = format!(
            r#"{{"pipelines":[{{"pipeline_id":"{id}","name":"{id}"}}],"total_size":3,"next_page_token":"{token}"}}"#
        );
        answer(200, "application/json", &body)
    };
    let pages = move |head: &str| match head {
        head if head.contains("page_token=two") => page("", "p"),
        head if head.contains("page_token=one") => page("two", "b"),
        head if head.contains("page_token=") => page("again", "x"),
        head if head.contains("endless") => page("again", "x"),
        _ => page("one", "a"),
    };
    let client = client(serve(pages).await);
    assert_eq!(client.find_pipeline("p").await, Ok(Some("p".into())));
    assert_eq!(client.find_pipeline("endless").await, Ok(Some("x".into())));
}

#[tokio::test]
async fn silence_and_absence_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = client(format!("http://{}", listener.local_addr().unwrap()));
    assert!(matches!(silent.health().await, Err(Problem::Unanswered(why)) if why.contains("time limit")));
    let address = listener.local_addr().unwrap();
    drop(listener);
    assert!(matches!(client(format!("http://{address}")).health().await, Err(Problem::Unsent(_))));
}

#[tokio::test]
async fn requests_keep_their_distance() {
    let url = canned(answer(200, "application/json", "{}")).await;
    let slow = Client::new(&KfpSettings { url, requests_per_second: 20.0, ..KfpSettings::default() }).unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        slow.health().await.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_never_left_out() {
    let url = canned(answer(200, "application/json", "{}")).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("missing", None), ("empty", Some("\n")), ("two", Some("a\r\nx: y"))] {
        let path = folder.path().join(name);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let client =
            Client::new(&KfpSettings { url: url.clone(), token: Some(path), ..KfpSettings::default() }).unwrap();
        assert!(matches!(client.health().await, Err(Problem::Unsent(_))), "{name}");
    }
}
