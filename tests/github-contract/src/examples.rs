//! The payloads of `@octokit/webhooks-examples`.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One example.
#[derive(Debug, Clone)]
pub struct Example {
    /// `X-GitHub-Event`.
    pub event: String,
    /// The body.
    pub payload: Value,
}

/// All examples of the file that KFOPS_GITHUB_EXAMPLES names.
pub fn webhooks() -> Result<Vec<Example>> {
    let index = crate::json(&crate::variable("KFOPS_GITHUB_EXAMPLES")?)?;
    let mut all = Vec::new();
    for event in index.as_array().context("the examples are no list")? {
        let name = event["name"].as_str().context("an event without a name")?;
        let examples = event["examples"].as_array().context("an event without examples")?;
        all.extend(examples.iter().map(|payload| Example { event: name.to_owned(), payload: payload.clone() }));
    }
    Ok(all)
}

/// The example of a comment on an issue, made one on a pull request: there is none of that kind.
pub fn comment_on_pull_request() -> Result<Value> {
    let created = |one: &Example| one.event == "issue_comment" && one.payload["action"] == "created";
    let mut payload = webhooks()?.into_iter().find(created).context("no issue_comment.created")?.payload;
    let repository = payload["repository"]["url"].as_str().context("no repository.url")?.to_owned();
    let page = payload["repository"]["html_url"].as_str().context("no repository.html_url")?.to_owned();
    let number = payload["issue"]["number"].as_u64().context("no issue.number")?;
    payload["issue"]["pull_request"] = serde_json::json!({
        "url": format!("{repository}/pulls/{number}"),
        "html_url": format!("{page}/pull/{number}"),
        "diff_url": format!("{page}/pull/{number}.diff"),
        "patch_url": format!("{page}/pull/{number}.patch"),
        "merged_at": null,
    });
    Ok(payload)
}
