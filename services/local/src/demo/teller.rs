//! Tells the story on the terminal: what was commented, each step as it ends, what came of it.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use kfops_core::{Failure, Reason};
use serde_json::Value as Json;

use crate::{client::Client, markdown, waterfall};

/// Longest that a command of the story may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Waits for the command of a comment and prints its steps as they end; the ended command.
pub async fn follow(
    client: &Client,
    repository: &str,
    pull_request: i64,
    comment: i64,
    quiet: bool,
) -> Result<Json, Failure> {
    let begun = Instant::now();
    let mut printed = HashSet::new();
    let mut name: Option<String> = None;
    loop {
        if begun.elapsed() > PATIENCE {
            return Err(Failure::new(
                Reason::DeadlineExceeded,
                format!("the command of comment {comment} did not end within {PATIENCE:?}"),
            ));
        }
        let command = match &name {
            Some(name) => Some(client.command(name).await?),
            None => {
                let all = client.commands(repository, pull_request).await?;
                all.into_iter().find(|c| c["commentId"].as_str() == Some(comment.to_string().as_str()))
            }
        };
        if let Some(command) = command {
            name = command["name"].as_str().map(str::to_owned);
            if !quiet {
                print_steps(&command, &mut printed);
            }
            if ended(&command) {
                return Ok(command);
            }
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

fn print_steps(command: &Json, printed: &mut HashSet<String>) {
    for step in command["steps"].as_array().into_iter().flatten() {
        let done =
            ["SUCCEEDED", "FAILED", "CANCELED"].iter().any(|state| step["state"] == format!("STEP_STATE_{state}"));
        if done && printed.insert(step["title"].as_str().unwrap_or_default().to_owned()) {
            println!("    {}", waterfall::step_line(step));
        }
    }
}

/// Whether the command has come to its end.
#[must_use]
pub fn ended(command: &Json) -> bool {
    ["REFUSED", "SUCCEEDED", "FAILED", "CANCELED", "SUPERSEDED"]
        .iter()
        .any(|state| command["state"].as_str() == Some(&format!("STATE_{state}")))
}

/// One line about the end of a command.
#[must_use]
pub(super) fn outcome(command: &Json) -> String {
    let state = command["state"].as_str().unwrap_or_default().trim_start_matches("STATE_").to_lowercase();
    let took =
        waterfall::step_time(&serde_json::json!({"startTime": command["createTime"], "endTime": command["endTime"]}));
    let calls = command["githubCalls"].as_i64().unwrap_or_default();
    match command["failure"]["message"].as_str() {
        Some(message) => format!("  → {state} after {took}: {message}"),
        None => format!("  → {state} after {took}, {calls} requests to the forge"),
    }
}

/// Markdown below a command of the story, without what only a page shows.
#[must_use]
pub(super) fn indented(markdown: &str) -> String {
    let folded = markdown.split("<details>").next().unwrap_or_default();
    let plain = markdown::render(folded, &|_, line| line.to_owned());
    plain.lines().filter(|line| !line.is_empty()).map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_text_in_a_terminal() {
        let answer =
            "**Plan** of `/ship`\n\n- max\\_depth: `2`\n\n<details><summary>All</summary>\n\nmore\n\n</details>\n";
        assert_eq!(indented(answer), "    Plan of /ship\n    - max_depth: 2\n");
    }
}
