//! A command: what was asked, by whom, of which commit, how far it got, and what came of it.

use std::time::{Duration, SystemTime};

use kfops_core::{Failure, TraceContext, short_hash};
use serde::{Deserialize, Serialize};

use crate::{
    arguments::Arguments,
    grammar::{Line, MOST},
    ports::{Annotation, DeploymentState},
    step::{Stage, Step, StepState},
    verb::Verb,
};
pub use crate::{
    lineage::{Image, Lineage, Model, Replaced, Restored, Source},
    merging::{MergeState, Merging},
    repository::Repository,
};

/// How far a command got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Stored, nothing more.
    Received,
    /// The gate let it pass.
    Accepted,
    /// The gate did not.
    Refused,
    /// Steps are under way.
    Running,
    /// Everything was done.
    Succeeded,
    /// Something was not.
    Failed,
    /// Someone canceled it.
    Canceled,
    /// The branch moved on before it was begun.
    Superseded,
}

impl State {
    /// Whether it is final.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Refused | Self::Succeeded | Self::Failed | Self::Canceled | Self::Superseded)
    }

    /// For people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Superseded => "superseded",
        }
    }
}

/// Where a command came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A comment.
    Comment {
        /// `X-GitHub-Delivery`.
        delivery: String,
        /// The comment's id.
        comment: u64,
        /// Which command of the comment, from 0.
        index: usize,
    },
    /// A button of a check run.
    Button {
        /// `X-GitHub-Delivery`.
        delivery: String,
        /// The check run's id.
        check: u64,
    },
    /// The API.
    Api,
}

/// What is remembered of GitHub's side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    /// The live comment was or may have been posted.
    pub comment_intended: bool,
    /// The live comment.
    pub comment: Option<String>,
    /// The check run was or may have been posted.
    pub check_intended: bool,
    /// The check run.
    pub check: Option<String>,
    /// The deployment was or may have been made.
    #[serde(default)]
    pub deployment_intended: bool,
    /// The deployment.
    #[serde(default)]
    pub deployment: Option<String>,
    /// The newest status of the deployment.
    #[serde(default)]
    pub deployment_shown: Option<DeploymentState>,
    /// The last word was said.
    pub finished: bool,
}

/// A wait for another command. It has an end, and a restart does not move it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Since when.
    pub since: SystemTime,
    /// For how long at most.
    pub limit: Duration,
}

/// The pull request as GitHub showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Head commit.
    pub head: String,
    /// Login of who opened it; empty for a deleted account.
    #[serde(default)]
    pub author: String,
    /// Name of the base branch.
    pub base: String,
    /// Not closed, not merged.
    pub open: bool,
    /// Merged.
    pub merged: bool,
    /// The head lies in another repository.
    pub fork: bool,
    /// A draft.
    pub draft: bool,
    /// Whether it can be merged; None while GitHub does not know.
    pub mergeable: Option<bool>,
    /// Whether the protection of its base lets it in.
    #[serde(default)]
    pub merge_state: MergeState,
    /// The merge commit, once merged.
    pub merge_commit: Option<String>,
    /// When this was seen.
    pub seen: SystemTime,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Last part of the name.
    pub id: String,
    /// Place in the ledger; 0 before it is there.
    #[serde(default)]
    pub seq: i64,
    /// Counts the changes.
    #[serde(default)]
    pub version: i64,
    /// What it asks for.
    pub verb: Verb,
    /// As written after the verb.
    pub arguments: Vec<String>,
    /// Why the line cannot be read, found when it was received.
    pub unreadable: Option<Failure>,
    /// The repository.
    pub repository: Repository,
    /// The pull request.
    pub pull_request: u64,
    /// Who asked.
    pub actor: String,
    /// Where it came from.
    pub origin: Origin,
    /// How far it got.
    pub state: State,
    /// How it will end; the last word on GitHub comes before the end.
    pub outcome: Option<State>,
    /// Why it did not succeed.
    pub failure: Option<Failure>,
    /// When it was received.
    pub received: SystemTime,
    /// When its comment was written, by GitHub's clock: what was pushed after that is not meant. None: it is no comment.
    #[serde(default)]
    pub written: Option<SystemTime>,
    /// Last change.
    pub updated: SystemTime,
    /// When the gate let it pass.
    pub started: Option<SystemTime>,
    /// End.
    pub ended: Option<SystemTime>,
    /// The pull request when the command was received; its head is the commit of every step.
    pub pull: Option<PullRequest>,
    /// The root span.
    pub trace: TraceContext,
    /// Roots of the commands that this one builds on.
    pub links: Vec<TraceContext>,
    /// What was and is done.
    pub steps: Vec<Step>,
    /// What came of it.
    pub lineage: Lineage,
    /// Requests made to GitHub.
    pub github_calls: u32,
    /// What stands on GitHub.
    pub posted: Posted,
    /// Someone wants it to end.
    pub cancel: bool,
    /// Who wants it to end, and how, for people: `@boss wrote /cancel`.
    #[serde(default)]
    pub canceled_by: String,
    /// The branch has moved on to this commit; the very one that it is about, if that was pushed after its comment.
    #[serde(default)]
    pub superseded_by: Option<String>,
    /// Ids of the commands that `/cancel`, `/promote` or `/unlock` is about.
    #[serde(default)]
    pub acts_on: Vec<String>,
    /// The command whose work this one takes up again.
    #[serde(default)]
    pub retry_of: Option<String>,
    /// It waits for another command: for its turn, or for the lock of its target.
    #[serde(default)]
    pub wait: Option<Wait>,
    /// It is answered only to somebody who may write: it cannot be read, or another one of its comment is answered.
    #[serde(default)]
    pub quiet: bool,
    /// The target whose lock it holds or held; of `/unlock`, whose it takes.
    pub target: Option<String>,
    /// The fence of that lock.
    #[serde(default)]
    pub fence: u64,
    /// Lines of the repository's files that are wrong.
    #[serde(default)]
    pub annotations: Vec<Annotation>,
    /// Markdown: the answer of a verb that only reads, or what a verb that acts on commands did.
    #[serde(default)]
    pub answer: String,
}

