//! Where `kfc local` keeps things: state below `.kfops/`, what can be made again below the user's cache folder.

use std::path::{Path, PathBuf};

use kfops_core::{Failure, Reason};

/// The folders of one local system.
#[derive(Debug, Clone)]
pub struct Layout {
    /// `.kfops`.
    pub state: PathBuf,
    /// Shared by all local systems of this user.
    pub cache: PathBuf,
}

impl Layout {
    /// Makes the folders; the state folder ignores itself in git.
    pub fn create(state: &Path) -> Result<Self, Failure> {
        let made = |path: &Path| {
            std::fs::create_dir_all(path)?;
            path.canonicalize()
        };
        let unusable = |path: &Path, error: std::io::Error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot use folder {}: {error}", path.display()))
        };
        let state = made(state).map_err(|error| unusable(state, error))?;
        let cache = cache_folder()?;
        let cache = made(&cache).map_err(|error| unusable(&cache, error))?;
        let ignore = state.join(".gitignore");
        std::fs::write(&ignore, "*\n").map_err(|error| unusable(&ignore, error))?;
        Ok(Self { state, cache })
    }

    /// A folder or file of the state.
    #[must_use]
    pub fn of(&self, name: &str) -> PathBuf {
        self.state.join(name)
    }

    /// The object store's address.
    #[must_use]
    pub fn store_url(&self) -> String {
        format!("file://{}", self.of("store").display())
    }
}

/// `KFOPS_CACHE`, else `$XDG_CACHE_HOME/kfops`, else `~/.cache/kfops`.
fn cache_folder() -> Result<PathBuf, Failure> {
    let from = |key: &str| std::env::var_os(key).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("KFOPS_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|p| p.join("kfops")))
        .or_else(|| from("HOME").map(|p| p.join(".cache/kfops")))
        .ok_or_else(|| Failure::new(Reason::InvalidArgument, "no cache folder: set HOME or KFOPS_CACHE"))
}
