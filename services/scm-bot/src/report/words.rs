//! Times, states and failures in words.

use std::time::{Duration, SystemTime};

use kfops_core::{Failure, Reason};

use super::escape::{block, code, prose, text};
use crate::{
    command::{Command, State},
    gate::count,
    ports::Annotation,
    step::{Stage, StepState},
};

/// Most errors of kfops.yaml that stand in the comment itself.
const LISTED: usize = 5;

/// `0.2 s`, `21 s`, `1 m 12 s`, `2 h 3 m`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} m {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} m", seconds / 3600, seconds / 60 % 60),
    }
}

/// From start to end, or to now.
pub(super) fn span(start: Option<SystemTime>, end: Option<SystemTime>, now: SystemTime) -> String {
    start.map(|start| duration(end.unwrap_or(now).duration_since(start).unwrap_or_default())).unwrap_or_default()
}

pub(super) const fn icon(state: StepState) -> &'static str {
    match state {
        StepState::Pending => "",
        StepState::Running => "●",
        StepState::Succeeded => "✓",
        StepState::Failed => "✗",
        StepState::Skipped => "–",
        StepState::Canceled => "⊘",
    }
}

/// How the command will end or is.
pub(super) fn state(command: &Command) -> State {
    command.outcome.unwrap_or(command.state)
}

/// The reason, what is still true, what to do, the log.
pub(super) fn failure(command: &Command) -> String {
    let Some(failure) = &command.failure else { return String::new() };
    let verdict = match state(command) {
        State::Refused => "refused",
        State::Canceled => "canceled",
        State::Superseded => "superseded",
        _ => "failed",
    };
    // Who ended it says more than that it was ended.
    let why = match command.canceled_by.as_str() {
        by if !by.is_empty() && failure.reason == Reason::Canceled => by,
        _ => &failure.message,
    };
    let errors: Vec<&Annotation> = command.annotations.iter().filter(|annotation| !annotation.warning).collect();
    let listed = failure.reason == Reason::ConfigInvalid && errors.len() > 1;
    let why = if listed {
        format!("{} in the files of this commit", count(errors.len() as u64, "error"))
    } else {
        prose(why, 1000)
    };
    let mut out = format!("**/{} {verdict}:** {why}.", name(command));
    let truth = still_true(command);
    if !truth.is_empty() {
        out.push(' ');
        out.push_str(&truth);
    }
    if listed {
        out.push('\n');
        for error in errors.iter().take(LISTED) {
            let place = code(&format!("{}:{}", error.path, error.line), 120);
            out.push_str(&format!("\n- {place} {}", prose(&error.message, 300)));
        }
        if errors.len() > LISTED {
            out.push_str(&format!("\n- and {} more", errors.len() - LISTED));
        }
    }
    if !failure.action.is_empty() {
        out.push_str(&format!("\n\n{}.", capital(&prose(&failure.action, 600))));
    }
    if !failure.log_tail.is_empty() {
        let what = if failure.reason == Reason::ConfigInvalid {
            "All problems of kfops.yaml"
        } else {
            "Last lines of the log"
        };
        out.push_str(&format!(
            "\n\n<details><summary>{what}</summary>\n\n{}\n\n</details>",
            block(&failure.log_tail, "text")
        ));
    }
    out
}

/// The verb as it was written: a typo keeps its letters.
pub(super) fn name(command: &Command) -> String {
    match command.typo() {
        Some(word) => text(word, 40),
        None if command.retry_of.is_some() => format!("retry of /{}", command.verb.as_str().replace('_', "\\_")),
        None => command.verb.as_str().replace('_', "\\_"),
    }
}

/// What was written after the verb, as code; empty when that was nothing.
pub(super) fn arguments(command: &Command, limit: usize) -> String {
    let words = command.arguments.iter().filter(|_| command.typo().is_none());
    let odd = |word: &str| word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"\\".contains(c));
    let word = |word: &String| if odd(word) { shell_words::quote(word).into_owned() } else { word.clone() };
    let shown = words.map(word).collect::<Vec<_>>().join(" ");
    if shown.is_empty() { shown } else { format!(" {}", code(&shown, limit)) }
}

/// What a person wants to know first when something went wrong: what is live now?
pub(super) fn still_true(command: &Command) -> String {
    let Some(environment) = command.verb.environment() else { return String::new() };
    if command.went_live() {
        let mut out =
            format!("The new model **is live** in {} ({})", environment.as_str(), text(&command.lineage.revision, 80));
        if command.verb.merges() {
            out.push_str(if command.progress(Stage::Merge).done() {
                ", and the pull request is merged"
            } else {
                ", but the pull request is not merged"
            });
        }
        return out + ".";
    }
    // What an earlier command did is not done by its retry.
    let own = command.step(Stage::Rollout).is_some_and(|step| step.start.is_some());
    if !own {
        return if state(command) == State::Refused {
            String::new()
        } else {
            "Nothing that is live was touched.".into()
        };
    }
    match command.lineage.previous_revision.as_str() {
        "" => "Nothing else was live.".to_owned(),
        // serving-deployer says it itself where it undid something.
        previous if command.failure.as_ref().is_some_and(|f| f.message.contains(&format!("Live stays {previous}"))) => {
            String::new()
        }
        previous => format!("Live stays {}.", text(previous, 80)),
    }
}

/// What happened and what to do, as one paragraph.
#[must_use]
pub fn sentence(failure: &Failure) -> String {
    let action =
        if failure.action.is_empty() { String::new() } else { format!(" {}.", capital(&prose(&failure.action, 600))) };
    format!("{}.{action}", capital(&prose(&failure.message, 1000)))
}

pub(super) fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}
