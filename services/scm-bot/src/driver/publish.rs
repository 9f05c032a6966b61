//! Keeps the live comment, the check run and the deployment as they should stand, with few requests. They are written
//! beside the work, so that a slow GitHub delays nobody who wants to end it.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

use kfops_core::{Failure, Reason};
use kfops_project::Permission;
use tokio::task::JoinHandle;

use super::{Driver, Flow};
use crate::{
    command::{Command, Origin, State},
    engine::{Engine, passing},
    gate,
    ports::{DeploymentState, Found, Meter, Post, PostOutcome, Written},
    report::{check_run, comment, deployment, marker},
    step::{Stage, Step, StepState},
    verb::Verb,
};

/// A command that takes no longer than this makes do with few requests.
const SHORT: Duration = Duration::from_secs(60);
/// Most canary steps for which requests are kept free.
const MOST_CANARIES: u32 = 4;
/// A canary step that takes longer than this is shown while it is under way.
const SEEN: Duration = Duration::from_secs(3);
/// By how much GitHub's clock may differ from ours.
const CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);

/// What is remembered between two writes.
#[derive(Default)]
pub(super) struct Publisher {
    last_write: Option<SystemTime>,
    shown: u64,
    /// The canary step that was shown last.
    canary: Option<String>,
    /// The canary step under way, and since when by our clock.
    under_canary: Option<(String, SystemTime)>,
    /// This process knows what stands on GitHub; otherwise it looks before it writes something new.
    known: bool,
    /// Whether the last word is said.
    speaks: Option<bool>,
    under_way: Option<JoinHandle<Writing>>,
}

/// What a write did.
struct Writing {
    found: Option<Found>,
    outcome: Result<PostOutcome, Failure>,
    deployment: Option<DeploymentState>,
}

impl Publisher {
    /// What was posted before this process began is not known to it.
    pub(super) fn new(command: &Command) -> Self {
        let posted = &command.posted;
        let began = posted.comment_intended || posted.check_intended || posted.deployment_intended;
        Self { known: !began, ..Self::default() }
    }

    /// What was posted may not be recorded. A write under way is waited for as before.
    pub(super) fn forget(&mut self) {
        (self.known, self.shown) = (false, 0);
    }
}

impl Driver {
    /// Begins to show how far the command is, if that is due; takes over what the last write did, if it has ended.
    pub(super) async fn publish_progress(&mut self) -> Result<(), Failure> {
        if self.publisher.under_way.as_ref().is_some_and(JoinHandle::is_finished) {
            self.written().await?;
        }
        if self.publisher.under_way.is_none() && self.due() {
            self.write(false).await?;
        }
        Ok(())
    }

    /// Whether there is something to write, now or later, or a write under way.
    pub(super) fn restless(&self) -> bool {
        let publisher = &self.publisher;
        publisher.under_way.is_some() || publisher.last_write.is_none() || publisher.shown != fingerprint(&self.command)
    }

    fn due(&mut self) -> bool {
        let command = &self.command;
        if command.verb.only_reads() || command.verb.acts_on_commands() || command.outcome.is_some() {
            return false;
        }
        let Some(last) = self.publisher.last_write else { return true };
        if self.publisher.shown == fingerprint(command) {
            return false;
        }
        let now = self.engine.clock.now();
        let age = now.duration_since(command.received).unwrap_or_default();
        let passed = now.duration_since(last).unwrap_or_default();
        let interval = self.engine.settings.github.write_interval.get();
        // Where live traffic goes is worth more than how long it took; each step is shown once, whatever the budget, but for a
        // short /deploy, of which GitHub is told in as few requests as a short /build_run.
        let free = command.verb == Verb::Ship || age >= SHORT;
        if let Some(step) = canary(command) {
            let known = self.publisher.under_canary.take().filter(|(title, _)| *title == step.title);
            let (title, since) = known.unwrap_or_else(|| (step.title.clone(), now));
            let long = now.duration_since(since).unwrap_or_default() >= SEEN;
            let new = self.publisher.canary.as_ref() != Some(&title);
            self.publisher.under_canary = Some((title, since));
            if long && new && free {
                return passed >= interval;
            }
        }
        if age >= SHORT {
            // Long commands change seldom enough to be shown less often.
            return passed >= interval.max(age / 20).min(Duration::from_secs(30));
        }
        // What is still to come is kept free: the last word; for a deploy also merge and labels.
        let reserve = if command.verb.environment().is_some() { 4 } else { 1 };
        // What came before leaves room for the canary steps.
        let reserve = if command.verb == Verb::Ship { reserve + self.canaries_ahead() } else { reserve };
        let budget = if command.verb == Verb::Ship { 24 } else { 8 };
        passed >= interval * 2 && command.github_calls + 1 + reserve <= budget
    }

