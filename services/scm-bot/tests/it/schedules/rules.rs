//! What must be true in the end, whatever happened.

use std::collections::{BTreeMap, BTreeSet};

use kfops_core::Reason;
use kfops_scm_bot::{
    command::{Command, Origin, State as Ended},
    grammar,
    ports::{DeploymentState, Work, WorkState},
    report,
    step::{Stage, StepState},
    verb::Verb,
};

use super::{
    binding,
    scenario::{Event, Scenario},
};
use crate::{
    sim::{Sim, State, digest::timeless, hub::BOT, jobs::Job, serving::target_of},
    stories::{PRODUCTION, STAGING},
};

/// Every rule that is broken.
pub(crate) fn violations(scenario: &Scenario, sim: &Sim) -> Vec<String> {
    let now = sim.world.time.now();
    let (faults, lives) = (sim.world.gate().faults, sim.lives);
    sim.look(|state| {
        let mut wrong = Wrong(Vec::new());
        all_ended(state, &mut wrong);
        every_comment_counts(state, &mut wrong);
        for command in state.book.ordered() {
            said_once(state, command, now, &mut wrong);
            checked_once(state, command, &mut wrong);
            deployed_once(state, command, &mut wrong);
            did_what_it_says(state, command, &mut wrong);
            may(state, command, &mut wrong);
            let most = 30 + 3 * faults + 6 * usize::try_from(lives).unwrap_or(0);
            wrong.when(command.github_calls as usize > most, || {
                format!("{}: {} calls of GitHub, at most {most} are fine", command.id, command.github_calls)
            });
        }
        work_once(state, &mut wrong);
        merges(state, &mut wrong);
        what_lives(state, &mut wrong);
        targets(scenario, state, &mut wrong);
        wrong.0.extend(binding::violations(state));
        wishes_are_heard(scenario, state, &mut wrong);
        wrong.0
    })
}

struct Wrong(Vec<String>);

impl Wrong {
    fn when(&mut self, broken: bool, what: impl FnOnce() -> String) {
        if broken {
            self.0.push(what());
        }
    }
}

fn all_ended(state: &State, wrong: &mut Wrong) {
    for command in state.book.ordered() {
        wrong.when(!command.state.ended() || Some(command.state) != command.outcome, || {
            format!("{} /{} did not end: {:?}", command.id, command.verb.as_str(), command.state)
        });
        let running = command.steps.iter().any(|step| !step.part && step.state == StepState::Running);
        wrong.when(command.state.ended() && running, || format!("{} has a step that runs for ever", command.id));
    }
    for job in state.jobs.all.values().filter(|job| job.is_open()) {
        wrong.0.push(format!("{} never ended", job.name()));
    }
    for unsaid in &state.book.unsaid {
        wrong.0.push(format!("a later write unsaid {unsaid}"));
    }
    for lock in state.book.locks.values() {
        wrong.when(lock.holder.is_some() || !lock.queue.is_empty(), || format!("a lock is not free: {lock:?}"));
    }
}

/// Each command of each comment exactly once, and no others.
fn every_comment_counts(state: &State, wrong: &mut Wrong) {
    for sent in state.hub.sent.iter().filter(|sent| !state.book.knows(&sent.guid)) {
        wrong.0.push(format!("{} ({} {}) was never taken", sent.guid, sent.event, sent.action));
    }
    let mut expected = 0;
    for comment in state.hub.comments.iter().filter(|comment| comment.user != BOT) {
        let lines = grammar::parse(&comment.body).len();
        let of =
            |command: &&&Command| matches!(command.origin, Origin::Comment { comment: id, .. } if id == comment.id);
        let there = state.book.ordered().iter().filter(of).count();
        if comment.taken_back.is_some() && there == 0 {
            continue;
        }
        wrong.when(there != lines, || format!("{:?} has {lines} commands, {there} are kept", comment.body));
        expected += lines;
    }
    let from_comments = |command: &&&Command| matches!(command.origin, Origin::Comment { .. });
    let there = state.book.ordered().iter().filter(from_comments).count();
    wrong.when(there != expected, || format!("{there} commands of {expected} lines"));
}

