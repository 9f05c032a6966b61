//! Commands as text: lists, one in full, how it ended.

use kfops_core::Failure;
use kfops_local::{
    markdown::{self, Tone},
    waterfall,
};
use serde_json::{Value as Json, json};

use crate::{
    cli::ListArgs,
    client::Client,
    exit::Exit,
    name,
    output::{Colour, Format, Output, colour_of, one_line},
};

/// `kfc list`.
pub(crate) async fn list(client: &Client, args: &ListArgs, output: &Output) -> Result<(), Exit> {
    let limit = args.limit as usize;
    let (size, pull_request) = (limit.min(100).to_string(), args.pr.unwrap_or(0).to_string());
    let repository = args.repo.as_deref().unwrap_or_default();
    let mut commands: Vec<Json> = Vec::new();
    let mut token = String::new();
    loop {
        let query = [
            ("pageSize", size.as_str()),
            ("pageToken", &token),
            ("repository", repository),
            ("pullRequest", &pull_request),
        ];
        let mut page = client.get("v1/commands", &query).await?;
        if let Json::Array(more) = page["commands"].take() {
            commands.extend(more);
        }
        token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() || commands.len() >= limit {
            break;
        }
    }
    commands.truncate(limit);
    match output.format {
        Format::Table => table(&commands, output),
        Format::Name => commands.iter().for_each(|command| output.value(command)),
        Format::Json | Format::Yaml => output.value(&json!({"commands": commands})),
    }
    Ok(())
}

fn table(commands: &[Json], output: &Output) {
    if commands.is_empty() {
        output.line("no commands yet");
        return;
    }
    let rows: Vec<[String; 7]> = commands.iter().map(row).collect();
    let header = ["ID", "COMMAND", "PULL REQUEST", "STATE", "TIME", "ACTOR", "CREATED"].map(str::to_owned);
    let mut widths = [0; 7];
    for row in rows.iter().chain([&header]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for (index, row) in [&header].into_iter().chain(&rows).enumerate() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let padded = format!("{cell:<width$}");
            // Padding first: colours have no width.
            match (column, index.checked_sub(1).and_then(|i| colour_of(commands[i]["state"].as_str()?))) {
                (3, Some(colour)) => line.push_str(&output.paint(colour, &padded)),
                _ => line.push_str(&padded),
            }
            line.push_str("  ");
        }
        output.line(line.trim_end());
    }
}

fn row(command: &Json) -> [String; 7] {
    let text = |key: &str| one_line(command[key].as_str().unwrap_or_default());
    let created = text("createTime");
    let created = created.split_once('.').map_or(created.trim_end_matches('Z'), |(seconds, _)| seconds);
    [
        text("name").trim_start_matches("commands/").to_owned(),
        verb(command),
        format!("{}#{}", text("repository"), text("pullRequest")),
        state(command),
        waterfall::step_time(command),
        text("actor"),
        created.replace('T', " "),
    ]
}

/// `kfc show`.
pub(crate) async fn show(client: &Client, given: &str, output: &Output) -> Result<(), Exit> {
    let name = name::resolve(client, given).await?;
    let command = client.get(&format!("v1/{name}"), &[]).await?;
    if !output.is_table() {
        output.value(&command);
        return Ok(());
    }
    output.line(&format!("{name}  {}", title(&command)));
    for (label, key) in [("commit", "commit"), ("actor", "actor"), ("trace", "traceId"), ("created", "createTime")] {
        if let Some(value) = command[key].as_str() {
            output.line(&format!("{} {}", output.paint(Colour::Grey, &format!("{label:<10}")), one_line(value)));
        }
    }
    for step in command["steps"].as_array().into_iter().flatten() {
        output.line(&waterfall::step_line(step));
    }
    for line in lineage(&command["lineage"]) {
        output.line(&line);
    }
    output.line(&outcome(&command, output));
    output.bytes(answer(&command, output).as_bytes());
    Ok(())
}

/// What a verb answers, for a terminal; empty when it is none that answers, or has not yet.
pub(crate) fn answer(command: &Json, output: &Output) -> String {
    let text = command["answer"].as_str().unwrap_or_default();
    let paint = |tone: Tone, line: &str| {
        let colour = match tone {
            Tone::Added => Colour::Green,
            Tone::Removed => Colour::Red,
            Tone::Place => Colour::Grey,
        };
        output.paint(colour, line)
    };
    markdown::render(text, &paint)
}

