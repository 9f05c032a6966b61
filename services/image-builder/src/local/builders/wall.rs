//! A root of its own for buildah and podman, made by bubblewrap. What escapes from a `RUN` step's chroot, or is mounted
//! through a link in a stage, finds the system read-only, the layer store and its own job, and nothing else of the machine.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use kfops_process::Command;

use super::probe;

/// Folders of the system: links where the machine has links.
const SYSTEM: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What the programs read of /etc: names, certificates, their own configuration. Never private keys or credentials.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "containers/certs.d",
    "containers/containers.conf",
    "containers/containers.conf.d",
    "containers/policy.json",
    "containers/registries.conf",
    "containers/registries.conf.d",
    "containers/registries.d",
    "containers/storage.conf",
    "crypto-policies",
    "group",
    "hosts",
    "ld.so.cache",
    "localtime",
    "nsswitch.conf",
    "passwd",
    "pki/ca-trust",
    "pki/tls/certs",
    "resolv.conf",
    "ssl/certs",
    "ssl/openssl.cnf",
    "subgid",
    "subuid",
];

/// Empty and writable: where the programs want to write besides their store.
const EMPTY: &[&str] =
    &["/tmp", "/run", "/var/tmp", "/var/cache", "/var/lib/containers", "/var/lib/cni", "/etc/containers/networks"];

/// Files of the kernel that change the whole machine.
const KERNEL: &[&str] = &["/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus"];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What one command sees besides the system.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Read-only.
    pub(super) readable: Vec<PathBuf>,
    /// Must exist.
    pub(super) writable: Vec<PathBuf>,
}

/// Says why there can be no wall.
pub(super) async fn probe() -> Result<(), String> {
    // Without root, buildah needs more user ids than bubblewrap maps.
    let root = std::fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0);
    if !root {
        return Err("not root".into());
    }
    let command = command("true", &View::default()).timeout(Duration::from_secs(5));
    probe::ask(command).await.map(|_| ()).map_err(|reason| format!("bwrap: {reason}"))
}

/// A command for `program` inside. The network is the machine's.
pub(super) fn command(program: &str, view: &View) -> Command {
    let mut command = Command::new("bwrap").args(["--unshare-pid", "--die-with-parent"]);
    for path in SYSTEM {
        command = match std::fs::read_link(path) {
            Ok(target) => command.arg("--symlink").arg(target).arg(path),
            Err(_) => command.args(["--ro-bind-try", path, path]),
        };
    }
    for name in ETC {
        let path = Path::new("/etc").join(name);
        command = command.arg("--ro-bind-try").arg(&path).arg(&path);
    }
    command = command.args(["--ro-bind", "/sys", "/sys", "--proc", "/proc", "--dev", "/dev"]);
    for path in KERNEL {
        // A stage may mount a path of this root, past what the builder protects in its containers.
        command = command.args(["--ro-bind-try", path, path]);
    }
    for path in EMPTY {
        command = command.args(["--tmpfs", path]);
    }
    for key in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        for path in std::env::var_os(key).iter().flat_map(std::env::split_paths).filter(|path| path.is_absolute()) {
            command = command.arg("--ro-bind-try").arg(&path).arg(&path);
        }
    }
    for path in &view.readable {
        command = command.arg("--ro-bind").arg(path).arg(path);
    }
    for path in &view.writable {
        command = command.arg("--bind").arg(path).arg(path);
    }
    // The builder itself mounts; what it runs gets less. It must find no program or setting that a step left.
    command
        .args(["--remount-ro", "/", "--cap-add", "ALL", "--chdir", "/"])
        .args(["--setenv", "PATH", PATH, "--setenv", "HOME", "/nonexistent", "--unsetenv", "XDG_RUNTIME_DIR"])
        .arg("--")
        .arg(program)
}
