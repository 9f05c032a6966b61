//! The hunt: random inputs until the time is over or something is wrong.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::{Target, corpus, watchdog::Watchdog};

/// Inputs from one seed.
const BATCH: u32 = 2000;

/// Looks for a wrong input for a while; how many inputs it tried. One that is wrong is made small and kept.
pub fn hunt(target: Target, time: Duration, first_seed: u64) -> Result<u64> {
    let inputs = target.inputs(corpus::load(target)?.into_iter().map(|(_, input)| input).collect());
    let watchdog = Watchdog::new(target);
    let begun = Instant::now();
    let tried = Cell::new(0);
    let mut seed = first_seed;
    while begun.elapsed() < time {
        let config = Config { cases: BATCH, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
        let run = runner.run(&inputs, |input| {
            tried.set(tried.get() + 1);
            if begun.elapsed() > time + Duration::from_secs(60) {
                return Ok(());
            }
            watchdog.check(target, &input).map_err(TestCaseError::fail)
        });
        match run {
            Ok(()) => seed += 1,
            Err(TestError::Fail(reason, input)) => {
                let path = corpus::keep(target, &input)?;
                bail!(
                    "{}: seed {seed}: {reason}\n  input kept as {}: {:?}",
                    target.name(),
                    path.display(),
                    String::from_utf8_lossy(&input)
                );
            }
            Err(TestError::Abort(reason)) => bail!("{}: seed {seed}: {reason}", target.name()),
        }
    }
    Ok(tried.get())
}
