//! A place for code that is not ours: no network, own processes, a read-only system, limits.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::Command;

/// How this machine can isolate. Found out once, by trying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sandbox {
    /// bubblewrap: network, pid, ipc and mount namespaces; the file system is read-only but for what is given.
    Bubblewrap,
    /// util-linux' unshare: network, pid and ipc namespaces; the file system is as outside.
    Unshare,
    /// Nothing works: a bare environment and limits only.
    None,
}

/// What sandboxed code may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Address space of each process, bytes.
    pub memory: u64,
    /// CPU time of each process.
    pub cpu: Duration,
    /// Largest file it may write, bytes.
    pub file_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 4 << 30, cpu: Duration::from_secs(120), file_size: 256 << 20 }
    }
}

impl Sandbox {
    /// The best that works here.
    pub async fn detect() -> Self {
        let cancel = CancellationToken::new();
        for sandbox in [Self::Bubblewrap, Self::Unshare] {
            let probe = sandbox.wrap(Command::new("true"), &[], &Limits::default()).timeout(Duration::from_secs(10));
            if probe.run(&cancel).await.is_ok_and(|ended| ended.success()) {
                return sandbox;
            }
        }
        tracing::warn!(
            "no sandbox works on this machine: install bubblewrap, or allow user namespaces; code of pull requests runs with the network"
        );
        Self::None
    }

    /// The same command, inside. `writable` are the folders that it may write to; everything else is read-only or hidden.
    #[must_use]
    pub fn wrap(&self, command: Command, writable: &[&Path], limits: &Limits) -> Command {
        let (program, args) = (command.program.clone(), command.args.clone());
        let mut outer = Command { args: Vec::new(), ..command };
        let limits = [
            format!("--as={}", limits.memory),
            format!("--cpu={}", limits.cpu.as_secs().max(1)),
            format!("--fsize={}", limits.file_size),
            "--core=0".into(),
        ];
        match self {
            Self::Bubblewrap => {
                outer.program = "bwrap".into();
                outer = outer.args(["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
                outer = outer.args(["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]);
                for hidden in hidden_folders(writable) {
                    outer = outer.arg("--tmpfs").arg(hidden);
                }
                for path in writable {
                    outer = outer.arg("--bind").arg(path).arg(path);
                }
                if let Some(cwd) = outer.cwd.clone() {
                    outer = outer.arg("--chdir").arg(cwd);
                }
                outer = outer.arg("--").arg("prlimit").args(&limits).arg("--");
            }
            Self::Unshare => {
                outer.program = "unshare".into();
                if !rustix::process::geteuid().is_root() {
                    outer = outer.args(["--user", "--map-current-user"]);
                }
                outer = outer.args(["--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc", "--"]);
                outer = outer.arg("prlimit").args(&limits).arg("--");
            }
            Self::None => {
                outer.program = "prlimit".into();
                outer = outer.args(&limits).arg("--");
            }
        }
        outer.arg(program).args(args)
    }
}

/// Folders with credentials that sandboxed code has no business in.
fn hidden_folders(writable: &[&Path]) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    [".ssh", ".aws", ".docker", ".kube", ".config", ".gnupg", ".netrc.d"]
        .iter()
        .filter_map(|name| home.as_ref().map(|home| home.join(name)))
        .filter(|folder| folder.is_dir() && !writable.iter().any(|w| w.starts_with(folder)))
        .collect()
}

impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bubblewrap => "bubblewrap: network, pid, ipc and mount namespaces, read-only file system",
            Self::Unshare => "unshare: network, pid and ipc namespaces",
            Self::None => "none: bare environment and limits only",
        })
    }
}
