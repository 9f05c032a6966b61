//! The files of a repository, wherever they are: a folder on disk, or an archive in memory.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use crate::path::{join, normalize};

/// What a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
}

/// Why a file could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// There is none.
    #[error("no such file")]
    NotFound,
    /// It is larger than the caller wants.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// The system says so.
    #[error("cannot be read: {0}")]
    Io(String),
}

/// Files of one repository. Paths are relative to its root, with `/`; `.` is the root. What leads out of it does not
/// exist.
pub trait Files {
    /// What is there, if anything.
    fn kind(&self, path: &str) -> Option<EntryKind>;
    /// The whole file, if it is no longer than `limit`.
    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, FileError>;
    /// Names in a folder, sorted; empty if there is no such folder.
    fn list(&self, folder: &str) -> Vec<String>;

    /// Whether anything is there.
    fn exists(&self, path: &str) -> bool {
        self.kind(path).is_some()
    }
    /// Whether a file is there.
    fn is_file(&self, path: &str) -> bool {
        self.kind(path) == Some(EntryKind::File)
    }
    /// Whether a folder is there.
    fn is_dir(&self, path: &str) -> bool {
        self.kind(path) == Some(EntryKind::Folder)
    }
}

/// A folder on disk. Symbolic links that lead out of it are as good as absent.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Fails when there is no such folder.
    pub fn new(root: impl AsRef<Path>) -> std::io::Result<Self> {
        let root = fs::canonicalize(root)?;
        if !root.is_dir() {
            return Err(std::io::Error::from(std::io::ErrorKind::NotADirectory));
        }
        Ok(Self { root })
    }

    fn resolve(&self, path: &str) -> Option<PathBuf> {
        let inside = fs::canonicalize(self.root.join(normalize(path).ok()?)).ok()?;
        inside.starts_with(&self.root).then_some(inside)
    }
}

impl Files for Folder {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let metadata = fs::metadata(self.resolve(path)?).ok()?;
        if metadata.is_dir() { Some(EntryKind::Folder) } else { metadata.is_file().then_some(EntryKind::File) }
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, FileError> {
        // Opening a pipe or a device could block for ever.
        if !self.is_file(path) {
            return Err(FileError::NotFound);
        }
        let path = self.resolve(path).ok_or(FileError::NotFound)?;
        let file = fs::File::open(path).map_err(|e| FileError::Io(e.to_string()))?;
        let mut bytes = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        file.take(most).read_to_end(&mut bytes).map_err(|e| FileError::Io(e.to_string()))?;
        if bytes.len() > limit { Err(FileError::TooLarge(limit)) } else { Ok(bytes) }
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let Some(entries) = self.resolve(folder).and_then(|path| fs::read_dir(path).ok()) else {
            return Vec::new();
        };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).take(10_000).collect();
        names.sort();
        names
    }
}

/// Files in memory: an archive's, or a test's.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    files: BTreeMap<String, Vec<u8>>,
}

impl Memory {
    /// Without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file; one whose path leads out of the repository is dropped. Folders come with their files.
    pub fn insert(&mut self, path: &str, content: impl Into<Vec<u8>>) {
        if let Ok(path) = normalize(path) {
            self.files.insert(path, content.into());
        }
    }

    /// [`Self::insert`], for chains.
    #[must_use]
    pub fn with(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.insert(path, content);
        self
    }
}

impl Files for Memory {
    fn kind(&self, path: &str) -> Option<EntryKind> {
        let path = normalize(path).ok()?;
        if self.files.contains_key(&path) {
            return Some(EntryKind::File);
        }
        let prefix = join(&path, "");
        let folder =
            path == "." || self.files.range(prefix.clone()..).next().is_some_and(|(k, _)| k.starts_with(&prefix));
        folder.then_some(EntryKind::Folder)
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, FileError> {
        let path = normalize(path).map_err(|_| FileError::NotFound)?;
        let content = self.files.get(&path).ok_or(FileError::NotFound)?;
        if content.len() > limit { Err(FileError::TooLarge(limit)) } else { Ok(content.clone()) }
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let Ok(folder) = normalize(folder) else { return Vec::new() };
        let prefix = join(&folder, "");
        let inside = self.files.keys().filter_map(|path| path.strip_prefix(&prefix));
        let mut names: Vec<String> = inside.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned()).collect();
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> (tempfile::TempDir, Vec<Box<dyn Files>>) {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("repo/a/b")).unwrap();
        fs::write(temp.path().join("repo/a/b/c.txt"), "hello").unwrap();
        fs::write(temp.path().join("secret"), "s").unwrap();
        let folder = Folder::new(temp.path().join("repo")).unwrap();
        (temp, vec![Box::new(folder), Box::new(Memory::new().with("a/b/c.txt", "hello"))])
    }

    #[test]
    fn agree() {
        let (_temp, all) = both();
        for files in all {
            assert!(files.is_dir(".") && files.is_dir("a/b/") && files.is_file("./a/b/c.txt") && !files.exists("x"));
            assert_eq!(files.list("."), ["a"]);
            assert_eq!(files.list("a/b"), ["c.txt"]);
            assert_eq!(files.read("a/b/c.txt", 5).unwrap(), b"hello");
            assert_eq!(files.read("a/b/c.txt", 4), Err(FileError::TooLarge(4)));
            assert_eq!(files.read("a/b", 4), Err(FileError::NotFound));
            assert_eq!(files.read("../secret", 4), Err(FileError::NotFound));
        }
    }

    #[test]
    #[cfg(unix)]
    fn links_do_not_lead_out() {
        let (temp, all) = both();
        std::os::unix::fs::symlink(temp.path().join("secret"), temp.path().join("repo/link")).unwrap();
        std::os::unix::fs::symlink("a/b/c.txt", temp.path().join("repo/inner")).unwrap();
        assert!(!all[0].exists("link"));
        assert_eq!(all[0].read("link", 10), Err(FileError::NotFound));
        assert!(all[0].is_file("inner"));
    }
}
