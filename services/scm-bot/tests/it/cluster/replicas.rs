//! Two replicas of scm-bot over one API server and one GitHub, one of them killed at any moment: the command ends as it would
//! have, and nothing is done twice.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kfops_core::{Failure, SystemClock};
use kfops_rpc::Lifecycle;
use kfops_scm_bot::{
    Handle, Service, Settings, Taken,
    cluster::{ClusterLedger, LeaseElection, Term, Timing},
    command::{Command, State},
    ports::Ledger as _,
};
use kfops_settings::HumanDuration;
use kfops_telemetry::Tracer;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use object_store::memory::InMemory;
use tokio::runtime::{Builder, Runtime};

use super::{
    gate::{Break, Gate, client},
    ledger::ledger,
    server::Place,
};
use crate::sim::{World, bot, digest::digest, hub::Sent};

const PATIENCE: Duration = Duration::from_secs(180);

/// A process: its runtime is its life.
struct Replica {
    runtime: Runtime,
    handle: Handle,
    lifecycle: Lifecycle,
    gate: Arc<Gate>,
    name: String,
}

struct Replicas {
    place: Place,
    world: Arc<World>,
    objects: Arc<InMemory>,
    /// Of the test itself.
    runtime: Runtime,
    ledger: ClusterLedger,
    leases: Api<Lease>,
    started: u64,
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

impl Replicas {
    fn new() -> Option<Self> {
        let runtime = runtime();
        let place = runtime.block_on(Place::new())?;
        let world = World::new(true);
        world.time.enter();
        world.with(|state| state.jobs.hurry());
        let ledger = runtime.block_on(ledger(&place));
        let leases = Api::default_namespaced(runtime.block_on(place.admin()));
        Some(Self { place, world, objects: Arc::default(), runtime, ledger, leases, started: 0 })
    }

    fn start(&mut self) -> Replica {
        self.started += 1;
        let (name, lifecycle, gate) =
            (format!("replica-{}", self.started), Lifecycle::new(), Arc::new(Gate::default()));
        let runtime = runtime();
        let mut settings = Settings::default();
        settings.github.write_interval = HumanDuration::from_secs(0);
        settings.recovery.every = HumanDuration::from_secs(0);
        settings.ledger.compact_every = HumanDuration::from_secs(0);
        let handle = runtime.block_on(async {
            let client = client(&self.place, &gate).await;
            let (clock, term) = (Arc::new(SystemClock), Term::default());
            let mut ports = bot::ports(&self.world, &self.objects, Tracer::disabled(), self.started);
            ports.ledger = Arc::new(ClusterLedger::new(&client, clock.clone(), term.clone()));
            let timing = Timing { retry: Duration::from_millis(50), ..Timing::default() };
            ports.election = Some(Arc::new(LeaseElection::new(&client, name.clone(), clock, term, timing)));
            Service::build(settings, ports).await.unwrap().start(lifecycle.clone()).await.unwrap()
        });
        Replica { runtime, handle, lifecycle, gate, name }
    }

    /// Before another look.
    fn pass(&self, millis: u64) {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(millis)).await });
    }

    fn leader(&self) -> Option<String> {
        let lease = self.runtime.block_on(self.leases.get("kfops-scm-bot")).ok()?;
        lease.spec?.holder_identity.filter(|holder| !holder.is_empty())
    }

    /// The Lease of a leader that died, as it is after it has run out: `processes` waits for that.
    fn runs_out(&self) {
        let free = Patch::Merge(serde_json::json!({"spec": {"holderIdentity": null}}));
        self.runtime.block_on(self.leases.patch("kfops-scm-bot", &PatchParams::default(), &free)).unwrap();
    }

    /// Until one of these drives.
    fn led_by(&self, names: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(leader) = self.leader().filter(|leader| names.contains(&leader.as_str())) {
                return leader;
            }
            assert!(Instant::now() < deadline, "none of {names:?} drives");
            self.pass(10);
        }
    }

    fn until(&self, id: &str, reached: impl Fn(&Command) -> bool) -> Command {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let command = self.runtime.block_on(self.ledger.get(id));
            if let Some(command) = command.as_ref().ok().filter(|command| reached(command)) {
                return command.clone();
            }
            assert!(Instant::now() < deadline, "not reached: {command:#?}");
            self.pass(20);
        }
    }

    fn comment(&self, body: &str) -> Sent {
        let now = self.world.time.now();
        self.world.with(|state| state.hub.comment(1, "author", body, now))
    }

    /// What others see in the end; fences are times.
    fn seen(&self) -> String {
        let text = self.world.look(digest);
        let mut masked = String::new();
        let mut number = String::new();
        for c in text.chars().chain(['\n']) {
            if c.is_ascii_digit() {
                number.push(c);
                continue;
            }
            if number.len() >= 12 {
                number = "FENCE".into();
            }
            masked.push_str(&number);
            number.clear();
            masked.push(c);
        }
        masked
    }
}

impl Replica {
    /// As SIGKILL.
    fn kill(self) {
        self.runtime.shutdown_background();
    }

    /// A webhook; None when the replica died over it.
    fn take(&self, sent: &Sent) -> Option<Result<Taken, Failure>> {
        let taking = self.handle.take(bot::webhook(sent));
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.gate.held() => None,
                taken = taking => Some(taken),
            }
        })
    }
}

