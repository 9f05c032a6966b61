//! What to do next: a pure function of what is stored and observed.

use kfops_core::Reason;

use crate::{
    command::{Command, State},
    step::{Stage, StepState},
    verb::Verb,
};

/// What the driver sees besides the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// No earlier command of this pull request is open.
    pub turn: bool,
    /// The lock of the target is ours.
    pub target: bool,
}

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask GitHub for the head of the pull request.
    ReadHead,
    /// Wait until earlier commands of the pull request have ended.
    AwaitTurn,
    /// Wait for the lock of the target.
    AwaitTarget,
    /// Record that a stage is begun, under the id that its resource will have.
    Begin(Stage),
    /// Do what a stage needs, or look what became of it.
    Perform(Stage),
    /// End what a stage has under way.
    Cancel(Stage),
    /// Record how the command will end.
    Conclude(State),
    /// Say the last word on GitHub.
    Report,
    /// Record the end.
    End,
    /// Nothing is left to do.
    Rest,
}

/// The stages of a verb, in order.
#[must_use]
pub const fn plan(verb: Verb) -> &'static [Stage] {
    use Stage as S;
    match verb {
        Verb::Build => &[S::Gate, S::Source, S::Build, S::Compile, S::Tag],
        Verb::Run => &[S::Gate, S::Source, S::Run],
        Verb::BuildRun => &[S::Gate, S::Source, S::Build, S::Compile, S::Tag, S::Run],
        Verb::Deploy => &[S::Gate, S::Source, S::Recheck, S::Rollout, S::Merge, S::Label],
        Verb::StagingDeploy => &[S::Gate, S::Source, S::Recheck, S::Rollout, S::Label],
        Verb::Ship => {
            &[S::Gate, S::Source, S::Build, S::Compile, S::Tag, S::Run, S::Recheck, S::Rollout, S::Merge, S::Label]
        }
        Verb::Rollback => &[S::Gate, S::Recheck, S::Rollout, S::Label],
        Verb::Plan => &[S::Gate, S::Source, S::Answer],
        Verb::Status | Verb::Why | Verb::Help => &[S::Gate, S::Answer],
        Verb::Promote | Verb::Cancel | Verb::Unlock => &[S::Gate, S::Act],
        // Once the gate knows what to take up again, the command has that one's verb.
        Verb::Retry => &[S::Gate],
    }
}

/// The first stage of the plan that is not done.
#[must_use]
pub fn current(command: &Command) -> Option<Stage> {
    plan(command.verb).iter().copied().find(|stage| !command.progress(*stage).done())
}

/// The next action. Called again after each one, it always comes to `Rest`, and never repeats what is recorded as done.
#[must_use]
pub fn decide(command: &Command, observed: Observed) -> Action {
    if command.state.ended() {
        return Action::Rest;
    }
    if command.outcome.is_some() {
        return if command.posted.finished { Action::End } else { Action::Report };
    }
    if command.unreadable.is_some() {
        return Action::Conclude(State::Refused);
    }
    let Some(stage) = current(command) else {
        return Action::Conclude(State::Succeeded);
    };
    let progress = command.progress(stage);
    match progress {
        StepState::Failed => return Action::Conclude(ending(command, stage)),
        StepState::Canceled => {
            let superseded = command.unmeant() && !command.cancel;
            return Action::Conclude(if superseded { State::Superseded } else { State::Canceled });
        }
        _ => {}
    }
    // Once the model is live, merge and labels follow: a half-told story helps nobody.
    let canceled = command.cancel && !command.progress(Stage::Rollout).done();
    if canceled || command.superseded() {
        let working = progress == StepState::Running && stage.collection().is_some();
        let end = if command.superseded() && !command.cancel { State::Superseded } else { State::Canceled };
        return if working { Action::Cancel(stage) } else { Action::Conclude(end) };
    }
    // Who ends what is their own need not wait for GitHub.
    if command.pull.is_none() && !matches!(command.verb, Verb::Help | Verb::Cancel) {
        return Action::ReadHead;
    }
    // What has begun had its turn: it may hold the lock that whoever is first after a restart waits for.
    if !observed.turn && command.verb.takes_turns() && !command.begun() {
        return Action::AwaitTurn;
    }
    // From the second look at the gate on, nobody else may change what is live there.
    if stage >= Stage::Recheck && command.verb.environment().is_some() && !observed.target {
        return Action::AwaitTarget;
    }
    if progress == StepState::Running { Action::Perform(stage) } else { Action::Begin(stage) }
}

/// A refusal is a rule that held before anything was done; all else is a failure.
fn ending(command: &Command, stage: Stage) -> State {
    let rule = command.failure.as_ref().is_some_and(|failure| !failure.retryable && failure.reason != Reason::Internal);
    let refused_target = stage == Stage::Source
        && command.failure.as_ref().is_some_and(|failure| failure.reason == Reason::PolicyRefused);
    // What was taken over from an earlier command has no start.
    let began = |stage| command.step(stage).is_some_and(|step| step.start.is_some());
    let worked = [Stage::Build, Stage::Compile, Stage::Run].into_iter().any(began);
    let nothing_done = stage == Stage::Gate || refused_target || (stage == Stage::Recheck && !worked);
    if rule && nothing_done { State::Refused } else { State::Failed }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
