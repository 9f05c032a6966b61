//! The bot as a process: it lives in a runtime of its own, whose time is simulated, and may die at any call. Whoever
//! talks to it comes again when it is dead.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use kfops_core::Failure;
use kfops_rpc::Lifecycle;
use kfops_scm_bot::{Handle, Ports, Service, Settings, Taken, Webhook, command::Command};
use kfops_settings::HumanDuration;
use kfops_store::Store;
use kfops_telemetry::Tracer;
use object_store::memory::InMemory;
use tokio::runtime::{Builder, Runtime};

use super::{
    State, World,
    github::SimGitHub,
    hub::{DAY, Sent},
    ledger::SimLedger,
    rng::Rng,
    store::SimStore,
    time::{SimClock, SimEntropy},
    workers::SimWorkers,
};

struct Life {
    runtime: Runtime,
    handle: Handle,
    lifecycle: Lifecycle,
}

/// The bot and its world.
pub(crate) struct Sim {
    pub(crate) world: Arc<World>,
    pub(crate) settings: Settings,
    objects: Arc<InMemory>,
    life: Option<Life>,
    /// How often it began to live.
    pub(crate) lives: u64,
    /// How long nobody lives after a death.
    pub(crate) downtime: Duration,
}

/// The ports over a world.
pub(crate) fn ports(world: &Arc<World>, objects: &Arc<InMemory>, tracer: Tracer, seed: u64) -> Ports {
    let store = SimStore { world: Arc::clone(world), inner: Arc::clone(objects) };
    Ports {
        ledger: Arc::new(SimLedger(Arc::clone(world))),
        election: None,
        github: Arc::new(SimGitHub(Arc::clone(world))),
        workers: Arc::new(SimWorkers(Arc::clone(world))),
        clock: Arc::new(SimClock(Arc::clone(world))),
        entropy: Arc::new(SimEntropy(Mutex::new(Rng::new(seed)))),
        store: Store::over(Arc::new(store), "memory://"),
        tracer,
    }
}

pub(crate) fn webhook(sent: &Sent) -> Webhook {
    Webhook {
        delivery: sent.guid.clone(),
        event: sent.event.clone(),
        payload: sent.payload.clone(),
        received: sent.at,
        trace: None,
    }
}

impl Sim {
    /// A world in which the bot was just started.
    pub(crate) fn new() -> Self {
        let mut sim = Self::asleep();
        sim.wake();
        sim
    }

    /// A world in which it was not started yet.
    pub(crate) fn asleep() -> Self {
        let mut settings = Settings::default();
        // What runs by itself makes calls of its own.
        settings.recovery.every = HumanDuration::from_secs(0);
        settings.ledger.compact_every = HumanDuration::from_secs(0);
        Self {
            world: World::new(false),
            settings,
            objects: Arc::default(),
            life: None,
            lives: 0,
            downtime: Duration::from_secs(2),
        }
    }

    /// Starts it, as often as it takes.
    fn wake(&mut self) {
        while self.life.is_none() {
            self.lives += 1;
            let runtime = Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .max_blocking_threads(1)
                // What threads hand back is taken once everything else rests: always at the same place.
                .global_queue_interval(u32::MAX)
                .build()
                .unwrap();
            let lifecycle = Lifecycle::new();
            let ports = ports(&self.world, &self.objects, Tracer::disabled(), self.lives);
            let (settings, life) = (self.settings.clone(), lifecycle.clone());
            let begun =
                live(&self.world, &runtime, async move { Service::build(settings, ports).await?.start(life).await });
            match begun {
                Some(Ok(handle)) => self.life = Some(Life { runtime, handle, lifecycle }),
                Some(Err(failure)) => {
                    self.world.note(format!("  ! not started: {failure}"));
                    self.world.time.skip(self.downtime);
                }
                None => self.bury(),
            }
        }
    }

    fn bury(&mut self) {
        self.life = None;
        let mut gate = self.world.gate();
        (gate.dead, gate.kill) = (false, None);
        drop(gate);
        self.world.time.skip(self.downtime);
    }

    /// As SIGKILL.
    pub(crate) fn crash(&mut self) {
        self.world.note("  † crashed");
        self.bury();
    }

    /// As SIGTERM, and a new start.
    pub(crate) fn restart(&mut self) {
        if let Some(life) = self.life.take() {
            live(&self.world, &life.runtime, async { life.lifecycle.finish(Duration::from_secs(10)).await });
        }
        self.bury();
        self.wake();
    }

    /// Does something with the living bot; comes again when it died over it.
    pub(crate) fn with<T, F: Future<Output = T>>(&mut self, make: impl Fn(Handle, Arc<World>) -> F) -> T {
        loop {
            self.wake();
            let Some(life) = &self.life else { continue };
            let future = make(life.handle.clone(), Arc::clone(&self.world));
            match live(&self.world, &life.runtime, future) {
                Some(done) => return done,
                None => self.bury(),
            }
        }
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        self.world.with(look)
    }

