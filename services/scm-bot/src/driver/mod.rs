//! Drives one command: observe, decide, act, until nothing is left to do.

mod act;
mod annotate;
mod answer;
mod choose;
mod gatekeeper;
mod landing;
mod owner;
mod publish;
mod retry;
mod rollback;
mod source;
mod spans;
mod target;
mod waiting;
mod work;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use kfops_core::{Failure, Reason};
use kfops_project::Project;
use tokio::{sync::Notify, time::Instant};

use crate::{
    command::{Command, State},
    decide::{Action, Observed, decide},
    engine::{Engine, passing},
    gate,
    line::Ticket,
    ports::{Look, Meter},
    step::{Stage, StepState},
};

/// Drives one command.
pub(crate) struct Driver {
    engine: Arc<Engine>,
    command: Command,
    turn: Ticket,
    /// Whether this process has seen that the lock of the target is ours.
    holds_target: bool,
    /// Somebody wrote a wish into the record.
    wish: Arc<Notify>,
    meter: Meter,
    /// What the last look at the pull request showed.
    look: Option<Look>,
    project: Option<Project>,
    /// The stage that this process has begun, and of which nobody else can have done a part.
    fresh: Option<Stage>,
    /// When the gate passed in this process, if nothing was waited for or worked on since.
    gate_passed: Option<SystemTime>,
    /// Since when GitHub or a worker is away.
    trouble: Option<(Instant, Duration)>,
    publisher: publish::Publisher,
    /// The last to go.
    _leave: Leave,
}

/// However it ends, somebody may drive the command again.
struct Leave {
    engine: Arc<Engine>,
    id: String,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(command = self.id, "its driver panicked; it is taken up again from what is stored");
        }
        self.engine.dismiss(&self.id);
    }
}

/// What became of a stage.
enum Done {
    /// It is done; what was seen.
    Yes(String),
    /// It was not needed; why.
    Skipped(String),
    /// It can't be done.
    No(Failure),
    /// It was ended on purpose.
    Canceled,
    /// Someone wants the command to end.
    Interrupted,
    /// The service is stopping.
    Stopping,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Flow {
    On,
    Over,
}

impl Driver {
    pub(crate) fn new(engine: Arc<Engine>, command: Command, wish: Arc<Notify>) -> Self {
        // A verb that only reads or acts on others waits for nobody, and nobody waits for it.
        let lane = if command.verb.takes_turns() { command.lane() } else { command.id.clone() };
        let turn = engine.turns.join(&lane, &command.id);
        let publisher = publish::Publisher::new(&command);
        let leave = Leave { engine: Arc::clone(&engine), id: command.id.clone() };
        Self {
            engine,
            command,
            turn,
            holds_target: false,
            wish,
            meter: Meter::default(),
            look: None,
            project: None,
            fresh: None,
            gate_passed: None,
            trouble: None,
            publisher,
            _leave: leave,
        }
    }

    /// Until the command has ended, or the service stops; then it is resumed at the next start.
    pub(crate) async fn run(mut self) {
        if self.adopt().await == Flow::Over {
            return;
        }
        loop {
            match self.advance().await {
                Ok(Flow::On) => {}
                Ok(Flow::Over) => break,
                Err(failure) => {
                    // The ledger or GitHub at the last word: nothing is lost, it is tried again.
                    tracing::warn!(command = self.command.id, %failure, "not advanced");
                    if self.pause().await == Flow::Over || self.recall().await == Flow::Over {
                        break;
                    }
                }
            }
        }
    }

    /// Nobody else drives it from now on.
    async fn adopt(&mut self) -> Flow {
        let engine = Arc::clone(&self.engine);
        loop {
            engine.writes(&self.command.id, self.command.version + 1);
            match engine.ledger.adopt(self.command.clone()).await {
                Ok(Some(command)) => {
                    engine.knows(&command.id, command.version);
                    self.command = command;
                    self.trouble = None;
                    return Flow::On;
                }
                Ok(None) => {}
                Err(failure) => {
                    tracing::warn!(command = self.command.id, %failure, "not taken up");
                    if self.pause().await == Flow::Over {
                        return Flow::Over;
                    }
                }
            }
            if self.recall().await == Flow::Over || self.command.state.ended() {
                return Flow::Over;
            }
        }
    }

