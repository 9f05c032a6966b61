//! The root file system of the stand-ins: made by mmdebstrap, kept as a tar in the cache folder.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kfops_core::{Digest, Failure, Hasher, Reason};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::local::jail;

/// The Debian release whose Python is 3.11.
const SUITE: &str = "bookworm";
const PYTHON: &str = "3.11";
/// Changes when what is made below changes.
const RECIPE: u32 = 2;
/// Longest that making may take; the packages come over the network.
const TIME_LIMIT: Duration = Duration::from_secs(900);
/// Time stamp of every file that is newer: the same packages then give the same bytes.
const EPOCH: &str = "1735689600";

/// A root file system in the cache folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Rootfs {
    #[serde(skip)]
    pub(super) tar: PathBuf,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// Links `python`, puts Debian's own pip and setuptools where `pip` finds them, and lets pip install as in the image
/// that this one stands in for.
const PYTHON_SETUP: &str = r#"
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
ln -s /usr/bin/python3 /usr/local/bin/python
ln -s /usr/bin/python3 /usr/local/bin/python3
cd /usr/share/python-wheels
PYTHONPATH=$(echo pip-*.whl) python3 -m pip install -q --no-cache-dir --no-index --no-deps --no-compile --root-user-action=ignore ./pip-*.whl ./setuptools-*.whl
# Whose these are depends on where the root file system is made; it must not show in the digest.
chown _apt:root /var/cache/apt/archives/partial /var/lib/apt/lists/partial || true
"#;

const CLEANUP: &str = r#"cd "$1" && find usr -name __pycache__ -type d -prune -exec rm -rf {} + && rm -rf var/log/*.log var/log/apt var/cache/debconf/*-old var/cache/ldconfig/* var/lib/dpkg/*-old etc/resolv.conf etc/hostname"#;

/// The cached one, or a new one. Only one process makes it; the others wait.
pub(super) async fn ensure(cache: &Path, cancel: &CancellationToken) -> Result<Rootfs, Failure> {
    let folder = cache.join("base-images");
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::new(Reason::StoreUnavailable, format!("cache folder {}: {error}", folder.display()))
    };
    fs::create_dir_all(&folder).map_err(|error| unusable(&error))?;
    let name = name();
    let (tar, note) = places(&folder);
    if let Some(rootfs) = cached(&tar, &note) {
        return Ok(rootfs);
    }
    let lock = File::create(folder.join(format!("{name}.lock"))).map_err(|error| unusable(&error))?;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = cancel.cancelled() => return Err(Failure::new(Reason::Canceled, "canceled")),
            },
            Err(TryLockError::Error(error)) => return Err(unusable(&error)),
        }
    }
    if let Some(rootfs) = cached(&tar, &note) {
        return Ok(rootfs);
    }
    let begun = Instant::now();
    tracing::info!(suite = SUITE, folder = %folder.display(), "making the stand-in base image");
    let work = folder.join(format!("{name}.making"));
    remove(&work);
    fs::create_dir_all(&work).map_err(|error| unusable(&error))?;
    let made = make(&work, cancel).await;
    let placed = match made {
        Err(failure) => Err(failure),
        Ok(made) => {
            let (tar, note, work) = (tar.clone(), note.clone(), work.clone());
            let place = move || {
                File::open(&made)?.sync_all()?;
                let digest = hash(&made)?;
                let rootfs = Rootfs { tar: tar.clone(), digest, size: fs::metadata(&made)?.len() };
                fs::rename(&made, &tar)?;
                fs::write(work.join("note"), serde_json::to_vec(&rootfs)?)?;
                fs::rename(work.join("note"), &note)?;
                Ok::<_, std::io::Error>(rootfs)
            };
            tokio::task::spawn_blocking(place).await.map_err(Failure::internal)?.map_err(|error| unusable(&error))
        }
    };
    remove(&work);
    if let Ok(rootfs) = &placed {
        tracing::info!(seconds = begun.elapsed().as_secs_f64(), bytes = rootfs.size, "stand-in base image made");
    }
    placed
}

/// The cached one, where there is one.
pub(super) fn made_already(cache: &Path) -> Option<Rootfs> {
    let (tar, note) = places(&cache.join("base-images"));
    cached(&tar, &note)
}

