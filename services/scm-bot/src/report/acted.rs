//! What the verbs that act on other commands did.

use super::escape::{code, text};
use crate::{command::Command, verb::Verb};

/// The commands that were acted on, and how they stand; whether a lock was freed by that.
#[must_use]
pub fn acted(command: &Command, others: &[Command], freed: bool) -> String {
    let mut out = String::new();
    for other in others {
        let what = format!("/{} ({})", text(other.verb.as_str(), 20), code(&other.id, 64));
        out += &match command.verb {
            Verb::Promote => format!("{what}: its new model gets all traffic now.\n"),
            Verb::Unlock => {
                let target = command.target.as_ref().or(other.target.as_ref());
                let target = code(target.map_or("", String::as_str), 200);
                if freed {
                    format!("The lock of {target} was taken from {what}, which {}.\n", ended(other))
                } else {
                    format!("{what} did not hold the lock of {target} any more; it {}.\n", ended(other))
                }
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
