//! `make bench-webhooks`: signed webhooks a second through gateway and scm-bot, each stored durably before it is
//! answered, against Probot, which stores nothing. Same secret, same payloads, same load generator, in turns.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use kfops_bench::{
    disk,
    load::{self, Report},
    server::{self, Server},
    webhook::{Maker, Signed},
};

const SECRET: &str = "It's a Secret to Everybody";
const CONNECTIONS: [usize; 2] = [32, 128];
const ROUNDS: usize = 5;
const WARM_UP: usize = 1500;
const GATEWAY: &str = "/webhooks/github";
const PROBOT: &str = "/api/github/webhooks";

fn main() -> Result<()> {
    server::stay_off()?;
    let count = std::env::var("BENCH_REQUESTS").ok().and_then(|text| text.parse().ok()).unwrap_or(6000);
    let folder = tempfile::tempdir()?;
    let kfops = Kfops::start(folder.path())?;
    let probot = Probot::start(folder.path())?;
    println!("signed issue_comment webhooks of 8 to 20 kB, {ROUNDS} rounds of {count} in turns");
    println!("servers on core {}, load on core {}; {}", server::SERVERS, server::LOAD, versions());
    println!("{}", disk::describe(folder.path())?);
    let mut maker = Maker::new("team/iris", 1, "author", SECRET)?;
    let plain =
        |id: u64| format!("Looks good to me, thanks. The plot in the second cell could do with a legend ({id}).");
    let mut last = Vec::new();
    for connections in CONNECTIONS {
        println!("\ncomments without a command, {connections} connections");
        last = series(&kfops, &probot, &mut maker, (count, connections), plain)?;
    }
    println!("\ncomments that are each a /help, {} connections", CONNECTIONS[0]);
    series(&kfops, &probot, &mut maker, (count / 4, CONNECTIONS[0]), |_| "/help".into())?;
    kfops.survives(&last, folder.path())?;
    Ok(())
}

fn series(
    kfops: &Kfops,
    probot: &Probot,
    maker: &mut Maker,
    (count, connections): (usize, usize),
    words: impl Fn(u64) -> String,
) -> Result<Vec<Signed>> {
    let warm_up = maker.make(WARM_UP.min(count / 2), &words)?;
    load::run(kfops.gateway, GATEWAY, &warm_up, connections)?;
    load::run(probot.address, PROBOT, &warm_up, connections)?;
    let (mut ours, mut theirs, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        last = maker.make(count, &words)?;
        let before = kfops.cpu()?;
        let report = load::run(kfops.gateway, GATEWAY, &last, connections)?;
        let after = kfops.cpu()?;
        let each = |seconds: f64| seconds * 1e6 / count as f64;
        line(&format!("{round} gateway + scm-bot"), &report);
        println!(
            "      processor per request: gateway {:.0} µs, scm-bot {:.0} µs",
            each(after.0 - before.0),
            each(after.1 - before.1)
        );
        ours.push(report);
        let report = load::run(probot.address, PROBOT, &last, connections)?;
        line(&format!("{round} Probot"), &report);
        theirs.push(report);
    }
    let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| ours.rate() / theirs.rate()).collect();
    ratios.sort_by(f64::total_cmp);
    let of_rounds = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    let (ours, theirs) = (median(&ours), median(&theirs));
    println!(
        "  ratio of the medians: {:.2} ({ours:.0} to {theirs:.0} requests/s); median of the rounds' ratios: {of_rounds:.2}",
        ours / theirs
    );
    Ok(last)
}

fn line(name: &str, report: &Report) {
    println!(
        "  {name:<20} {:>7.0} requests/s   p50 {:>6.2} ms   p99 {:>6.2} ms   answers {:?}",
        report.rate(),
        report.quantile(0.5),
        report.quantile(0.99),
        report.statuses
    );
}

fn median(reports: &[Report]) -> f64 {
    let mut rates: Vec<f64> = reports.iter().map(Report::rate).collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}

/// The two binaries, with GitHub at a port where nobody listens: what is measured ends with the answer to the webhook.
struct Kfops {
    gateway: SocketAddr,
    gateway_process: Server,
    bot_process: std::cell::RefCell<Server>,
    bot: SocketAddr,
    bot_settings: String,
}

