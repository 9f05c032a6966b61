//! Planted bugs: ports that break a rule. The schedules must find each of them.

use super::{Scenario, play, play::Totals, rules};
use crate::sim::{Sim, gate::Planted};

fn found_after(plant: fn(&mut Sim)) -> Option<(u64, String)> {
    (1..=400).find_map(|seed| {
        let scenario = Scenario::new(seed);
        let sim = play(&scenario, &mut Totals::default(), Some(plant));
        Some((seed, rules::violations(&scenario, &sim).into_iter().next()?))
    })
}

#[test]
fn each_is_found() {
    let bugs: [(&str, fn(&mut Sim)); 3] = [
        ("nothing was ever posted", |sim| sim.world.gate().planted = Some(Planted::FindsNothing)),
        ("updates overwrite", |sim| sim.world.gate().planted = Some(Planted::NoCas)),
        ("every claim is held", |sim| sim.world.gate().planted = Some(Planted::AlwaysHeld)),
    ];
    for (what, plant) in bugs {
        let found = found_after(plant);
        assert!(found.is_some(), "{what}: not found");
        let (after, violation) = found.unwrap();
        println!("{what}: found after {after} schedules: {}", violation.lines().next().unwrap_or_default());
    }
}
