//! Prints, for each of the five services as a process of its own: time from start to ready, idle memory, size of the binary.

use std::time::Duration;

use anyhow::Result;
use kfops_tests::binaries::{self, Process, SERVICES};

const RUNS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    println!("{:<18} {:>22} {:>14} {:>12}", "service", "start to ready (ms)", "idle (MiB)", "binary (MiB)");
    println!("{:<18} {:>22} {:>14} {:>12}", "", "min / median / max", "RSS, median", "");
    let mut total = 0.0;
    for service in SERVICES {
        let name = format!("kfops-{service}");
        let (mut times, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let folder = tempfile::tempdir()?;
            let (address, settings) = settings(service, folder.path())?;
            let begun = std::time::Instant::now();
            let mut process = Process::start(&name, &["--settings", &settings], &[], folder.path())?;
            binaries::wait_healthy(&address, Duration::from_secs(60)).await.map_err(|e| e.context(process.log()))?;
            times.push(begun.elapsed().as_secs_f64() * 1e3);
            // Start-up work such as finding a builder is over when memory stands still.
            let mut last = 0;
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let now = process.memory_kib()?;
                if now == last {
                    break;
                }
                last = now;
            }
            memory.push(last as f64 / 1024.0);
            process.terminate(Duration::from_secs(30)).await?;
        }
        times.sort_by(f64::total_cmp);
        memory.sort_by(f64::total_cmp);
        let size = std::fs::metadata(binaries::path(&name)?)?.len() as f64 / (1024.0 * 1024.0);
        total += memory[RUNS / 2];
        let times = format!("{:.0} / {:.0} / {:.0}", times[0], times[RUNS / 2], times[RUNS - 1]);
        println!("{name:<18} {times:>18} {:>14.1} {size:>12.1}", memory[RUNS / 2]);
    }
    println!("{:<18} {:>18} {total:>14.1}", "all five", "");
    Ok(())
}

/// Address and settings file of a service on a free port.
fn settings(service: &str, folder: &std::path::Path) -> Result<(String, String)> {
    let port = binaries::free_port()?;
    let text = kfops_tests::binaries::minimal_settings(service, port, folder);
    let path = folder.join("settings.yaml");
    std::fs::write(&path, text)?;
    Ok((format!("http://127.0.0.1:{port}"), path.display().to_string()))
}