    /// A webhook arrives; who sent it comes again until it is taken.
    pub(crate) fn deliver(&mut self, sent: &Sent) -> Taken {
        self.try_deliver(sent).unwrap()
    }

    /// As `deliver`, but the bot may say that it wants none of it.
    pub(crate) fn try_deliver(&mut self, sent: &Sent) -> Result<Taken, Failure> {
        let sent = sent.clone();
        self.with(move |handle, _| {
            let webhook = webhook(&sent);
            async move {
                loop {
                    match handle.take(webhook.clone()).await {
                        Err(failure) if failure.retryable => tokio::time::sleep(Duration::from_secs(1)).await,
                        taken => return taken,
                    }
                }
            }
        })
    }

    /// Someone writes a comment; the ids of the commands in it.
    pub(crate) fn comment(&mut self, pull: u64, user: &str, body: &str) -> Vec<String> {
        let now = self.world.time.now();
        self.world.note(format!("@{user} in #{pull}: {body:?}"));
        let sent = self.look(|state| state.hub.comment(pull, user, body, now));
        let comment = self.look(|state| state.hub.asked);
        self.deliver(&sent);
        // A bot that died over it has no list to show.
        self.look(|state| {
            let of = state.book.ordered().into_iter().filter(|command| {
                matches!(command.origin, kfops_scm_bot::command::Origin::Comment { comment: id, .. } if id == comment)
            });
            of.map(|command| command.id.clone()).collect()
        })
    }

    /// Someone writes one command.
    pub(crate) fn ask(&mut self, pull: u64, user: &str, body: &str) -> String {
        let mut ids = self.comment(pull, user, body);
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids.remove(0)
    }

    /// Someone writes one command and waits for its end.
    pub(crate) fn told(&mut self, pull: u64, user: &str, body: &str) -> Command {
        let id = self.ask(pull, user, body);
        self.ended(&id)
    }

    pub(crate) fn push(&mut self, pull: u64, head: &str) {
        let now = self.world.time.now();
        self.world.note(format!("push to #{pull}: {head}"));
        let sent = self.look(|state| state.hub.push(pull, head, now));
        self.deliver(&sent);
    }

    /// Someone presses a button; the id of the command that it starts.
    pub(crate) fn press(&mut self, command: &str, button: &str, user: &str) -> Option<String> {
        let now = self.world.time.now();
        self.world.note(format!("@{user} presses {button} of {command}"));
        let sent = self.look(|state| state.hub.press(command, button, user, now)).unwrap();
        self.deliver(&sent).commands.pop()
    }

    pub(crate) fn get(&self, id: &str) -> Command {
        self.look(|state| state.book.commands[id].clone())
    }

    pub(crate) fn ended(&mut self, id: &str) -> Command {
        self.until(id, |command| command.state.ended())
    }

    /// The command once it is as far.
    pub(crate) fn until(&mut self, id: &str, reached: impl Fn(&Command) -> bool) -> Command {
        let met = self.wait(|state| reached(&state.book.commands[id]));
        assert!(met, "not reached: {:#?}\n{}", self.get(id), self.story());
        self.get(id)
    }

    /// Until the world is like that; false when it does not come to that within a day.
    pub(crate) fn wait(&mut self, reached: impl Fn(&State) -> bool) -> bool {
        let deadline = self.world.time.passed() + DAY;
        let reached = &reached;
        self.with(move |_, world| async move {
            let mut changed = world.changed.subscribe();
            loop {
                changed.mark_unchanged();
                let (met, due) = world.look(|state| (reached(state), state.jobs.due()));
                let passed = world.time.passed();
                if met || passed >= deadline {
                    return met;
                }
                let due = due.map_or(DAY, |due| due.saturating_sub(passed) + Duration::from_millis(1));
                tokio::select! {
                    biased;
                    _ = changed.changed() => {}
                    () = tokio::time::sleep(due.min(Duration::from_secs(60))) => {}
                }
            }
        })
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let end = self.world.time.passed() + duration;
        self.with(move |_, world| async move {
            tokio::time::sleep(end.saturating_sub(world.time.passed())).await;
        });
    }

    /// Until nothing is under way any more.
    pub(crate) fn settle(&mut self) -> bool {
        self.wait(|state| {
            state.book.commands.values().all(|command| command.state.ended())
                && state.jobs.all.values().all(|job| !job.is_open())
        })
    }

    /// What happened, for people.
    pub(crate) fn story(&self) -> String {
        let line = |(at, line): &(Duration, String)| format!("{:9.3}  {line}\n", at.as_secs_f64());
        self.look(|state| state.log.iter().map(line).collect())
    }
}

/// Lets the runtime run until the future is done; None when the bot died meanwhile.
fn live<T>(world: &Arc<World>, runtime: &Runtime, future: impl Future<Output = T>) -> Option<T> {
    runtime.block_on(async {
        world.time.enter();
        let done = tokio::select! {
            biased;
            () = world.killed.notified() => None,
            done = future => Some(done),
        };
        world.time.leave();
        done
    })
}
