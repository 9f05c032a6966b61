//! REST as a client sees it.

use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::harness::{CLIENT, Gateway, gateway, gateway_with};

async fn create(gateway: &Gateway, id: &str) -> Value {
    let body = json!({"verb": "VERB_BUILD_RUN", "repository": "o/r", "pullRequest": 7, "arguments": ["--set", "a=1"]});
    let response = post(gateway, &format!("/v1/commands?command_id={id}"), &body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> RequestBuilder {
    CLIENT.post(gateway.url(path)).json(body)
}

fn get(gateway: &Gateway, path: &str) -> RequestBuilder {
    CLIENT.get(gateway.url(path))
}

async fn error(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let json: Value = response.json().await.unwrap();
    assert_eq!(json["error"]["code"], status.as_u16(), "{json}");
    (status, json["error"].clone())
}

#[tokio::test]
async fn create_get_list_cancel() {
    let gateway = gateway().await;
    let made = create(&gateway, "c-1").await;
    assert_eq!(made["name"], "commands/c-1");
    assert_eq!(made["verb"], "VERB_BUILD_RUN");
    assert_eq!(made["pullRequest"], "7");
    assert_eq!(made["state"], "STATE_RECEIVED");
    let got: Value = get(&gateway, "/v1/commands/c-1").send().await.unwrap().json().await.unwrap();
    assert_eq!(got, made);
    let list: Value = get(&gateway, "/v1/commands?page_size=5").send().await.unwrap().json().await.unwrap();
    assert_eq!(list, json!({"commands": [made]}));
    let canceled: Value =
        post(&gateway, "/v1/commands/c-1:cancel", &json!({})).send().await.unwrap().json().await.unwrap();
    assert_eq!(canceled["state"], "STATE_CANCELED");
    assert!(gateway.bot.seen.lock().unwrap().actors.iter().all(|actor| actor == "local"));
}

#[tokio::test]
async fn a_created_command_gets_its_trace_here_once() {
    let gateway = gateway().await;
    let first = create(&gateway, "c-1").await;
    let again = create(&gateway, "c-1").await;
    assert_eq!(first["traceId"], again["traceId"]);
    assert_eq!(first["traceId"].as_str().unwrap().len(), 32);
    assert_eq!(gateway.tracer.recorded(), 1);
    let roots = gateway.bot.seen.lock().unwrap().roots.clone();
    assert_eq!(roots[0].unwrap().trace_id.to_string(), first["traceId"]);
}

#[tokio::test]
async fn failures_are_google_rpc_statuses() {
    let gateway = gateway().await;
    let (status, body) = error(get(&gateway, "/v1/commands/none").send().await.unwrap()).await;
    assert_eq!(status, 404);
    assert_eq!(body["status"], "NOT_FOUND");
    assert_eq!(body["message"], "there is no command commands/none");
    let info = json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "NOT_FOUND", "domain": "kfops.dev",
        "metadata": {"resource": "commands/none", "action": "see `kfc list`"},
    });
    assert_eq!(body["details"][0], info);
    let (status, body) = error(post(&gateway, "/v1/commands?command_id=c", &json!({})).send().await.unwrap()).await;
    assert_eq!(status, 400);
    assert_eq!(body["details"][1]["fieldViolations"][0]["field"], "command.repository");
    let (status, body) =
        error(post(&gateway, "/v1/commands?command_id=c", &json!({"vreb": 1})).send().await.unwrap()).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().contains("vreb"), "{body}");
}

#[tokio::test]
async fn what_is_not_there() {
    let gateway = gateway().await;
    for path in ["/", "/v1/builds", "/v1/commands/a:burn", "/v1/commands/a/b", "/kfops.command.v1.DeliveryService/x"] {
        assert_eq!(error(get(&gateway, path).send().await.unwrap()).await.0, 404, "{path}");
    }
    let response = CLIENT.delete(gateway.url("/v1/commands")).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST, GET");
    assert_eq!(error(response).await.0, 405);
    let text = CLIENT.post(gateway.url("/v1/commands?command_id=c")).body("{}").send().await.unwrap();
    assert_eq!(error(text).await.0, 415);
    let broken = CLIENT.post(gateway.url("/v1/commands?command_id=c")).header("content-type", "application/json");
    assert_eq!(error(broken.body("{\"verb\"").send().await.unwrap()).await.0, 400);
    let large = post(&gateway, "/v1/commands?command_id=c", &json!({"repository": "x".repeat(2 << 20)}));
    assert_eq!(error(large.send().await.unwrap()).await.0, 413);
}

#[tokio::test]
async fn watches_are_lines_or_events() {
    let gateway = gateway().await;
    create(&gateway, "c-1").await;
    let response = get(&gateway, "/v1/commands/c-1:watch").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let states: Vec<String> = response
        .text()
        .await
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["STATE_RECEIVED", "STATE_RUNNING", "STATE_SUCCEEDED"]);
    let response = get(&gateway, "/v1/commands/c-1:watch").header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    assert_eq!(text.matches("data: {").count(), 3, "{text}");
    let log = get(&gateway, "/v1/commands/c-1:readLog").send().await.unwrap().text().await.unwrap();
    assert_eq!(log, "{\"data\":\"b25lCg==\"}\n{\"data\":\"dHdvCg==\"}\n");
}