fn name() -> String {
    format!("debian-{SUITE}-python{PYTHON}-{}-{RECIPE}", std::env::consts::ARCH)
}

/// Tar and note.
fn places(folder: &Path) -> (PathBuf, PathBuf) {
    (folder.join(format!("{}.tar", name())), folder.join(format!("{}.json", name())))
}

/// What the note beside the tar promises, where it is there and of the promised size.
fn cached(tar: &Path, note: &Path) -> Option<Rootfs> {
    let rootfs: Rootfs = serde_json::from_slice(&fs::read(note).ok()?).ok()?;
    let size = fs::metadata(tar).ok()?.len();
    (size == rootfs.size).then(|| Rootfs { tar: tar.to_owned(), ..rootfs })
}

async fn make(work: &Path, cancel: &CancellationToken) -> Result<PathBuf, Failure> {
    let tar = work.join("rootfs.tar");
    let log = work.join("log");
    let script = work.join("setup.sh");
    fs::write(&script, PYTHON_SETUP).map_err(|error| {
        Failure::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", script.display()))
    })?;
    let mut command = jail::command("mmdebstrap").await.args(["--quiet", "--variant=minbase", "--format=tar"]);
    let merged_usr = Path::new("/usr/share/mmdebstrap/hooks/merged-usr");
    let mut packages = "python3,python3-venv,ca-certificates".to_owned();
    if merged_usr.is_dir() {
        // Without it the package that merges /usr comes along, and with it 60 MB of Perl.
        command = command.arg(format!("--hook-dir={}", merged_usr.display()));
        packages = format!("usr-is-merged,{packages}");
    }
    command = command.arg(format!("--include={packages}"));
    for excluded in ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"] {
        command = command.arg(format!("--dpkgopt=path-exclude={excluded}"));
    }
    let python = format!(
        "chroot \"$1\" test -x /usr/bin/python{PYTHON} || {{ echo 'no python{PYTHON} in {SUITE}' >&2; exit 1; }}"
    );
    command = command
        .arg(format!("--customize-hook={python}"))
        .arg(format!("--customize-hook=chroot \"$1\" sh -e -s < {}", quoted(&script)?))
        .arg(format!("--customize-hook={CLEANUP}"))
        .arg(SUITE)
        .arg(&tar)
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .env("TMPDIR", work)
        .pass_env(&["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"])
        .log(&log)
        .timeout(TIME_LIMIT);
    let ended = command.run(cancel).await?;
    if ended.success() {
        return Ok(tar);
    }
    if ended.canceled {
        return Err(Failure::new(Reason::Canceled, "canceled"));
    }
    let missing = ended.code == Some(127) || which("mmdebstrap").is_none();
    let failure = if missing {
        Failure::new(
            Reason::BuilderMissing,
            "the base image has to be made from Debian's packages, and mmdebstrap is not installed",
        )
        .action("install the Debian package mmdebstrap, or connect this machine to a public image registry")
    } else {
        Failure {
            retryable: true,
            ..Failure::new(
                Reason::ImageBuildFailed,
                format!("making the base image (Debian {SUITE} with Python {PYTHON}) with mmdebstrap: {}", ended.describe()),
            )
            .action("look at the log: mostly the package mirror does not answer, or has no such release; running it again continues from there")
        }
    };
    Err(failure.log_tail(&ended.output))
}

/// The hooks are run by a shell: a path with anything but plain characters is refused rather than quoted.
fn quoted(path: &Path) -> Result<String, Failure> {
    let text = path.to_string_lossy();
    let plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+ @".contains(c));
    if plain {
        Ok(format!("'{text}'"))
    } else {
        Err(Failure::new(Reason::InvalidArgument, format!("the cache folder's path {text} has unusual characters"))
            .action("choose another folder with local.cache"))
    }
}

pub(super) fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn hash(path: &Path) -> std::io::Result<Digest> {
    use std::io::Read as _;
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Hasher::default(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn remove(folder: &Path) {
    if folder.exists()
        && let Err(error) = fs::remove_dir_all(folder)
    {
        tracing::warn!(folder = %folder.display(), %error, "cannot remove");
    }
}
