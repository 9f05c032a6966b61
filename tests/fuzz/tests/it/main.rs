//! The corpus, replayed, and a short hunt whose inputs are always the same.

use std::time::Duration;

use kfops_fuzz::{Target, corpus, hunt::hunt, watchdog::Watchdog};

#[test]
fn the_corpus_is_right() {
    for target in Target::ALL {
        let watchdog = Watchdog::new(target);
        let all = corpus::load(target).unwrap();
        assert!(!all.is_empty(), "{} has no corpus", target.name());
        for (name, input) in all {
            let checked = watchdog.check(target, &input);
            assert!(checked.is_ok(), "{}/{name}: {checked:?}", target.name());
        }
    }
}

#[test]
fn a_short_hunt_finds_nothing() {
    for target in Target::ALL {
        assert!(hunt(target, Duration::from_secs(1), 1).unwrap() > 0);
    }
}
