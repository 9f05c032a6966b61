//! Packs a build context into an archive. The same folder always gives the same bytes.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use flate2::{Compression, GzBuilder};
use kfops_core::{Digest, Failure, Hasher, Reason};

/// The one folder in which everything lies, as in a source archive.
const TOP: &str = "context";

/// Writes the archive of `folder` into the file `into`; its digest.
pub(super) fn pack(folder: &Path, into: &Path) -> Result<Digest, Failure> {
    written(folder, into)
        .map_err(|error| Failure::new(Reason::StoreUnavailable, format!("the build context cannot be packed: {error}")))
}

fn written(folder: &Path, into: &Path) -> io::Result<Digest> {
    let file = Digesting { file: File::create(into)?, hasher: Hasher::default() };
    // Without a time and a name.
    let mut archive = tar::Builder::new(GzBuilder::new().mtime(0).write(file, Compression::fast()));
    archive.follow_symlinks(false);
    archive.mode(tar::HeaderMode::Deterministic);
    for entry in walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path().strip_prefix(folder).map_err(io::Error::other)?;
        archive.append_path_with_name(entry.path(), Path::new(TOP).join(path))?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    Ok(file.hasher.finish())
}

struct Digesting {
    file: File,
    hasher: Hasher,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use kfops_store::{ArchiveLimits, SourceRef, Store, extract_source};

    use super::*;

    #[tokio::test]
    async fn what_is_packed_comes_out_again_and_is_always_the_same() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("from");
        fs::create_dir_all(folder.join("a/empty")).unwrap();
        fs::write(folder.join("Dockerfile"), "FROM scratch").unwrap();
        fs::write(folder.join("a/run"), "1").unwrap();
        fs::set_permissions(folder.join("a/run"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("../Dockerfile", folder.join("a/link")).unwrap();
        let store = Store::open(format!("file://{}", place.path().join("store").display())).unwrap();
        let archive = place.path().join("context.tar.gz");
        let digest = pack(&folder, &archive).unwrap();
        store.put_file("x", &archive).await.unwrap();
        fs::write(folder.join("a/run"), "1").unwrap();
        assert_eq!(pack(&folder, &archive).unwrap(), digest);

        let into = place.path().join("into");
        let source = SourceRef { key: "x".into(), digest };
        extract_source(&store, &source, &into, ArchiveLimits::default()).await.unwrap();
        assert_eq!(fs::read_to_string(into.join("a/link")).unwrap(), "FROM scratch");
        assert!(into.join("a/empty").is_dir());
        assert_eq!(fs::metadata(into.join("a/run")).unwrap().permissions().mode() & 0o777, 0o755);
    }
}
