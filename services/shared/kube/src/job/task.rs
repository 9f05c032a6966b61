//! What is to run, and the Job that says so to Kubernetes.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::{
        batch::v1::{Job, JobSpec},
        core::v1::{PodSpec, PodTemplateSpec, Secret, Toleration},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kfops_core::{Failure, Reason, ResourceId, short_hash};
use secrecy::{ExposeSecret as _, SecretString};

use super::diagnose::Hope;

/// Says who made a Job.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Its value.
pub(super) const KFOPS: &str = "kfops";
/// What a Job was made from, so that another one of the same name is noticed.
pub(super) const SPEC_HASH: &str = "kfops.dev/spec-hash";
/// Which attempt a Job is.
pub(super) const ATTEMPT: &str = "kfops.dev/attempt";
/// The label by which the Job controller marks its pods.
pub(super) const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Seconds after which pods leave a node that does not answer. Kubernetes' own default is 300.
const LOST_NODE: i64 = 60;

/// A program to run to its end.
#[derive(Debug, Clone)]
pub struct Task {
    /// The Job's name: derived by the caller from what is asked for. 1 to 63 characters of `[a-z0-9-]`.
    pub name: String,
    /// Of the Job and its pods.
    pub labels: BTreeMap<String, String>,
    /// Of the Job and its pods. They are no part of what is asked for.
    pub annotations: BTreeMap<String, String>,
    /// What runs. `restartPolicy` becomes `Never`, and no service account token is mounted unless it is asked for here.
    pub pod: PodSpec,
    /// The container whose end is the Job's and whose termination message is the result.
    pub container: String,
    /// What the pod gets as a Secret of the Job's name, which goes with the Job. The values are no part of what is asked for:
    /// a signed URL is another one each time.
    pub secret: BTreeMap<String, SecretString>,
    /// Longest that one attempt may take, waiting for a node included.
    pub deadline: Duration,
    /// How long Kubernetes keeps a Job that has ended.
    pub keep: Duration,
    /// What the Job goes with, in the same namespace.
    pub owner: Option<OwnerReference>,
    /// Attempts in all. Another one follows only when the cluster failed, never when the program did.
    pub attempts: u32,
    /// How long it waits for what may come yet.
    pub patience: Patience,
    /// Bytes of log after which the Job is ended.
    pub max_log: u64,
}

/// How long obstacles are borne. Each is told at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For what somebody may add yet, e.g. a secret.
    pub objects: Duration,
    /// For a registry that does not answer.
    pub registry: Duration,
    /// For room: quotas, nodes. An autoscaler needs minutes.
    pub capacity: Duration,
    /// For a node that does not start the pod: sandboxes, volumes.
    pub node: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { objects: seconds(20), registry: seconds(60), capacity: seconds(300), node: seconds(120) }
    }
}

impl Patience {
    pub(super) const fn with(&self, hope: Hope) -> Duration {
        match hope {
            Hope::None => Duration::ZERO,
            Hope::Objects => self.objects,
            Hope::Registry => self.registry,
            Hope::Capacity => self.capacity,
            Hope::Node => self.node,
        }
    }
}

