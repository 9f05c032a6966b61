//! The live comment.

use std::time::SystemTime;

use kfops_core::Reason;

use super::{
    escape::{code, prose, text},
    metrics::{compare, number},
    words::{arguments, failure, icon, name, span, state},
};
use crate::{
    command::{Command, State},
    decide::plan,
    delivery::login,
    gate::{count, short},
    step::{Stage, Step, StepState},
    verb::Verb,
};

/// Most rows of the table; a pipeline may have hundreds of tasks.
const ROWS: usize = 60;
/// Longest arguments in the heading.
const ARGUMENTS: usize = 200;

/// The hidden mark by which the bot finds its own comment again. It is believed only in the bot's own comments.
#[must_use]
pub fn marker(command: &Command) -> String {
    format!("<!-- kfops:{} -->", command.id)
}

/// The live comment as it should stand now.
#[must_use]
pub fn comment(command: &Command, now: SystemTime, public_url: Option<&str>) -> String {
    let mut out = marker(command) + "\n";
    let answers = command.verb.only_reads() || command.verb.acts_on_commands();
    if answers && command.outcome == Some(State::Succeeded) {
        return out + &command.answer;
    }
    if matches!(state(command), State::Refused | State::Failed | State::Canceled | State::Superseded)
        && command.failure.is_some()
    {
        out += &failure(command);
        out += "\n\n";
    }
    let nothing_done = state(command) == State::Superseded && !command.begun();
    if nothing_done || state(command) == State::Refused {
        out += &format!("<sub>{}</sub>\n", by(command));
        return out;
    }
    out += &title(command, now);
    out += "\n\n";
    out += &table(command, now);
    let facts = facts(command);
    if !facts.is_empty() {
        out += &format!("\n{facts}\n");
    }
    let footer = footer(command, public_url);
    if !footer.is_empty() {
        out += &format!("\n{footer}\n");
    }
    out
}

fn by(command: &Command) -> String {
    let who = if login(&command.actor) { format!("@{}", command.actor) } else { code(&command.actor, 80) };
    match command.commit() {
        "" => format!("by {who}"),
        commit => format!("by {who} for {}", code(short(commit), 12)),
    }
}

fn title(command: &Command, now: SystemTime) -> String {
    let place = command.verb.environment().map(|e| format!(" · {}", e.as_str())).unwrap_or_default();
    let time = span(Some(command.received), command.ended, now);
    let state = match state(command) {
        State::Received | State::Accepted => "waiting".to_owned(),
        State::Running if waits(command) => format!("waiting for {time}"),
        State::Running => format!("running for {time}"),
        State::Succeeded => format!("done in {time}"),
        state => format!("{} after {time}", state.as_str()),
    };
    format!("**/{}**{} {}{place} · {state}", name(command), arguments(command, ARGUMENTS), by(command))
}

fn table(command: &Command, now: SystemTime) -> String {
    let plan_row = plan_row(command);
    let mut rows: Vec<&Step> = command
        .steps
        .iter()
        .filter(|step| shown(command, step))
        .flat_map(|step| {
            // What the rollout is about comes before its first row.
            let first = plan_row.as_ref().filter(|row| first_of(command, step, row.stage));
            first.into_iter().chain([step])
        })
        .collect();
    let hidden = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    let mut out = String::from("| step | state | time | |\n|---|---|---|---|\n");
    for step in rows {
        let time = span(step.start, step.end, now);
        out +=
            &format!("| {} | {} | {time} | {} |\n", text(&step.title, 80), icon(step.state), prose(&step.message, 200));
    }
    if hidden > 0 {
        out += &format!("| and {} more | | | |\n", hidden);
    }
    let ahead: Vec<&str> = plan(command.verb)
        .iter()
        .filter(|stage| {
            command.step(**stage).is_none_or(|step| step.state == StepState::Pending && step.message.is_empty())
                && **stage != Stage::Recheck
                && **stage != Stage::Tag
        })
        .map(|stage| stage.as_str())
        .collect();
    if !ahead.is_empty() && command.outcome.is_none() {
        out += &format!("| {} | | | |\n", ahead.join(", "));
    }
    out
}

/// Whether it waits for others rather than for work.
fn waits(command: &Command) -> bool {
    command.steps.iter().any(|step| step.state == StepState::Pending && !step.message.is_empty())
}

fn first_of(command: &Command, step: &Step, stage: Stage) -> bool {
    let first = command.steps.iter().find(|step| step.stage == stage && shown(command, step));
    first.is_some_and(|first| std::ptr::eq(first, step))
}

/// `model sha256:91… replaces sha256:0d… · accuracy 0.953 → 0.967 (+0.014)`. A step only in the table.
fn plan_row(command: &Command) -> Option<Step> {
    let lineage = &command.lineage;
    let (replaced, model) = (lineage.replaced.as_ref()?, lineage.model.as_ref()?);
    let digest = |digest: &str| digest.get(..19).unwrap_or(digest).to_owned();
    let mut said = match replaced.revision.as_str() {
        "" => format!("model {} is the first", digest(&model.digest)),
        revision => format!("model {} replaces {} of {revision}", digest(&model.digest), digest(&replaced.model)),
    };
    // A rollback measures nothing anew.
    let measured = match (replaced.revision.as_str(), lineage.metrics.is_empty()) {
        (_, true) => Vec::new(),
        ("", _) => lineage.metrics.iter().map(|(name, value)| format!("{name} {}", number(*value))).collect(),
        _ => compare(&replaced.metrics, &lineage.metrics),
    };
    for metric in measured.into_iter().take(3) {
        said += &format!(" · {metric}");
    }
    let mut row = Step::part(Stage::Rollout, "plan", StepState::Succeeded);
    row.message = said;
    Some(row)
}

