//! The pull request that a verb is about, when it is not given by number.

use kfops_core::ResourceId;
use serde_json::Value as Json;

use crate::{client::Client, exit::Exit, name, verbs::Subject};

/// Commands that are looked through for the one that deployed a model.
const PAGES: usize = 20;

/// Repository (where it is known) and number.
pub(crate) async fn find(client: &Client, subject: &Subject) -> Result<Option<(Option<String>, String)>, Exit> {
    match subject {
        Subject::PullRequest => Ok(None),
        Subject::Command(given) => {
            let name = name::resolve(client, given).await?;
            Ok(place(&client.get(&format!("v1/{name}"), &[]).await?))
        }
        Subject::Model(model) if model.parse::<u32>().is_ok_and(|number| number > 0) => Ok(Some((None, model.clone()))),
        Subject::Model(model) => {
            let model = ResourceId::parse(model).map_err(|_| {
                Exit::usage(
                    format!("`{}` is neither a model nor a pull request", crate::output::one_line(model)),
                    "give the name of an InferenceService, or the number of a pull request",
                )
            })?;
            deployer(client, model.as_str()).await.map(Some)
        }
    }
}

/// Where the newest command was written that deployed a model.
async fn deployer(client: &Client, model: &str) -> Result<(Option<String>, String), Exit> {
    let end = format!("/inferenceServices/{model}");
    let mut token = String::new();
    for _ in 0..PAGES {
        let page = client.get("v1/commands", &[("pageSize", "1000"), ("pageToken", &token)]).await?;
        let mut commands = page["commands"].as_array().into_iter().flatten();
        let deployed = |command: &&Json| {
            let lineage = &command["lineage"];
            lineage["inferenceService"].as_str().is_some_and(|name| name.ends_with(&end))
                && lineage["revision"].as_str().is_some_and(|revision| !revision.is_empty())
        };
        if let Some(found) = commands.find(deployed).and_then(place) {
            return Ok(found);
        }
        token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            break;
        }
    }
    Err(Exit::usage(
        format!("no command is known that deployed {model}"),
        "`kfc list` shows the commands; for a repository where nothing was deployed yet, give --pr NUMBER",
    ))
}

fn place(command: &Json) -> Option<(Option<String>, String)> {
    let number = command["pullRequest"].as_str()?.to_owned();
    Some((command["repository"].as_str().map(str::to_owned), number))
}