    /// How many canary steps are still to be shown.
    fn canaries_ahead(&self) -> u32 {
        let command = &self.command;
        let first = command.lineage.replaced.as_ref().is_some_and(|replaced| replaced.revision.is_empty());
        if first || command.progress(Stage::Rollout).done() {
            return 0;
        }
        let project = self.project.as_ref();
        let ours = || Some(project?.target(command.verb.environment()?)?.strategy.canary.len());
        let all = command.options().canary.map(|steps| steps.len()).or_else(ours).unwrap_or_default();
        let begun = command.steps.iter().filter(|step| canary_step(step) && step.start.is_some()).count();
        u32::try_from(all.saturating_sub(begun)).unwrap_or_default().min(MOST_CANARIES)
    }

    /// The last word. Tried until GitHub hears it, or patience is over.
    pub(super) async fn report(&mut self) -> Result<Flow, Failure> {
        let said = match self.speaks().await {
            Ok(true) => self.last_word().await,
            Ok(false) => Ok(()),
            Err(failure) => Err(failure),
        };
        self.count();
        match said {
            Err(failure) if passing(&failure) && self.patient() => return Ok(self.pause_after(&failure).await),
            Err(failure) => tracing::warn!(command = self.command.id, %failure, "the last word was not heard"),
            Ok(()) => {}
        }
        self.trouble = None;
        self.command.posted.finished = true;
        self.engine.save(&mut self.command).await?;
        Ok(Flow::On)
    }

    /// Whether the last word is said. Decided once.
    async fn speaks(&mut self) -> Result<bool, Failure> {
        if self.command.posted.comment_intended {
            return Ok(true);
        }
        // Who asks through the API has the answer from there; the others of the pull request did not ask.
        if self.command.verb.only_reads() && self.command.origin == Origin::Api {
            return Ok(false);
        }
        if let Some(speaks) = self.publisher.speaks {
            return Ok(speaks);
        }
        let writes = self.writes().await?;
        let (engine, command) = (&self.engine, &self.command);
        let most = engine.settings.github.answers_per_hour;
        let speaks = writes || (!command.quiet && engine.manners.answer(&command.actor, engine.clock.now(), most));
        if !speaks {
            tracing::info!(command = command.id, actor = command.actor, "not answered: may not write");
        }
        self.publisher.speaks = Some(speaks);
        Ok(speaks)
    }

    /// Whether the actor may write to the repository, as far as it matters for what is said.
    pub(super) async fn writes(&mut self) -> Result<bool, Failure> {
        let engine = Arc::clone(&self.engine);
        let (repository, actor) = (&self.command.repository, &self.command.actor);
        let now = engine.clock.now();
        let ask = async {
            let has = engine.github.permission(&self.meter, repository, actor).await?;
            Ok(gate::permission(&has).is_some_and(|has| has >= Permission::Write))
        };
        engine.manners.right(repository, actor, now).get(now, ask).await
    }

