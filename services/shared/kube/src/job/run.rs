//! Runs a task to its end: makes or adopts its Job, watches, reads the log, gives up what cannot run.

use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use kfops_core::{Failure, Reason};
use kube::{Api, Client};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    adopt::{Adopted, adopt},
    diagnose::{End, Fault, Hope, Obstacle, Verdict},
    log::{Follower, Reader, Seen, TooMuch},
    remove::remove,
    task::Task,
    world::{Change, World, watch as watch_world},
};

/// Between two looks at what takes too long.
const TICK: Duration = Duration::from_secs(1);
/// Longest wait for the rest of the log of a pod that has ended.
const LOG_END: Duration = Duration::from_secs(10);
/// Longest wait for the pods of a Job that is ended.
const GONE: Duration = Duration::from_secs(60);
/// Kubernetes ends a Job at its deadline; when it has not by then, nobody does.
const OVERDUE: Duration = Duration::from_secs(120);
/// Between two tellings of the same obstacle in other words.
const RETOLD: Duration = Duration::from_secs(10);

/// Is told what happens.
pub trait Observer: Send + Sync {
    /// A line of the log, or a piece of a long one, as the containers wrote it.
    fn log(&self, line: &[u8]);

    /// What keeps the program from running now. The failure becomes the outcome when it stays.
    fn waits(&self, failure: &Failure);
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Its exit code is 0.
    Succeeded(Finished),
    /// Its exit code is another one.
    Exited(Exited),
}

/// A program that ended well.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished {
    /// The termination message of the container that counts. It may be hostile.
    pub message: String,
    /// When it began and ended, by the node's clock.
    pub ran: Option<(SystemTime, SystemTime)>,
}

/// A program, or an init container, that ended otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Exited {
    /// Which container.
    pub container: String,
    /// Its exit code; above 128 it was ended by the signal of that number less 128.
    pub code: i32,
    /// Its termination message.
    pub message: String,
    /// The end of the log.
    pub log_tail: String,
}

impl Exited {
    /// In general words.
    #[must_use]
    pub fn failure(&self, reason: Reason) -> Failure {
        let how = match self.code {
            137 => " (killed)".to_owned(),
            143 => " (terminated)".to_owned(),
            _ => String::new(),
        };
        let text = format!("container {} ended with exit code {}{how}", self.container, self.code);
        Failure::new(reason, text).log_tail(&self.log_tail)
    }
}

/// How an attempt ended, when not with an outcome.
enum Stop {
    /// For good.
    Final(Failure),
    /// The cluster failed: another attempt may do.
    Again(Failure),
}

/// Runs `task` in `namespace` to its end. A Job of this name that was made from the same task is adopted, with everything that it has
/// done; the log then comes from its beginning. When `cancel` is, the Job and its pods are removed before this returns `Canceled`.
/// Dropping the future leaves the Job to whoever asks for it next, or to its deadline. A Job that has ended stays for `task.keep`;
/// one that was given up is removed.
pub async fn run(
    client: &Client,
    namespace: &str,
    task: &Task,
    observer: &dyn Observer,
    cancel: &CancellationToken,
) -> Result<Outcome, Failure> {
    let mut attempt = 1;
    loop {
        let runner = Runner { client, namespace, task, observer, cancel };
        let failure = match runner.attempt(&mut attempt).await {
            Ok(outcome) => return Ok(outcome),
            Err(Stop::Final(failure)) => return Err(failure),
            Err(Stop::Again(failure)) => failure,
        };
        // What is left of the Job would be adopted by the next attempt.
        let removed = remove(client, namespace, &task.name, GONE).await;
        if attempt >= task.attempts {
            return Err(failure);
        }
        removed?;
        attempt += 1;
        tracing::warn!(job = task.name, attempt, %failure, "begun again");
        observer
            .waits(&Failure { message: format!("{}; begun again (attempt {attempt})", failure.message), ..failure });
    }
}

struct Runner<'a> {
    client: &'a Client,
    namespace: &'a str,
    task: &'a Task,
    observer: &'a dyn Observer,
    cancel: &'a CancellationToken,
}

