//! How fast, and in how much memory: `cargo test -p kfops-store --release -- --ignored --nocapture load`.

use std::{io::Write as _, time::Instant};

use crate::server::Server;

const SIZE: usize = 1 << 30;
/// Beyond what the process has before, while 1 GiB goes through it; the server is in the same process.
const ROOM: u64 = 160 << 20;

/// Resident memory of this process, bytes: now, or its highest so far.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_gibibyte_in_bounded_memory() {
    let (server, work) = (Server::start().await, tempfile::tempdir().unwrap());
    let store = server.patient("p");
    let (file, back) = (work.path().join("file"), work.path().join("back"));
    let mut writer = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    let block: Vec<u8> = (0..1 << 20).map(|i: usize| (i * 31 % 253) as u8).collect();
    for _ in 0..SIZE >> 20 {
        writer.write_all(&block).unwrap();
    }
    writer.flush().unwrap();
    drop((writer, block));
    let before = memory("VmRSS");
    let speed = |began: Instant| (SIZE >> 20) as f64 / began.elapsed().as_secs_f64();
    let began = Instant::now();
    store.put_file("large", &file).await.unwrap();
    let (put, after_put) = (speed(began), memory("VmHWM"));
    let began = Instant::now();
    store.get_file("large", &back).await.unwrap();
    let (get, after_get) = (speed(began), memory("VmHWM"));
    let began = Instant::now();
    let digest = store.digest("large").await.unwrap();
    println!(
        "1 GiB: put {put:.0} MiB/s, get {get:.0} MiB/s, digest {:.0} MiB/s; resident {} MiB before, highest {} MiB after put, {} MiB after get (server included)",
        speed(began),
        before >> 20,
        after_put >> 20,
        after_get >> 20
    );
    assert_eq!(std::fs::metadata(&back).unwrap().len(), SIZE as u64);
    assert_eq!(digest.to_string().len(), "sha256:".len() + 64);
    assert!(memory("VmHWM") < before + ROOM, "an object is in memory as a whole");
}