impl Task {
    /// A task with everything at its default; `container` is the name of the pod's container that counts.
    #[must_use]
    pub fn new(name: impl Into<String>, pod: PodSpec, container: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            pod,
            container: container.into(),
            secret: BTreeMap::new(),
            deadline: Duration::from_secs(1800),
            keep: Duration::from_secs(600),
            owner: None,
            attempts: 3,
            patience: Patience::default(),
            max_log: 200 << 20,
        }
    }

    /// The Job of an attempt.
    pub(super) fn job(&self, attempt: u32) -> Result<Job, Failure> {
        ResourceId::parse(&self.name)
            .map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()).on("jobs"))?;
        if !self.pod.containers.iter().any(|container| container.name == self.container) {
            return Err(Failure::internal(format!("jobs/{}: no container is called {}", self.name, self.container)));
        }
        let mut labels = self.labels.clone();
        labels.insert(MANAGED_BY.into(), KFOPS.into());
        let mut annotations = self.annotations.clone();
        let template = PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels.clone()),
                annotations: Some(annotations.clone()),
                ..ObjectMeta::default()
            }),
            spec: Some(self.complete_pod()),
        };
        annotations.insert(SPEC_HASH.into(), self.hash()?);
        annotations.insert(ATTEMPT.into(), attempt.to_string());
        Ok(Job {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels),
                annotations: Some(annotations),
                owner_references: self.owner.clone().map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(JobSpec {
                active_deadline_seconds: Some(seconds(self.deadline).max(1)),
                backoff_limit: Some(0),
                ttl_seconds_after_finished: Some(i32::try_from(seconds(self.keep)).unwrap_or(i32::MAX)),
                template,
                ..JobSpec::default()
            }),
            status: None,
        })
    }

    /// The Secret that goes with `job`.
    pub(super) fn secret(&self, job: &Job) -> Secret {
        let owner = OwnerReference {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            name: self.name.clone(),
            uid: job.metadata.uid.clone().unwrap_or_default(),
            ..OwnerReference::default()
        };
        let mut labels = self.labels.clone();
        labels.insert(MANAGED_BY.into(), KFOPS.into());
        let values = self.secret.iter().map(|(key, value)| (key.clone(), value.expose_secret().to_owned()));
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            string_data: Some(values.collect()),
            ..Secret::default()
        }
    }

    /// Over the pod and the labels.
    pub(super) fn hash(&self) -> Result<String, Failure> {
        let text = serde_json::to_string(&(self.complete_pod(), &self.labels)).map_err(Failure::internal)?;
        Ok(short_hash(&["kfops-job-1", &text], 32))
    }

    fn complete_pod(&self) -> PodSpec {
        let mut pod = self.pod.clone();
        pod.restart_policy = Some("Never".into());
        pod.automount_service_account_token.get_or_insert(false);
        pod.enable_service_links.get_or_insert(false);
        let tolerations = pod.tolerations.get_or_insert_default();
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            if !tolerations.iter().any(|toleration| toleration.key.as_deref() == Some(key)) {
                tolerations.push(Toleration {
                    key: Some(key.into()),
                    operator: Some("Exists".into()),
                    effect: Some("NoExecute".into()),
                    toleration_seconds: Some(LOST_NODE),
                    value: None,
                });
            }
        }
        pod
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Container;

    use super::*;

    fn task(url: &str, arg: &str) -> Task {
        let container = Container { name: "main".into(), args: Some(vec![arg.into()]), ..Container::default() };
        let pod = PodSpec { containers: vec![container], ..PodSpec::default() };
        Task { secret: [("url".into(), url.into())].into(), ..Task::new("x", pod, "main") }
    }

    #[test]
    fn a_signed_url_is_no_part_of_what_is_asked_for() {
        assert_eq!(task("a", "x").hash(), task("b", "x").hash());
        assert_ne!(task("a", "x").hash(), task("a", "y").hash());
        let kept = Task { keep: Duration::ZERO, ..task("a", "x") };
        assert_eq!(kept.hash(), task("a", "x").hash());
        assert!(!format!("{:?}", task("the-key", "x")).contains("the-key"));
    }

    #[test]
    fn jobs_never_repeat_themselves_and_have_no_token() {
        let spec = task("a", "x").job(2).unwrap().spec.unwrap();
        assert_eq!((spec.backoff_limit, spec.ttl_seconds_after_finished), (Some(0), Some(600)));
        let pod = spec.template.spec.unwrap();
        assert_eq!((pod.restart_policy.as_deref(), pod.automount_service_account_token), (Some("Never"), Some(false)));
    }

    #[test]
    fn wrong_names_are_refused() {
        for name in ["", "A", "a/b", &"a".repeat(64)] {
            assert_eq!(
                Task { name: name.into(), ..task("a", "x") }.job(1).unwrap_err().reason,
                Reason::InvalidArgument
            );
        }
        assert!(Task { container: "other".into(), ..task("a", "x") }.job(1).is_err());
    }
}
