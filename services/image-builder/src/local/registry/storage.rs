//! The registry's content in a folder. Files appear whole: written beside, synced, renamed.
//!
//! ```text
//! blobs/<2 hex>/<hex>                       content, also of manifests
//! repositories/<name>/_manifests/<hex>      media type of a manifest
//! repositories/<name>/_tags/<tag>           digest that a tag points to
//! uploads/<uuid>                            uploads under way, and files being written
//! ```

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use kfops_core::{Digest, Failure, Hasher, Reason};
use serde::Deserialize;

use crate::reference::{is_path, is_tag};

/// The content. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Storage {
    root: Arc<PathBuf>,
}

/// A manifest as it was put.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Links {
    schema_version: u32,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

impl Storage {
    pub(super) fn open(root: &Path) -> Result<Self, Failure> {
        let open = || {
            for folder in ["blobs", "repositories", "uploads"] {
                fs::create_dir_all(root.join(folder))?;
            }
            // No upload survives its registry: its client starts again.
            for entry in fs::read_dir(root.join("uploads"))? {
                fs::remove_file(entry?.path())?;
            }
            root.canonicalize()
        };
        let root = open().map_err(|error| unavailable(&error))?;
        Ok(Self { root: Arc::new(root) })
    }

    pub(super) fn upload_path(&self, id: &uuid::Uuid) -> PathBuf {
        self.root.join("uploads").join(id.to_string())
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(&digest.hex()[..2]).join(digest.hex())
    }

    /// Makes a finished file a blob when it digests to `digest`; the file is gone afterwards either way.
    pub(super) fn commit(&self, upload: &Path, digest: &Digest) -> io::Result<bool> {
        let mut file = File::open(upload)?;
        let matches = hash(&mut file)? == *digest;
        if matches {
            file.sync_all()?;
            self.place(upload, &self.blob_path(digest))?;
        } else {
            fs::remove_file(upload)?;
        }
        Ok(matches)
    }

    pub(super) fn import(&self, file: &Path, digest: &Digest) -> Result<(), Failure> {
        let target = self.blob_path(digest);
        let temporary = self.upload_path(&uuid::Uuid::new_v4());
        let import = || {
            if target.exists() {
                return Ok(());
            }
            if fs::hard_link(file, &temporary).is_err() {
                fs::copy(file, &temporary)?;
                File::open(&temporary)?.sync_all()?;
            }
            self.place(&temporary, &target)
        };
        import().map_err(|error| unavailable(&error))
    }

    pub(super) fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, Failure> {
        let digest = Digest::of(bytes);
        self.write(&self.blob_path(&digest), bytes).map_err(|error| unavailable(&error))?;
        Ok(digest)
    }

    /// Everything that the manifest names must be there.
    pub(super) fn put_manifest(
        &self,
        repository: &str,
        tag: Option<&str>,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, Failure> {
        let invalid = |cause: String| Failure::new(Reason::InvalidArgument, cause);
        if !is_path(repository) || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid("not a valid repository or tag".into()));
        }
        let links: Links = serde_json::from_slice(bytes).map_err(|error| invalid(format!("manifest: {error}")))?;
        if links.schema_version != 2 {
            return Err(invalid("only manifests of schema version 2 are kept".into()));
        }
        for part in links.config.iter().chain(&links.layers).chain(&links.manifests) {
            if !self.blob_path(&part.digest).exists() {
                return Err(Failure::new(
                    Reason::NotFound,
                    format!("the manifest names {}, which is not here", part.digest),
                ));
            }
        }
        let digest = self.put_bytes(bytes)?;
        let folder = self.repository(repository);
        let put = || {
            self.write(&folder.join("_manifests").join(digest.hex()), media_type.as_bytes())?;
            tag.map_or(Ok(()), |tag| self.write(&folder.join("_tags").join(tag), digest.as_str().as_bytes()))
        };
        put().map_err(|error| unavailable(&error))?;
        Ok(digest)
    }

    pub(super) fn tag(&self, repository: &str, tag: &str) -> Option<Digest> {
        let text = fs::read_to_string(self.repository(repository).join("_tags").join(tag)).ok()?;
        Digest::parse(&text).ok()
    }

    pub(super) fn manifest(&self, repository: &str, digest: Digest) -> Option<Manifest> {
        let media_type = fs::read_to_string(self.repository(repository).join("_manifests").join(digest.hex())).ok()?;
        let bytes = fs::read(self.blob_path(&digest)).ok()?;
        Some(Manifest { digest, media_type, bytes })
    }

    /// Sorted; None when there is no such repository.
    pub(super) fn tags(&self, repository: &str) -> Option<Vec<String>> {
        let folder = self.repository(repository);
        folder.join("_manifests").is_dir().then(|| names(&folder.join("_tags")))
    }

    /// Sorted.
    pub(super) fn repositories(&self) -> Vec<String> {
        let root = self.root.join("repositories");
        let mut found = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for name in names(&folder) {
                let path = folder.join(&name);
                if name == "_manifests" {
                    found.extend(folder.strip_prefix(&root).map(|p| p.to_string_lossy().into_owned()));
                } else if !name.starts_with('_') && path.is_dir() {
                    open.push(path);
                }
            }
        }
        found.sort();
        found
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.root.join("repositories").join(name)
    }

    fn write(&self, target: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = self.upload_path(&uuid::Uuid::new_v4());
        let mut file = File::create_new(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        self.place(&temporary, target)
    }

    fn place(&self, from: &Path, to: &Path) -> io::Result<()> {
        let folder = to.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        fs::rename(from, to)?;
        File::open(folder)?.sync_all()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn hash(file: &mut File) -> io::Result<Digest> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn unavailable(error: &io::Error) -> Failure {
    Failure::new(Reason::RegistryUnavailable, format!("the embedded registry's folder: {error}"))
}
