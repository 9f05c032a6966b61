//! What package managers write down about what they installed. All of it may be hostile: it comes from the image.

use std::{collections::BTreeMap, path::Path};

/// Bytes of a field; what has a longer name is no package.
const MAX_FIELD: usize = 300;

/// A package in an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    /// Package URL (purl-spec).
    pub(super) url: String,
    pub(super) name: String,
    pub(super) version: String,
    /// The file that says so, within the image.
    pub(super) source: String,
}

/// Whose list a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// dpkg.
    Debian,
    /// apk.
    Alpine,
    /// pip and others (core metadata).
    Python,
}

/// What the image says that it is.
pub(super) struct System {
    id: String,
    version: String,
}

impl System {
    /// From the text of os-release.
    pub(super) fn of(release: &str) -> Self {
        let value = |key: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
        };
        Self { id: value("ID"), version: value("VERSION_ID") }
    }
}

impl Kind {
    /// By where the file lies, relative to the image's root.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let within = |suffix: &str| folder.extension().is_some_and(|extension| extension == suffix);
        match name {
            "status" if folder == Path::new("var/lib/dpkg") => Some(Self::Debian),
            "installed" if folder.ends_with("lib/apk/db") => Some(Self::Alpine),
            "METADATA" if within("dist-info") => Some(Self::Python),
            "PKG-INFO" if within("egg-info") => Some(Self::Python),
            // Images without a shell have one file a package.
            _ if folder == Path::new("var/lib/dpkg/status.d") && !name.ends_with(".md5sums") => Some(Self::Debian),
            _ if name.ends_with(".egg-info") => Some(Self::Python),
            _ => None,
        }
    }
}

/// The packages that `text`, from the file `source`, names.
pub(super) fn read(kind: Kind, text: &str, source: &Path, system: &System) -> Vec<Package> {
    let records: Vec<BTreeMap<&str, &str>> = match kind {
        Kind::Python => records(text, ": ").into_iter().take(1).collect(),
        Kind::Debian => records(text, ": "),
        Kind::Alpine => records(text, ":"),
    };
    records.iter().filter_map(|record| package(kind, record, source, system)).collect()
}

fn package(kind: Kind, record: &BTreeMap<&str, &str>, source: &Path, system: &System) -> Option<Package> {
    let field = |key: &str| record.get(key).copied().filter(|value| (1..=MAX_FIELD).contains(&value.len()));
    let or = |id: &str| if system.id.is_empty() { id.to_owned() } else { encoded(&system.id) };
    let (name, version, arch) = match kind {
        Kind::Debian => (field("Package")?, field("Version")?, field("Architecture")),
        Kind::Alpine => (field("P")?, field("V")?, field("A")),
        Kind::Python => (field("Name")?, field("Version")?, None),
    };
    // Removed, with its configuration left behind.
    if kind == Kind::Debian && field("Status").is_some_and(|status| !status.ends_with(" installed")) {
        return None;
    }
    let kind_of_url = match kind {
        Kind::Debian => format!("deb/{}/{}", or("debian"), encoded(name)),
        Kind::Alpine => format!("apk/{}/{}", or("alpine"), encoded(name)),
        Kind::Python => format!("pypi/{}", encoded(&name.to_lowercase().replace('_', "-"))),
    };
    let mut qualifiers = Vec::new();
    qualifiers.extend(arch.map(|arch| format!("arch={}", encoded(arch))));
    if kind != Kind::Python && !system.id.is_empty() && !system.version.is_empty() {
        qualifiers.push(format!("distro={}-{}", encoded(&system.id), encoded(&system.version)));
    }
    let sign = if qualifiers.is_empty() { "" } else { "?" };
    Some(Package {
        url: format!("pkg:{kind_of_url}@{}{sign}{}", encoded(version), qualifiers.join("&")),
        name: name.to_owned(),
        version: version.to_owned(),
        source: format!("/{}", source.display()),
    })
}

/// Records of `key SEPARATOR value` lines with an empty line between them. Lines that go on with a space belong to the field before.
fn records<'a>(text: &'a str, separator: &str) -> Vec<BTreeMap<&'a str, &'a str>> {
    let (mut all, mut record) = (Vec::new(), BTreeMap::new());
    for line in text.lines().chain([""]) {
        if line.is_empty() {
            if !record.is_empty() {
                all.push(std::mem::take(&mut record));
            }
        } else if !line.starts_with([' ', '\t'])
            && let Some((key, value)) = line.split_once(separator)
        {
            record.entry(key).or_insert(value.trim());
        }
    }
    all
}

/// Percent-encoded as a purl wants it.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~' | b':') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(kind: Kind, text: &str, release: &str) -> Vec<String> {
        read(kind, text, Path::new("x"), &System::of(release)).into_iter().map(|package| package.url).collect()
    }

    #[test]
    fn alpines_list_is_read() {
        let text = "C:Q1x=\nP:musl\nV:1.2.5-r9\nA:x86_64\nF:lib\n\nP:zlib\nV:1.3\n";
        let release = "ID=alpine\nVERSION_ID=3.21.0\n";
        let expected = [
            "pkg:apk/alpine/musl@1.2.5-r9?arch=x86_64&distro=alpine-3.21.0",
            "pkg:apk/alpine/zlib@1.3?distro=alpine-3.21.0",
        ];
        assert_eq!(urls(Kind::Alpine, text, release), expected);
    }

    #[test]
    fn nothing_hostile_reaches_a_url() {
        let text = "Name: a/../b?x=#\nVersion: 1 @2\n";
        assert_eq!(urls(Kind::Python, text, ""), ["pkg:pypi/a%2F..%2Fb%3Fx%3D%23@1%20%402"]);
        assert!(urls(Kind::Python, "Version: 1", "").is_empty());
        assert!(urls(Kind::Debian, "\n\n: x\nPackage: \nVersion: 2", "ID=../x").is_empty());
    }

    #[test]
    fn lists_are_known_by_their_place() {
        let kind = |path: &str| Kind::of(Path::new(path));
        assert_eq!(kind("var/lib/dpkg/status"), Some(Kind::Debian));
        assert_eq!(kind("var/lib/dpkg/status.d/tzdata"), Some(Kind::Debian));
        assert_eq!(kind("var/lib/dpkg/status.d/tzdata.md5sums"), None);
        assert_eq!(kind("home/var/lib/dpkg/status"), None);
        assert_eq!(kind("usr/lib/apk/db/installed"), Some(Kind::Alpine));
        assert_eq!(kind("v/lib/python3/site-packages/a-1.dist-info/METADATA"), Some(Kind::Python));
        assert_eq!(kind("METADATA"), None);
    }
}
