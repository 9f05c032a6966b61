//! Random schedules: people, pushes, buttons, webhooks that come late, twice or never, faults of everybody, clocks that
//! jump, deaths at any moment. Whatever happens, the rules hold in the end.
//!
//! `KFOPS_SIM_RUNS` says how many, `KFOPS_SIM_SEED` from which seed on; a violation prints its seed and its story, and
//! `KFOPS_SIM_RUNS=1 KFOPS_SIM_SEED=…` tells it again.

mod binding;
mod planted;
mod play;
mod rules;
mod scenario;

use std::time::Instant;

pub(crate) use play::play;
pub(crate) use scenario::Scenario;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn whatever_happens_the_rules_hold() {
    let (runs, first) = (setting("KFOPS_SIM_RUNS", 2000), setting("KFOPS_SIM_SEED", 1));
    let begin = Instant::now();
    let mut totals = play::Totals::default();
    let mut wrong = Vec::new();
    for seed in first..first + runs {
        let scenario = Scenario::new(seed);
        let sim = play(&scenario, &mut totals, None);
        let violations = rules::violations(&scenario, &sim);
        if !violations.is_empty() {
            let story = if wrong.is_empty() { format!("{scenario}{}", sim.story()) } else { String::new() };
            wrong.push(format!("seed {seed}:\n  {}\n{story}", violations.join("\n  ")));
        }
        if wrong.len() >= 20 {
            break;
        }
    }
    println!(
        "{runs} schedules, seeds {first} to {}, {:.1} s: {totals:?}",
        first + runs - 1,
        begin.elapsed().as_secs_f64()
    );
    assert!(wrong.is_empty(), "{} schedules break a rule:\n{}", wrong.len(), wrong.join("\n"));
}
