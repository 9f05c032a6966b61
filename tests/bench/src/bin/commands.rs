//! `make bench-commands`: many open commands on one scm-bot. What each costs in memory, how long it takes to go on with
//! all of them after SIGKILL, and how soon the next step follows a worker's word.

use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use kfops_bench::{
    disk,
    github::{AUTHOR, GitHub},
    server::{self, Server},
    workers::Workers,
};
use kfops_proto::command::{Command, CreateCommandRequest, Verb, command_service_client::CommandServiceClient};
use kfops_rpc::Lifecycle;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::Request;

/// GitHub allows a burst of writes to a repository, then one a second: as many pull requests as fit into the burst.
const PULL_REQUESTS: usize = 4;
/// Events of each kind.
const EVENTS: usize = 300;
/// For everything that must happen some time.
const LIMIT: Duration = Duration::from_secs(1800);

fn main() -> Result<()> {
    server::stay_off()?;
    let count = std::env::var("BENCH_COMMANDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(bench(count))
}

async fn bench(count: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lifecycle = Lifecycle::new();
    let github = GitHub::start(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/iris"))).await?;
    let (workers, address, mut versions) = Workers::start(&lifecycle).await?;
    let bot = Bot::settings(folder.path(), github.address, address)?;
    println!("{count} commands /build_run on one scm-bot, each on a pull request of its own, each with one Watch");
    println!(
        "scm-bot on core {}, all others on core {}; {}",
        server::SERVERS,
        server::LOAD,
        disk::describe(folder.path())?
    );

    let mut process = bot.start(folder.path())?;
    let idle = process.memory_mib()?;
    let begun = Instant::now();
    bot.create(count).await?;
    let created = begun.elapsed();
    all_watched(&workers, count).await?;
    println!("\ncreated in {:.1} s, all at work after {:.1} s", created.as_secs_f64(), begun.elapsed().as_secs_f64());
    shown(&github, count as u64).await?;
    memory("  memory", &process, idle, count)?;
    rest(&process).await?;

    println!("\nfrom the end of a build to the next Create");
    let mut ids = workers.ids();
    ids.sort_unstable();
    let events = EVENTS.min(count / 4);
    let mut all = ids.chunks_exact(events);
    let mut next = || all.next().context("too few commands");
    line("one after the other", &one_by_one(&workers, &mut versions, next()?).await?);
    line("all of them at once", &at_once(&workers, &mut versions, next()?).await?);

    println!("\nSIGKILL, and again");
    process.kill()?;
    workers.forget();
    let (requests, posts) = (github.requests(), github.posts());
    let begun = Instant::now();
    process = bot.start(folder.path())?;
    let listening = begun.elapsed();
    all_watched(&workers, count - 2 * events).await?;
    println!(
        "  listens after {:.2} s, all watched again after {:.2} s",
        listening.as_secs_f64(),
        begun.elapsed().as_secs_f64()
    );
    memory("  memory", &process, idle, count)?;
    rest(&process).await?;
    println!(
        "  requests to GitHub since the start: {}, of which writes: {}",
        github.requests() - requests,
        github.posts() - posts
    );
    line("one after the other", &one_by_one(&workers, &mut versions, next()?).await?);
    Ok(())
}

fn memory(name: &str, process: &Server, idle: f64, count: usize) -> Result<()> {
    let used = process.memory_mib()?;
    let each = (used - idle) * 1024.0 / count as f64;
    println!("{name}: {used:.0} MiB resident, {idle:.0} MiB before the first command: {each:.1} KiB per open command");
    Ok(())
}

/// What open commands cost while nothing happens.
async fn rest(process: &Server) -> Result<()> {
    const PERIOD: Duration = Duration::from_secs(5);
    let before = process.cpu_seconds()?;
    tokio::time::sleep(PERIOD).await;
    let share = (process.cpu_seconds()? - before) / PERIOD.as_secs_f64();
    println!("  processor while nothing happens: {:.1} % of a core", share * 100.0);
    Ok(())
}

fn line(name: &str, latencies: &Histogram<u64>) {
    let quantile = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "  {name}: {} events   p50 {:.2} ms   p99 {:.2} ms   longest {:.2} ms",
        latencies.len(),
        quantile(0.5),
        quantile(0.99),
        quantile(1.0)
    );
}

async fn all_watched(workers: &Workers, count: usize) -> Result<()> {
    let mut watched = workers.watched();
    if tokio::time::timeout(LIMIT, watched.wait_for(|seen| *seen >= count)).await.is_err() {
        bail!("after {LIMIT:?} {} of {count} builds are watched", *watched.borrow());
    }
    Ok(())
}

/// Until every command has its comment: what is measured then is rest.
async fn shown(github: &GitHub, count: u64) -> Result<()> {
    let begun = Instant::now();
    while github.posts() < count {
        anyhow::ensure!(begun.elapsed() < LIMIT, "{} of {count} commands have a comment", github.posts());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

type Asked = UnboundedReceiver<(String, Instant)>;

async fn one_by_one(workers: &Workers, versions: &mut Asked, ids: &[String]) -> Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    for id in ids {
        let sent = Instant::now();
        workers.succeed(id)?;
        // After a restart others, whose builds had ended before, ask once more.
        let at = loop {
            let (asked, at) = next(versions).await?;
            if asked == *id {
                break at;
            }
        };
        latencies.saturating_record(micros(at - sent));
        // Nobody waits for the next event at the very moment.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(latencies)
}

async fn at_once(workers: &Workers, versions: &mut Asked, ids: &[String]) -> Result<Histogram<u64>> {
    let mut latencies = Histogram::new_with_bounds(1, 600_000_000, 3)?;
    let sent = Instant::now();
    for id in ids {
        workers.succeed(id)?;
    }
    for _ in ids {
        let (_, at) = next(versions).await?;
        latencies.saturating_record(micros(at - sent));
    }
    Ok(latencies)
}

async fn next(versions: &mut Asked) -> Result<(String, Instant)> {
    tokio::time::timeout(Duration::from_secs(60), versions.recv()).await?.context("the worker is gone")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// scm-bot and how it is started.
struct Bot {
    address: SocketAddr,
    settings: String,
}

impl Bot {
    fn settings(folder: &Path, github: SocketAddr, workers: SocketAddr) -> Result<Self> {
        let port = server::free_port()?;
        let path = folder.join("scm-bot.yaml");
        std::fs::write(
            &path,
            format!(
                "listen: 127.0.0.1:{port}\nstate: {0}/scm-bot\nstore: file://{0}/store\n\
                 github: {{api_url: 'http://{github}', token: ghs_bench, bot_login: 'kfops[bot]'}}\n\
                 workers: {{image_builder: 'http://{workers}', pipeline_runner: 'http://{workers}'}}\n\
                 recovery: {{every: 0s}}\n",
                folder.display()
            ),
        )?;
        Ok(Self { address: SocketAddr::from(([127, 0, 0, 1], port)), settings: path.display().to_string() })
    }

    fn start(&self, folder: &Path) -> Result<Server> {
        let program = server::path("kfops-scm-bot")?;
        let bot = Server::start("scm-bot", &program, &["--settings", &self.settings], &[], folder)?;
        server::wait_listening(self.address, LIMIT)
            .with_context(|| std::fs::read_to_string(folder.join("scm-bot.log")).unwrap_or_default())?;
        Ok(bot)
    }

    async fn create(&self, count: usize) -> Result<()> {
        let client = CommandServiceClient::new(kfops_rpc::connect(&format!("http://{}", self.address))?);
        let one = |index: usize| {
            let mut client = client.clone();
            async move {
                let command = Command {
                    repository: format!("team/iris-{}", index / PULL_REQUESTS),
                    pull_request: i64::try_from(index % PULL_REQUESTS + 1)?,
                    verb: Verb::BuildRun.into(),
                    ..Default::default()
                };
                let command_id = format!("bench-{index}");
                let mut request = Request::new(CreateCommandRequest { command: Some(command), command_id });
                request.metadata_mut().insert("kfops-actor", AUTHOR.parse()?);
                client.create_command(request).await?;
                anyhow::Ok(())
            }
        };
        stream::iter((0..count).map(one)).buffer_unordered(64).try_collect().await
    }
}
