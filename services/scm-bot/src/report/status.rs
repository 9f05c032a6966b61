//! The answers of `/status` and `/help`.

use std::{fmt::Write as _, time::SystemTime};

use super::{
    escape::{code, text},
    words::{span, state},
};
use crate::{command::Command, gate::short, ports::Live, verb::Verb};

/// Most commands in the answer of `/status`.
const ROWS: usize = 10;

/// The verbs.
#[must_use]
pub fn help() -> String {
    let mut out = String::from("| write | Kfops |\n|---|---|\n");
    for verb in Verb::ALL {
        writeln!(out, "| `{}` | {} |", verb.usage(), verb.summary()).ok();
    }
    out + "\nA command stands at the start of a line of its own. An edited comment starts nothing.\n"
}

/// The commands of the pull request, newest first, and what is live.
#[must_use]
pub fn status(command: &Command, history: &[Command], live: &[(&str, Option<Live>)], now: SystemTime) -> String {
    let mut out = format!("**Status** at {}\n\n", code(short(command.commit()), 12));
    let others: Vec<&Command> =
        history.iter().filter(|other| other.id != command.id && !other.verb.only_reads()).collect();
    if others.is_empty() {
        out += "No commands yet. `/help` shows what there is.\n";
    } else {
        out += "| command | state | commit | time | |\n|---|---|---|---|---|\n";
        for other in others.iter().take(ROWS) {
            let said = match &other.failure {
                Some(failure) => text(&failure.message, 120),
                None => other.steps.last().map(|step| text(&step.title, 60)).unwrap_or_default(),
            };
            writeln!(
                out,
                "| /{} {} | {} | {} | {} | {said} |",
                other.verb.as_str().replace('_', "\\_"),
                code(&other.id, 20),
                state(other).as_str(),
                code(short(other.commit()), 12),
                span(Some(other.received), other.ended, now),
            )
            .ok();
        }
    }
    for (environment, live) in live {
        match live {
            Some(live) => writeln!(
                out,
                "\nLive in {environment}: {} · model {} · commit {} · run {}",
                code(&live.revision, 80),
                code(live.model.digest.get(..19).unwrap_or(&live.model.digest), 20),
                code(short(&live.commit), 12),
                code(&live.run, 64),
            ),
            None => writeln!(out, "\nNothing is live in {environment}."),
        }
        .ok();
    }
    out
}