impl Command {
    /// A command that was just received.
    pub fn new(
        id: String,
        verb: Verb,
        on: (Repository, u64),
        actor: String,
        origin: Origin,
        trace: TraceContext,
        now: SystemTime,
    ) -> Self {
        Self {
            id,
            seq: 0,
            version: 0,
            verb,
            arguments: Vec::new(),
            unreadable: None,
            repository: on.0,
            pull_request: on.1,
            actor,
            origin,
            state: State::Received,
            outcome: None,
            failure: None,
            received: now,
            written: None,
            updated: now,
            started: None,
            ended: None,
            pull: None,
            trace,
            links: Vec::new(),
            steps: Vec::new(),
            lineage: Lineage::default(),
            github_calls: 0,
            posted: Posted::default(),
            cancel: false,
            canceled_by: String::new(),
            superseded_by: None,
            acts_on: Vec::new(),
            retry_of: None,
            wait: None,
            quiet: false,
            target: None,
            fence: 0,
            annotations: Vec::new(),
            answer: String::new(),
        }
    }

    /// The id of the command at `index` of a comment: always the same.
    #[must_use]
    pub fn id_of_comment(repository: &Repository, comment: u64, index: usize) -> String {
        format!("c-{}", short_hash(&[&repository.to_string(), &comment.to_string(), &index.to_string()], 10))
    }

    /// Takes over what the grammar read.
    #[must_use]
    pub fn reading(mut self, line: Line) -> Self {
        use kfops_core::Reason::InvalidArgument;
        match line {
            Line::Command { arguments, .. } => {
                self.unreadable = Arguments::parse(self.verb, &arguments).err();
                self.arguments = arguments;
            }
            Line::Unclosed { verb } => {
                self.unreadable = Some(
                    Failure::new(InvalidArgument, "a quote is never closed")
                        .action(format!("write it as {}", verb.usage())),
                );
            }
            Line::Typo { word, meant } => {
                self.unreadable = Some(
                    Failure::new(InvalidArgument, no_command(&word))
                        .action(format!("did you mean /{}? /help shows all", meant.as_str())),
                );
                self.arguments = vec![word];
            }
            Line::TooMany { all, .. } => {
                self.unreadable = Some(
                    Failure::new(
                        InvalidArgument,
                        format!(
                            "this comment has {all} commands, and a comment may have at most {MOST}: \
                             the first {MOST} are taken, this one and what follows it is not"
                        ),
                    )
                    .action("write another comment with the rest"),
                );
            }
        }
        self
    }