    /// Waits a little before something is tried again.
    async fn pause_after(&mut self, failure: &Failure) -> Flow {
        let flow = self.pause().await;
        let unsure = matches!(failure.reason, Reason::StoreUnavailable | Reason::ClusterUnavailable);
        if flow == Flow::On && unsure { self.recall().await } else { flow }
    }

    /// After a write that may have failed, what is stored counts, as after a restart: what was only meant to be recorded
    /// must not be acted on.
    async fn recall(&mut self) -> Flow {
        let stored = loop {
            match self.engine.ledger.get(&self.command.id).await {
                Ok(stored) => break stored,
                Err(failure) if failure.reason == Reason::NotFound => {
                    tracing::error!(command = self.command.id, "somebody deleted its record; it is left as it is");
                    return Flow::Over;
                }
                Err(failure) => {
                    tracing::warn!(command = self.command.id, %failure, "not read again");
                    if self.pause().await == Flow::Over {
                        return Flow::Over;
                    }
                }
            }
        };
        self.engine.knows(&stored.id, stored.version);
        let calls = self.command.github_calls.max(stored.github_calls);
        self.command = stored;
        self.command.github_calls = calls;
        (self.fresh, self.gate_passed, self.holds_target) = (None, None, false);
        self.publisher.forget();
        Flow::On
    }

    async fn advance(&mut self) -> Result<Flow, Failure> {
        let observed = Observed { turn: self.turn.is_first(), target: self.holds_target };
        let action = decide(&self.command, observed);
        tracing::debug!(command = self.command.id, ?action);
        if self.engine.lifecycle.stopping().is_cancelled() && !matches!(action, Action::Report | Action::End) {
            return Ok(Flow::Over);
        }
        match action {
            Action::Rest => return Ok(Flow::Over),
            Action::ReadHead => return self.read_head().await,
            Action::AwaitTurn => return self.await_turn().await,
            Action::AwaitTarget => return self.await_target().await,
            Action::Begin(stage) => self.begin(stage).await?,
            Action::Perform(stage) => return self.perform(stage).await,
            Action::Cancel(stage) => {
                let done = self.end_work(stage).await;
                return self.settle(stage, done).await;
            }
            Action::Conclude(state) => self.conclude(state).await?,
            Action::Report => return self.report().await,
            Action::End => self.end().await?,
        }
        Ok(Flow::On)
    }

    async fn read_head(&mut self) -> Result<Flow, Failure> {
        let engine = Arc::clone(&self.engine);
        let on = (&self.command.repository, self.command.pull_request);
        let read = engine.github.look(&self.meter, on).await;
        self.count();
        match read {
            Ok(mut look) => {
                look.pull.seen = self.engine.clock.now();
                self.command.pull = Some(look.pull.clone());
                self.look = Some(look);
                self.trouble = None;
                self.engine.save(&mut self.command).await?;
                Ok(Flow::On)
            }
            Err(failure) => self.settle(Stage::Gate, Err(failure)).await,
        }
    }

    /// Takes over what others wrote into the record.
    async fn hear(&mut self) -> Result<(), Failure> {
        let stored = self.engine.ledger.get(&self.command.id).await?;
        self.command.take_wishes(&stored);
        Ok(())
    }

    /// Records the intent before anything is done.
    async fn begin(&mut self, stage: Stage) -> Result<(), Failure> {
        if matches!(stage, Stage::Rollout | Stage::Merge) && self.command.verb.environment().is_some() {
            self.still_ours().await?;
            if self.command.cancel && stage == Stage::Rollout {
                return Ok(());
            }
        }
        let now = self.engine.clock.now();
        let resource = stage.collection().map(|collection| format!("{collection}/{}", self.command.resource(stage)));
        let step = self.command.step_mut(stage);
        step.state = StepState::Running;
        step.message.clear();
        step.start = Some(now);
        step.resource = resource.unwrap_or_default();
        self.command.wait = None;
        if !matches!(stage, Stage::Gate) {
            self.command.state = State::Running;
        }
        self.fresh = Some(stage);
        self.engine.save(&mut self.command).await
    }

    async fn perform(&mut self, stage: Stage) -> Result<Flow, Failure> {
        // Each on its own, so that the task of an open command is as large as what it does and not as the largest.
        let done = match stage {
            Stage::Gate => Box::pin(self.gate()).await,
            Stage::Answer => Box::pin(self.answer()).await,
            Stage::Act => Box::pin(self.act()).await,
            Stage::Source => Box::pin(self.source()).await,
            Stage::Tag => Box::pin(self.tag()).await,
            Stage::Recheck => Box::pin(self.recheck()).await,
            Stage::Merge => Box::pin(self.merge()).await,
            Stage::Label => Box::pin(self.label()).await,
            Stage::Build | Stage::Compile | Stage::Run | Stage::Rollout => Box::pin(self.work(stage)).await,
        };
        self.count();
        self.settle(stage, done).await
    }

