//! The digest over everything that an image is made from. Equal digests mean equal images; where the image
//! is pushed to does not count.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read as _,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
};

use kfops_core::{Digest, Failure, Hasher, Reason};

use crate::{context::Context, reference::ImageName};

/// Changes when the same input no longer gives the same image.
const VERSION: &str = "kfops-image-1";

/// Over the Dockerfile's place, the files with their modes and names, the build arguments and the base images.
pub(crate) fn of(
    context: &Context,
    build_args: &BTreeMap<String, String>,
    bases: &BTreeMap<ImageName, Digest>,
) -> Result<Digest, Failure> {
    let broken = |error: &dyn std::fmt::Display| {
        Failure::new(Reason::StoreUnavailable, format!("reading the build context: {error}"))
    };
    let mut hasher = Hasher::default();
    hasher.field(VERSION);
    hasher.field(std::env::consts::ARCH);
    let dockerfile = context.dockerfile.strip_prefix(&context.folder).map_err(|error| broken(&error))?;
    hasher.field(dockerfile.as_os_str().as_bytes());
    for (name, value) in build_args {
        hasher.field("arg");
        hasher.field(name);
        hasher.field(value);
    }
    for (name, digest) in bases {
        hasher.field("base");
        hasher.field(name.to_string());
        hasher.field(digest.as_str());
    }
    for entry in walkdir::WalkDir::new(&context.folder).min_depth(1).sort_by_file_name() {
        let entry = entry.map_err(|error| broken(&error))?;
        let path = entry.path().strip_prefix(&context.folder).map_err(|error| broken(&error))?;
        let kind = entry.file_type();
        if kind.is_dir() {
            hasher.field("folder");
            hasher.field(path.as_os_str().as_bytes());
        } else if kind.is_symlink() {
            hasher.field("link");
            hasher.field(path.as_os_str().as_bytes());
            hasher.field(fs::read_link(entry.path()).map_err(|error| broken(&error))?.as_os_str().as_bytes());
        } else {
            let metadata = entry.metadata().map_err(|error| broken(&error))?;
            hasher.field(if metadata.permissions().mode() & 0o100 == 0 { "file" } else { "program" });
            hasher.field(path.as_os_str().as_bytes());
            hasher.field(file(entry.path()).map_err(|error| broken(&error))?.as_str());
        }
    }
    Ok(hasher.finish())
}

fn file(path: &std::path::Path) -> std::io::Result<Digest> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Hasher::default(), vec![0; 64 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn everything_counts_but_the_place() {
        let make = |change: &dyn Fn(&std::path::Path)| {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("Dockerfile"), "FROM a").unwrap();
            fs::write(folder.path().join("x"), "1").unwrap();
            change(folder.path());
            let context = Context { folder: folder.path().to_owned(), dockerfile: folder.path().join("Dockerfile") };
            (folder, context)
        };
        let args = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        let bases = BTreeMap::from([(ImageName::parse("a").unwrap(), Digest::of(b"1"))]);
        let (_keep, same) = make(&|_| {});
        let digest = of(&same, &args, &bases).unwrap();
        let (_keep, again) = make(&|_| {});
        assert_eq!(digest, of(&again, &args, &bases).unwrap());
        let changes: [&dyn Fn(&std::path::Path); 4] = [
            &|f| fs::write(f.join("x"), "2").unwrap(),
            &|f| fs::rename(f.join("x"), f.join("y")).unwrap(),
            &|f| fs::set_permissions(f.join("x"), Permissions::from_mode(0o755)).unwrap(),
            &|f| fs::create_dir(f.join("d")).unwrap(),
        ];
        for change in changes {
            let (_keep, changed) = make(change);
            assert_ne!(digest, of(&changed, &args, &bases).unwrap());
        }
        assert_ne!(digest, of(&same, &BTreeMap::new(), &bases).unwrap());
        let other = BTreeMap::from([(ImageName::parse("a").unwrap(), Digest::of(b"2"))]);
        assert_ne!(digest, of(&same, &args, &other).unwrap());
    }
}