    /// The word that is almost a verb, if that is what was written.
    #[must_use]
    pub fn typo(&self) -> Option<&str> {
        let (word, wrong) = (self.arguments.first()?, self.unreadable.as_ref()?);
        (self.verb == Verb::Help && wrong.message == no_command(word)).then_some(word)
    }

    /// The id of a resource that a worker makes for this command: `b-`, `v-`, `r-`, `d-` and always the same rest.
    #[must_use]
    pub fn resource(&self, stage: Stage) -> String {
        // What was taken over from an earlier command keeps its name.
        let kept = self.step(if stage == Stage::Tag { Stage::Build } else { stage }).map(|step| step.resource.as_str());
        if let Some((_, id)) = kept.and_then(|name| name.split_once('/')) {
            return id.to_owned();
        }
        let prefix = match stage {
            Stage::Build | Stage::Tag => "b",
            Stage::Compile => "v",
            Stage::Run => "r",
            _ => "d",
        };
        format!("{prefix}-{}", short_hash(&[&self.repository.to_string(), &self.id], 10))
    }

    /// The commit of every step; empty before GitHub was asked.
    #[must_use]
    pub fn commit(&self) -> &str {
        self.pull.as_ref().map_or("", |pull| &pull.head)
    }

    /// The arguments, once they are known to be readable.
    #[must_use]
    pub fn options(&self) -> Arguments {
        Arguments::parse(self.verb, &self.arguments).unwrap_or_default()
    }

    /// The step of a stage, without its parts.
    #[must_use]
    pub fn step(&self, stage: Stage) -> Option<&Step> {
        self.steps.iter().find(|step| step.stage == stage && !step.part)
    }

    /// How far a stage is.
    #[must_use]
    pub fn progress(&self, stage: Stage) -> StepState {
        self.step(stage).map_or(StepState::Pending, |step| step.state)
    }

    /// The step of a stage, made when it is not there yet.
    pub fn step_mut(&mut self, stage: Stage) -> &mut Step {
        let at = match self.steps.iter().position(|step| step.stage == stage && !step.part) {
            Some(at) => at,
            None => {
                self.steps.push(Step::new(stage));
                self.steps.len() - 1
            }
        };
        &mut self.steps[at]
    }

    /// Whether its model is live: its own rollout brought it live, or a retry that found the rollout done has seen that
    /// it still is.
    #[must_use]
    pub fn went_live(&self) -> bool {
        let done = self.step(Stage::Rollout).filter(|step| step.state == StepState::Succeeded);
        done.is_some_and(|step| step.start.is_some() || self.progress(Stage::Recheck).done())
    }

    /// Puts what a worker shows below its stage.
    pub fn set_parts(&mut self, stage: Stage, parts: Vec<Step>) {
        self.steps.retain(|step| step.stage != stage || !step.part);
        if let Some(at) = self.steps.iter().position(|step| step.stage == stage) {
            self.steps.splice(at + 1..at + 1, parts);
        }
    }

    /// Takes over what others wish of it: that it ends, that it does not begin.
    pub fn take_wishes(&mut self, stored: &Self) {
        if stored.cancel && !self.cancel {
            self.cancel = true;
            self.canceled_by.clone_from(&stored.canceled_by);
        }
        if stored.superseded_by.is_some() {
            self.superseded_by.clone_from(&stored.superseded_by);
        }
    }

    /// Whether anything was begun beyond the gate.
    #[must_use]
    pub fn begun(&self) -> bool {
        // What was taken over from an earlier command has no start.
        self.steps.iter().any(|step| step.stage != Stage::Gate && step.start.is_some())
    }

    /// Where its comments and commands queue up.
    #[must_use]
    pub fn lane(&self) -> String {
        format!("{}#{}", self.repository, self.pull_request).to_lowercase()
    }

    /// Whether `other` asks for the same.
    #[must_use]
    pub fn same_request(&self, other: &Self) -> bool {
        self.verb == other.verb
            && self.arguments == other.arguments
            && self.repository == other.repository
            && self.pull_request == other.pull_request
            && self.actor == other.actor
    }
}

fn no_command(word: &str) -> String {
    format!("/{word} is not a command")
}