fn said_once(state: &State, command: &Command, now: std::time::SystemTime, wrong: &mut Wrong) {
    let marker = report::marker(command);
    let said: Vec<_> =
        state.hub.comments.iter().filter(|comment| comment.user == BOT && comment.body.starts_with(&marker)).collect();
    // Strangers are told nothing about what cannot be read, and one thing for each comment.
    let least = usize::from(!(command.quiet && command.actor == "stranger"));
    let most = usize::from(least > 0 || command.verb.takes_turns());
    wrong.when(!(least..=most).contains(&said.len()), || {
        format!("{} /{} has {} comments", command.id, command.verb.as_str(), said.len())
    });
    let shall = timeless(&report::comment(command, now, None));
    for comment in said {
        let is = timeless(&comment.body);
        wrong.when(comment.pull != command.pull_request, || format!("{} speaks elsewhere", command.id));
        wrong.when(is != shall, || format!("{} shows\n{is}\n  instead of\n{shall}", command.id));
    }
}

fn checked_once(state: &State, command: &Command, wrong: &mut Wrong) {
    let checks: Vec<_> = state.hub.checks.iter().filter(|check| check.run.external_id == command.id).collect();
    let silent = command.verb.only_reads() || command.verb.acts_on_commands();
    let least = usize::from(command.started.is_some() && !silent);
    wrong.when(checks.len() > 1 || checks.len() < least, || format!("{} has {} check runs", command.id, checks.len()));
    let shall = match command.state {
        Ended::Succeeded => "success",
        Ended::Canceled | Ended::Superseded => "cancelled",
        Ended::Refused => "action_required",
        _ => "failure",
    };
    for check in checks {
        let is = check.run.completed.map(|(how, _)| how);
        wrong.when(is != Some(shall), || format!("{}: its check run says {is:?}, not {shall}", command.id));
    }
}

fn deployed_once(state: &State, command: &Command, wrong: &mut Wrong) {
    let records: Vec<_> = state.hub.deployments.iter().filter(|kept| kept.deployment.command == command.id).collect();
    let own = command.step(Stage::Rollout).is_some_and(|step| step.start.is_some());
    let begun = (own || command.went_live()) && command.verb.environment().is_some();
    wrong.when(records.len() != usize::from(begun), || format!("{} has {} deployments", command.id, records.len()));
    let live = command.went_live();
    for record in records {
        let is = record.deployment.state;
        wrong.when(is == DeploymentState::InProgress || (is == DeploymentState::Success) != live, || {
            format!("{}: its deployment is {is:?}, and live is {live}", command.id)
        });
    }
}

pub(super) fn job<'a>(state: &'a State, command: &Command, stage: Stage) -> Option<&'a Job> {
    let resource = &command.step(stage)?.resource;
    state.jobs.all.get(resource)
}

const WORK: [Stage; 4] = [Stage::Build, Stage::Compile, Stage::Run, Stage::Rollout];

fn did_what_it_says(state: &State, command: &Command, wrong: &mut Wrong) {
    let name = format!("{} /{}", command.id, command.verb.as_str());
    for stage in WORK {
        let Some(step) = command.step(stage) else { continue };
        let job = job(state, command, stage);
        let own = step.start.is_some();
        // Nothing is done after a refusal, or for what was superseded.
        let nothing = command.state == Ended::Refused || (command.state == Ended::Superseded && !command.unmeant());
        wrong.when(nothing && own && job.is_some(), || format!("{name} is {:?}, and began {stage:?}", command.state));
        let is = job.map(|job| job.state);
        let fits = match step.state {
            StepState::Succeeded => is == Some(WorkState::Succeeded),
            StepState::Canceled => is != Some(WorkState::Succeeded),
            // Whoever is away too long leaves its work; but it must not go live behind our back.
            StepState::Failed => stage != Stage::Rollout || is != Some(WorkState::Succeeded),
            _ => true,
        };
        wrong.when(!fits, || format!("{name}: {stage:?} is {:?}, and the worker says {is:?}", step.state));
        if let Some(job) = job.filter(|_| own && command.verb != Verb::Rollback) {
            let commit = commit_of(state, job);
            let other_version = command.verb == Verb::Run;
            wrong.when(commit != command.commit() && !other_version, || {
                format!("{name} is about {}, and {stage:?} used {commit}", command.commit())
            });
        }
    }
    if command.state == Ended::Canceled && command.progress(Stage::Rollout) != StepState::Succeeded {
        let revision = job(state, command, Stage::Rollout).map(|job| job.revision.clone()).unwrap_or_default();
        let lived = state
            .jobs
            .services
            .values()
            .any(|service| !revision.is_empty() && service.lived.iter().any(|(name, _)| *name == revision));
        let mine = job(state, command, Stage::Rollout).is_some_and(|job| job.state == WorkState::Succeeded);
        wrong.when(lived && mine, || format!("{name} was canceled, and {revision} went live"));
    }
}

