//! Attends a compilation's pod: hands it the source once it asks for it, over the Kubernetes API, for it has no network; and
//! keeps its time.

use std::{collections::HashSet, path::Path, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kfops_core::{Digest, Failure, Hasher, Reason};
use kfops_store::Store;
use kube::{
    Api, Client, ResourceExt as _,
    api::AttachParams,
    client::UpgradeConnectionError,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::Instant,
};

use super::pod::{COMPILE, RECEIVE};
use crate::ports::CompileJob;

/// Between two attempts to attach.
const PAUSE: Duration = Duration::from_millis(300);
/// Longest time without progress while the archive is sent; longer than the pod may take to show that it has no network.
const STALLED: Duration = Duration::from_secs(120);
/// Bytes that are read and sent at once.
const PIECE: usize = 256 << 10;
/// The label by which the Job controller marks its pods.
const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// Why a pod is not attended any longer.
pub(super) enum Enough {
    /// The repository's code has had its time.
    TimedOut,
    /// The source cannot be had.
    Failed(Failure),
}

/// Attends the pods of one Job.
pub(super) struct Attendant<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) store: &'a Store,
    pub(super) job: &'a CompileJob,
    /// Where the archive may lie.
    pub(super) scratch: &'a Path,
    /// MiB.
    pub(super) max_source: u64,
    pub(super) timeout: Duration,
}

impl Attendant<'_> {
    /// Never returns when all goes well: the Job's end is somebody else's to see.
    pub(super) async fn attend(&self) -> Enough {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), self.namespace);
        let ours = watcher::Config::default().labels(&format!("{JOB_NAME}={}", self.name));
        let mut changes = watcher(pods.clone(), ours).default_backoff().applied_objects().boxed();
        let (mut fed, mut begun): (HashSet<String>, Option<(String, Instant)>) = (HashSet::new(), None);
        loop {
            let left = begun.as_ref().map(|(_, begun)| *begun + self.timeout);
            let pod = tokio::select! {
                pod = changes.next() => pod,
                () = tokio::time::sleep_until(left.unwrap_or_else(Instant::now)), if left.is_some() => {
                    return Enough::TimedOut;
                }
            };
            let pod = match pod {
                Some(Ok(pod)) => pod,
                Some(Err(error)) => {
                    // It begins again by itself; whether rights are missing, whoever follows the Job says.
                    tracing::warn!(job = self.name, %error, "a watch broke");
                    continue;
                }
                None => return Enough::Failed(Failure::internal("a watch ended")),
            };
            let uid = pod.uid().unwrap_or_default();
            let state = |name: &str| state(&pod, name);
            if state(RECEIVE).is_some_and(|state| state.running.is_some()) && !fed.contains(&uid) {
                if let Err(failure) = self.feed(&pods, &pod.name_any()).await {
                    return Enough::Failed(failure);
                }
                fed.insert(uid.clone());
            }
            match (state(COMPILE), &begun) {
                (Some(state), None) if state.running.is_some() => begun = Some((uid, Instant::now())),
                (state, Some((of, _))) if *of == uid && state.is_none_or(|state| state.running.is_none()) => {
                    begun = None
                }
                _ => {}
            }
        }
    }

    /// Sends the archive. A connection that breaks is no failure: the container then ends, and says that something is missing.
    async fn feed(&self, pods: &Api<Pod>, pod: &str) -> Result<(), Failure> {
        let path = self.scratch.join("source.tar.gz");
        let size = self.archive(&path).await?;
        let how = AttachParams { stdin: true, stdout: true, stderr: false, ..AttachParams::default() }
            .container(RECEIVE)
            .max_stdin_buf_size(PIECE);
        let begun = Instant::now();
        let mut attached = loop {
            match pods.attach(pod, &how).await {
                Ok(attached) => break attached,
                Err(kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code))) if code == 403 => {
                    let message =
                        format!("this service's account may not attach to pods/{pod}, to hand over the source");
                    return Err(Failure::new(Reason::PermissionDenied, message).action(format!(
                        "allow it get and create on pods/attach in the namespace {}",
                        self.namespace
                    )));
                }
                // It has ended, or is about to.
                Err(error) if begun.elapsed() > STALLED => {
                    tracing::warn!(pod, %error, "the source cannot be handed over");
                    return Ok(());
                }
                Err(error) => tracing::debug!(pod, %error, "not attached yet"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        let (Some(mut stdin), Some(mut stdout)) = (attached.stdin(), attached.stdout()) else {
            return Err(Failure::internal("attached to nothing"));
        };
        let send = async {
            let mut file = tokio::fs::File::open(&path).await?;
            let mut piece = vec![0; PIECE];
            stdin.write_all(&size.to_be_bytes()).await?;
            loop {
                let read = file.read(&mut piece).await?;
                if read == 0 {
                    break;
                }
                let sent = tokio::time::timeout(STALLED, stdin.write_all(&piece[..read])).await;
                sent.map_err(|_| std::io::Error::other("nothing moves"))??;
            }
            stdin.flush().await
        };
        let heard = async {
            // The container says nothing unless it refuses; its end closes the connection.
            let mut nothing = Vec::new();
            (&mut stdout).take(4096).read_to_end(&mut nothing).await
        };
        let sent = tokio::select! {
            sent = send => sent,
            _ = heard => Err(std::io::Error::other("the connection was closed")),
        };
        match sent {
            Ok(()) => {
                // Closing the connection would close the container's input before all of it has arrived.
                let mut rest = Vec::new();
                tokio::time::timeout(STALLED, stdout.take(4096).read_to_end(&mut rest)).await.ok();
            }
            Err(error) => tracing::warn!(pod, %error, "the source was not handed over"),
        }
        attached.abort();
        tokio::fs::remove_file(&path).await.ok();
        Ok(())
    }

    /// Brings the archive here and looks whether it is the one; its size.
    async fn archive(&self, path: &Path) -> Result<u64, Failure> {
        let source = &self.job.source;
        self.store.get_file(&source.key, path).await.map_err(|failure| match failure.reason {
            Reason::NotFound => Failure { reason: Reason::SourceUnavailable, retryable: true, ..failure },
            _ => failure,
        })?;
        let invalid = |message: String| Failure::new(Reason::SourceInvalid, message).on(&source.key);
        let local = path.to_owned();
        let read = move || -> std::io::Result<(u64, Digest)> {
            let (mut hasher, mut size) = (Hasher::default(), 0);
            let mut file = std::fs::File::open(local)?;
            let mut piece = vec![0; PIECE];
            loop {
                let read = std::io::Read::read(&mut file, &mut piece)?;
                if read == 0 {
                    return Ok((size, hasher.finish()));
                }
                size += read as u64;
                hasher.update(&piece[..read]);
            }
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(Failure::internal)?;
        let (size, digest) = read.map_err(|error| Failure::internal(format!("{}: {error}", path.display())))?;
        if digest != source.digest {
            return Err(invalid(format!(
                "the source archive is damaged: its digest is {digest}, not {}",
                source.digest
            ))
            .action("remove the object from the store, then give the command again"));
        }
        if size > self.max_source << 20 {
            return Err(invalid(format!("the source archive is larger than {} MiB", self.max_source))
                .action("keep data out of the repository, or raise sandbox.max_source_mib"));
        }
        Ok(size)
    }
}

fn state<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerState> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == container)?.state.as_ref()
}