/// `kfc cancel`.
pub(crate) async fn cancel(client: &Client, given: &str, output: &Output) -> Result<(), Exit> {
    let name = name::resolve(client, given).await?;
    let command = client.post(&format!("v1/{name}:cancel"), &[], &json!({})).await?;
    if output.is_table() {
        output.line(&format!("{name}  {}  {}", title(&command), state(&command)));
    } else {
        output.value(&command);
    }
    Ok(())
}

/// `/build_run --set=a=1 on o/r#3`.
pub(crate) fn title(command: &Json) -> String {
    let words = command["arguments"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let words = words.filter(|_| typo(command).is_none());
    let words: String = words.map(|word| format!(" {}", one_line(word))).collect();
    let text = |key: &str| one_line(command[key].as_str().unwrap_or_default());
    format!("{}{words} on {}#{}", verb(command), text("repository"), text("pullRequest"))
}

/// How it ended or stands; a failure with all that is known.
pub(crate) fn outcome(command: &Json, output: &Output) -> String {
    let state = state(command);
    let shown = match colour_of(command["state"].as_str().unwrap_or_default()) {
        Some(colour) => output.paint(colour, &state),
        None => state,
    };
    let mut line = format!("{} {shown}", verb(command));
    let took = waterfall::step_time(&json!({"startTime": command["createTime"], "endTime": command["endTime"]}));
    if !took.is_empty() {
        line.push_str(&format!(" after {took}"));
    }
    if let Some(message) = command["failure"]["message"].as_str() {
        let text = |key: &str| command["failure"][key].as_str().unwrap_or_default();
        let failure = Failure::internal(message).action(text("action")).log_tail(text("logTail"));
        line.push_str(": ");
        line.push_str(&crate::exit::text(&failure));
    }
    line
}

/// Whether it is over.
pub(crate) fn has_ended(command: &Json) -> bool {
    let ends = ["STATE_REFUSED", "STATE_SUCCEEDED", "STATE_FAILED", "STATE_CANCELED", "STATE_SUPERSEDED"];
    command["state"].as_str().is_some_and(|state| ends.contains(&state))
}

/// What was written, where it is only almost a verb: the bot keeps it with the verb of its answer.
fn typo(command: &Json) -> Option<&str> {
    let word = command["arguments"][0].as_str().filter(|_| command["verb"] == "VERB_HELP")?;
    (command["failure"]["message"].as_str()? == format!("/{word} is not a command")).then_some(word)
}

fn verb(command: &Json) -> String {
    if let Some(word) = typo(command) {
        return format!("/{}", one_line(word));
    }
    let verb = command["verb"].as_str().unwrap_or_default().trim_start_matches("VERB_");
    format!("/{}", verb.to_lowercase())
}

fn state(command: &Json) -> String {
    command["state"].as_str().unwrap_or_default().trim_start_matches("STATE_").to_lowercase()
}

/// commit -> source -> images -> version -> run -> model -> revision, as far as it is known.
fn lineage(lineage: &Json) -> Vec<String> {
    let mut lines = Vec::new();
    let mut add = |label: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("  {label:<10} {}", one_line(value)));
        }
    };
    let text = |key: &str| lineage[key].as_str().unwrap_or_default();
    add("source", text("sourceDigest"));
    for image in lineage["images"].as_array().into_iter().flatten() {
        let part = |key: &str| image[key].as_str().unwrap_or_default();
        let names = lineage["reusedImages"].as_array();
        let reused = names.is_some_and(|names| names.contains(&image["name"]));
        let note = if reused { " (reused)" } else { "" };
        add("image", &format!("{} {}{note}", part("name"), part("digest")));
    }
    add("version", text("pipelineVersion"));
    add("run", text("run"));
    for (name, value) in lineage["metrics"].as_object().into_iter().flatten() {
        add("metric", &format!("{name} {value}"));
    }
    add("model", lineage["model"]["digest"].as_str().unwrap_or_default());
    add("revision", text("revision"));
    add("endpoint", text("endpoint"));
    add("merged as", text("mergeCommit"));
    lines
}
