//! A place for code that is not ours: no network, own processes, a read-only system, limits.

use std::{
    ffi::OsString,
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

/// What sandboxed code sees of the machine.
#[derive(Debug, Clone, Default)]
pub struct Confinement<'a> {
    /// Folders that it may write to; everything else is read-only or hidden.
    pub writable: &'a [&'a Path],
    /// Folders that it may read although they lie in a hidden one.
    pub readable: &'a [&'a Path],
    /// Folders that look empty, e.g. with secrets. Only bubblewrap can hide.
    pub hidden: &'a [&'a Path],
    /// Whether it reaches the network.
    pub network: bool,
    /// Limits of each process; none when unset.
    pub limits: Option<Limits>,
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

    /// The same command, inside, without network. `writable` are the folders that it may write to; everything else is
    /// read-only or hidden.
    #[must_use]
    pub fn wrap(&self, command: Command, writable: &[&Path], limits: &Limits) -> Command {
        self.confine(command, &Confinement { writable, limits: Some(limits.clone()), ..Confinement::default() })
    }

    /// The same command, inside.
    #[must_use]
    pub fn confine(&self, command: Command, confinement: &Confinement<'_>) -> Command {
        let (program, args) = (command.program.clone(), command.args.clone());
        let mut outer = Command { args: Vec::new(), ..command };
        let limits = confinement.limits.as_ref().map(|limits| {
            [
                format!("--as={}", limits.memory),
                format!("--cpu={}", limits.cpu.as_secs().max(1)),
                format!("--fsize={}", limits.file_size),
                "--core=0".into(),
            ]
        });
        let mut inner: Vec<OsString> = Vec::new();
        if let Some(limits) = limits {
            inner.push("prlimit".into());
            inner.extend(limits.map(OsString::from));
            inner.push("--".into());
        }
        inner.push(program);
        inner.extend(args);
        match self {
            Self::Bubblewrap => {
                outer.program = "bwrap".into();
                outer.wrapped = true;
                outer = outer.args(["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]);
                if confinement.network {
                    outer = outer.arg("--share-net");
                }
                outer = outer.args(["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"]);
                for hidden in hidden_folders(confinement) {
                    outer = outer.arg("--tmpfs").arg(hidden);
                }
                for socket in SOCKETS.iter().filter(|path| confinement.network && Path::new(path).exists()) {
                    outer = outer.args(["--ro-bind", "/dev/null", socket]);
                }
                for path in confinement.readable {
                    outer = outer.arg("--ro-bind").arg(path).arg(path);
                }
                for path in confinement.writable {
                    outer = outer.arg("--bind").arg(path).arg(path);
                }
                if let Some(cwd) = outer.cwd.clone() {
                    outer = outer.arg("--chdir").arg(cwd);
                }
                outer.arg("--").args(inner)
            }
            Self::Unshare => {
                outer.program = "unshare".into();
                if !rustix::process::geteuid().is_root() {
                    outer = outer.args(["--user", "--map-current-user"]);
                }
                if !confinement.network {
                    outer = outer.arg("--net");
                }
                outer = outer.args(["--pid", "--ipc", "--fork", "--kill-child", "--mount-proc", "--"]);
                outer.args(inner)
            }
            Self::None => {
                let mut inner = inner.into_iter();
                outer.program = inner.next().unwrap_or_default();
                outer.args(inner)
            }
        }
    }
}

/// Sockets of daemons that would do anything for whoever reaches them. Without network, all of /run is hidden.
const SOCKETS: &[&str] = &["/run/docker.sock", "/run/crio/crio.sock"];
const DAEMONS: &[&str] = &["/run/user", "/run/dbus", "/run/containerd", "/run/podman", "/run/buildkit"];

/// Folders that sandboxed code has no business in: what the caller says, and where credentials usually lie.
fn hidden_folders(confinement: &Confinement<'_>) -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let shown = |folder: &Path| confinement.writable.iter().any(|w| w.starts_with(folder));
    let usual = [".ssh", ".aws", ".docker", ".kube", ".config", ".gnupg", ".netrc.d"]
        .iter()
        .filter_map(|name| home.as_ref().map(|home| home.join(name)))
        .filter(|folder| !shown(folder));
    let own = confinement.hidden.iter().map(|folder| folder.to_path_buf());
    let daemons = if confinement.network { DAEMONS } else { &["/run"] };
    let daemons = daemons.iter().map(PathBuf::from);
    let mut folders: Vec<PathBuf> = usual.chain(own).chain(daemons).filter(|folder| folder.is_dir()).collect();
    // Outer folders first: a mount on an outer one covers what lies in it.
    folders.sort();
    folders
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
