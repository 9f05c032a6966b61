//! What happens in a schedule, from its seed.

use std::{fmt, time::Duration};

use crate::{
    repository::PROJECT,
    sim::{
        gate::{Port, Weather},
        rng::Rng,
    },
};

/// How a webhook comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    AtOnce,
    Late(Duration),
    Twice(Duration),
    /// GitHub gives up; it is found missing later.
    Lost,
}

#[derive(Debug, Clone)]
pub(crate) enum Event {
    Comment {
        pull: u64,
        user: &'static str,
        body: String,
        way: Way,
    },
    Push {
        pull: u64,
        head: String,
        way: Way,
    },
    Press {
        nth: u64,
        button: &'static str,
        user: &'static str,
    },
    Skew(i64),
    Fails(&'static str),
    MergeRefused,
    Approve(u64),
    /// The author of a comment (None: the last one) deletes it, or writes something else into it.
    TakeBack {
        nth: Option<u64>,
        instead: Option<&'static str>,
    },
    /// The protection of the base branch asks for something, or has it.
    Protect(u64, bool),
    /// An approval is taken back.
    Dismiss(u64),
    Crash,
}

/// A schedule.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) base: String,
    pub(crate) live: bool,
    pub(crate) forks: Vec<u64>,
    /// Pull requests into another branch.
    pub(crate) elsewhere: Vec<u64>,
    /// How often the bot looks for what never arrived; None: somebody sends it again in the end.
    pub(crate) recovery: Option<u64>,
    pub(crate) takes: u64,
    pub(crate) weather: Weather,
    /// A death at about every so many calls; 0: none.
    pub(crate) deaths: u64,
    pub(crate) events: Vec<(Duration, Event)>,
}

const BODIES: &[&str] = &[
    "/build",
    "/build trainer",
    "/run",
    "/run --set max_depth=3",
    "/build_run",
    "/build_run",
    "/build_run",
    "/deploy",
    "/deploy",
    "/deploy",
    "/deploy --force",
    "/deploy --canary 5,50",
    "/staging_deploy",
    "/staging_deploy",
    "/ship",
    "/ship",
    "/ship --force",
    "/ship --canary 0",
    "/promote",
    "/promote",
    "/rollback",
    "/rollback --to iris-00001",
    "/cancel",
    "/cancel",
    "/cancel",
    "/retry",
    "/retry",
    "/retry",
    "/status",
    "/unlock",
    "/unlock staging",
    "/help",
    "/why",
    "/plan",
    "/biuld",
    "/deploy now",
    "/build_run\n/deploy",
    "/build\n/run",
    "please do not /deploy yet",
    "> /deploy",
    "/deploy\nthanks",
];

const USERS: &[&str] = &["author", "author", "author", "mate", "boss", "boss", "stranger"];

const POLICIES: &[&str] = &[
    "",
    "",
    "",
    "policy: {deploy: {permission: maintain}}\n",
    "policy: {deploy: {approvals: 1}}\n",
    "policy: {force: {teams: [ml-platform]}, unlock: {permission: write}}\n",
    "policy: {cancel: {users: [boss]}}\n",
    "policy: {branches: [next]}\n",
    "timeouts: {wait: 90s}\n",
];

