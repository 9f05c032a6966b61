//! Files of this machine that builds may read, so that pip in a build behaves like pip on the machine:
//! the CA bundle and a pip configuration without credentials.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use kfops_core::{Failure, Reason};

use crate::settings::{HostFile, LocalSettings};

/// Where builds see the CA bundle: where Debian's OpenSSL looks for it.
const CA_INSIDE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// pip's configuration for all users.
const PIP_INSIDE: &str = "/etc/pip.conf";

/// Settings of pip that are handed on.
const PIP_KEYS: &[&str] = &[
    "index-url",
    "extra-index-url",
    "trusted-host",
    "proxy",
    "timeout",
    "retries",
    "prefer-binary",
    "disable-pip-version-check",
];

/// A file and where builds see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) host: PathBuf,
    pub(super) inside: &'static str,
}

/// What builds get to see. A pip configuration that is made is written into `folder`.
pub(super) fn mounts(settings: &LocalSettings, folder: &Path) -> Result<Vec<Mount>, Failure> {
    let host_pip = pip_settings();
    let ca = match &settings.ca_bundle {
        HostFile::None => None,
        HostFile::Path(path) => Some(must_exist(path, "local.ca_bundle")?),
        HostFile::Auto => ca_bundle(&host_pip),
    };
    let pip = match &settings.pip_config {
        HostFile::None => None,
        HostFile::Path(path) => Some(must_exist(path, "local.pip_config")?),
        HostFile::Auto => {
            let text = pip_conf(&host_pip, ca.is_some());
            if text.is_empty() {
                None
            } else {
                let path = folder.join("pip.conf");
                std::fs::write(&path, text).map_err(|error| {
                    Failure::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", path.display()))
                })?;
                Some(path)
            }
        }
    };
    let ca = ca.map(|host| Mount { host, inside: CA_INSIDE });
    let pip = pip.map(|host| Mount { host, inside: PIP_INSIDE });
    Ok(ca.into_iter().chain(pip).collect())
}

fn must_exist(path: &Path, setting: &str) -> Result<PathBuf, Failure> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    Err(Failure::new(Reason::InvalidArgument, format!("{setting}: there is no file {}", path.display())))
}

/// The bundle that this machine was told to use. Where nobody said so, images keep their own.
fn ca_bundle(pip: &BTreeMap<String, String>) -> Option<PathBuf> {
    let variables = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];
    let named = pip.get("cert").cloned().into_iter().chain(variables.iter().filter_map(|v| std::env::var(v).ok()));
    named.map(PathBuf::from).find(|path| path.is_absolute() && path.is_file())
}

/// pip's settings on this machine: its files, the later over the earlier, then the environment.
fn pip_settings() -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let in_home = |path: &str| home.as_ref().map(|home| home.join(path));
    let xdg = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|v| !v.is_empty())
        .map(|dir| PathBuf::from(dir).join("pip/pip.conf"));
    let files = [
        Some(PathBuf::from("/etc/pip.conf")),
        in_home(".pip/pip.conf"),
        xdg.or_else(|| in_home(".config/pip/pip.conf")),
        std::env::var_os("PIP_CONFIG_FILE").map(PathBuf::from),
    ];
    for file in files.into_iter().flatten() {
        if let Ok(text) = std::fs::read_to_string(file) {
            read_ini(&text, &mut settings);
        }
    }
    for key in PIP_KEYS.iter().chain(&["cert"]) {
        if let Ok(value) = std::env::var(format!("PIP_{}", key.to_uppercase().replace('-', "_"))) {
            settings.insert((*key).to_owned(), value);
        }
    }
    settings
}

/// The sections `[global]` and `[install]`; a value may go on in indented lines.
fn read_ini(text: &str, settings: &mut BTreeMap<String, String>) {
    let (mut wanted, mut last) = (false, None::<String>);
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            (wanted, last) = (matches!(section, "global" | "install"), None);
        } else if line.starts_with([' ', '\t']) {
            if let Some(value) = last.as_ref().and_then(|key| settings.get_mut(key)) {
                value.push(' ');
                value.push_str(trimmed);
            }
        } else if let Some((key, value)) = trimmed.split_once('=').filter(|_| wanted) {
            let key = key.trim().replace('_', "-");
            settings.insert(key.clone(), value.trim().to_owned());
            last = Some(key);
        }
    }
}

/// The configuration for inside; empty when there is nothing to say.
fn pip_conf(settings: &BTreeMap<String, String>, with_ca: bool) -> String {
    let mut text = String::new();
    for key in PIP_KEYS {
        let Some(value) = settings.get(*key) else { continue };
        // A user or password in a URL is a credential: code of a pull request must not read it.
        let (open, secret): (Vec<&str>, Vec<&str>) = value.split_whitespace().partition(|word| !word.contains('@'));
        if !secret.is_empty() {
            tracing::warn!(setting = key, "not handed on to builds: it holds credentials");
        }
        if !open.is_empty() {
            // Writing to a string cannot fail.
            writeln!(text, "{key} = {}", open.join(" ")).ok();
        }
    }
    if with_ca {
        writeln!(text, "cert = {CA_INSIDE}").ok();
    }
    if text.is_empty() { text } else { format!("[global]\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_outside() {
        let mut settings = BTreeMap::new();
        read_ini(
            "[global]\nindex-url = https://u:p@mirror.example.com/simple\nextra-index-url =\n  https://a.example.com\n  https://t@b.example.com\ntimeout=30\n[freeze]\nretries = 9\n",
            &mut settings,
        );
        let text = pip_conf(&settings, true);
        assert_eq!(
            text,
            "[global]\nextra-index-url = https://a.example.com\ntimeout = 30\ncert = /etc/ssl/certs/ca-certificates.crt\n"
        );
        assert_eq!(pip_conf(&BTreeMap::new(), false), "");
    }
}