#[tokio::test]
async fn a_watch_that_fails_says_so() {
    let gateway = gateway().await;
    let (status, _) = error(get(&gateway, "/v1/commands/none:watch").send().await.unwrap()).await;
    assert_eq!(status, 404);
    create(&gateway, "broken").await;
    let text = get(&gateway, "/v1/commands/broken:watch").send().await.unwrap().text().await.unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["details"][0]["reason"], "STORE_UNAVAILABLE", "{text}");
    create(&gateway, "long").await;
    let response = get(&gateway, "/v1/commands/long:watch").header("x-server-timeout", "0.3").send().await.unwrap();
    let text = response.text().await.unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["details"][0]["reason"], "DEADLINE_EXCEEDED", "{text}");
}

#[tokio::test]
async fn who_may_call() {
    let gateway = gateway_with(|settings| {
        let token = kfops_gateway::Secret::new("t0ken");
        settings.api.tokens = vec![kfops_gateway::ApiToken { token, user: "ann".into() }];
    })
    .await;
    let response = get(&gateway, "/v1/commands").send().await.unwrap();
    assert!(response.headers().contains_key("www-authenticate"));
    assert_eq!(error(response).await.0, 401);
    let response = get(&gateway, "/v1/commands")
        .bearer_auth("t0ken")
        .header("kfops-actor", "root")
        .header("kubeflow-userid", "root")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let seen = gateway.bot.seen.lock().unwrap();
    assert_eq!(seen.actors, ["ann"]);
    assert!(!seen.metadata.iter().any(|key| key.contains("userid") || key == "authorization"), "{:?}", seen.metadata);
}

#[tokio::test]
async fn other_sites_pages_are_refused() {
    let gateway = gateway().await;
    for (name, value) in
        [("origin", "https://evil.example.com"), ("sec-fetch-site", "cross-site"), ("host", "evil.example.com")]
    {
        let response = get(&gateway, "/v1/commands").header(name, value).send().await.unwrap();
        assert_eq!(error(response).await.0, 403, "{name}");
    }
}

#[tokio::test]
async fn openapi_describes_it() {
    let gateway = gateway().await;
    let document: Value = get(&gateway, "/openapi.json").send().await.unwrap().json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let create = &document["paths"]["/v1/commands"]["post"];
    assert_eq!(create["operationId"], "CreateCommand");
    assert_eq!(create["description"], "Idempotent by command_id.");
    assert_eq!(
        create["parameters"][0],
        json!({
            "name": "commandId", "in": "query", "required": true, "schema": {"type": "string"},
        })
    );
    let command = json!({"$ref": "#/components/schemas/Command"});
    assert_eq!(create["requestBody"]["content"]["application/json"]["schema"], command);
    assert!(document["paths"]["/v1/commands/{command}:watch"]["get"].is_object());
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["Command"]["required"], json!(["verb", "repository", "pullRequest"]));
    assert_eq!(schemas["Command"]["properties"]["uid"]["readOnly"], true);
    assert!(schemas["Verb"]["enum"].as_array().unwrap().contains(&"VERB_SHIP".into()));
    let described = schemas["Command"]["properties"]["traceId"]["description"].as_str().unwrap();
    assert_eq!(described, "32 hex digits: the OpenTelemetry trace of the command.");
    assert!(schemas.get("AcceptDeliveryRequest").is_none());
    check_structure(&document);
}

/// Every reference leads somewhere, every path parameter is declared, every operation answers and has a name of its own.
fn check_structure(document: &Value) {
    let mut queue = vec![document];
    let mut references = 0;
    while let Some(value) = queue.pop() {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            assert!(document.pointer(target.trim_start_matches('#')).is_some_and(Value::is_object), "{target}");
        }
        match value {
            Value::Object(object) => queue.extend(object.values()),
            Value::Array(array) => queue.extend(array),
            _ => {}
        }
    }
    assert!(references > 10);
    let mut names = std::collections::HashSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            assert!(["get", "post"].contains(&verb.as_str()), "{verb}");
            assert!(names.insert(operation["operationId"].as_str().unwrap()), "{path}");
            assert!(operation["responses"]["200"]["description"].is_string(), "{path}");
            let declared: Vec<&str> = operation["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|p| p["in"] == "path" && p["required"] == true)
                .map(|p| p["name"].as_str().unwrap())
                .collect();
            let in_path: Vec<&str> = path.split('{').skip(1).map(|rest| rest.split_once('}').unwrap().0).collect();
            assert_eq!(declared, in_path, "{path}");
        }
    }
    assert!(names.contains("ListLocks"), "{names:?}");
    assert_eq!(names.len(), 7);
}
