//! What it costs to make something durable here: without it, numbers of durable work cannot be judged.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;

/// How many writes are measured.
const WRITES: usize = 200;

/// The median and the 99th percentile of a 4 KiB write with `fdatasync`, in words.
pub fn describe(folder: &Path) -> Result<String> {
    let path = folder.join("disk");
    let mut file = File::create(&path)?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    std::fs::remove_file(path)?;
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or(Duration::ZERO).as_secs_f64() * 1e6;
    Ok(format!("4 KiB made durable here: p50 {:.0} µs, p99 {:.0} µs", at(50), at(99)))
}
