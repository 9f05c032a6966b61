//! Bare repositories, driven through the git command with argument vectors and a bare environment.

mod archive;
mod diff;
mod history;
mod import;
mod merge;
mod places;
mod recover;
mod refs;
mod tree;
mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

pub(crate) use archive::Stream;
pub(crate) use diff::Change;
pub(crate) use history::{Commit, Person};
pub(crate) use merge::Merge;
pub(crate) use refs::Tip;
pub(crate) use tree::{Entry, Kind};
pub(crate) use wire::Service;

use crate::error::{Error, Result};
use crate::names;

/// Longest a short git command may take.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Longest a clone, push, fetch or archive may take.
const LONG_LIMIT: Duration = Duration::from_secs(900);
/// Most bytes that are read from a short git command.
const OUTPUT_LIMIT: u64 = 64 << 20;

/// Settings that git reads instead of the machine's: nothing from a user's own configuration reaches the forge.
const CONFIG: &str = "\
[core]
\thooksPath = /dev/null
\tfsmonitor = false
[gc]
\tauto = 0
[receive]
\tautogc = false
\tfsckObjects = true
\tdenyDeleteCurrent = refuse
\tdenyCurrentBranch = ignore
\thideRefs = refs/pull
[uploadpack]
\tallowAnySHA1InWant = true
\tallowFilter = true
[transfer]
	hideRefs = refs/imported
[safe]
\tdirectory = *
[protocol]
\tallow = never
[advice]
\tdetachedHead = false
";

/// How to run git for this forge.
#[derive(Debug, Clone)]
pub(crate) struct Git {
    repositories: PathBuf,
    home: PathBuf,
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

/// One bare repository.
#[derive(Debug, Clone)]
pub(crate) struct Bare {
    dir: PathBuf,
    git: Git,
}

/// What a git command said.
#[derive(Debug)]
pub(crate) struct Output {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
}

impl Output {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end_matches('\n').to_owned()
    }

    fn ok(self) -> Result<Self> {
        match self.code {
            0 => Ok(self),
            code => Err(Error::Internal(format!("git ended with {code}: {}", self.stderr.trim()))),
        }
    }
}

impl Git {
    /// Uses `<root>/repos` for repositories and `<root>/git` as git's home.
    pub(crate) async fn open(root: &Path) -> Result<Self> {
        let root = tokio::fs::canonicalize(root).await?;
        let (repositories, home) = (root.join("repos"), root.join("git"));
        tokio::fs::create_dir_all(&repositories).await?;
        tokio::fs::create_dir_all(&home).await?;
        tokio::fs::write(home.join("config"), CONFIG).await?;
        let git = Self { repositories, home, short: Arc::new(Semaphore::new(8)), long: Arc::new(Semaphore::new(4)) };
        let version = git.run(None, &["--version"], Vec::new(), &[]).await.map_err(|_| {
            Error::Internal("git cannot be started; the forge needs git 2.39 or newer on the PATH".to_owned())
        })?;
        tracing::debug!(version = version.text(), "git");
        Ok(git)
    }

    /// The repository of that name, made if absent. The names were validated before.
    pub(crate) async fn create(&self, owner: &str, name: &str, default_branch: &str) -> Result<Bare> {
        let bare = self.at(owner, name)?;
        tokio::fs::create_dir_all(&bare.dir).await?;
        // Harmless on one that is there, and completes one that was cut off.
        let args = ["init", "--quiet", "--bare", "--template=", "--object-format=sha1"];
        self.run(Some(&bare.dir), &args, Vec::new(), &[]).await?.ok()?;
        bare.set_head(default_branch).await?;
        Ok(bare)
    }

    /// The repository of that name.
    pub(crate) fn at(&self, owner: &str, name: &str) -> Result<Bare> {
        if !names::is_owner(owner) || !names::is_repository(name) {
            return Err(Error::NotFound);
        }
        // Names are case-insensitive on GitHub, folders are not everywhere.
        let dir = self.repositories.join(owner.to_lowercase()).join(format!("{}.git", name.to_lowercase()));
        Ok(Bare { dir, git: self.clone() })
    }

    /// A command with nothing inherited but the search path.
    fn command(&self, dir: Option<&Path>) -> Command {
        let mut command = Command::new("git");
        command.env_clear();
        for name in ["PATH", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", &self.home)
            .env("GIT_CONFIG_GLOBAL", self.home.join("config"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ATTR_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("LC_ALL", "C")
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if let Some(dir) = dir {
            let mut option = OsString::from("--git-dir=");
            option.push(dir);
            command.arg(option);
        }
        command
    }

    /// Runs a short command to its end.
    async fn run(&self, dir: Option<&Path>, args: &[&str], stdin: Vec<u8>, env: &[(&str, &str)]) -> Result<Output> {
        let _slot = self.short.acquire().await.map_err(Error::internal)?;
        let mut command = self.command(dir);
        command.args(args).envs(env.iter().copied());
        let name = args.first().copied().unwrap_or_default();
        finish(command, stdin, TIME_LIMIT, name).await
    }
}

impl Bare {
    async fn run(&self, args: &[&str]) -> Result<Output> {
        self.git.run(Some(&self.dir), args, Vec::new(), &[]).await
    }

    async fn text(&self, args: &[&str]) -> Result<String> {
        Ok(self.run(args).await?.ok()?.text())
    }
}

/// Feeds a command, reads it up to a limit and waits for it; kills it when it takes too long.
async fn finish(mut command: Command, stdin: Vec<u8>, limit: Duration, name: &str) -> Result<Output> {
    if !stdin.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn()?;
    let work = async {
        let input = child.stdin.take();
        let feed = async move {
            if let Some(mut input) = input {
                // A child that stops reading early says why in its exit code.
                let _ = input.write_all(&stdin).await;
            }
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let read_out = async {
            match out {
                Some(pipe) => pipe.take(OUTPUT_LIMIT + 1).read_to_end(&mut stdout).await,
                None => Ok(0),
            }
        };
        let read_err = async {
            match err {
                Some(pipe) => pipe.take(64 << 10).read_to_end(&mut stderr).await,
                None => Ok(0),
            }
        };
        let ((), out, err) = tokio::join!(feed, read_out, read_err);
        out?;
        err?;
        if stdout.len() as u64 > OUTPUT_LIMIT {
            return Err(Error::TooLarge(format!("git {name} wrote more than {} MiB", OUTPUT_LIMIT >> 20)));
        }
        let status = child.wait().await?;
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        Ok(Output { code: status.code().unwrap_or(-1), stdout, stderr })
    };
    match tokio::time::timeout(limit, work).await {
        Ok(output) => output,
        Err(_) => Err(Error::Internal(format!("git {name} took longer than {} s", limit.as_secs()))),
    }
}
