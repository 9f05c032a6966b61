//! What a rollout does next. A pure function from what is stored and observed, so that whoever takes over after a
//! crash goes on where the last one was.

use std::time::Duration;

use kfops_core::{Failure, Reason};

use crate::{
    gate::Verdict,
    ports::Server,
    rollout::{Rollout, Stage},
};

/// What is observed, other than the rollout itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct World {
    /// The server of the new revision.
    pub new: Server,
    /// The server of the live revision; None when nothing is live.
    pub live: Option<Server>,
    /// What the new revision's server does while it starts; may be empty.
    pub doing: String,
    /// The share of the new revision; None when it is not in the route.
    pub share: Option<u8>,
    /// The gate's word about the window of the running step.
    pub verdict: Verdict,
    /// For how long the stage is worked on since this process began with it.
    pub elapsed: Duration,
    /// How long a server may take to be ready.
    pub ready_timeout: Duration,
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// It is this rollout's turn.
    Begin,
    /// Render the template and give the revision its name.
    Admit,
    /// Start the new revision's server.
    Start,
    /// Look again in a moment.
    Wait,
    /// Give the new revision this share.
    Shift(u8),
    /// Send the sample and the golden requests; they must be answered well.
    Prove,
    /// Send requests and look at what was counted.
    Watch,
    /// Someone asked for the promotion: end this canary step and skip the others. True: its share was in force.
    EndCanary(usize, bool),
    /// The running step is done.
    Advance(Stage),
    /// From now on there is no way back.
    Promote,
    /// Make the new revision the live one; take the old one out of the route, then end it.
    Retire,
    /// Undo, for this reason.
    Fail(Failure),
    /// Give the old revision everything, take the new one out of the route, then end it.
    Restore,
    /// Nothing.
    End,
}

impl Action {
    /// Whether it may be dropped in the middle when someone cancels: it changes nothing that cannot be looked at again.
    pub(crate) const fn can_be_dropped(&self) -> bool {
        matches!(self, Self::Admit | Self::Start | Self::Wait | Self::Prove | Self::Watch)
    }
}

/// Decides.
#[must_use]
pub(crate) fn next(rollout: &Rollout, world: &World) -> Action {
    match rollout.stage {
        Stage::Ended => return Action::End,
        Stage::Restore => return Action::Restore,
        // The new revision is live: there is no way back in this rollout.
        Stage::Drain => return drain(world),
        _ if rollout.cancel => return Action::Fail(canceled(rollout)),
        Stage::Queued => return Action::Begin,
        Stage::Revision if rollout.revision.is_empty() => return Action::Admit,
        Stage::Revision | Stage::Proof | Stage::Canary(_) | Stage::Promote => {}
    }
    match &world.new {
        Server::Absent => Action::Start,
        Server::Exited(cause) => Action::Fail(not_ready(rollout, cause)),
        Server::Starting if world.elapsed > world.ready_timeout => {
            let doing = if world.doing.is_empty() { String::new() } else { format!(": {}", world.doing) };
            let timeout = world.ready_timeout.as_secs();
            Action::Fail(not_ready(rollout, &format!("it is not ready after {timeout} s{doing}")))
        }
        Server::Starting => Action::Wait,
        Server::Ready(_) => with_ready_server(rollout, world),
    }
}

fn with_ready_server(rollout: &Rollout, world: &World) -> Action {
    match rollout.stage {
        Stage::Revision if world.share.is_none() => Action::Shift(0),
        Stage::Revision => Action::Advance(Stage::Proof),
        Stage::Proof => Action::Prove,
        Stage::Canary(index) => canary(rollout, world, index),
        _ if world.share != Some(100) => Action::Shift(100),
        _ => Action::Promote,
    }
}

fn drain(world: &World) -> Action {
    match &world.new {
        Server::Absent => Action::Start,
        Server::Starting if world.elapsed <= world.ready_timeout => Action::Wait,
        // One that is down is started again by whoever keeps live revisions running.
        Server::Starting | Server::Exited(_) | Server::Ready(_) => Action::Retire,
    }
}

fn canary(rollout: &Rollout, world: &World, index: usize) -> Action {
    if rollout.promote {
        let share = Some(rollout.percent(Stage::Canary(index)));
        return Action::EndCanary(index, world.share == share);
    }
    match &world.live {
        None => return Action::Advance(Stage::Promote),
        Some(Server::Ready(_)) => {}
        // Whoever keeps the live revision running is at it. A live revision that stays down has nothing to protect.
        Some(_) if world.elapsed <= world.ready_timeout => return Action::Wait,
        Some(_) => return Action::Advance(Stage::Promote),
    }
    let percent = rollout.percent(Stage::Canary(index));
    if world.share != Some(percent) {
        return Action::Shift(percent);
    }
    match &world.verdict {
        Verdict::Hold => Action::Watch,
        Verdict::Pass => Action::Advance(after(rollout, Some(index))),
        Verdict::Fail(cause) => Action::Fail(
            Failure::new(
                Reason::GateFailed,
                format!("revision {} at {percent} %: {cause}{}", rollout.revision, stays(rollout)),
            )
            .action("fix the model, or the rules of the environment's strategy, then roll out again"),
        ),
    }
}

/// The stage after the proof (`done` is None) or after a canary step.
#[must_use]
pub(crate) fn after(rollout: &Rollout, done: Option<usize>) -> Stage {
    let index = done.map_or(0, |index| index + 1);
    if !rollout.previous.is_empty() && index < rollout.request.strategy.canary.len() {
        Stage::Canary(index)
    } else {
        Stage::Promote
    }
}

/// What is still true: `. Live stays iris-00007`.
#[must_use]
pub(crate) fn stays(rollout: &Rollout) -> String {
    if rollout.previous.is_empty() {
        ". Nothing was live before, and nothing is now".into()
    } else {
        format!(". Live stays {}", rollout.previous)
    }
}

/// The failure of what someone ended.
pub(crate) fn canceled(rollout: &Rollout) -> Failure {
    Failure::new(Reason::Canceled, format!("canceled{}", stays(rollout)))
}

fn not_ready(rollout: &Rollout, cause: &str) -> Failure {
    Failure::new(
        Reason::RevisionNotReady,
        format!("revision {} did not become ready: {cause}{}", rollout.revision, stays(rollout)),
    )
    .action("look at the log of the model server; fix the model, then run and roll out again")
}

#[cfg(test)]
pub(crate) mod tests;
