//! The judge of REST exchanges.

use kfops_github_contract::{HttpExchange, Judge, Side};
use serde_json::{Value, json};

use crate::lines;

fn openapi() -> Value {
    let file = std::env::var("KFOPS_GITHUB_OPENAPI").unwrap();
    serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
}

fn example<'a>(root: &'a Value, method: &str, template: &str, status: &str) -> &'a Value {
    let content = &root["paths"][template][method]["responses"][status]["content"]["application/json"]["examples"];
    let one = content.as_object().unwrap().values().next().unwrap();
    match one["$ref"].as_str() {
        Some(reference) => &root.pointer(reference.trim_start_matches('#')).unwrap()["value"],
        None => &one["value"],
    }
}

/// What the bot uses, answered as GitHub's own examples answer.
#[test]
fn githubs_own_examples_fit() {
    let (judge, root) = (Judge::from_env().unwrap(), openapi());
    let repo = "/repos/{owner}/{repo}";
    for (method, template, path, status, body) in [
        ("get", "/pulls/{pull_number}", "/pulls/7", 200, Value::Null),
        ("get", "/issues/{issue_number}", "/issues/7", 200, Value::Null),
        ("post", "/issues/{issue_number}/comments", "/issues/7/comments", 201, json!({"body": "x"})),
        ("patch", "/issues/comments/{comment_id}", "/issues/comments/7", 200, json!({"body": "x"})),
        ("post", "/issues/{issue_number}/labels", "/issues/7/labels", 200, json!({"labels": ["x"]})),
        ("put", "/pulls/{pull_number}/merge", "/pulls/7/merge", 200, json!({"sha": "x", "merge_method": "squash"})),
        ("get", "/commits/{ref}/check-runs", "/commits/a/b/check-runs", 200, Value::Null),
        ("get", "/hooks/{hook_id}/deliveries", "/hooks/7/deliveries", 200, Value::Null),
        ("post", "/statuses/{sha}", "/statuses/abc", 201, json!({"state": "success"})),
    ] {
        let exchange = HttpExchange {
            method: method.to_ascii_uppercase(),
            path: format!("/repos/o/r{path}"),
            request_body: body,
            status,
            response_body: example(&root, method, &format!("{repo}{template}"), &status.to_string()).clone(),
            ..HttpExchange::default()
        };
        let found = judge.http(&exchange).into_iter();
        // The examples are older than some of the required fields.
        let found: Vec<_> = found.filter(|one| !one.what.contains("is a required property")).collect();
        assert!(found.is_empty(), "{method} {path}:{}", lines(&found));
    }
}

