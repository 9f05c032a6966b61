//! `kfops-forge`: a forge as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use kfops_forge::{Forge, Role, Settings};

/// A small GitHub over real git repositories, on this machine.
#[derive(Debug, Parser)]
#[command(name = "kfops-forge", version)]
struct Args {
    /// Folder for repositories and the database.
    #[arg(long, env = "KFOPS_FORGE_ROOT", default_value = ".kfops/forge")]
    root: PathBuf,
    /// Where to listen.
    #[arg(long, env = "KFOPS_FORGE_LISTEN", default_value = "127.0.0.1:8480")]
    listen: SocketAddr,
    /// The address that people and bots use, if it is another one.
    #[arg(long, env = "KFOPS_FORGE_PUBLIC_URL")]
    public_url: Option<String>,
    /// Users with tokens: LOGIN:ROLE:TOKEN, where ROLE is none, read, triage, write, maintain or admin.
    #[arg(long = "user", env = "KFOPS_FORGE_USERS", value_delimiter = ',', hide_env_values = true)]
    users: Vec<String>,
    /// Repositories of this machine to serve: OWNER/NAME=PATH.
    #[arg(long = "import")]
    imports: Vec<String>,
    /// Asks for a token even from this machine.
    #[arg(long)]
    no_trust_loopback: bool,
    /// Requests an hour for one user; more are refused, as GitHub does.
    #[arg(long)]
    rate_limit: Option<u32>,
    /// A file that every request with its answer and every webhook is appended to, as lines of JSON.
    #[arg(long, env = "KFOPS_FORGE_EXCHANGE_LOG")]
    exchange_log: Option<PathBuf>,
    /// Lets callers on this machine arrange faults, at /_forge/faults. For tests only.
    #[arg(long)]
    faults: bool,
}

impl Args {
    async fn run(self) -> anyhow::Result<()> {
        let mut settings = Settings::new(self.root);
        settings.listen = self.listen;
        settings.public_url = self.public_url;
        settings.trust_loopback = !self.no_trust_loopback;
        settings.rate_limit = self.rate_limit;
        settings.exchange_log = self.exchange_log;
        settings.fault_admin = self.faults;
        for user in &self.users {
            let mut parts = user.splitn(3, ':');
            let (Some(login), Some(role), Some(token)) = (parts.next(), parts.next(), parts.next()) else {
                anyhow::bail!("--user: expected LOGIN:ROLE:TOKEN");
            };
            let role: Role = role.parse().map_err(anyhow::Error::msg).context("--user")?;
            settings = settings.account(login, role, token);
        }
        let forge = Forge::start(settings).await?;
        for import in &self.imports {
            let (repository, path) = import.split_once('=').context("--import: expected OWNER/NAME=PATH")?;
            let (owner, name) = repository.split_once('/').context("--import: expected OWNER/NAME=PATH")?;
            let imported = forge.import_repository(owner, name, path.as_ref()).await?;
            tracing::info!(repository, updated = imported.updated.len(), diverged = ?imported.diverged, "imported");
        }
        println!("{}", forge.url());
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            done = tokio::signal::ctrl_c() => done?,
            _ = terminate.recv() => {}
        }
        forge.stop().await;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    Args::parse().run().await
}
