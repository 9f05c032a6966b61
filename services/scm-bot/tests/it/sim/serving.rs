//! InferenceServices with their revisions, and rollouts to them: one at a time, in the order in which they came; none
//! under an older fence than one that was seen.

use std::time::Duration;

use kfops_core::{Failure, Reason};
use kfops_scm_bot::{
    ports::{Work, WorkState},
    step::{Stage, Step, StepState},
};

use super::jobs::{Job, Jobs};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Queued,
    Revision,
    Proof,
    Canary(usize),
    Promote,
    /// The new revision is live: from here on there is no way back.
    Drain,
    Restore,
    Ended,
}

/// An InferenceService.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    /// Oldest first: name and rollout.
    pub(crate) revisions: Vec<(String, String)>,
    pub(crate) live: Option<String>,
    /// Everything that was live, oldest first, with the commit.
    pub(crate) lived: Vec<(String, String)>,
    pub(crate) fence: u64,
    /// Fences of the rollouts, in the order in which they began.
    pub(crate) fences: Vec<u64>,
    /// Rollouts that began while their command did not hold the lock.
    pub(crate) overlaps: Vec<String>,
    /// Why what is live does not answer.
    pub(crate) unanswered: String,
    /// Share of the revision under way, percent.
    pub(crate) canary: Option<(String, u8)>,
}

pub(crate) fn target_of(work: &Work) -> &str {
    match work {
        Work::Rollout { inference_service, .. } => inference_service,
        _ => "",
    }
}

fn fence_of(work: &Work) -> u64 {
    match work {
        Work::Rollout { fence, .. } => *fence,
        _ => 0,
    }
}

fn canary_of(work: &Work) -> &[u8] {
    match work {
        Work::Rollout { strategy, .. } => &strategy.canary,
        _ => &[],
    }
}

impl Jobs {
    /// Who may still begin a rollout.
    pub(crate) fn accept(&mut self, target: &str, fence: u64) -> Result<(), Failure> {
        let service = self.services.entry(target.to_owned()).or_default();
        if fence < service.fence {
            let text = format!("another command holds the lock of {target}: its fence is {}", service.fence);
            return Err(Failure { retryable: false, ..Failure::new(Reason::TargetLocked, text).on(target) });
        }
        service.fence = fence;
        Ok(())
    }

    /// A revision that is live from the beginning.
    pub(crate) fn live_from_the_beginning(&mut self, target: &str, revision: &str) {
        let service = self.services.entry(target.to_owned()).or_default();
        service.revisions.push((revision.to_owned(), String::new()));
        service.live = Some(revision.to_owned());
        service.lived.push((revision.to_owned(), String::new()));
    }

    pub(crate) fn promote(&mut self, id: &str) -> Result<(), Failure> {
        let job = self.get(Stage::Rollout, id)?;
        let name = job.name();
        let undone = job.cancel.is_some() || job.phase == Phase::Restore;
        if (job.is_open() && !undone) || job.state == WorkState::Succeeded {
            self.all.get_mut(&name).unwrap().promote = true;
            return Ok(());
        }
        Err(Failure::new(Reason::RevisionNotReady, format!("{name} cannot be promoted")).on(name))
    }

    /// The rollout of a service whose turn it is.
    fn turn_of(&self, target: &str) -> Option<String> {
        let mine = |name: &&String| {
            let job = &self.all[*name];
            job.stage == Stage::Rollout && job.is_open() && target_of(&job.work) == target
        };
        self.begun.iter().find(mine).cloned()
    }

    pub(crate) fn advance_rollouts(&mut self, now: Duration) {
        for target in self.services.keys().cloned().collect::<Vec<_>>() {
            // What waits may be canceled before it begins.
            for job in self.all.values_mut().filter(|job| job.phase == Phase::Queued && job.is_open()) {
                if let (Some(at), Stage::Rollout) = (job.cancel, job.stage) {
                    (job.state, job.phase, job.phase_since) = (WorkState::Canceled, Phase::Ended, at);
                }
            }
            while let Some(name) = self.turn_of(&target) {
                let job = &self.all[&name];
                let Some(due) = self.due_rollout(job).filter(|due| *due <= now) else { break };
                self.step(&target, &name, due);
            }
        }
    }

