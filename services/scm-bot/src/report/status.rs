//! The answers of `/status` and `/help`.

use std::{fmt::Write as _, time::SystemTime};

use kfops_core::Failure;

use super::{
    escape::{code, prose, text},
    locks::{Held, lock},
    plan::Found,
    words::{arguments, name, sentence, span, state},
};
use crate::{command::Command, gate::short, ports::Live, verb::Verb};

/// Most commands in the answer of `/status`.
const ROWS: usize = 10;

/// What is live in one place, and who may change it.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// e.g. `production`.
    pub environment: &'static str,
    /// Its lock.
    pub lock: Found<Held>,
    /// What answers there.
    pub live: Found<Option<Live>>,
}

/// The verbs.
#[must_use]
pub fn help() -> String {
    let mut out = String::from("| write | Kfops |\n|---|---|\n");
    for verb in Verb::ALL {
        // GitHub ends a table's cell at a bar, also inside of code.
        writeln!(out, "| `{}` | {} |", verb.usage().replace('|', "\\|"), verb.summary()).ok();
    }
    out + "\nA command stands at the start of a line of its own. An edited comment starts nothing.\n"
}

/// The commands of the pull request, newest first, the locks, and what is live. `unread`: why nobody knows the places.
#[must_use]
pub fn status(
    command: &Command,
    history: &[Command],
    unread: Option<&Failure>,
    places: &[Place],
    now: SystemTime,
) -> String {
    let mut out = format!("**Status** at {}\n\n", code(short(command.commit()), 12));
    let others: Vec<&Command> =
        history.iter().filter(|other| other.id != command.id && !other.verb.only_reads()).collect();
    if others.is_empty() {
        out += "No commands yet. `/help` shows what there is.\n";
    } else {
        out += "| command | state | commit | time | |\n|---|---|---|---|---|\n";
        for other in others.iter().take(ROWS) {
            let said = match &other.failure {
                Some(failure) => prose(&failure.message, 120),
                None => other.steps.last().map(|step| text(&step.title, 60)).unwrap_or_default(),
            };
            writeln!(
                out,
                "| /{}{} {} | {} | {} | {} | {said} |",
                name(other),
                arguments(other, 80),
                code(&other.id, 20),
                state(other).as_str(),
                code(short(other.commit()), 12),
                span(Some(other.received), other.ended, now),
            )
            .ok();
        }
    }
    if let Some(failure) = unread {
        writeln!(out, "\n{}", sentence(failure)).ok();
    }
    for place in places {
        out += &shown(place, now);
    }
    out
}

fn shown(place: &Place, now: SystemTime) -> String {
    let environment = place.environment;
    let live = match &place.live {
        Ok(Some(live)) => format!(
            "Live in {environment}{}: {} · model {} · commit {} · run {}",
            if live.unanswered.is_empty() {
                String::new()
            } else {
                format!(", **but does not answer** ({})", text(live.unanswered.trim_end_matches('.'), 300))
            },
            code(&live.revision, 80),
            code(live.model.digest.get(..19).unwrap_or(&live.model.digest), 20),
            code(short(&live.commit), 12),
            code(&live.run, 64),
        ),
        Ok(None) => format!("Nothing is live in {environment}."),
        Err(failure) => {
            format!("What is live in {environment} could not be found out: {}.", text(&failure.message, 300))
        }
    };
    let held = match &place.lock {
        Ok(held) => lock(held, now),
        Err(failure) => format!("could not be found out: {}", text(&failure.message, 300)),
    };
    format!("\n{live}\nLock of {environment}: {held}\n")
}
