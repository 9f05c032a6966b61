//! Planted bugs: ports that break a rule. The schedules must find each of them.

use super::{Scenario, play, play::Totals, rules};
use crate::sim::{Sim, gate::Planted};

fn found_after(plant: fn(&mut Sim)) -> Option<(u64, String)> {
    (1..=1000).find_map(|seed| {
        let scenario = Scenario::new(seed);
        let sim = play(&scenario, &mut Totals::default(), Some(plant));
        Some((seed, rules::violations(&scenario, &sim).into_iter().next()?))
    })
}

/// Puts the bug into the world.
type Plant = fn(&mut Sim);

#[test]
fn each_is_found() {
    let bugs: [(&str, Plant); 5] = [
        ("a push counts when it is told", |sim| sim.world.gate().planted = Some(Planted::PushesByArrival)),
        ("a comment that was taken back stands", |sim| sim.world.gate().planted = Some(Planted::CommentsStand)),
        ("nothing was ever posted", |sim| sim.world.gate().planted = Some(Planted::FindsNothing)),
        ("every claim is held", |sim| sim.world.gate().planted = Some(Planted::AlwaysHeld)),
        ("update ignores CAS", |sim| sim.world.gate().planted = Some(Planted::UpdatesBlindly)),
    ];
    let mut unfound = Vec::new();
    for (what, plant) in bugs {
        match found_after(plant) {
            Some((after, violation)) => {
                println!("{what}: found after {after} schedules: {}", violation.lines().next().unwrap_or_default());
            }
            None => unfound.push(what),
        }
    }
    assert!(unfound.is_empty(), "not found: {unfound:?}");
}
