//! `make fuzz`: every target, or those that are named, for FUZZ_SECONDS each, from FUZZ_SEED or a random seed.

use std::{process::ExitCode, time::Duration};

use kfops_fuzz::{Target, hunt::hunt};

fn main() -> ExitCode {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(60));
    let seed = number("FUZZ_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()) << 16);
    let named: Vec<String> = std::env::args().skip(1).collect();
    let mut wrong = false;
    for target in Target::ALL.into_iter().filter(|one| named.is_empty() || named.iter().any(|name| name == one.name()))
    {
        match hunt(target, time, seed) {
            Ok(tried) => println!("{:<10} {tried:>9} inputs from seed {seed} on, nothing wrong", target.name()),
            Err(error) => {
                println!("{error}");
                wrong = true;
            }
        }
    }
    if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
