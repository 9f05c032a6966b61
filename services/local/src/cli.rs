//! `kfc local …` on the command line.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use kfops_core::{Failure, Reason};
use kfops_rpc::Lifecycle;
use kfops_telemetry::{LogFormat, TelemetrySettings};
use tokio_util::sync::CancellationToken;

use crate::{
    demo::{self, DemoOptions},
    layout::Layout,
    provision::{self, Tools},
    system::{Endpoints, Options, System, repository_of_folder},
};

/// The whole system on this machine, without a cluster.
#[derive(Debug, Args)]
pub struct LocalArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts everything for a repository and runs until Ctrl-C; the next start goes on where this one ended.
    Up(UpArgs),
    /// The story of three pull requests, without a person.
    Demo(DemoArgs),
    /// Installs what is missing in the cache folder, and nothing else.
    Provision(ProvisionArgs),
}

#[derive(Debug, Args)]
struct UpArgs {
    /// Git repository with a kfops.yaml.
    #[arg(long, value_name = "PATH", default_value = ".")]
    repo: PathBuf,
    /// Folder for the state; `.kfops` in the repository when not given.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// First of five ports in a row (forge, API, models, registry, traces); 0 takes free ones.
    #[arg(long, default_value_t = 7400)]
    port: u16,
    /// Log lines to standard error, in tracing's filter syntax, e.g. info or kfops_scm_bot=debug.
    #[arg(long, value_name = "FILTER", default_value = "warn", env = "KFOPS_LOG")]
    log: String,
    /// A file that the forge appends every request with its answer and every webhook to. For tests.
    #[arg(long, value_name = "FILE", hide = true)]
    forge_log: Option<PathBuf>,
    /// Lets others on this machine have the forge misbehave, at /_forge/faults. For tests.
    #[arg(long, hide = true)]
    forge_faults: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Writes what happened as JSON, and the traces beside it.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Requests a second while the model changes.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=500))]
    rate: u32,
    /// Keeps the repository and its state below this folder, to go on with `kfc local up`; else they are removed at the end.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Log lines to standard error, in tracing's filter syntax.
    #[arg(long, value_name = "FILTER", default_value = "error", env = "KFOPS_LOG")]
    log: String,
}

#[derive(Debug, Args)]
struct ProvisionArgs {
    /// Prints KFOPS_PYTHON and KFOPS_ENVOY as KEY=VALUE lines.
    #[arg(long)]
    env: bool,
}

/// Runs `kfc local …`.
pub async fn run(args: LocalArgs) -> Result<(), Failure> {
    match args.command {
        Command::Up(args) => up(args).await,
        Command::Demo(args) => demo(args).await,
        Command::Provision(args) => provision(args).await,
    }
}

async fn up(args: UpArgs) -> Result<(), Failure> {
    logs(&args.log)?;
    let repository = args.repo.canonicalize().map_err(|error| {
        Failure::new(Reason::InvalidArgument, format!("--repo {}: {error}", args.repo.display()))
            .action("give the path of a git repository")
    })?;
    let repository = git_root(&repository).await?;
    let layout = Layout::create(&args.state.unwrap_or_else(|| repository.join(".kfops")))?;
    let _only = only_one(&layout)?;
    let stop = stop_on_ctrl_c()?;
    let tools = tools(&layout, &stop).await?;
    let full_name = System::repository_of(&layout).unwrap_or_else(|| repository_of_folder(&repository));
    let options = Options { port: args.port, forge_log: args.forge_log, forge_faults: args.forge_faults };
    let system = System::start(layout, tools, options).await?;
    let running = async {
        let base = system.import(&full_name, &repository).await?;
        system.publish(&full_name).await?;
        println!("{}", ready(system.endpoints(), &full_name, &base));
        stop.cancelled().await;
        Ok(())
    };
    let result = running.await;
    println!("\nstopping (what is under way goes on at the next start)");
    system.stop(Duration::from_secs(10)).await;
    result
}

async fn demo(args: DemoArgs) -> Result<(), Failure> {
    logs(&args.log)?;
    let temporary = tempfile::Builder::new().prefix("kfops-demo-").tempdir().map_err(Failure::internal)?;
    let work = args.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let tree = work.join("iris");
    if tree.exists() {
        return Err(Failure::new(Reason::InvalidArgument, format!("{} exists already", tree.display()))
            .action("give --keep an empty folder"));
    }
    let layout = Layout::create(&tree.join(".kfops"))?;
    let stop = stop_on_ctrl_c()?;
    let tools = tools(&layout, &stop).await?;
    let system = System::start(layout, tools, Options::default()).await?;
    system.publish(demo::REPOSITORY).await?;
    println!(
        "while the demo runs: forge {}   API {}   models {}",
        system.endpoints().forge,
        system.endpoints().api,
        system.endpoints().models
    );
    let options = DemoOptions { report: args.report, rate: args.rate };
    let told = tokio::select! {
        told = demo::run(&system, &work, &options) => told.map(drop),
        () = stop.cancelled() => Err(Failure::new(Reason::Canceled, "interrupted")),
    };
    system.stop(Duration::from_secs(10)).await;
    if let Some(keep) = &args.keep {
        println!("kept: cd {} && kfc local up", keep.join("iris").display());
    } else {
        println!(
            "next: kfc local demo --keep DIR leaves it all to look at; kfc local up runs it for a repository of your own"
        );
    }
    told
}

