//! The judge of GraphQL exchanges.

use kfops_github_contract::{HttpExchange, Judge, Side};
use serde_json::{Value, json};

use crate::lines;

const QUERY: &str = "query One($owner: String!, $name: String!, $number: Int!) {
  repository(owner: $owner, name: $name) {
    pullRequest(number: $number) {
      id
      headRefOid
      mergeable
      author { login }
      labels(first: 10) { nodes { name } }
      timelineItems(last: 1) { nodes { __typename ... on PullRequestCommit { commit { oid } } ... on LabeledEvent { id } } }
    }
  }
}";

fn good() -> HttpExchange {
    HttpExchange {
        method: "POST".into(),
        path: "/graphql".into(),
        request_body: json!({"query": QUERY, "variables": {"owner": "o", "name": "r", "number": 7}}),
        status: 200,
        response_body: json!({"data": {"repository": {"pullRequest": {
            "id": "PR_1",
            "headRefOid": "0123456789012345678901234567890123456789",
            "mergeable": "MERGEABLE",
            "author": null,
            "labels": {"nodes": [{"name": "x"}, null]},
            "timelineItems": {"nodes": [
                {"__typename": "PullRequestCommit", "commit": {"oid": "0123456789012345678901234567890123456789"}},
                {"__typename": "LabeledEvent", "id": "LE_1"},
                {"__typename": "ClosedEvent"},
            ]},
        }}}}),
        ..HttpExchange::default()
    }
}

#[test]
fn a_query_and_its_data_fit() {
    let found = Judge::from_env().unwrap().http(&good());
    assert!(found.is_empty(), "{}", lines(&found));
    let mut failed = good();
    failed.response_body = json!({"data": null, "errors": [{"message": "x", "type": "NOT_FOUND"}]});
    assert_eq!(Judge::from_env().unwrap().http(&failed), []);
}

#[test]
fn mistakes_are_found() {
    let judge = Judge::from_env().unwrap();
    type Plant = fn(&mut HttpExchange);
    let plants: [(Plant, Side, &str, &str); 11] = [
        (|e| e.request_body["query"] = "query { viewer { nick } }".into(), Side::Request, "/query", "nick"),
        (|e| e.request_body["query"] = "query {".into(), Side::Request, "/query", "expected"),
        (|e| e.request_body["variables"]["number"] = "7".into(), Side::Request, "/variables", "number"),
        (|e| e.request_body["variables"]["more"] = 7.into(), Side::Request, "/variables", "more"),
        (|e| pull(e)["id"] = Value::Null, Side::Answer, "/data/repository/pullRequest/id", "ID!"),
        (
            |e| pull(e)["mergeable"] = "YES".into(),
            Side::Answer,
            "/data/repository/pullRequest/mergeable",
            "MergeableState",
        ),
        (
            |e| pull(e)["headRefOid"] = "abc".into(),
            Side::Answer,
            "/data/repository/pullRequest/headRefOid",
            "GitObjectID",
        ),
        (|e| pull(e)["more"] = 1.into(), Side::Answer, "/data/repository/pullRequest/more", "not selected"),
        (
            |e| drop(pull(e).as_object_mut().unwrap().remove("author")),
            Side::Answer,
            "/data/repository/pullRequest/author",
            "missing",
        ),
        (
            |e| pull(e)["labels"]["nodes"] = json!({}),
            Side::Answer,
            "/data/repository/pullRequest/labels/nodes",
            "not a list",
        ),
        (
            |e| drop(pull(e)["timelineItems"]["nodes"][0].as_object_mut().unwrap().remove("commit")),
            Side::Answer,
            "/data/repository/pullRequest/timelineItems/nodes/0/commit",
            "missing",
        ),
    ];
    for (plant, side, at, what) in plants {
        let mut bad = good();
        plant(&mut bad);
        let found = judge.http(&bad);
        assert!(
            found.iter().any(|one| one.side == side && one.at == at && one.what.contains(what)),
            "{at}: {what}:{}",
            lines(&found)
        );
    }
}

fn pull(exchange: &mut HttpExchange) -> &mut Value {
    &mut exchange.response_body["data"]["repository"]["pullRequest"]
}
