//! The Python environment, and processes of it inside of the sandbox.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kfops_process::{Command, Confinement, Limits, Sandbox};
use tokio_util::sync::CancellationToken;

/// A Python environment. Cheap enough to clone.
#[derive(Debug, Clone)]
pub(super) struct Python {
    program: PathBuf,
    sandbox: Sandbox,
    /// Shown even where their parents are hidden.
    roots: Vec<PathBuf>,
    hidden: Vec<PathBuf>,
}

impl Python {
    pub(super) fn new(program: &Path, sandbox: Sandbox, hidden: Vec<PathBuf>) -> Self {
        // A bare name is looked up in PATH; links are kept, for a venv is found through them.
        let program = match program.components().count() {
            0 | 1 => program.to_owned(),
            _ => std::path::absolute(program).unwrap_or_else(|_| program.to_owned()),
        };
        let root = |path: &Path| path.parent().and_then(Path::parent).map(Path::to_path_buf);
        let mut roots: Vec<PathBuf> =
            [root(&program), program.canonicalize().ok().and_then(|real| root(&real))].into_iter().flatten().collect();
        roots.retain(|root| root.is_absolute() && root.components().count() > 2 && root.is_dir());
        roots.sort();
        roots.dedup();
        let hidden = hidden.into_iter().map(|path| path.canonicalize().unwrap_or(path)).collect();
        Self { program, sandbox, roots, hidden }
    }

    pub(super) fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Python with a script's arguments: isolated from the user's own packages, no bytecode files, unbuffered.
    pub(super) fn command(&self) -> Command {
        Command::new(&self.program).args(["-I", "-B", "-u"]).env("LANG", "C.UTF-8")
    }

    /// The command without network, within limits.
    pub(super) fn confined(&self, command: Command, writable: &[&Path], limits: Limits) -> Command {
        self.confine(command, writable, false, Some(limits))
    }

    /// The command with network and without limits, for tasks.
    pub(super) fn networked(&self, command: Command, writable: &[&Path]) -> Command {
        self.confine(command, writable, true, None)
    }

    fn confine(&self, command: Command, writable: &[&Path], network: bool, limits: Option<Limits>) -> Command {
        let readable: Vec<&Path> = self.roots.iter().map(PathBuf::as_path).collect();
        let hidden: Vec<&Path> = self.hidden.iter().map(PathBuf::as_path).collect();
        let confinement = Confinement { writable, readable: &readable, hidden: &hidden, network, limits };
        self.sandbox.confine(command, &confinement)
    }

    /// Says early when this Python cannot do what it is needed for; the work itself would fail with the same words.
    pub(super) async fn probe(&self) {
        let script = "import importlib.metadata as m; print(m.version('kfp'))";
        let command = self.command().args(["-c", script]).timeout(Duration::from_secs(30));
        match command.run(&CancellationToken::new()).await {
            Ok(ended) if ended.success() => {
                tracing::info!(python = %self.program.display(), kfp = ended.output.trim(), "python");
            }
            Ok(ended) => {
                let output = ended.output.trim();
                tracing::warn!(python = %self.program.display(), output, "this python has no kfp: install it, or set `python`");
            }
            Err(failure) => {
                tracing::warn!(python = %self.program.display(), error = %failure, "python cannot be started: set `python`");
            }
        }
    }
}