/// Each plants one mistake, which is found, and only that.
#[test]
fn mistakes_are_found() {
    let (judge, root) = (Judge::from_env().unwrap(), openapi());
    let comment = example(&root, "post", "/repos/{owner}/{repo}/issues/{issue_number}/comments", "201");
    let good = HttpExchange {
        method: "POST".into(),
        path: "/api/v3/repos/o/r/issues/7/comments".into(),
        request_content_type: Some("application/json".into()),
        request_body: json!({"body": "x"}),
        status: 201,
        response_content_type: Some("application/json; charset=utf-8".into()),
        response_body: comment.clone(),
        ..HttpExchange::default()
    };
    assert_eq!(judge.http(&good), []);
    type Plant = fn(&mut HttpExchange);
    let plants: [(Plant, Side, &str, &str); 17] = [
        (|e| e.path = "/repos/o/r/issues/7/remarks".into(), Side::Request, "path", "no such path"),
        (|e| e.method = "PUT".into(), Side::Request, "path", "no method PUT"),
        (|e| e.path = "/repos/o/r/issues/seven/comments".into(), Side::Request, "path issue_number", "integer"),
        (|e| e.query = "dry=1".into(), Side::Request, "query dry", "no such parameter"),
        (|e| e.request_body = Value::Null, Side::Request, "", "missing"),
        (|e| e.request_body = json!({}), Side::Request, "", "\"body\" is a required property"),
        (|e| e.request_body = json!({"body": 1}), Side::Request, "/body", "not of type \"string\""),
        (|e| e.request_body["text"] = "x".into(), Side::Request, "/text", "no such field"),
        (|e| e.request_content_type = Some("text/plain".into()), Side::Request, "header Content-Type", "text/plain"),
        (|e| e.api_version = Some("2020-01-01".into()), Side::Request, "header X-GitHub-Api-Version", "no version"),
        (|e| e.status = 200, Side::Answer, "status", "no such status"),
        (|e| e.response_body = Value::Null, Side::Answer, "", "null"),
        (|e| e.response_body["id"] = "7".into(), Side::Answer, "/id", "integer"),
        (|e| e.response_body["user"]["login"] = Value::Null, Side::Answer, "/user/login", "string"),
        (|e| e.response_body["created_at"] = "today".into(), Side::Answer, "/created_at", "date-time"),
        (|e| e.response_content_type = Some("text/html".into()), Side::Answer, "header Content-Type", "text/html"),
        (
            |e| drop(e.response_body.as_object_mut().and_then(|body| body.remove("html_url"))),
            Side::Answer,
            "",
            "\"html_url\" is a required property",
        ),
    ];
    for (plant, side, at, what) in plants {
        let mut bad = good.clone();
        bad.accept = Some("application/json".into());
        plant(&mut bad);
        let found = judge.http(&bad);
        assert!(
            found.len() == 1 && found[0].side == side && found[0].at == at && found[0].what.contains(what),
            "{at}: {what}:{}",
            lines(&found)
        );
    }
}

#[test]
fn queries_are_typed_and_pages_are_bounded() {
    let judge = Judge::from_env().unwrap();
    let ask = |query: &str| {
        judge.http(&HttpExchange {
            method: "GET".into(),
            path: "/repos/o/r/pulls".into(),
            query: query.into(),
            status: 200,
            response_body: json!([]),
            ..HttpExchange::default()
        })
    };
    assert_eq!(ask("state=open&per_page=100&page=2&head=o%3Afeature"), []);
    for (query, at) in [("state=opened", "query state"), ("page=two", "query page"), ("per_page=200", "query per_page")]
    {
        let found = ask(query);
        assert!(found.len() == 1 && found[0].at == at, "{query}:{}", lines(&found));
    }
}

#[test]
fn what_github_does_and_does_not_describe_is_known() {
    let judge = Judge::from_env().unwrap();
    let mut exchange = HttpExchange {
        method: "GET".into(),
        path: "/repos/o/r/pulls/7".into(),
        status: 401,
        response_body: json!({"message": "Bad credentials", "documentation_url": "https://x"}),
        ..HttpExchange::default()
    };
    assert_eq!(judge.http(&exchange), []);
    exchange.response_body = json!({"message": {"text": "Bad credentials"}});
    assert_eq!(judge.http(&exchange)[0].at, "/message");
    exchange.status = 418;
    assert_eq!(judge.http(&exchange)[0].at, "status");
}

#[test]
fn a_log_is_read_line_by_line() {
    let judge = Judge::from_env().unwrap();
    let good = json!({
        "kind": "request", "method": "DELETE", "path": "/repos/o/r/issues/7/labels/a%2Fb", "query": null,
        "headers": {"accept": "*/*"}, "body": null,
        "response": {"status": 200, "headers": {"content-type": "application/json"}, "body": []}, "fault": null,
    });
    assert_eq!(judge.log(&format!("{good}\n\n{good}\n")).unwrap(), []);
    let mut bad = good.clone();
    bad["response"]["body"] = json!({});
    assert_eq!(judge.log(&bad.to_string()).unwrap().len(), 1);
    // What the forge was told to spoil is not its word.
    bad["fault"] = "half".into();
    assert_eq!(judge.log(&bad.to_string()).unwrap(), []);
    let webhook = json!({"kind": "webhook", "event": "ping", "body": {}});
    assert!(!judge.log(&webhook.to_string()).unwrap().is_empty());
    assert!(judge.log("{}").unwrap_err().to_string().contains("line 1"));
}