/// A /ship with two replicas; the one that drives, or the one that does not, dies at its `number`th request. What was seen in
/// the end, and how long nobody drove after its Lease ran out.
fn ship(kill: Option<(bool, usize, Break)>, to_leader: bool) -> Option<(String, bool, Duration)> {
    let mut replicas = Replicas::new()?;
    let (one, two) = (replicas.start(), replicas.start());
    let names = [one.name.clone(), two.name.clone()];
    let leader = replicas.led_by(&[&names[0], &names[1]]);
    let (mut drives, mut waits) = if leader == one.name { (Some(one), Some(two)) } else { (Some(two), Some(one)) };
    let sent = replicas.comment("/ship");
    if let Some((of_leader, number, how)) = kill {
        let dying = if of_leader { &drives } else { &waits };
        dying.as_ref()?.gate.freeze_at(number, how);
    }
    let first = if to_leader { drives.as_ref()? } else { waits.as_ref()? };
    let mut taken = first.take(&sent);
    let mut nobody = Duration::ZERO;
    let mut died = false;
    if let Some((of_leader, ..)) = kill {
        let dying = if of_leader { &mut drives } else { &mut waits };
        let replica = dying.take()?;
        // Until it reaches that request, or everything is over without it.
        let deadline = Instant::now() + PATIENCE;
        while !replica.gate.is_cut() && Instant::now() < deadline {
            let ended = replicas.runtime.block_on(replicas.ledger.list(Default::default(), 1, "")).unwrap();
            if ended.commands.first().is_some_and(|command| command.state.ended()) {
                break;
            }
            replicas.pass(5);
        }
        died = replica.gate.is_cut();
        let begin = Instant::now();
        let name = replica.name.clone();
        replica.kill();
        if of_leader && died {
            replicas.runs_out();
            let heir = names.iter().find(|other| **other != name)?;
            replicas.led_by(&[heir]);
            nobody = begin.elapsed();
        }
    }
    if !matches!(taken, Some(Ok(_))) {
        // GitHub shows the delivery as failed, and it is recovered.
        taken = drives.as_ref().or(waits.as_ref())?.take(&sent);
    }
    assert!(matches!(taken, Some(Ok(_))), "{taken:?}");
    let all = replicas.runtime.block_on(replicas.ledger.list(Default::default(), 10, "")).unwrap().commands;
    assert_eq!(all.len(), 1, "{all:#?}");
    let command = replicas.until(&all[0].id, |command| command.state.ended());
    assert_eq!(command.state, State::Succeeded, "{command:#?}");
    let locks = replicas.runtime.block_on(replicas.ledger.locks()).unwrap();
    assert!(locks.len() == 1 && locks[0].holder.is_none() && locks[0].queue.is_empty(), "{locks:#?}");
    let seen = replicas.seen();
    drives.into_iter().chain(waits).for_each(Replica::kill);
    Some((seen, died, nobody))
}

#[test]
fn whichever_replica_dies_the_command_ends_as_it_would_have() {
    let Some((expected, ..)) = ship(None, true) else { return };
    assert!(expected.contains("done in"), "{expected}");
    assert_eq!(ship(None, false).unwrap().0, expected, "a webhook at the other replica");
    let (mut kills, mut longest) = (0, Duration::ZERO);
    for of_leader in [true, false] {
        let mut number = 1;
        loop {
            let how = if number % 2 == 0 { Break::After } else { Break::Before };
            let (seen, died, nobody) = ship(Some((of_leader, number, how)), number % 3 != 0).unwrap();
            assert_eq!(seen, expected, "leader: {of_leader}, killed at request {number}, {how:?}");
            if !died {
                break;
            }
            (kills, longest) = (kills + 1, longest.max(nobody));
            number += if of_leader { 4 } else { 2 };
        }
    }
    println!("{kills} replicas killed; another one drove at most {longest:?} after the Lease ran out");
    assert!(kills > 10);
}

#[test]
fn stopped_in_order_the_other_replica_goes_on_at_once() {
    let Some(mut replicas) = Replicas::new() else { return };
    let (one, two) = (replicas.start(), replicas.start());
    let leader = replicas.led_by(&[&one.name, &two.name]);
    let (drives, waits) = if leader == one.name { (one, two) } else { (two, one) };
    replicas.world.with(|state| state.jobs.held.insert("runs"));
    // At the one that does not drive; the other one hears of it.
    let sent = replicas.comment("/ship");
    let id = waits.take(&sent).unwrap().unwrap().commands.remove(0);
    replicas.until(&id, |command| command.steps.iter().any(|step| step.title == "task train"));
    let begin = Instant::now();
    drives.runtime.block_on(async {
        assert!(drives.lifecycle.finish(Duration::from_secs(10)).await);
        drives.handle.resign().await;
    });
    replicas.led_by(&[&waits.name]);
    println!("taken over after {:?}, in order", begin.elapsed());
    replicas.world.with(|state| state.jobs.held.clear());
    assert_eq!(replicas.until(&id, |command| command.state.ended()).state, State::Succeeded);
    replicas.world.look(|state| assert_eq!(state.hub.said().len(), 1));
    drives.kill();
    waits.kill();
}

/// A wish at the replica that does not drive reaches the driver at once, not when it looks again.
#[test]
fn a_cancel_at_the_other_replica_is_heard() {
    let Some(mut replicas) = Replicas::new() else { return };
    let (one, two) = (replicas.start(), replicas.start());
    let leader = replicas.led_by(&[&one.name, &two.name]);
    let (drives, waits) = if leader == one.name { (one, two) } else { (two, one) };
    replicas.world.with(|state| state.jobs.held.insert("runs"));
    let sent = replicas.comment("/ship");
    let id = drives.take(&sent).unwrap().unwrap().commands.remove(0);
    replicas.until(&id, |command| command.steps.iter().any(|step| step.title == "task train"));
    let begin = Instant::now();
    waits.runtime.block_on(waits.handle.cancel(&id, "by a test")).unwrap();
    let command = replicas.until(&id, |command| command.state.ended());
    println!("canceled after {:?}", begin.elapsed());
    assert_eq!(command.state, State::Canceled);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drives.kill();
    waits.kill();
}
