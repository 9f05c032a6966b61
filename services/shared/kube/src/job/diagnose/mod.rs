//! What a pod's status and the events about it mean: a pure function.

mod ended;
mod made;
mod waiting;

use std::time::SystemTime;

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Event, Pod, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kfops_core::{Failure, Reason};

pub(super) use made::diagnose_job;

/// What a pod does.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// On its way; nothing is wrong so far.
    Starting,
    /// The containers run.
    Running,
    /// Something keeps it from running.
    Waiting(Obstacle),
    /// It has ended well.
    Succeeded(End),
    /// It has ended otherwise.
    Failed(Fault),
}

/// What keeps a pod from running.
#[derive(Debug, Clone, PartialEq)]
pub struct Obstacle {
    /// What, and what to do about it.
    pub failure: Failure,
    /// Whether it may go away.
    pub hope: Hope,
}

/// Why an obstacle may go away by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hope {
    /// It will not.
    None,
    /// What is missing may be made yet.
    Objects,
    /// The registry may answer yet.
    Registry,
    /// Others may end, or nodes may come.
    Capacity,
    /// The node may recover; another node may do.
    Node,
}

/// A container that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Its name.
    pub container: String,
    /// Its exit code.
    pub code: i32,
    /// What it left as its termination message. It may be hostile.
    pub message: String,
    /// When it began and ended, as its node says.
    pub ran: Option<(SystemTime, SystemTime)>,
}

/// Why a pod has not ended well.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The program says so: its exit code is not 0.
    Exit(End),
    /// It was ended, or could not begin. The same again would end the same.
    Final(Failure),
    /// The cluster took it away: the same again may end well.
    Infrastructure(Failure),
}

/// What `pod` does, by its status and the `events` about it (others are passed over). `container` is the one whose end counts.
#[must_use]
pub fn diagnose(pod: &Pod, container: &str, events: &[Event], now: SystemTime) -> Verdict {
    let empty = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&empty);
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let subject = Subject { pod, status, name, now, events: about(pod, events) };
    match status.phase.as_deref() {
        Some("Succeeded") => Verdict::Succeeded(subject.end(container)),
        Some("Failed") => Verdict::Failed(ended::failed(&subject)),
        phase => ended::lost(&subject)
            .or_else(|| waiting::obstacle(&subject))
            .unwrap_or_else(|| if phase == Some("Running") { Verdict::Running } else { Verdict::Starting }),
    }
}

/// A pod with what belongs to it.
struct Subject<'a> {
    pod: &'a Pod,
    status: &'a PodStatus,
    name: &'a str,
    now: SystemTime,
    /// Newest first.
    events: Vec<&'a Event>,
}

impl Subject<'_> {
    /// A failure of this pod.
    fn failure(&self, reason: Reason, message: String) -> Failure {
        Failure::new(reason, message).on(format!("pods/{}", self.name))
    }

    /// The newest event with one of these reasons.
    fn event(&self, reasons: &[&str]) -> Option<&str> {
        let found = self.events.iter().find(|event| event.reason.as_deref().is_some_and(|r| reasons.contains(&r)));
        found.and_then(|event| event.message.as_deref())
    }

    /// Containers in the order in which they begin.
    fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.status.init_container_statuses.iter().flatten().chain(self.status.container_statuses.iter().flatten())
    }

    fn node(&self) -> &str {
        self.pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("?")
    }

    fn end(&self, container: &str) -> End {
        let state = self.containers().find(|status| status.name == container).and_then(|status| status.state.as_ref());
        match state.and_then(|state| state.terminated.as_ref()) {
            Some(ended) => End {
                container: container.to_owned(),
                code: ended.exit_code,
                message: ended.message.clone().unwrap_or_default(),
                ran: time(ended.started_at.as_ref()).zip(time(ended.finished_at.as_ref())),
            },
            None => End { container: container.to_owned(), code: 0, message: String::new(), ran: None },
        }
    }

    /// Seconds since the pod was made.
    fn age(&self) -> u64 {
        let made = time(self.pod.metadata.creation_timestamp.as_ref());
        made.and_then(|made| self.now.duration_since(made).ok()).map_or(0, |age| age.as_secs())
    }
}

/// The events about this very pod, newest first.
fn about<'a>(pod: &Pod, events: &'a [Event]) -> Vec<&'a Event> {
    let uid = pod.metadata.uid.as_deref();
    let mut found: Vec<&Event> = events
        .iter()
        .filter(|event| uid.is_none() || event.involved_object.uid.as_deref().is_none_or(|of| Some(of) == uid))
        .collect();
    found.sort_by_key(|event| std::cmp::Reverse(last_seen(event)));
    found
}

/// When an event was last seen. The scheduler fills other fields than the kubelet.
fn last_seen(event: &Event) -> Option<SystemTime> {
    let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
    let micro = series.or(event.event_time.as_ref()).map(|time| SystemTime::from(time.0));
    time(event.last_timestamp.as_ref()).max(micro).or_else(|| time(event.metadata.creation_timestamp.as_ref()))
}

fn time(time: Option<&Time>) -> Option<SystemTime> {
    time.map(|time| SystemTime::from(time.0))
}

/// The first part of what somebody else wrote, without line breaks.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut short: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    if text.trim().chars().count() > LONGEST {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
