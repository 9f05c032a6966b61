//! What a build is asked for, and which requests are refused.

use std::collections::{BTreeMap, BTreeSet};

use kfops_core::{Digest, Failure, Reason};
use serde::{Deserialize, Serialize};

use crate::reference::{is_component, is_path, is_registry};

/// Images in one build.
const MAX_IMAGES: usize = 50;
/// Included folders, and build arguments, of one image.
const MAX_ENTRIES: usize = 100;
/// Bytes of a build argument's value.
const MAX_VALUE: usize = 32 * 1024;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Key of the archive in the object store.
    pub(crate) source_key: String,
    /// Digest of the archive.
    pub(crate) source_digest: Digest,
    /// The commit, for people.
    pub(crate) commit: String,
    /// `owner/name`, for people and for the default repositories.
    pub(crate) repository: String,
    /// Prefix of the images' repositories; empty: the default.
    pub(crate) registry: String,
    /// Whether that registry is spoken to over plain HTTP.
    pub(crate) insecure: bool,
    /// What to build.
    pub(crate) images: Vec<ImageSpec>,
}

/// One image to build. Paths are relative to the root of the source, but for the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageSpec {
    /// Last part of the repository.
    pub(crate) name: String,
    /// Folder that becomes the build context.
    pub(crate) context: String,
    /// Relative to the context.
    pub(crate) dockerfile: String,
    /// Folders that are copied into the context under their last names.
    pub(crate) include: Vec<String>,
    /// Build arguments.
    pub(crate) build_args: BTreeMap<String, String>,
}

impl Request {
    /// Refuses what cannot be built, naming the field.
    pub(crate) fn validate(&self) -> Result<(), Failure> {
        let wrong = |field: String, message: String| Err(Failure::new(Reason::InvalidArgument, message).on(field));
        if self.source_key.is_empty() {
            return wrong("build.source.key".into(), "the key of the source archive is missing".into());
        }
        if !self.registry.is_empty() {
            let (host, path) =
                self.registry.split_once('/').map_or((self.registry.as_str(), None), |(h, p)| (h, Some(p)));
            if !is_registry(host) || path.is_some_and(|path| !is_path(path)) {
                let message =
                    format!("`{}` is not a registry such as registry.example.com/team", shown(&self.registry));
                return wrong("build.registry".into(), message);
            }
        }
        if self.images.is_empty() || self.images.len() > MAX_IMAGES {
            return wrong("build.images".into(), format!("a build has 1 to {MAX_IMAGES} images"));
        }
        let mut names = BTreeSet::new();
        for (index, image) in self.images.iter().enumerate() {
            let field = |name: &str| format!("build.images[{index}].{name}");
            if !is_component(&image.name) || image.name.len() > 128 {
                let message = format!(
                    "`{}` is not a valid image name: use lower case letters, digits, `-`, `_`, `.`",
                    shown(&image.name)
                );
                return wrong(field("name"), message);
            }
            if !names.insert(&image.name) {
                return wrong(field("name"), format!("two images are called {}", image.name));
            }
            for (name, path) in [("context", &image.context), ("dockerfile", &image.dockerfile)] {
                if let Err(message) = check_path(path) {
                    return wrong(field(name), message);
                }
            }
            if image.include.len() > MAX_ENTRIES || image.build_args.len() > MAX_ENTRIES {
                return wrong(
                    field("include"),
                    format!("an image has at most {MAX_ENTRIES} includes and build arguments"),
                );
            }
            for (at, path) in image.include.iter().enumerate() {
                if let Err(message) = check_path(path) {
                    return wrong(field(&format!("include[{at}]")), message);
                }
            }
            for (key, value) in &image.build_args {
                let name_ok = key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                    && key.len() <= 128
                    && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                if !name_ok || value.len() > MAX_VALUE || value.contains('\0') {
                    return wrong(
                        field("build_args"),
                        format!("build argument `{}` has an invalid name or value", shown(key)),
                    );
                }
            }
        }
        Ok(())
    }
}

/// A path of a repository: relative, with `/`, without `..`. Whether it leads out through a link is seen when it is opened.
fn check_path(path: &str) -> Result<(), String> {
    let problem = if path.is_empty() || path.len() > 1024 {
        "a path has 1 to 1024 characters"
    } else if path.starts_with('/') || path.starts_with('~') {
        "a path is relative to the root of the repository"
    } else if path.chars().any(char::is_control) || path.contains('\\') {
        "a path has no control characters and no backslashes"
    } else if path.split('/').any(|part| part == "..") {
        "a path has no `..`"
    } else {
        return Ok(());
    };
    Err(format!("`{}`: {problem}", shown(path)))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        let image = ImageSpec {
            name: "trainer".into(),
            context: "images/trainer".into(),
            dockerfile: "Dockerfile".into(),
            include: vec!["lib".into()],
            build_args: BTreeMap::from([("A".into(), "1".into())]),
        };
        Request {
            source_key: "sources/o/n/c.tar.gz".into(),
            source_digest: Digest::of(b""),
            commit: String::new(),
            repository: "o/n".into(),
            registry: String::new(),
            insecure: false,
            images: vec![image],
        }
    }

    #[test]
    fn hostile_requests_name_their_field() {
        assert_eq!(request().validate(), Ok(()));
        type Change = fn(&mut Request);
        let cases: [(&str, Change); 9] = [
            ("build.images[0].context", |r| r.images[0].context = "../x".into()),
            ("build.images[0].context", |r| r.images[0].context = "/etc".into()),
            ("build.images[0].dockerfile", |r| r.images[0].dockerfile = "a/../../Dockerfile".into()),
            ("build.images[0].include[0]", |r| r.images[0].include = vec!["a\0b".into()]),
            ("build.images[0].name", |r| r.images[0].name = "$(touch x)".into()),
            ("build.images[1].name", |r| r.images.push(r.images[0].clone())),
            ("build.images[0].build_args", |r| {
                r.images[0].build_args.insert("--isolation".into(), String::new());
            }),
            ("build.registry", |r| r.registry = "registry.example.com/../x".into()),
            ("build.images", |r| r.images.clear()),
        ];
        for (field, change) in cases {
            let mut wrong = request();
            change(&mut wrong);
            assert_eq!(wrong.validate().unwrap_err().resource, field);
        }
    }
}