pub(super) fn commit_of(state: &State, job: &Job) -> String {
    match &job.work {
        Work::Build { source, .. } | Work::Compile { source, .. } | Work::Rollout { source, .. } => {
            source.commit.clone()
        }
        Work::Run { version, .. } => {
            state.jobs.get(Stage::Compile, version).map(|version| commit_of(state, version)).unwrap_or_default()
        }
    }
}

/// Strangers change nothing; what the base asks for holds.
fn may(state: &State, command: &Command, wrong: &mut Wrong) {
    let reads = matches!(command.verb, Verb::Status | Verb::Why | Verb::Help);
    let began = WORK.iter().any(|stage| {
        command.step(*stage).is_some_and(|step| step.start.is_some()) && job(state, command, *stage).is_some()
    });
    // What is one's own, such as a command that waits to be refused, may be ended by anybody.
    let own = |id: &String| state.book.commands.get(id).is_some_and(|other| other.actor == command.actor);
    let ends_own = command.verb == Verb::Cancel && command.acts_on.iter().all(own);
    let stranger = command.actor == "stranger" && !reads && !ends_own;
    wrong.when(stranger && (began || command.state == Ended::Succeeded), || {
        format!("{} of a stranger is {:?}", command.id, command.state)
    });
    let maintain = state.hub.base.as_ref().is_some_and(|base| base.contains("deploy: {permission: maintain}"));
    let deploys = matches!(command.verb, Verb::Deploy | Verb::Ship | Verb::Rollback);
    wrong.when(maintain && deploys && command.actor != "boss" && began, || {
        format!("{} deploys, and only maintainers may", command.id)
    });
    let branch = &state.hub.pulls[&command.pull_request].base;
    let named = state.hub.base.as_ref().is_some_and(|base| base.contains(&format!("branches: [{branch}]")));
    let rolled =
        command.step(Stage::Rollout).is_some_and(|step| step.start.is_some()) && command.verb != Verb::Rollback;
    wrong.when(rolled && branch != "main" && !named, || format!("{} deploys from {branch}", command.id));
    let unlocks = command.verb == Verb::Unlock && command.state == Ended::Succeeded;
    let anyone = state.hub.base.as_ref().is_some_and(|base| base.contains("unlock: {permission: write}"));
    wrong.when(unlocks && command.actor != "boss" && !anyone, || format!("{} unlocked", command.id));
}

/// What somebody was told to be ended does not go on for long as if nobody had said so.
fn wishes_are_heard(scenario: &Scenario, state: &State, wrong: &mut Wrong) {
    // Times compare only where no clock jumps.
    if scenario.events.iter().any(|(_, event)| matches!(event, Event::Skew(_))) {
        return;
    }
    for command in state.book.commands.values() {
        let ends = matches!(command.verb, Verb::Cancel | Verb::Unlock) && command.state == Ended::Succeeded;
        let Some(said) = command.step(Stage::Act).and_then(|step| step.end).filter(|_| ends) else { continue };
        for other in command.acts_on.iter().filter_map(|id| state.book.commands.get(id)) {
            let later = other.ended.is_some_and(|ended| ended > said + std::time::Duration::from_secs(5));
            let deaf = later && !other.cancel && other.state == Ended::Succeeded;
            wrong.when(deaf, || format!("{} was told by {} to end, and went on", other.id, command.id));
        }
    }
}

/// Nothing is begun that no command knows of, and nothing asked for with two contents.
fn work_once(state: &State, wrong: &mut Wrong) {
    let known: BTreeSet<&str> = state
        .book
        .commands
        .values()
        .flat_map(|command| &command.steps)
        .filter(|step| !step.part)
        .map(|step| step.resource.as_str())
        .collect();
    for name in state.jobs.begun.iter().filter(|name| !known.contains(name.as_str())) {
        wrong.0.push(format!("{name} belongs to no command"));
    }
    for conflict in &state.jobs.conflicts {
        wrong.0.push(format!("asked for twice with other content: {conflict}"));
    }
    let mut makers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for command in state.book.commands.values() {
        for step in command.steps.iter().filter(|step| !step.part && !step.resource.is_empty() && step.start.is_some())
        {
            makers.entry(&step.resource).or_default().push(&command.id);
        }
    }
    for (resource, makers) in makers.iter().filter(|(_, makers)| makers.len() > 1) {
        wrong.0.push(format!("{resource} was begun by {makers:?}"));
    }
}

