//! Plays a schedule.

use std::time::Duration;

use super::{
    binding,
    scenario::{Event, Scenario, Way},
};
use crate::{
    sim::{
        Sim,
        hub::{BOT, Sent},
        rng::Rng,
    },
    stories::{PRODUCTION, STAGING},
};
use kfops_core::{Failure, Reason};
use kfops_scm_bot::command::MergeState;
use kfops_settings::HumanDuration;

/// What was played.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) commands: usize,
    pub(crate) calls: usize,
    pub(crate) faults: usize,
    pub(crate) lives: u64,
    pub(crate) merges: usize,
    pub(crate) rollouts: usize,
    /// Comments with a push between them and their webhook, and comments taken back before their webhook came.
    pub(crate) overtaken: usize,
    pub(crate) taken_back: usize,
    /// Commands that ended after they had begun, because their commit was pushed after they were written.
    pub(crate) unmeant: usize,
    /// Webhooks that never arrived and that the bot found.
    pub(crate) found: usize,
}

/// Something that is to be delivered later.
struct Later(Duration, Sent);

/// Until everything has ended; or did not within a day.
pub(crate) fn play(scenario: &Scenario, totals: &mut Totals, spoil: Option<fn(&mut Sim)>) -> Sim {
    let mut sim = Sim::asleep();
    if let Some(every) = scenario.recovery {
        sim.settings.recovery.every = HumanDuration::from_secs(every);
    }
    sim.downtime = Duration::from_secs(1 + scenario.seed % 7);
    sim.look(|state| {
        state.hub.base = Some(scenario.base.clone());
        for number in &scenario.forks {
            let pull = state.hub.pull(*number);
            (pull.fork, pull.author) = (true, "stranger".into());
        }
        for number in &scenario.elsewhere {
            state.hub.pull(*number).base = "next".into();
        }
        if scenario.live {
            state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
            state.jobs.live_from_the_beginning(STAGING, "iris-00001");
        }
        for takes in state.jobs.takes.values_mut() {
            *takes = *takes * u32::try_from(scenario.takes).unwrap() / 100;
        }
    });
    sim.world.gate().weather = Some(scenario.weather.clone());
    sim.world.gate().deaths = (scenario.deaths > 0).then(|| (Rng::new(!scenario.seed), scenario.deaths));
    if let Some(spoil) = spoil {
        spoil(&mut sim);
    }
    let mut later: Vec<Later> = Vec::new();
    for (at, event) in &scenario.events {
        deliver_until(&mut sim, &mut later, *at);
        happen(&mut sim, event, &mut later);
    }
    deliver_until(&mut sim, &mut later, scenario.weather.until);
    sim.world.gate().deaths = None;
    sim.world.gate().kill = None;
    match scenario.recovery {
        Some(every) => sim.pass(Duration::from_secs(2 * every + 60)),
        None => send_again(&mut sim),
    }
    sim.settle();
    // What is to happen beside the commands has then happened too.
    sim.pass(Duration::from_secs(60));
    if scenario.recovery.is_some() {
        totals.found += sim.look(|state| {
            let lost = |line: &&(Duration, String)| line.1.ends_with("is lost");
            state.log.iter().filter(lost).count()
        });
    }
    totals.lives += sim.lives;
    totals.calls += sim.world.gate().count;
    totals.faults += sim.world.gate().faults;
    sim.look(|state| {
        totals.commands += state.book.commands.len();
        let (overtaken, taken_back) = binding::seen(state);
        totals.overtaken += overtaken;
        totals.taken_back += taken_back;
        totals.unmeant += state.book.commands.values().filter(|command| command.unmeant() && command.begun()).count();
        totals.rollouts += state.jobs.of("rollouts").len();
        totals.merges += state.hub.pulls.values().map(|pull| pull.merges.len()).sum::<usize>();
    });
    sim
}

/// What never arrived is sent again by hand.
fn send_again(sim: &mut Sim) {
    sim.look(|state| state.hub.sent_again = true);
    for sent in sim.look(|state| state.hub.sent.clone()) {
        if !sim.look(|state| state.book.knows(&sent.guid)) {
            sim.deliver(&sent);
        }
    }
}

fn deliver_until(sim: &mut Sim, later: &mut Vec<Later>, at: Duration) {
    later.sort_by_key(|Later(at, _)| *at);
    while later.first().is_some_and(|Later(due, _)| *due <= at) {
        let Later(due, sent) = later.remove(0);
        until(sim, due);
        sim.deliver(&sent);
    }
    until(sim, at);
}

fn until(sim: &mut Sim, at: Duration) {
    let passed = sim.world.time.passed();
    if passed < at {
        sim.pass(at - passed);
    }
}

fn send(sim: &mut Sim, sent: Sent, way: Way, later: &mut Vec<Later>) {
    let now = sim.world.time.passed();
    match way {
        Way::AtOnce => drop(sim.deliver(&sent)),
        Way::Late(by) => later.push(Later(now + by, sent)),
        Way::Twice(by) => {
            sim.deliver(&sent);
            later.push(Later(now + by, sent));
        }
        Way::Lost => sim.world.note(format!("  ! {} is lost", sent.guid)),
    }
}

fn happen(sim: &mut Sim, event: &Event, later: &mut Vec<Later>) {
    let now = sim.world.time.now();
    sim.world.note(format!("{event:?}"));
    match event {
        Event::Comment { pull, user, body, way } => {
            let sent = sim.look(|state| state.hub.comment(*pull, user, body, now));
            send(sim, sent, *way, later);
        }
        Event::Push { pull, head, way } => {
            if !sim.look(|state| state.hub.pull(*pull).open) {
                return;
            }
            let sent = sim.look(|state| state.hub.push(*pull, head, now));
            send(sim, sent, *way, later);
        }
        Event::Press { nth, button, user } => {
            let pressed = sim.look(|state| {
                let checks = &state.hub.checks;
                let check = checks.get(usize::try_from(*nth).unwrap_or(0) % checks.len().max(1))?;
                let id = check.run.external_id.clone();
                state.hub.press(&id, button, user, now)
            });
            if let Some(sent) = pressed {
                send(sim, sent, Way::AtOnce, later);
            }
        }
        Event::Skew(seconds) => sim.world.time.set_skew(*seconds),
        Event::Fails(what) => sim.look(|state| {
            state.jobs.fail_next(what, Failure::new(Reason::TaskFailed, "it broke"));
        }),
        Event::MergeRefused => sim.look(|state| state.hub.merge_refusal = Some("a check is missing".into())),
        Event::Approve(pull) => sim.look(|state| state.hub.pull(*pull).review("boss", "APPROVED")),
        Event::TakeBack { nth, instead } => sim.look(|state| {
            let people = state.hub.comments.iter().filter(|comment| comment.user != BOT);
            let ids: Vec<u64> = people.map(|comment| comment.id).collect();
            let last = u64::try_from(ids.len()).unwrap_or(0).saturating_sub(1);
            let nth = usize::try_from(nth.unwrap_or(last)).unwrap_or(0) % ids.len().max(1);
            if let Some(id) = ids.get(nth) {
                state.hub.take_back(*id, now, *instead);
            }
        }),
        Event::Dismiss(pull) => sim.look(|state| state.hub.pull(*pull).review("boss", "DISMISSED")),
        Event::Protect(pull, blocked) => sim.look(|state| {
            state.hub.pull(*pull).merge_state = if *blocked { MergeState::Blocked } else { MergeState::Free };
        }),
        Event::Crash => sim.crash(),
    }
}