impl Scenario {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let pulls = rng.between(1, 4);
        let span = rng.between(20, 400);
        let mut events = Vec::new();
        for _ in 0..rng.between(1, 8) {
            let at = Duration::from_millis(rng.below(span * 1000));
            let body = rng.pick(BODIES).to_owned();
            let way = way(&mut rng);
            events.push((at, Event::Comment { pull: rng.between(1, pulls), user: rng.pick(USERS), body, way }));
        }
        for number in 0..rng.below(6) {
            let at = Duration::from_millis(rng.below(span * 1000));
            let event = match rng.below(14) {
                0 | 1 | 9 => {
                    let pull = rng.between(1, pulls);
                    Event::Push { pull, head: format!("{:x}{:x}", 10 + number, pull).repeat(20), way: way(&mut rng) }
                }
                2 => Event::Press { nth: rng.below(5), button: rng.pick(&["retry", "cancel"]), user: rng.pick(USERS) },
                3 => Event::Skew(rng.pick(&[-3600, -20, 0, 5, 90, 3600])),
                4 => Event::Fails(rng.pick(&["builds", "pipelineVersions", "runs", "rollouts"])),
                5 => Event::MergeRefused,
                6 => Event::Approve(rng.between(1, pulls)),
                7 => Event::TakeBack {
                    nth: Some(rng.below(8)),
                    instead: rng.pick(&[None, Some("never mind"), Some("/ship")]),
                },
                10 | 11 => Event::Protect(rng.between(1, pulls), rng.chance(500)),
                12 => Event::Dismiss(rng.between(1, pulls)),
                _ => Event::Crash,
            };
            events.push((at, event));
        }
        if rng.chance(200) {
            let pull = rng.between(1, pulls);
            events.extend(race(&mut rng, pull, span));
        }
        events.sort_by_key(|(at, _)| *at);
        let calm = rng.chance(150);
        let rate = |rng: &mut Rng, most| if calm { 0 } else { rng.below(most) };
        let mut away = Vec::new();
        for _ in 0..rate(&mut rng, 3) {
            let from = Duration::from_secs(rng.below(span));
            let who = rng.pick(&[Port::GitHub, Port::Workers, Port::Ledger, Port::Store]);
            away.push((who, from, from + Duration::from_secs(rng.between(1, 120))));
        }
        let (refused, lost, hangs) = (rate(&mut rng, 60), rate(&mut rng, 60), rate(&mut rng, 20));
        Self {
            seed,
            base: PROJECT.to_owned() + rng.pick(POLICIES),
            live: rng.chance(600),
            forks: (1..=pulls).filter(|_| rng.chance(120)).collect(),
            elsewhere: (1..=pulls).filter(|_| rng.chance(80)).collect(),
            recovery: rng.chance(400).then(|| rng.between(5, 90)),
            takes: rng.between(20, 300),
            deaths: if rng.chance(500) { 0 } else { rng.between(5, 120) },
            weather: Weather {
                rng: Rng::new(rng.next()),
                refused,
                lost,
                hangs,
                ledger: if calm { 6 } else { rng.pick(&[6, 6, 6, 6, 300, 2000]) },
                away,
                until: Duration::from_secs(span + 200),
            },
            events,
        }
    }
}

/// A comment that comes late, and what happens on GitHub before it does: a push whose webhook comes later still, or its
/// author takes it back.
fn race(rng: &mut Rng, pull: u64, span: u64) -> Vec<(Duration, Event)> {
    let millis = Duration::from_millis;
    let at = millis(rng.below(span * 1000));
    let late = rng.between(1_000, 20_000);
    let way = rng.pick(&[Way::Late(millis(late)), Way::Lost]);
    let body = rng.pick(&["/ship", "/ship", "/ship --canary 5,50", "/build_run", "/build_run\n/deploy"]).to_owned();
    let comment = (at, Event::Comment { pull, user: rng.pick(&["author", "boss"]), body, way });
    let then = at + millis(rng.between(1, late));
    let event = if rng.chance(700) {
        let later = millis(rng.below(90_000));
        let way = rng.pick(&[Way::Late(later), Way::Lost, Way::AtOnce]);
        Event::Push { pull, head: format!("f{pull:x}").repeat(20), way }
    } else {
        Event::TakeBack { nth: None, instead: rng.pick(&[None, Some("never mind")]) }
    };
    vec![comment, (then, event)]
}

fn way(rng: &mut Rng) -> Way {
    let most = rng.pick(&[3_000, 30_000, 300_000]);
    let later = Duration::from_millis(rng.below(most));
    match rng.below(10) {
        0 => Way::Late(later),
        1 => Way::Twice(later),
        2 => Way::Lost,
        _ => Way::AtOnce,
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self.base.rsplit("production: {namespace: iris}\n").next().unwrap_or_default();
        writeln!(
            f,
            "seed {}: {policy:?}, live {}, forks {:?}, into next {:?}",
            self.seed, self.live, self.forks, self.elsewhere
        )?;
        let Weather { refused, lost, hangs, ledger, away, until, .. } = &self.weather;
        writeln!(
            f,
            "  refused {refused} ‰, lost {lost} ‰, hangs {hangs} ‰ until {until:?}, ledger {ledger} ms, away {away:?}"
        )?;
        writeln!(f, "  looks for what is missing every {:?} s", self.recovery)?;
        writeln!(f, "  a death at about every {} calls, work takes {} %", self.deaths, self.takes)?;
        self.events.iter().try_for_each(|(at, event)| writeln!(f, "  {:9.3}  {event:?}", at.as_secs_f64()))
    }
}