    async fn last_word(&mut self) -> Result<(), Failure> {
        self.written().await?;
        if let Some(last) = self.publisher.last_write {
            let interval = self.engine.settings.github.write_interval.get();
            let passed = self.engine.clock.now().duration_since(last).unwrap_or(interval);
            tokio::time::sleep(interval.saturating_sub(passed)).await;
        }
        self.write(true).await?;
        let Some(failure) = self.written().await? else { return Ok(()) };
        if failure.reason == Reason::NotFound && self.command.posted.comment.is_none() {
            // Someone deleted it: the last word is said in a new one.
            self.write(true).await?;
            return self.written().await?.map_or(Ok(()), Err);
        }
        Err(failure)
    }

    /// Begins a write of everything that is to be shown. What will be new is recorded as intended before.
    async fn write(&mut self, last: bool) -> Result<(), Failure> {
        let engine = Arc::clone(&self.engine);
        let now = engine.clock.now();
        let url = engine.settings.public_url.as_deref();
        let posted = &self.command.posted;
        let check_due = wants_check(&self.command) && (last || posted.check.is_none());
        let state = deployment_state(&self.command).filter(|state| posted.deployment_shown != Some(*state));
        let post = Post {
            comment: Some(Written { id: posted.comment.clone(), content: comment(&self.command, now, url) }),
            check: check_due.then(|| Written { id: posted.check.clone(), content: check_run(&self.command, now, url) }),
            deployment: state
                .map(|state| Written { id: posted.deployment.clone(), content: deployment(&self.command, state, url) }),
        };
        let unknown = |intended: bool, id: &Option<String>| intended && id.is_none();
        let look = !self.publisher.known
            && (unknown(posted.comment_intended, &posted.comment)
                || unknown(posted.check_intended, &posted.check)
                || unknown(posted.deployment_intended, &posted.deployment));
        let before = self.command.posted.clone();
        let posted = &mut self.command.posted;
        posted.comment_intended = true;
        posted.check_intended |= post.check.is_some();
        posted.deployment_intended |= post.deployment.is_some();
        if self.command.posted != before {
            engine.save(&mut self.command).await?;
        }
        self.publisher.shown = fingerprint(&self.command);
        self.publisher.canary = canary(&self.command).map(|step| step.title.clone());
        let write = carry_out(engine, self.meter.clone(), self.command.clone(), post, look);
        self.publisher.under_way = Some(tokio::spawn(write));
        Ok(())
    }

    /// Waits for the write under way and takes over what it did; what went wrong with it, unless that may be ignored.
    async fn written(&mut self) -> Result<Option<Failure>, Failure> {
        let Some(under_way) = self.publisher.under_way.take() else { return Ok(None) };
        let writing = under_way.await.map_err(Failure::internal)?;
        self.count();
        self.publisher.last_write = Some(self.engine.clock.now());
        let before = self.command.posted.clone();
        if let Some(found) = writing.found {
            let posted = &mut self.command.posted;
            posted.comment = posted.comment.take().or(found.comment);
            posted.check = posted.check.take().or(found.check);
            posted.deployment = posted.deployment.take().or(found.deployment);
            self.publisher.known = true;
        }
        let wrong = match writing.outcome {
            Ok(outcome) => self.absorb_outcome(outcome, writing.deployment),
            Err(failure) => {
                self.publisher.known &= !passing(&failure);
                Some(failure)
            }
        };
        if self.command.posted != before {
            self.engine.save(&mut self.command).await?;
        }
        if let Some(failure) = &wrong {
            tracing::info!(command = self.command.id, %failure, "not shown on github");
        }
        Ok(wrong)
    }

