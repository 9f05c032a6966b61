//! What a comment can have meant: the commit that was the head when it was written, and nothing once it was taken back.
//! Measured by what the world knows, never by what the bot says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kfops_scm_bot::{
    command::{Command, Origin, State as Ended},
    ports::WorkState,
    step::{Stage, StepState},
    verb::Verb,
};

use super::rules::{commit_of, job};
use crate::sim::{
    State,
    hub::{BOT, Comment, Sent},
};

/// How long a comment that is being taken may have stood a moment before.
const MOMENT: Duration = Duration::from_secs(60);

fn second(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn comment_of<'a>(state: &'a State, command: &Command) -> Option<&'a Comment> {
    let Origin::Comment { comment, .. } = command.origin else { return None };
    state.hub.comments.iter().find(|kept| kept.id == comment && kept.user != BOT)
}

/// Whether a comment can be about a commit: it was the head, or became or ceased to be in the same second.
fn meant(state: &State, comment: &Comment, commit: &str) -> bool {
    let pull = &state.hub.pulls[&comment.pull];
    let of = |at: SystemTime| second(at) == second(comment.at);
    let before = pull.pushes.iter().rev().find(|(at, _)| *at <= comment.at && !of(*at)).map(|(_, head)| head.clone());
    let before = before.unwrap_or_else(|| crate::sim::hub::head(comment.pull));
    before == commit || pull.pushes.iter().any(|(at, head)| of(*at) && head == commit)
}

/// The webhooks that told of a push to a commit after a comment.
fn told<'a>(state: &'a State, comment: &'a Comment, commit: &'a str) -> impl Iterator<Item = &'a Sent> {
    state.hub.sent.iter().filter(move |sent| {
        let payload: serde_json::Value = serde_json::from_slice(&sent.payload).unwrap();
        sent.event == "pull_request"
            && payload["number"] == comment.pull
            && payload["after"] == commit
            && sent.at >= comment.at
    })
}

/// Every rule about it that is broken.
pub(super) fn violations(state: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    for command in state.book.ordered() {
        let Some(comment) = comment_of(state, command) else { continue };
        let name = format!("{} /{} ({:?})", command.id, command.verb.as_str(), comment.body);
        wrong.extend(went_live(state, command, comment).map(|what| format!("{name} {what}")));
        wrong.extend(landed(state, command, comment).map(|what| format!("{name} {what}")));
        if let Some(by) = command.superseded_by.as_ref().filter(|_| command.state == Ended::Superseded) {
            let pushes = &state.hub.pulls[&comment.pull].pushes;
            let later = pushes.iter().any(|(at, head)| head == by && second(*at) >= second(comment.at));
            if !later {
                wrong.push(format!("{name} is superseded by {by}, which was not pushed after it was written"));
            }
            if job(state, command, Stage::Rollout).is_some_and(|job| job.state == WorkState::Succeeded) {
                wrong.push(format!("{name} is superseded, and went live"));
            }
        }
    }
    wrong.extend(taken_back(state));
    wrong
}

/// What of its own work went live although nobody meant it, and this was known when it began.
fn went_live(state: &State, command: &Command, comment: &Comment) -> Option<String> {
    command.step(Stage::Rollout).filter(|step| step.start.is_some() && command.verb != Verb::Rollback)?;
    let job = job(state, command, Stage::Rollout).filter(|job| job.state == WorkState::Succeeded)?;
    let commit = commit_of(state, job);
    let known = told(state, comment, &commit).filter_map(|sent| state.book.heard.get(&sent.guid)).min();
    let in_time = known.is_some_and(|known| *known < job.begun);
    (in_time && !meant(state, comment, &commit)).then(|| format!("brought {commit} live, which came after it"))
}

/// What it merged although nobody meant it, and this was known when it came.
fn landed(state: &State, command: &Command, comment: &Comment) -> Option<String> {
    command.step(Stage::Merge).filter(|step| step.start.is_some() && step.state == StepState::Succeeded)?;
    let commit = command.commit();
    let came = state
        .hub
        .sent
        .iter()
        .find(|sent| matches!(&command.origin, Origin::Comment { delivery, .. } if *delivery == sent.guid))?;
    let known = told(state, comment, commit).filter_map(|sent| state.book.heard.get(&sent.guid)).min();
    let in_time = known.is_some_and(|known| *known < state.book.heard[&came.guid]);
    (in_time && !meant(state, comment, commit)).then(|| format!("merged {commit}, which came after it"))
}

/// What was found missing and had been taken back.
fn taken_back(state: &State) -> impl Iterator<Item = String> {
    late(state)
        .filter(|(comment, by)| {
            let commands = state.book.commands.values();
            let of = |command: &&Command| comment_of(state, command).is_some_and(|kept| kept.id == comment.id);
            let started = commands.filter(of).any(|command| command.started.is_some());
            started && *by > MOMENT
        })
        .map(|(comment, by)| format!("{:?} was taken back {by:?} before it was found, and done", comment.body))
}

/// Comments that the bot found missing after they were taken back, and how long after.
fn late(state: &State) -> impl Iterator<Item = (&Comment, Duration)> {
    state.hub.comments.iter().filter_map(|comment| {
        let (since, _) = comment.taken_back.as_ref()?;
        let sent = state.hub.sent.iter().find(|sent| sent.event == "issue_comment" && sent.at == comment.at)?;
        let found = state.log.iter().any(|(_, line)| line.ends_with(&format!("{} is lost", sent.guid)));
        let heard = UNIX_EPOCH + crate::sim::time::BEGIN + *state.book.heard.get(&sent.guid)?;
        Some((comment, heard.duration_since(*since).ok()?)).filter(|_| found && !state.hub.sent_again)
    })
}

/// How many comments had a push between them and their webhook, and how many were taken back before they were found.
pub(super) fn seen(state: &State) -> (usize, usize) {
    let commands = state.book.commands.values().filter(|command| command.verb.about_code());
    let overtaken = commands.filter(|command| {
        let Some(comment) = comment_of(state, command) else { return false };
        let Origin::Comment { delivery, .. } = &command.origin else { return false };
        let heard = UNIX_EPOCH + crate::sim::time::BEGIN + state.book.heard.get(delivery).copied().unwrap_or_default();
        state.hub.pulls[&comment.pull].pushes.iter().any(|(at, _)| *at > comment.at && *at < heard)
    });
    (overtaken.count(), late(state).count())
}