impl Runner<'_> {
    async fn attempt(&self, attempt: &mut u32) -> Result<Outcome, Stop> {
        let mut teller = Teller::new(self.observer);
        let mut waits = |failure: &Failure| _ = teller.tell(Hope::Capacity, failure);
        // A request under way may still make the Job: `canceled` looks for it after that.
        let adopting = adopt(self.client, self.namespace, self.task, *attempt, &mut waits);
        let adopted = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(self.canceled().await),
            adopted = adopting => adopted,
        };
        let Adopted { job, attempt: found } = adopted.map_err(Stop::Final)?;
        *attempt = found;

        let mut world = World::new(&job);
        let mut changes = watch_world(self.client, self.namespace, &self.task.name);
        let (seen, see) = watch::channel(Seen::default());
        let mut follower = Follower {
            pods: Api::namespaced(self.client.clone(), self.namespace),
            container: &self.task.container,
            reader: Reader::new(self.observer, self.task.max_log),
        };
        let verdict = {
            let follow = follower.follow(see);
            tokio::pin!(follow);
            let mut tick = tokio::time::interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let (begun, mut read) = (Instant::now(), false);
            let verdict = loop {
                tokio::select! {
                    biased;
                    () = self.cancel.cancelled() => return Err(self.canceled().await),
                    followed = &mut follow, if !read => match followed {
                        Ok(()) => read = true,
                        Err(TooMuch) => return Err(self.give_up(self.too_much()).await),
                    },
                    change = changes.next() => match change {
                        Some(Change::Broken(failure)) if failure.reason == Reason::PermissionDenied => {
                            return Err(self.give_up(failure).await);
                        }
                        Some(Change::Broken(failure)) => {
                            tracing::warn!(job = self.task.name, %failure, "a watch broke");
                            continue;
                        }
                        Some(change) => world.apply(change),
                        None => return Err(self.give_up(Failure::internal("a watch ended")).await),
                    },
                    _ = tick.tick() => {}
                }
                let pod = world.pod().cloned();
                seen.send_if_modified(|seen| std::mem::replace(&mut seen.pod, pod) != seen.pod);
                match world.verdict(&self.task.container, SystemTime::now()) {
                    Verdict::Starting | Verdict::Running => teller.clear(),
                    Verdict::Waiting(Obstacle { failure, hope }) => {
                        let borne = teller.tell(hope, &failure);
                        if borne >= self.task.patience.with(hope) {
                            return Err(self.no_hope(failure, hope, borne).await);
                        }
                    }
                    ended => break ended,
                }
                if begun.elapsed() > self.task.deadline + OVERDUE {
                    return Err(self.give_up(self.overdue()).await);
                }
            };
            seen.send_modify(|seen| seen.last = true);
            if !read && let Ok(Err(TooMuch)) = tokio::time::timeout(LOG_END, follow).await {
                return Err(self.give_up(self.too_much()).await);
            }
            verdict
        };
        self.outcome(verdict, follower.reader.tail())
    }

    fn outcome(&self, verdict: Verdict, log_tail: String) -> Result<Outcome, Stop> {
        match verdict {
            Verdict::Succeeded(End { message, ran, .. }) => Ok(Outcome::Succeeded(Finished { message, ran })),
            Verdict::Failed(Fault::Exit(End { container, code, message, .. })) => {
                Ok(Outcome::Exited(Exited { container, code, message, log_tail }))
            }
            Verdict::Failed(Fault::Final(failure)) => Err(Stop::Final(failure.log_tail(&log_tail))),
            Verdict::Failed(Fault::Infrastructure(failure)) => Err(Stop::Again(failure.log_tail(&log_tail))),
            other => Err(Stop::Final(Failure::internal(format!("jobs/{}: no end: {other:?}", self.task.name)))),
        }
    }

    async fn no_hope(&self, failure: Failure, hope: Hope, borne: Duration) -> Stop {
        let failure = match borne.as_secs() {
            0 => failure,
            seconds => Failure { message: format!("{} (given up after {seconds} s)", failure.message), ..failure },
        };
        // Another node may do.
        if hope == Hope::Node { Stop::Again(failure) } else { self.give_up(failure).await }
    }

    async fn canceled(&self) -> Stop {
        self.give_up(Failure::new(Reason::Canceled, "canceled").on(format!("jobs/{}", self.task.name))).await
    }

    /// Removes everything and passes the failure on.
    async fn give_up(&self, failure: Failure) -> Stop {
        if let Err(left) = remove(self.client, self.namespace, &self.task.name, GONE).await {
            tracing::warn!(job = self.task.name, failure = %left, "not removed; its deadline ends it");
        }
        Stop::Final(failure)
    }

    fn too_much(&self) -> Failure {
        let message = format!("the program wrote more than {} MiB of log", self.task.max_log >> 20);
        let failure = Failure::new(Reason::ResourceExhausted, message).on(format!("jobs/{}", self.task.name));
        Failure { retryable: false, ..failure.action("make it quieter") }
    }

    fn overdue(&self) -> Failure {
        let message = format!("Kubernetes has not ended it {} s after its time limit", OVERDUE.as_secs());
        Failure::new(Reason::ClusterUnavailable, message)
            .on(format!("jobs/{}", self.task.name))
            .action("look whether the Job controller runs and the node answers")
    }
}

/// Tells the observer of an obstacle when it comes and when it changes, and knows how long it has stood.
struct Teller<'a> {
    observer: &'a dyn Observer,
    standing: Option<(Hope, Instant)>,
    told: Option<(String, Instant)>,
}

impl<'a> Teller<'a> {
    fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, standing: None, told: None }
    }

    /// How long an obstacle of this kind has stood.
    fn tell(&mut self, hope: Hope, failure: &Failure) -> Duration {
        let now = Instant::now();
        let since = match self.standing {
            Some((of, since)) if of == hope => since,
            _ => {
                self.told = None;
                self.standing.insert((hope, now)).1
            }
        };
        if self.told.as_ref().is_none_or(|(said, at)| *said != failure.message && now - *at > RETOLD) {
            self.told = Some((failure.message.clone(), now));
            self.observer.waits(failure);
        }
        now - since
    }

    fn clear(&mut self) {
        self.standing = None;
    }
}