    fn absorb_outcome(&mut self, outcome: PostOutcome, shown: Option<DeploymentState>) -> Option<Failure> {
        let posted = &mut self.command.posted;
        let mut wrong = None;
        let mut lost = false;
        if matches!(outcome.deployment, Some(Ok(_))) {
            posted.deployment_shown = shown;
        }
        for (result, id, intended) in [
            (outcome.deployment, &mut posted.deployment, &mut posted.deployment_intended),
            (outcome.check, &mut posted.check, &mut posted.check_intended),
            (outcome.comment, &mut posted.comment, &mut posted.comment_intended),
        ] {
            match result {
                Some(Ok(new)) => *id = Some(new),
                Some(Err(failure)) => {
                    if failure.reason == Reason::NotFound {
                        (*id, *intended) = (None, false);
                    }
                    lost |= passing(&failure);
                    wrong = Some(failure);
                }
                None => {}
            }
        }
        self.publisher.known &= !lost;
        wrong
    }
}

/// Looks, where it must, and writes.
async fn carry_out(engine: Arc<Engine>, meter: Meter, command: Command, mut post: Post, look: bool) -> Writing {
    let on = (&command.repository, command.pull_request);
    let deployment = post.deployment.as_ref().map(|deployment| deployment.content.state);
    let mut found = None;
    if look {
        // GitHub's clock is not ours.
        let since = command.received.checked_sub(CLOCK_SKEW).unwrap_or(command.received);
        let check = post.check.as_ref().map(|check| &check.content);
        let record = post.deployment.as_ref().map(|deployment| &deployment.content);
        match engine.github.find(&meter, on, &marker(&command), since, check, record).await {
            Ok(seen) => {
                let fill = |id: &mut Option<String>, seen: &Option<String>| *id = id.take().or_else(|| seen.clone());
                post.comment.iter_mut().for_each(|comment| fill(&mut comment.id, &seen.comment));
                post.check.iter_mut().for_each(|check| fill(&mut check.id, &seen.check));
                post.deployment.iter_mut().for_each(|record| fill(&mut record.id, &seen.deployment));
                found = Some(seen);
            }
            Err(failure) => return Writing { found, outcome: Err(failure), deployment },
        }
    }
    Writing { found, outcome: engine.github.post(&meter, on, &post).await, deployment }
}

fn canary_step(step: &Step) -> bool {
    step.part && step.stage == Stage::Rollout && step.title.starts_with("canary ")
}

/// The canary step under way.
fn canary(command: &Command) -> Option<&Step> {
    command.steps.iter().find(|step| canary_step(step) && step.state == StepState::Running)
}

/// What a reader would notice.
fn fingerprint(command: &Command) -> u64 {
    let mut hasher = DefaultHasher::new();
    for step in &command.steps {
        (&step.title, step.state.done(), step.start.is_some(), &step.message).hash(&mut hasher);
    }
    hasher.finish()
}

/// A check run says what a commit is worth. Who may not, or what stands in the way of a deployment, says nothing of that:
/// such a refusal must neither pass for a check that a branch requires nor spoil one that has passed.
fn wants_check(command: &Command) -> bool {
    use Reason as R;
    if command.verb.only_reads() || command.verb.acts_on_commands() || command.unreadable.is_some() {
        return false;
    }
    let Some(pull) = &command.pull else { return false };
    let rule = command.failure.as_ref().map(|failure| failure.reason);
    let of_commit = matches!(rule, Some(R::ConfigInvalid | R::SourceInvalid | R::PipelineInvalid | R::TemplateInvalid));
    command.started.is_some() || (command.outcome == Some(State::Refused) && of_commit && !pull.fork)
}

/// Nothing before the rollout begins: until then nothing is deployed.
fn deployment_state(command: &Command) -> Option<DeploymentState> {
    command.verb.environment()?;
    match command.progress(Stage::Rollout) {
        StepState::Pending | StepState::Skipped => None,
        StepState::Running if command.outcome.is_none() => Some(DeploymentState::InProgress),
        StepState::Running => Some(DeploymentState::Error),
        // Live is live, also when the merge that follows fails; but a retry looks first whether it still is.
        StepState::Succeeded => command.went_live().then_some(DeploymentState::Success),
        StepState::Failed | StepState::Canceled => Some(DeploymentState::Failure),
    }
}
