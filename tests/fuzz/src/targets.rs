//! The targets.

mod arguments;
mod delivery;
mod grammar;
mod project;
mod signature;

use proptest::strategy::BoxedStrategy;

use crate::strategies;

/// A piece of code that reads what strangers write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Commands in a comment.
    Grammar,
    /// `X-Hub-Signature-256`.
    Signature,
    /// The JSON of a webhook.
    Delivery,
    /// kfops.yaml.
    Project,
    /// What follows a verb.
    Arguments,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Grammar, Self::Signature, Self::Delivery, Self::Project, Self::Arguments];

    /// Its name, which is that of its folder in the corpus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grammar => "grammar",
            Self::Signature => "signature",
            Self::Delivery => "delivery",
            Self::Project => "project",
            Self::Arguments => "arguments",
        }
    }

    /// What is wrong with what the code makes of an input.
    pub fn check(self, input: &[u8]) -> Result<(), String> {
        match self {
            Self::Grammar => grammar::check(input),
            Self::Signature => signature::check(input),
            Self::Delivery => delivery::check(input),
            Self::Project => project::check(input),
            Self::Arguments => arguments::check(input),
        }
    }

    /// Inputs: made from the pieces that the format has, or from the corpus, bent.
    pub(crate) fn inputs(self, corpus: Vec<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
        let made = match self {
            Self::Grammar => strategies::comment(),
            Self::Signature => strategies::bytes(),
            Self::Delivery => strategies::payload(),
            Self::Project => strategies::yaml(),
            Self::Arguments => strategies::line(),
        };
        strategies::bent(made, corpus)
    }
}

pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
