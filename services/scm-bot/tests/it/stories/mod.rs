//! Conversations: a comment, what the bot said, what the outside world saw.

mod acts;
mod binding;
mod gate;
mod lost;
mod owners;
mod policy;
mod waits;
mod work;

use kfops_core::Reason;
use kfops_scm_bot::command::Command;

pub(crate) fn reason(command: &Command) -> Reason {
    command.failure.as_ref().unwrap_or_else(|| panic!("no failure: {command:#?}")).reason
}

pub(crate) fn message(command: &Command) -> &str {
    command.failure.as_ref().map_or("", |failure| failure.message.as_str())
}

pub(crate) fn titles(command: &Command) -> Vec<&str> {
    command.steps.iter().map(|step| step.title.as_str()).collect()
}

pub(crate) const PRODUCTION: &str = "namespaces/iris/inferenceServices/iris";
pub(crate) const STAGING: &str = "namespaces/team-iris-staging/inferenceServices/iris";