impl Kfops {
    fn start(folder: &Path) -> Result<Self> {
        let (bot_port, port) = (server::free_port()?, server::free_port()?);
        let bot_settings = write(
            folder,
            "scm-bot.yaml",
            &format!(
                "listen: 127.0.0.1:{bot_port}\nstate: {0}/scm-bot\nstore: file://{0}/store\n\
                 github: {{api_url: 'http://127.0.0.1:9', token: none}}\n",
                folder.display()
            ),
        )?;
        let gateway_settings = write(
            folder,
            "gateway.yaml",
            &format!(
                "listen: 127.0.0.1:{port}\nscm_bot: 'http://127.0.0.1:{bot_port}'\nwebhook: {{secrets: [\"{SECRET}\"]}}\n"
            ),
        )?;
        let bot = SocketAddr::from(([127, 0, 0, 1], bot_port));
        let gateway = SocketAddr::from(([127, 0, 0, 1], port));
        let bot_process = start_bot(&bot_settings, bot, folder)?;
        let gateway_process =
            Server::start("gateway", &server::path("kfops-gateway")?, &["--settings", &gateway_settings], &[], folder)?;
        server::wait_listening(gateway, Duration::from_secs(30))?;
        Ok(Self { gateway, gateway_process, bot_process: bot_process.into(), bot, bot_settings })
    }

    /// Processor time of gateway and scm-bot.
    fn cpu(&self) -> Result<(f64, f64)> {
        Ok((self.gateway_process.cpu_seconds()?, self.bot_process.borrow().cpu_seconds()?))
    }

    /// What was answered is there after SIGKILL: sent again, it is a duplicate.
    fn survives(&self, sent: &[Signed], folder: &Path) -> Result<()> {
        self.bot_process.borrow_mut().kill()?;
        *self.bot_process.borrow_mut() = start_bot(&self.bot_settings, self.bot, folder)?;
        let sample: Vec<Signed> = sent.iter().step_by(10).cloned().collect();
        let known = load::duplicates(self.gateway, GATEWAY, &sample)?;
        println!("\nafter SIGKILL of scm-bot {known} of {} deliveries sent again were known", sample.len());
        ensure!(known == sample.len(), "deliveries that were answered are lost");
        Ok(())
    }
}

fn start_bot(settings: &str, address: SocketAddr, folder: &Path) -> Result<Server> {
    let bot = Server::start("scm-bot", &server::path("kfops-scm-bot")?, &["--settings", settings], &[], folder)?;
    server::wait_listening(address, Duration::from_secs(30))?;
    Ok(bot)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path = folder.join(name);
    std::fs::write(&path, text)?;
    Ok(path.display().to_string())
}

/// An app under `probot run`, as in production.
struct Probot {
    address: SocketAddr,
    _process: Server,
}

impl Probot {
    fn start(folder: &Path) -> Result<Self> {
        let home = PathBuf::from(
            std::env::var_os("KFOPS_PROBOT").context("KFOPS_PROBOT is not set: make bench-webhooks sets it")?,
        );
        let port = server::free_port()?;
        let app = write(folder, "app.mjs", include_str!("../../probot/app.mjs"))?;
        let key = folder.join("key.pem");
        let made = Command::new("openssl").args(["genrsa", "-traditional", "-out"]).arg(&key).arg("2048").output()?;
        ensure!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
        let (port_text, key) = (port.to_string(), std::fs::read_to_string(&key)?);
        let env = [
            ("APP_ID", "1"),
            ("PRIVATE_KEY", key.as_str()),
            ("WEBHOOK_SECRET", SECRET),
            ("PORT", port_text.as_str()),
            ("HOST", "127.0.0.1"),
            ("NODE_ENV", "production"),
        ];
        let program = home.join("node_modules/probot/bin/probot.js");
        let process =
            Server::start("probot", Path::new("node"), &[&program.display().to_string(), "run", &app], &env, folder)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        server::wait_listening(address, Duration::from_secs(30))
            .with_context(|| std::fs::read_to_string(folder.join("probot.log")).unwrap_or_default())?;
        Ok(Self { address, _process: process })
    }
}

fn versions() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    format!("Probot 14.3.2 (keeps nothing) on node {}", version("node"))
}
