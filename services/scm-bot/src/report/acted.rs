//! What the verbs that act on other commands did.

use super::escape::{code, text};
use crate::{command::Command, verb::Verb};

/// The commands that were acted on, and how they stand.
#[must_use]
pub fn acted(command: &Command, others: &[Command]) -> String {
    let mut out = String::new();
    for other in others {
        let what = format!("/{} ({})", text(other.verb.as_str(), 20), code(&other.id, 64));
        out += &match command.verb {
            Verb::Promote => format!("{what}: its new model gets all traffic now.\n"),
            Verb::Unlock => {
                let target = other.target.as_deref().unwrap_or_default();
                format!("The lock of {} was taken from {what}, which {}.\n", code(target, 200), ended(other))
            }
            _ => format!("{what} {}.\n", ended(other)),
        };
    }
    out
}

fn ended(other: &Command) -> String {
    match other.outcome {
        Some(state) => format!("is {}", state.as_str()),
        None => "was told to end, and has not yet".to_owned(),
    }
}