/// Rows that tell nothing beyond their parts are left out.
fn shown(command: &Command, step: &Step) -> bool {
    let parts = || command.steps.iter().any(|part| part.part && part.stage == step.stage);
    match step.stage {
        _ if step.part => true,
        Stage::Build | Stage::Rollout => step.state == StepState::Failed || !parts(),
        Stage::Tag | Stage::Recheck => !step.state.done(),
        _ => true,
    }
}

fn facts(command: &Command) -> String {
    let lineage = &command.lineage;
    let mut facts = Vec::new();
    if command.progress(Stage::Compile).done() || command.verb == Verb::Run {
        facts.extend(lineage.version.iter().map(|version| format!("version {}", code(version, 64))));
    }
    if let Some(run) = lineage.run.as_ref().filter(|_| command.progress(Stage::Run).done()) {
        facts.push(format!("run {}", code(run, 64)));
    }
    let metrics = lineage.metrics.iter().take(10).map(|(name, value)| format!("{} {}", text(name, 60), number(*value)));
    facts.extend(metrics);
    if let Some(model) = &lineage.model {
        facts.push(format!("model {}", code(model.digest.get(..19).unwrap_or(&model.digest), 20)));
    }
    if command.went_live() {
        facts.push(match &lineage.restored {
            Some(restored) => {
                format!("{} brings back the model of {}", code(&lineage.revision, 80), code(&restored.revision, 80))
            }
            None => format!("live: {}", code(&lineage.revision, 80)),
        });
    }
    if !lineage.merge_commit.is_empty() {
        facts.push(format!("merged as {}", code(short(&lineage.merge_commit), 12)));
    }
    let mut out = facts.join(" · ");
    if lineage.metrics.len() > 10 {
        out += &format!(" · and {}", count(lineage.metrics.len() as u64 - 10, "more metric"));
    }
    if let Some((number, merged)) = lineage.undone.as_ref().filter(|_| command.went_live()) {
        out += &format!(
            "\n\nThe default branch still holds the change of #{number}, merged as {}: the next deployment would bring it \
             back. Revert it there if it is to stay away.",
            code(short(merged), 12)
        );
    }
    if command.outcome == Some(State::Succeeded) && matches!(command.verb, Verb::BuildRun | Verb::Run) {
        out += "\n\nNext: `/deploy`, or `/staging_deploy`.";
    }
    if worth_a_retry(command) {
        out += if out.is_empty() { "" } else { "\n\n" };
        out += &format!("Next: `/retry {}` does again what is not done, and nothing else.", command.id);
    }
    out
}

/// How to end it, and what that does.
fn way_out(command: &Command) -> Option<String> {
    let live = command.progress(Stage::Rollout) == StepState::Succeeded;
    if command.outcome.is_some() || live || !command.verb.takes_turns() {
        return None;
    }
    let replaced = command.lineage.replaced.as_ref().map(|replaced| replaced.revision.as_str());
    let before = match command.lineage.previous_revision.as_str() {
        "" => replaced.unwrap_or_default(),
        previous => previous,
    };
    Some(match (command.progress(Stage::Rollout), before) {
        (StepState::Running, "") => "`/cancel` takes it back".to_owned(),
        (StepState::Running, before) => format!("`/cancel` restores {}", text(before, 80)),
        _ => "`/cancel` ends it".to_owned(),
    })
}

/// Whether the same may succeed without a change of the code.
fn worth_a_retry(command: &Command) -> bool {
    let passes = command.failure.as_ref().is_none_or(|failure| {
        let passes = failure.retryable || matches!(failure.reason, Reason::Canceled | Reason::Internal);
        // Where the failure itself says what to do, nothing else is said.
        let told = ["/retry", " again", "push", "kfops.yaml"].iter().any(|way| failure.action.contains(way));
        passes && !told
    });
    command.verb.takes_turns()
        && matches!(command.outcome, Some(State::Failed | State::Canceled))
        && command.steps.iter().any(|step| step.stage == Stage::Gate && step.state == StepState::Succeeded)
        && passes
}

fn footer(command: &Command, public_url: Option<&str>) -> String {
    let mut links = Vec::new();
    if let Some(url) = public_url {
        links.push(format!("[trace]({}/traces/{})", url.trim_end_matches('/'), command.trace.trace_id));
    }
    links.extend(way_out(command));
    let endpoint = &command.lineage.endpoint;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '/' | '.' | '-' | '_' | '~' | '%');
    let live = command.outcome.is_none() || state(command) == State::Succeeded;
    if live && (endpoint.starts_with("http://") || endpoint.starts_with("https://")) && endpoint.chars().all(plain) {
        // Predictions are asked for by POST; where the link leads, a browser finds the model.
        links.push(format!("endpoint [{}]({})", code(endpoint, 300), model_url(endpoint)));
    }
    links.push(format!("<sub>{}</sub>", command.id));
    links.join(" · ")
}

/// Where the model that answers at an endpoint says how it is: `/v1/models/NAME` or `/v2/models/NAME` (KServe's V1 and V2
/// protocols).
pub(super) fn model_url(endpoint: &str) -> &str {
    endpoint.strip_suffix(":predict").or_else(|| endpoint.strip_suffix("/infer")).unwrap_or(endpoint)
}
