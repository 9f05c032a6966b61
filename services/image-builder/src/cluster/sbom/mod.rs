//! An SBOM generator for BuildKit (its SBOM scanning protocol): what packages of Debian, Alpine and Python an image holds, as
//! SPDX 2.3 in an in-toto statement. It reads what package managers wrote; what was copied in without one, it does not see.

mod packages;
mod spdx;

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use packages::{Kind, Package};

/// Where BuildKit says that the root of the image is.
const SOURCE: &str = "BUILDKIT_SCAN_SOURCE";
/// Folder of further roots.
const EXTRAS: &str = "BUILDKIT_SCAN_SOURCE_EXTRAS";
/// Where it says that the results go. BuildKit starts the image as it is: this variable is all that says that it is a scan.
const DESTINATION: &str = "BUILDKIT_SCAN_DESTINATION";

/// A longer list of packages is read up to here.
const MAX_FILE: u64 = 64 << 20;
/// Of a Python package: its headers are at the beginning.
const MAX_HEADERS: u64 = 64 << 10;
/// More are not listed. BuildKit takes no statement of more than 80 MiB.
const MAX_PACKAGES: usize = 20_000;

/// Whether BuildKit has started this program to scan an image.
#[must_use]
pub fn is_scan() -> bool {
    std::env::var_os(DESTINATION).is_some()
}

/// Scans what BuildKit's variables say. What goes wrong is in the log of the build.
#[must_use]
pub fn scan() -> ExitCode {
    match scanned() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("no SBOM: {error}");
            ExitCode::FAILURE
        }
    }
}

fn scanned() -> io::Result<()> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let missing = |name: &str| io::Error::other(format!("{name} is not set"));
    let into = variable(DESTINATION).ok_or_else(|| missing(DESTINATION))?;
    let mut roots = vec![variable(SOURCE).ok_or_else(|| missing(SOURCE))?];
    if let Some(extras) = variable(EXTRAS).filter(|folder| folder.is_dir()) {
        for entry in std::fs::read_dir(extras)? {
            roots.push(entry?.path());
        }
    }
    let now = k8s_openapi::jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for root in roots {
        let name = root.file_name().and_then(OsStr::to_str).unwrap_or("sbom").to_owned();
        let found = packages(&root);
        println!("{name}: {} packages", found.len());
        let statement = spdx::statement(&name, &now, &found);
        std::fs::write(into.join(format!("{name}.spdx.json")), serde_json::to_vec(&statement)?)?;
    }
    Ok(())
}

/// What lies below `root`, in order. Links are not followed: they lead out of the image. What cannot be read is left out.
fn packages(root: &Path) -> Vec<Package> {
    let system = packages::System::of(&os_release(root));
    let mut found = Vec::new();
    let files = walkdir::WalkDir::new(root).same_file_system(true).sort_by_file_name().into_iter();
    for entry in files.filter_map(Result::ok).filter(|entry| entry.file_type().is_file()) {
        let Ok(path) = entry.path().strip_prefix(root) else { continue };
        let Some(kind) = Kind::of(path) else { continue };
        let limit = if kind == Kind::Python { MAX_HEADERS } else { MAX_FILE };
        match read(entry.path(), limit) {
            Ok(text) => found.extend(packages::read(kind, &text, path, &system)),
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
        if found.len() > MAX_PACKAGES {
            eprintln!("more than {MAX_PACKAGES} packages: the others are not listed");
            found.truncate(MAX_PACKAGES);
            break;
        }
    }
    found.sort();
    found.dedup();
    found
}

fn os_release(root: &Path) -> String {
    ["usr/lib/os-release", "etc/os-release"]
        .iter()
        .map(|path| root.join(path))
        .find(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()))
        .and_then(|path| read(&path, MAX_HEADERS).ok())
        .unwrap_or_default()
}

fn read(path: &Path, limit: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn packages_of_all_managers_are_found_and_links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (root, outside) = (place.path().join("root"), place.path().join("outside"));
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(root.join("usr/lib/os-release"), "ID=debian\nVERSION_ID=\"12\"\n");
        write(
            root.join("var/lib/dpkg/status"),
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u10\nDescription: x\n Package: no\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n",
        );
        write(root.join("var/lib/dpkg/status.d/base"), "Package: base-files\nVersion: 12.4\n");
        write(
            root.join("usr/lib/python3/dist-packages/Some_Thing-1.0.dist-info/METADATA"),
            "Name: Some_Thing\nVersion: 1.0\n\nName: no\n",
        );
        write(outside.join("evil-1.dist-info/METADATA"), "Name: evil\nVersion: 1\n");
        std::os::unix::fs::symlink(&outside, root.join("linked")).unwrap();
        let urls: Vec<String> = packages(&root).into_iter().map(|package| package.url).collect();
        assert_eq!(
            urls,
            [
                "pkg:deb/debian/base-files@12.4?distro=debian-12",
                "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
                "pkg:pypi/some-thing@1.0",
            ]
        );
    }
}