async fn provision(args: ProvisionArgs) -> Result<(), Failure> {
    let folder = tempfile::tempdir().map_err(Failure::internal)?;
    let layout = Layout::create(folder.path())?;
    let tools = tools(&layout, &stop_on_ctrl_c()?).await?;
    if args.env {
        println!("KFOPS_PYTHON={}\nKFOPS_ENVOY={}", tools.python.display(), tools.envoy.display());
    }
    Ok(())
}

async fn tools(layout: &Layout, stop: &CancellationToken) -> Result<Tools, Failure> {
    provision::provision(layout, |what| eprintln!("{what} …"), stop).await
}

fn logs(filter: &str) -> Result<(), Failure> {
    let settings = TelemetrySettings {
        log_format: LogFormat::Text,
        log_filter: filter.to_owned(),
        ..TelemetrySettings::default()
    };
    kfops_telemetry::init_logs(&settings).map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()))?;
    Ok(())
}

/// The root of the work tree (or bare repository) that a folder lies in.
async fn git_root(folder: &Path) -> Result<PathBuf, Failure> {
    let ask = |what: &str| {
        let command = kfops_process::Command::new("git").args(["rev-parse", what]).cwd(folder);
        command.timeout(Duration::from_secs(20))
    };
    let cancel = CancellationToken::new();
    let root = ask("--show-toplevel").run(&cancel).await?;
    if !root.success() {
        let cause = root.output.trim().trim_start_matches("fatal: ");
        return Err(Failure::new(Reason::InvalidArgument, format!("--repo {}: {cause}", folder.display()))
            .action("give the path of a git repository with a kfops.yaml, or make one: git init, then commit"));
    }
    if !ask("HEAD^{commit}").run(&cancel).await?.success() {
        return Err(Failure::new(
            Reason::InvalidArgument,
            format!("--repo {}: it has no commit yet", folder.display()),
        )
        .action("commit something first: pull requests are made of commits"));
    }
    let root = PathBuf::from(root.output.trim_end_matches('\n'));
    if !["kfops.yaml", "kfops.yml", "config_files/config.yaml", "config_files/config.yml"]
        .iter()
        .any(|f| root.join(f).is_file())
    {
        eprintln!(
            "warning: {} has no kfops.yaml: commands will be refused until there is one (docs/kfops.yaml.md, examples/iris)",
            root.display()
        );
    }
    Ok(root)
}

/// Two systems on one state would do everything twice.
fn only_one(layout: &Layout) -> Result<File, Failure> {
    let path = layout.of("lock");
    let file = File::create(&path)
        .map_err(|error| Failure::new(Reason::StoreUnavailable, format!("{}: {error}", path.display())))?;
    file.try_lock().map_err(|_| {
        Failure::new(Reason::AlreadyExists, format!("kfc local is running on {} already", layout.state.display()))
            .action("use that one, or end it with Ctrl-C, or give another --state")
    })?;
    Ok(file)
}

/// The first Ctrl-C (or SIGTERM) stops in two stages; the second ends at once.
fn stop_on_ctrl_c() -> Result<CancellationToken, Failure> {
    let lifecycle = Lifecycle::new();
    kfops_rpc::stop_on_signals(&lifecycle).map_err(Failure::internal)?;
    Ok(lifecycle.stopping())
}

/// What a person at this machine needs to know, once all runs.
fn ready(at: &Endpoints, repository: &str, base: &str) -> String {
    let Endpoints { forge, api, models, registry, traces, .. } = at;
    format!(
        "ready

  pull requests  {forge}/{repository}/pulls
  push           git push {forge}/{repository}.git my-branch
  pull           git pull {forge}/{repository}.git {base}   (on {base}, after a merge: it is merged there, not here)
  API            {api}/v1/commands   ({api}/openapi.json)
  models         {models}/serving/NAMESPACE/NAME/v1/models/NAME:predict
  registry       {registry}
  traces         {traces}

Write a comment such as /build_run under a pull request, or: kfc build_run --pr 1 -w
Ctrl-C ends everything; the next start goes on where this one ended."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_starts_it_is_told_how_to_push_and_pull() {
        let at = Endpoints { forge: "http://127.0.0.1:7400".into(), ..Endpoints::default() };
        let told = ready(&at, "local/iris", "trunk");
        for line in [
            "  push           git push http://127.0.0.1:7400/local/iris.git my-branch\n",
            "  pull           git pull http://127.0.0.1:7400/local/iris.git trunk   (on trunk, ",
        ] {
            assert!(told.contains(line), "{told}");
        }
    }
}
