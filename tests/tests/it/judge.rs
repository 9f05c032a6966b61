//! Everything that was said between the bot and the forge, held against GitHub's own description.

use std::{collections::BTreeMap, path::Path};

use kfops_github_contract::{Exchange, Judge};

/// Judges a log of the forge. `kills` lines may be torn: whoever wrote them was killed.
pub(crate) fn judge(log: &Path, kills: usize) {
    let judge = Judge::from_env().unwrap();
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    let mut wrong = BTreeMap::<String, usize>::new();
    let (mut requests, mut graphql, mut webhooks, mut torn) = (0, 0, 0, 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let exchange: Exchange = match serde_json::from_str(line) {
            Ok(exchange) => exchange,
            Err(_) => {
                torn += 1;
                continue;
            }
        };
        match &exchange {
            Exchange::Http(one) if one.path.ends_with("/graphql") => graphql += 1,
            Exchange::Http(_) => requests += 1,
            Exchange::Webhook(_) => webhooks += 1,
        }
        for violation in judge.exchange(&exchange) {
            *wrong.entry(violation.to_string()).or_default() += 1;
        }
    }
    println!(
        "{requests} requests, {graphql} of GraphQL, {webhooks} webhooks: {} violations",
        wrong.values().sum::<usize>()
    );
    let lines: String = wrong.iter().map(|(what, times)| format!("\n  {times} x {what}")).collect();
    assert!(wrong.is_empty(), "not as GitHub describes it:{lines}");
    assert!(requests > 0 && graphql > 0 && webhooks > 0, "the log is not of a whole conversation");
    assert!(torn <= kills, "{torn} lines are no exchanges");
}

#[test]
#[should_panic(expected = "1 x answer GET /repos/{owner}/{repo}/issues/comments/{comment_id}")]
fn the_judge_is_awake() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let line = serde_json::json!({"kind": "request", "method": "GET", "path": "/repos/o/r/issues/comments/1",
        "response": {"status": 200, "body": {"id": "1"}}});
    std::fs::write(file.path(), line.to_string()).unwrap();
    judge(file.path(), 0);
}