    /// When a rollout goes on; None: not by itself.
    pub(crate) fn due_rollout(&self, job: &Job) -> Option<Duration> {
        let target = target_of(&job.work);
        if self.turn_of(target) != Some(job.name()) {
            return None;
        }
        let since = job.phase_since;
        let undo = job.cancel.filter(|_| !matches!(job.phase, Phase::Drain | Phase::Restore)).map(|at| at.max(since));
        // In the first canary, or after the proof where there is none.
        let canary = !job.previous.is_empty() && !canary_of(&job.work).is_empty();
        let here = matches!(job.phase, Phase::Canary(_)) || (job.phase == Phase::Proof && !canary);
        let held = self.held.contains("rollouts") && here;
        let next = match job.phase {
            // Its turn comes when the one before has ended.
            Phase::Queued => Some(self.ended_before(target).max(since)),
            Phase::Revision => Some(since + self.takes("revision")),
            _ if held && !job.promote => None,
            Phase::Proof => Some(since + self.takes("proof")),
            Phase::Canary(_) if job.promote => Some(since),
            Phase::Canary(_) => Some(since + self.takes("canary")),
            Phase::Promote => Some(since + self.takes("promote")),
            Phase::Drain => Some(since + self.takes("drain")),
            Phase::Restore => Some(since + self.takes("restore")),
            Phase::Ended => None,
        };
        [next, undo].into_iter().flatten().min()
    }

    fn ended_before(&self, target: &str) -> Duration {
        let ended = self.all.values().filter(|job| target_of(&job.work) == target && job.phase == Phase::Ended);
        ended.map(|job| job.phase_since).max().unwrap_or_default()
    }

    fn step(&mut self, target: &str, name: &str, at: Duration) {
        let Some(mut job) = self.all.get(name).cloned() else { return };
        let Some(mut service) = self.services.get(target).cloned() else { return };
        let canceled = job.cancel.is_some_and(|asked| asked <= at);
        let shut_out = fence_of(&job.work) < service.fence;
        let canary = if job.previous.is_empty() { Vec::new() } else { canary_of(&job.work).to_vec() };
        let undo = |job: &mut Job, failure: Failure| {
            job.failure = Some(failure);
            Phase::Restore
        };
        let after = |done: usize| if done < canary.len() { Phase::Canary(done) } else { Phase::Promote };
        let next = match job.phase {
            Phase::Restore => {
                service.canary = None;
                let why = job.failure.as_ref().map(|failure| failure.reason);
                job.state = if why == Some(Reason::Canceled) { WorkState::Canceled } else { WorkState::Failed };
                Phase::Ended
            }
            Phase::Drain => {
                job.state = WorkState::Succeeded;
                Phase::Ended
            }
            _ if canceled => undo(&mut job, Failure::new(Reason::Canceled, "it was canceled")),
            Phase::Queued => {
                service.fences.push(fence_of(&job.work));
                job.previous = service.live.clone().unwrap_or_default();
                let short = target.rsplit('/').next().unwrap_or_default();
                job.revision = format!("{short}-{:05}", service.revisions.len() + 1);
                service.revisions.push((job.revision.clone(), job.id.clone()));
                Phase::Revision
            }
            _ if shut_out => undo(&mut job, Failure::new(Reason::Superseded, "a newer command holds the lock")),
            Phase::Revision => Phase::Proof,
            Phase::Proof => match job.doomed.clone() {
                Some(failure) => undo(&mut job, failure),
                None if job.promote => Phase::Promote,
                None => after(0),
            },
            Phase::Canary(_) if job.promote => Phase::Promote,
            Phase::Canary(step) => {
                job.canaries = step + 1;
                after(step + 1)
            }
            Phase::Promote => {
                service.live = Some(job.revision.clone());
                let Work::Rollout { source, .. } = &job.work else { return };
                service.lived.push((job.revision.clone(), source.commit.clone()));
                service.canary = None;
                Phase::Drain
            }
            Phase::Ended => return,
        };
        if let Phase::Canary(step) = next {
            service.canary = Some((job.revision.clone(), canary[step]));
        }
        (job.phase, job.phase_since) = (next, at);
        self.services.insert(target.to_owned(), service);
        self.all.insert(name.to_owned(), job);
    }

    pub(crate) fn rollout_parts(&self, job: &Job) -> Vec<Step> {
        let mut parts = Vec::new();
        let mut part = |title: String, running: bool, over: bool| {
            let state = match (over, running, job.state) {
                (true, ..) => StepState::Succeeded,
                (false, true, WorkState::Open) => StepState::Running,
                (false, _, WorkState::Canceled) => StepState::Canceled,
                (false, _, WorkState::Failed) => StepState::Failed,
                _ => StepState::Pending,
            };
            parts.push(Step { resource: job.name(), ..Step::part(Stage::Rollout, title, state) });
        };
        if job.revision.is_empty() {
            return parts;
        }
        let proven = !matches!(job.phase, Phase::Queued | Phase::Revision | Phase::Proof | Phase::Restore)
            && (job.phase != Phase::Ended || job.state == WorkState::Succeeded);
        part(format!("revision {}", job.revision), !proven, proven);
        let canary = if job.previous.is_empty() { &[][..] } else { canary_of(&job.work) };
        for (step, percent) in canary.iter().enumerate() {
            let here = job.phase == Phase::Canary(step);
            if step < job.canaries || here {
                part(format!("canary {percent} %"), here, step < job.canaries);
            }
        }
        parts
    }
}
