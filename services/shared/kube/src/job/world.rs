//! What is known of a Job, its pods and the warnings about them, kept up to date by watching.

use std::{collections::BTreeMap, fmt::Debug, time::SystemTime};

use futures::{Stream, StreamExt as _, stream::BoxStream};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event as Told, Pod},
};
use kfops_core::Failure;
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt as _,
        watcher::{Config, Error, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::{
    diagnose::{Fault, Verdict, diagnose_job},
    task::JOB_NAME,
};
use crate::failure;

/// Warnings that are kept; a namespace may have any number.
const MAX_TOLD: usize = 200;

/// What is known.
pub(super) struct World {
    /// The Job's name.
    name: String,
    /// The Job that is followed: another one of its name is not it.
    uid: String,
    jobs: Kept<Job>,
    pods: Kept<Pod>,
    told: Kept<Told>,
    /// As it was when it went: its last words say who took it.
    gone: Option<Pod>,
}

/// Something has changed.
pub(super) enum Change {
    Job(Box<Event<Job>>),
    Pod(Box<Event<Pod>>),
    Told(Box<Event<Told>>),
    /// A watch broke; it is begun again.
    Broken(Failure),
}

/// Objects of one kind by their uid.
struct Kept<K> {
    now: BTreeMap<String, K>,
    /// The list that is on its way.
    next: BTreeMap<String, K>,
    /// Listed once.
    known: bool,
}

/// Watches the Job `name`, its pods and the warnings of its namespace. Broken watches begin again by themselves.
pub(super) fn watch(client: &Client, namespace: &str, name: &str) -> BoxStream<'static, Change> {
    let job = Config::default().fields(&format!("metadata.name={name}"));
    let pods = Config::default().labels(&format!("{JOB_NAME}={name}"));
    let told = Config::default().fields("type=Warning");
    let streams = [
        changes(Api::namespaced(client.clone(), namespace), job, format!("jobs/{name}"), |event| {
            Change::Job(Box::new(event))
        }),
        changes(Api::namespaced(client.clone(), namespace), pods, format!("pods of jobs/{name}"), |event| {
            Change::Pod(Box::new(event))
        }),
        changes(Api::namespaced(client.clone(), namespace), told, format!("events of {namespace}"), |event| {
            Change::Told(Box::new(event))
        }),
    ];
    futures::stream::select_all(streams).boxed()
}

fn changes<K>(api: Api<K>, config: Config, what: String, change: fn(Event<K>) -> Change) -> BoxStream<'static, Change>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream: BoxStream<'static, Result<Event<K>, Error>> = watcher(api, config).default_backoff().boxed();
    broken_or(stream, what, change).boxed()
}

fn broken_or<K: 'static>(
    stream: impl Stream<Item = Result<Event<K>, Error>>,
    what: String,
    change: fn(Event<K>) -> Change,
) -> impl Stream<Item = Change> {
    stream.map(move |seen| match seen {
        Ok(event) => change(event),
        Err(Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error)) => {
            Change::Broken(failure(&error, &what))
        }
        Err(Error::WatchError(status)) => Change::Broken(failure(&kube::Error::Api(status), &what)),
        Err(error @ Error::NoResourceVersion) => Change::Broken(Failure::internal(error)),
    })
}

impl World {
    pub(super) fn new(job: &Job) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut jobs = Kept::new();
        jobs.now.insert(text(&job.metadata.uid), job.clone());
        Self {
            name: text(&job.metadata.name),
            uid: text(&job.metadata.uid),
            jobs,
            pods: Kept::new(),
            told: Kept::new(),
            gone: None,
        }
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Job(event) => self.jobs.apply(*event),
            Change::Pod(event) => {
                if let Event::Delete(pod) = event.as_ref() {
                    self.gone = Some(pod.clone());
                }
                self.pods.apply(*event);
            }
            Change::Told(event) => {
                let name = self.name.clone();
                // Pods are called after their Job.
                self.told.apply_if(*event, |told| {
                    told.involved_object.name.as_deref().is_some_and(|of| of.starts_with(&name))
                });
                while self.told.now.len() > MAX_TOLD {
                    self.told.now.pop_first();
                }
            }
            Change::Broken(_) => {}
        }
    }

    /// The Job's newest pod, or the one that went.
    pub(super) fn pod(&self) -> Option<&Pod> {
        let ours = self
            .gone
            .iter()
            .chain(self.pods.now.values())
            .filter(|pod| pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == self.uid));
        ours.max_by_key(|pod| pod.metadata.creation_timestamp.clone())
    }

    pub(super) fn verdict(&self, container: &str, now: SystemTime) -> Verdict {
        // Before the pods are listed, one that is there looks like one that is missing.
        if !self.jobs.known || !self.pods.known {
            return Verdict::Starting;
        }
        let Some(job) = self.jobs.now.get(&self.uid) else {
            let message = format!("jobs/{} was removed by somebody before it ended", self.name);
            let failure = Failure::new(kfops_core::Reason::ClusterUnavailable, message);
            return Verdict::Failed(Fault::Infrastructure(failure.on(format!("jobs/{}", self.name))));
        };
        let told: Vec<Told> = self.told.now.values().cloned().collect();
        diagnose_job(job, self.pod(), container, &told, now)
    }
}

impl<K: Resource> Kept<K> {
    fn new() -> Self {
        Self { now: BTreeMap::new(), next: BTreeMap::new(), known: false }
    }

    fn apply(&mut self, event: Event<K>) {
        self.apply_if(event, |_| true);
    }

    fn apply_if(&mut self, event: Event<K>, wanted: impl Fn(&K) -> bool) {
        let uid = |object: &K| object.meta().uid.clone().unwrap_or_default();
        match event {
            Event::Init => self.next.clear(),
            Event::InitApply(object) if wanted(&object) => {
                self.next.insert(uid(&object), object);
            }
            Event::InitDone => {
                self.now = std::mem::take(&mut self.next);
                self.known = true;
            }
            Event::Apply(object) if wanted(&object) => {
                self.now.insert(uid(&object), object);
            }
            Event::Delete(object) => {
                self.now.remove(&uid(&object));
            }
            Event::InitApply(_) | Event::Apply(_) => {}
        }
    }
}
