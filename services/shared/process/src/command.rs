//! What to start.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::Duration,
};

use kfops_core::Failure;
use tokio_util::sync::CancellationToken;

use crate::{Child, Ended};

/// A program with its arguments. The environment is empty but for PATH, HOME, LANG and what is set here.
#[derive(Debug, Clone)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) log: Option<PathBuf>,
    pub(crate) input: Option<Vec<u8>>,
    pub(crate) timeout: Option<Duration>,
    /// bubblewrap around the program: what runs in it has a session of its own.
    pub(crate) wrapped: bool,
}

impl Command {
    /// A program by path or by its name in PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            log: None,
            input: None,
            timeout: None,
            wrapped: false,
        }
    }

    /// Adds an argument. There is no shell in between.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Hands on variables of our own environment, where they are set.
    #[must_use]
    pub fn pass_env(mut self, keys: &[&str]) -> Self {
        for key in keys {
            if let Some(value) = std::env::var_os(key) {
                self.env.push((key.into(), value));
            }
        }
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, path: impl AsRef<Path>) -> Self {
        self.cwd = Some(path.as_ref().to_owned());
        self
    }

    /// Appends standard output and standard error to this file.
    #[must_use]
    pub fn log(mut self, path: impl AsRef<Path>) -> Self {
        self.log = Some(path.as_ref().to_owned());
        self
    }

    /// Bytes for standard input; without them it is empty.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Ends the process group after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The program's name, for messages.
    #[must_use]
    pub fn display_name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    /// Starts it and does not wait. Call it on a thread of the runtime that lives as long as the child should:
    /// the kernel ends the child with the thread that started it.
    pub fn spawn(self) -> Result<Child, Failure> {
        Child::start(self)
    }

    /// Runs it to its end, its time limit or the cancellation, whichever is first. Nothing of its process group outlives this call.
    pub async fn run(self, cancel: &CancellationToken) -> Result<Ended, Failure> {
        let timeout = self.timeout.unwrap_or(Duration::from_secs(u64::from(u32::MAX)));
        let mut child = self.spawn()?;
        let ended = tokio::select! {
            ended = child.wait() => ended?,
            () = tokio::time::sleep(timeout) => { child.kill().await; Ended { timed_out: true, ..child.ended() } }
            () = cancel.cancelled() => { child.kill().await; Ended { canceled: true, ..child.ended() } }
        };
        child.kill().await;
        Ok(ended)
    }

    pub(crate) fn to_tokio(&self) -> tokio::process::Command {
        let mut command = match setpriv() {
            Some(setpriv) => {
                let mut command = tokio::process::Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
                command
            }
            None => tokio::process::Command::new(&self.program),
        };
        command.args(&self.args).env_clear().process_group(0).kill_on_drop(true);
        for key in ["PATH", "HOME", "LANG"] {
            if let Some(value) = std::env::var_os(key) {
                command.env(key, value);
            }
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command
    }
}

/// util-linux' setpriv: asks the kernel to end the child with us, even when we are killed.
fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).map(|dir| dir.join("setpriv")).find(|p| p.is_file())
        })
        .as_deref()
}