    /// Records what became of a stage. What passes by itself is tried again for as long as patience lasts.
    async fn settle(&mut self, stage: Stage, done: Result<Done, Failure>) -> Result<Flow, Failure> {
        self.count();
        let now = self.engine.clock.now();
        let (state, message, failure) = match done {
            Ok(Done::Stopping) => return Ok(Flow::Over),
            Ok(Done::Interrupted) => return Ok(Flow::On),
            Ok(Done::Yes(message)) => (StepState::Succeeded, message, None),
            Ok(Done::Skipped(message)) => (StepState::Skipped, message, None),
            Ok(Done::Canceled) => (StepState::Canceled, String::new(), None),
            Ok(Done::No(failure)) => (StepState::Failed, failure.message.clone(), Some(failure)),
            Err(failure) if passing(&failure) && (self.patient() || self.must_see_the_end(stage, now)) => {
                self.look = None;
                tracing::info!(command = self.command.id, stage = stage.as_str(), %failure, "tried again");
                self.fresh = None;
                return Ok(self.pause_after(&failure).await);
            }
            Err(failure) => (StepState::Failed, failure.message.clone(), Some(failure)),
        };
        self.trouble = None;
        let step = self.command.step_mut(stage);
        step.state = state;
        step.message = message;
        step.start = step.start.or(Some(now));
        step.end = Some(now);
        let log_key = step.log_key.clone();
        if let Some(failure) = failure {
            let failure = self.with_log(failure, &log_key).await;
            self.annotate(stage, &failure).await;
            self.command.failure = Some(failure);
        }
        if stage == Stage::Gate && state == StepState::Succeeded {
            self.command.state = State::Accepted;
            self.command.started = Some(now);
            self.gate_passed = Some(now);
        } else if stage != Stage::Source {
            self.gate_passed = None;
        }
        self.engine.save(&mut self.command).await?;
        Ok(Flow::On)
    }

    /// The end of the log, where the worker did not send it along.
    async fn with_log(&self, failure: Failure, log_key: &str) -> Failure {
        if !failure.log_tail.is_empty() || log_key.is_empty() {
            return failure;
        }
        match self.engine.store.get_end(log_key, 8192).await {
            Ok(log) => failure.log_tail(&String::from_utf8_lossy(&log)),
            Err(_) => failure,
        }
    }

    /// Records how the command will end.
    async fn conclude(&mut self, state: State) -> Result<(), Failure> {
        let now = self.engine.clock.now();
        if self.command.failure.is_none() {
            self.command.failure = match state {
                State::Refused => self.command.unreadable.clone(),
                State::Canceled => Some(Failure::new(
                    Reason::Canceled,
                    match self.command.canceled_by.as_str() {
                        "" => "it was canceled".to_owned(),
                        by => format!("it was canceled: {by}"),
                    },
                )),
                State::Superseded => Some(gate::superseded(&self.command)),
                _ => None,
            };
        }
        for step in &mut self.command.steps {
            if step.state == StepState::Running {
                let ended = matches!(state, State::Canceled | State::Superseded);
                step.state = if ended { StepState::Canceled } else { StepState::Failed };
                step.end = Some(now);
            }
        }
        self.command.outcome = Some(state);
        self.engine.save(&mut self.command).await
    }

    /// Records the end. The spans go first: a span that is sent twice is better than one that is missing.
    async fn end(&mut self) -> Result<(), Failure> {
        let now = self.engine.clock.now();
        self.command.ended = Some(now);
        self.record_spans(now);
        self.engine.tracer.flush_before_end().await;
        self.command.state = self.command.outcome.unwrap_or(State::Failed);
        self.engine.save(&mut self.command).await?;
        tracing::info!(
            command = self.command.id,
            verb = self.command.verb.as_str(),
            state = self.command.state.as_str(),
            trace_id = %self.command.trace.trace_id,
            github_calls = self.command.github_calls,
            "ended"
        );
        Ok(())
    }

    /// The trace context of a stage's span.
    fn context(&self, stage: Stage) -> kfops_core::TraceContext {
        self.command.trace.child(&spans::key(stage))
    }
}