fn merges(state: &State, wrong: &mut Wrong) {
    for (number, pull) in &state.hub.pulls {
        wrong.when(pull.merges.len() > 1, || format!("#{number} was merged {} times", pull.merges.len()));
        for commit in &pull.merges {
            let live = state
                .jobs
                .services
                .get(PRODUCTION)
                .is_some_and(|service| service.lived.iter().any(|(_, lived)| lived == commit));
            wrong.when(!live, || format!("#{number} was merged at {commit}, whose model never went live"));
            let by = state.book.commands.values().filter(|command| {
                command.verb.merges() && command.pull_request == *number && command.progress(Stage::Merge).done()
            });
            wrong.when(by.count() == 0, || format!("#{number} was merged, and no command says so"));
        }
    }
}

/// A pull request is merged while its model is the one that is live, and a model that somebody was rid of stays away until
/// it is asked for by name.
fn what_lives(state: &State, wrong: &mut Wrong) {
    let seized = state.book.commands.values().any(|command| command.verb == Verb::Unlock);
    for (number, commit, live) in state.hub.merged_over.iter().filter(|_| !seized) {
        wrong.when(live.as_ref() != Some(commit), || {
            format!("#{number} was merged at {commit} while {live:?} was live")
        });
    }
    let model = |revision: &str| {
        let of = |job: &&Job| job.revision == revision && target_of(&job.work) == PRODUCTION;
        state.jobs.all.values().find(of).and_then(|job| match &job.work {
            Work::Rollout { model, .. } => Some(model.digest.clone()),
            _ => None,
        })
    };
    let mut gone: BTreeSet<String> = BTreeSet::new();
    let rolled = |command: &&&Command| {
        command.verb == Verb::Rollback
            && command.step(Stage::Rollout).is_some_and(|step| step.end.is_some())
            && command.progress(Stage::Rollout) == StepState::Succeeded
    };
    let mut back: Vec<_> = state.book.ordered().into_iter().filter(|command| rolled(&command)).collect();
    back.sort_by_key(|command| command.lineage.revision.clone());
    for command in back {
        let Some(restored) = &command.lineage.restored else { continue };
        let came = command.lineage.model.as_ref().map(|model| model.digest.clone()).unwrap_or_default();
        let named = command.arguments.iter().any(|argument| argument.starts_with("--to"));
        wrong.when(!named && gone.contains(&came), || {
            format!("{} brought {} back, which a /rollback had replaced", command.id, restored.revision)
        });
        gone.extend(model(&restored.replaces));
    }
}

fn targets(scenario: &Scenario, state: &State, wrong: &mut Wrong) {
    let unlocked = state.book.commands.values().any(|command| command.verb == Verb::Unlock);
    for (target, label) in [(PRODUCTION, "Deployed-to-production"), (STAGING, "Deployed-to-staging")] {
        let Some(service) = state.jobs.services.get(target) else { continue };
        let rising = service.fences.windows(2).all(|pair| pair[0] < pair[1]);
        wrong.when(!rising, || format!("fences of {target}: {:?}", service.fences));
        wrong.when(!unlocked && !service.overlaps.is_empty(), || format!("{target}: {:?}", service.overlaps));
        let bearers = state.hub.bearers(label);
        wrong.when(bearers.len() > 1, || format!("{label} on {bearers:?}"));
        let Some((live, _)) = service.lived.last() else { continue };
        let of = |command: &&&Command| {
            job(state, command, Stage::Rollout).is_some_and(|job| {
                job.revision == *live && job.state == WorkState::Succeeded && target_of(&job.work) == target
            })
        };
        let makers: Vec<_> = state.book.ordered().iter().filter(of).map(|command| (*command).clone()).collect();
        let Some(last) = makers.last() else { continue };
        let bearer = last.lineage.restored.as_ref().map_or(last.pull_request, |restored| restored.pull_request);
        wrong.when(last.state == Ended::Succeeded && bearers != [bearer], || {
            format!("{live} of {} (#{bearer}) is live, and {label} is on {bearers:?}", last.id)
        });
    }
    // Without trouble nothing fails by itself.
    let calm = scenario.deaths == 0
        && scenario.weather.refused + scenario.weather.lost + scenario.weather.hangs == 0
        && scenario.weather.away.is_empty()
        && !scenario.events.iter().any(|(_, event)| matches!(event, Event::Skew(_) | Event::Crash));
    for command in state.book.commands.values() {
        let Some(failure) = command.failure.as_ref() else { continue };
        let own = matches!(failure.reason, Reason::Internal | Reason::AlreadyExists) && command.state == Ended::Failed;
        let away = failure.reason == Reason::GithubUnavailable || failure.reason == Reason::WorkerUnavailable;
        wrong.when(own || (calm && away), || format!("{} /{}: {failure:?}", command.id, command.verb.as_str()));
    }
}
