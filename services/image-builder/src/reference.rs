//! Names of images, as in `FROM`: `registry/path:tag@digest`.

use std::fmt;

use kfops_core::Digest;

/// The registry of names without one.
pub(crate) const DOCKER_HUB: &str = "docker.io";

/// A whole image name; what the short form leaves out is filled in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageName {
    /// e.g. `docker.io`, `127.0.0.1:5000`.
    pub registry: String,
    /// e.g. `library/python`.
    pub path: String,
    /// `latest` where neither tag nor digest is given.
    pub tag: Option<String>,
    /// Pinned content.
    pub digest: Option<Digest>,
}

impl ImageName {
    /// Reads a name. Anything but a plain registry name (such as buildah's `dir:/path`) is refused.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not an image name", text.chars().take(200).collect::<String>());
        if text.len() > 512 {
            return Err(wrong());
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(Digest::parse(digest).map_err(|error| error.to_string())?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if tag.as_deref().is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong());
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => {
                (first.to_owned(), path.to_owned())
            }
            _ => (DOCKER_HUB.to_owned(), name.to_owned()),
        };
        let registry = if registry == "index.docker.io" { DOCKER_HUB.to_owned() } else { registry };
        let path = if registry == DOCKER_HUB && !path.contains('/') { format!("library/{path}") } else { path };
        if !is_registry(&registry) || !is_path(&path) {
            return Err(wrong());
        }
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { registry, path, tag, digest })
    }

    /// Without tag and digest.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A tag, as the OCI distribution specification says.
#[must_use]
pub(crate) fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// A repository's path, as the OCI distribution specification says.
#[must_use]
pub(crate) fn is_path(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.split('/').all(is_component)
}

/// One part of a path: lower case letters and digits, with single separators (`.`, `_`, `__`, dashes) between them.
#[must_use]
pub(crate) fn is_component(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let mut separator = String::new();
    for b in text.bytes() {
        if plain(b) {
            if !separator.is_empty()
                && !matches!(separator.as_str(), "." | "_" | "__")
                && separator.contains(['.', '_'])
            {
                return false;
            }
            separator.clear();
        } else if matches!(b, b'.' | b'_' | b'-') {
            separator.push(char::from(b));
        } else {
            return false;
        }
    }
    text.bytes().next().is_some_and(plain) && separator.is_empty()
}

/// `host` or `host:port`.
#[must_use]
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let host_ok = (1..=253).contains(&host.len())
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        });
    host_ok && port.is_none_or(|port| !port.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (short, long) in [
            ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
            ("o/n", "docker.io/o/n:latest"),
            ("127.0.0.1:5000/a/b:c", "127.0.0.1:5000/a/b:c"),
            ("localhost/a", "localhost/a:latest"),
        ] {
            assert_eq!(ImageName::parse(short).unwrap().to_string(), long);
        }
        let pinned = format!("gcr.io/x@sha256:{}", "a".repeat(64));
        assert_eq!(ImageName::parse(&pinned).unwrap().to_string(), pinned);
    }

    #[test]
    fn other_transports_and_hostile_names_are_refused() {
        for bad in [
            "",
            "dir:/etc",
            "oci-archive:/x",
            "docker-archive:/x",
            "containers-storage:x/y",
            "a/../b",
            "/etc",
            "A",
            "a b",
            "x:$(touch y)",
            "h:99999/x",
            "a//b",
            "-a",
            "x@sha256:12",
            "a..b",
            "a._b",
        ] {
            assert!(ImageName::parse(bad).is_err(), "{bad}");
        }
        assert!(is_component("a--b__c.d_e") && !is_component("a.-b"));
    }
}
