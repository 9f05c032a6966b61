//! A running child and its process group.

use std::{
    fs::OpenOptions,
    os::unix::{fs::OpenOptionsExt as _, process::ExitStatusExt as _},
    process::Stdio,
    time::Duration,
};

use kfops_core::{Failure, Reason};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt as _;

use crate::{Command, LogTail};

/// A running child. Dropping it ends its process group.
#[derive(Debug)]
pub struct Child {
    inner: tokio::process::Child,
    group: Option<Pid>,
    wrapped: bool,
    name: String,
    capture: Option<tokio::task::JoinHandle<String>>,
    log: Option<std::path::PathBuf>,
    output: String,
    code: Option<i32>,
    signal: Option<i32>,
}

/// How a child ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// Exit code; None when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Its time limit was reached.
    pub timed_out: bool,
    /// The caller ended it.
    pub canceled: bool,
    /// What it wrote to standard output and standard error: all of it (at most 1 MiB), or the last 64 KiB of the log file.
    pub output: String,
}

impl Ended {
    /// Exit code 0, by itself.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0) && !self.timed_out && !self.canceled
    }

    /// `exit code 1`, `signal 9`, `time limit`.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.timed_out, self.canceled, self.code, self.signal) {
            (true, ..) => "time limit reached".into(),
            (_, true, ..) => "canceled".into(),
            (.., Some(code), _) => format!("exit code {code}"),
            (.., Some(9)) => "killed by signal 9 (often: out of memory)".into(),
            (.., Some(signal)) => format!("ended by signal {signal}"),
            _ => "ended".into(),
        }
    }
}

impl Child {
    pub(crate) fn start(command: Command) -> Result<Self, Failure> {
        let name = command.display_name();
        let failed = |error: std::io::Error| {
            Failure::new(Reason::Internal, format!("cannot start {name}: {error}"))
                .action(format!("is {name} installed and in PATH?"))
        };
        let mut tokio_command = command.to_tokio();
        let (mut capture, wrapped) = (None, command.wrapped);
        if let Some(path) = &command.log {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(failed)?;
            }
            // A link left there by the code before must not lead the log elsewhere.
            let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            let file = OpenOptions::new().create(true).append(true).custom_flags(flags).open(path).map_err(failed)?;
            tokio_command.stderr(Stdio::from(file.try_clone().map_err(failed)?)).stdout(Stdio::from(file));
        } else {
            tokio_command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut inner = tokio_command.spawn().map_err(failed)?;
        if command.log.is_none() {
            capture = Some(tokio::spawn(crate::log::capture(inner.stdout.take(), inner.stderr.take())));
        }
        if let (Some(mut stdin), Some(input)) = (inner.stdin.take(), command.input) {
            tokio::spawn(async move {
                // A child that does not read to the end is its own affair.
                stdin.write_all(&input).await.ok();
                stdin.shutdown().await.ok();
            });
        }
        let group = inner.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        tracing::debug!(program = name, pid = inner.id(), "started");
        Ok(Self {
            inner,
            group,
            wrapped,
            name,
            capture,
            log: command.log,
            output: String::new(),
            code: None,
            signal: None,
        })
    }

    /// The process id, until it was waited for.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.inner.id()
    }

    /// Waits for its end.
    pub async fn wait(&mut self) -> Result<Ended, Failure> {
        let status = self
            .inner
            .wait()
            .await
            .map_err(|error| Failure::new(Reason::Internal, format!("cannot wait for {}: {error}", self.name)))?;
        (self.code, self.signal) = (status.code(), status.signal());
        // Grandchildren may hold the pipe open: what is there after a moment is all there is.
        if let Some(capture) = self.capture.as_mut() {
            if let Ok(Ok(output)) = tokio::time::timeout(Duration::from_secs(2), capture).await {
                self.output = output;
            }
            self.capture = None;
        }
        if let Some(path) = &self.log {
            self.output = LogTail::read(path, 64 * 1024);
        }
        Ok(self.ended())
    }

    /// Asks the process group to end (SIGTERM), then ends it (SIGKILL) after `patience`. Of a sandbox, what runs inside is
    /// asked.
    pub async fn terminate(&mut self, patience: Duration) {
        if !self.ask_inside() {
            self.signal_group(Signal::TERM);
        }
        if tokio::time::timeout(patience, self.inner.wait()).await.is_err() {
            self.kill().await;
        }
        self.signal_group(Signal::KILL);
    }

    /// Ends the process group at once.
    pub async fn kill(&mut self) {
        self.signal_group(Signal::KILL);
        if self.code.is_none() && self.signal.is_none() {
            self.wait().await.ok();
        }
    }

    pub(crate) fn ended(&self) -> Ended {
        Ended { code: self.code, signal: self.signal, output: self.output.clone(), ..Ended::default() }
    }

    /// bubblewrap hands no signal on: it would end, and everything inside with it, at once. What runs inside is in the
    /// session of bubblewrap's one child, and when it has ended, so has bubblewrap. False: nothing runs inside (yet).
    fn ask_inside(&self) -> bool {
        let Some(outer) = self.group.filter(|_| self.wrapped) else { return false };
        let sessions = children(outer);
        // ESRCH: its session is still to be made.
        sessions.into_iter().filter(|session| kill_process_group(*session, Signal::TERM).is_ok()).count() > 0
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(group) = self.group {
            // ESRCH: it is gone already, which is what we want.
            kill_process_group(group, signal).ok();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal_group(Signal::KILL);
    }
}

/// Processes whose parent is `parent`: field 4 of /proc/PID/stat, proc(5). The command's name before it may hold spaces
/// and brackets.
fn children(parent: Pid) -> Vec<Pid> {
    let is_child = |pid: &Pid| {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        let of = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        of == Some(parent.as_raw_nonzero().get())
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(is_child).collect()
}
