//! What values must be like: formats of single values, and what several values say together.

use crate::{
    diagnostic::Diagnostic,
    environments::Strategy,
    position::{Position, Positions},
    shape::{quantity, short},
    types::Project,
};

/// Checks text against one of our formats and returns its normal form; a message otherwise.
pub(crate) fn format(format: &str, text: &str) -> Result<String, String> {
    if let Some(result) = quantity(format, text) {
        return result;
    }
    let shown = short(text);
    let fault = match format {
        "" => None,
        _ if text.trim().is_empty() => Some("must not be empty".to_owned()),
        "kfops-dns-label" if !dns_label(text) => Some(format!(
            "`{shown}` is not a DNS-1123 label: at most 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"
        )),
        "kfops-image-name" if !image_name(text) => Some(format!(
            "`{shown}` is not an image name: a-z, 0-9, and single . _ - between them, at most 128 characters"
        )),
        "kfops-registry" => registry(text).err().map(|why| format!("`{shown}` is not a registry: {why}")),
        "kfops-display-name" if text.len() > 128 => Some("longer than 128 bytes".to_owned()),
        "kfops-display-name" | "kfops-text" if text.chars().any(char::is_control) => {
            Some("contains a control character".to_owned())
        }
        "kfops-python-name" if !python_name(text) => Some(format!("`{shown}` is not the name of a Python function")),
        _ => None,
    };
    fault.map_or_else(|| Ok(text.to_owned()), Err)
}

pub(crate) fn dns_label(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// A path component as the OCI distribution specification has it.
fn image_name(text: &str) -> bool {
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = separators.clone().all(|s| matches!(s, "" | "." | "_" | "__") || s.chars().all(|c| c == '-'));
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.len() <= 128 && inner && edge(text.chars().next()) && edge(text.chars().last())
}

fn registry(text: &str) -> Result<(), &'static str> {
    if text.contains("://") {
        return Err("write it without http:// or https://");
    }
    let mut parts = text.split('/');
    let host = parts.next().unwrap_or_default();
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let good_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let good_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'));
    if !good_name || !good_port {
        return Err("it begins with a host, and perhaps a port");
    }
    if text.len() > 200 || !parts.all(image_name) {
        return Err("after the host come lower case names with / between them");
    }
    Ok(())
}

fn python_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_') && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// What several values say together. `place` turns a key path of `kfops.yaml` into the file's own path and position.
pub(crate) fn project(file: &str, project: &Project, place: &Places<'_>) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let images = &project.images.build;
    for (index, image) in images.iter().enumerate() {
        let same = |other: &crate::types::Image| !image.name.is_empty() && other.name == image.name;
        if let Some(first) = images[..index].iter().position(same) {
            let (path, at) = place.of(&format!("images.build[{index}].name"));
            let message = format!("`{}` is the name of images.build[{first}] too", image.name);
            out.push(Diagnostic::error(file, at, path, message));
        }
        for (i, include) in image.include.iter().enumerate() {
            let name = crate::path::name(include);
            if include.is_empty() {
                continue;
            }
            let clash = image.include[..i].iter().any(|other| crate::path::name(other) == name);
            let (path, at) = place.of(&format!("images.build[{index}].include[{i}]"));
            if clash {
                let message = format!("another included folder is also copied to {name}");
                out.push(Diagnostic::error(file, at, path, message));
            } else if include == "." {
                out.push(Diagnostic::error(
                    file,
                    at,
                    path,
                    "the whole repository can't be included; use it as the context",
                ));
            }
        }
    }
    let environments = &project.environments;
    for (name, target) in [("staging", &environments.staging), ("production", &environments.production)] {
        if let Some(target) = target {
            strategy(file, &format!("environments.{name}.strategy"), &target.strategy, place, &mut out);
        }
    }
    if project.serving.is_some() && environments.staging.is_none() && environments.production.is_none() {
        let (path, at) = place.of("environments");
        let message = "neither staging nor production: nothing can be deployed";
        out.push(Diagnostic::warning(file, at, path, message));
    }
    if let (None, Some(_)) = (&project.serving, &environments.production) {
        let (path, at) = place.of("environments.production");
        out.push(Diagnostic::warning(file, at, path, "there is no `serving`: nothing can be deployed"));
    }
    out
}

fn strategy(file: &str, base: &str, strategy: &Strategy, place: &Places<'_>, out: &mut Vec<Diagnostic>) {
    // A percentage that could not be read is said elsewhere; the others then stand at other indexes.
    let whole = !place.written(&format!("{base}.canary[{}]", strategy.canary.len()));
    for (i, pair) in strategy.canary.windows(2).enumerate() {
        if whole && pair[1] <= pair[0] {
            let (path, at) = place.of(&format!("{base}.canary[{}]", i + 1));
            let message = format!("canary percentages must rise, but {} comes after {}", pair[1], pair[0]);
            out.push(Diagnostic::error(file, at, path, message));
        }
    }
    if strategy.max_error_rate.fraction() > 1.0 {
        let (path, at) = place.of(&format!("{base}.max_error_rate"));
        out.push(Diagnostic::error(file, at, path, format!("{} is more than 100%", strategy.max_error_rate)));
    }
    if strategy.timeout <= strategy.hold {
        let timeout = format!("{base}.timeout");
        let key = if place.written(&timeout) { timeout } else { format!("{base}.hold") };
        let (path, at) = place.of(&key);
        let message = format!("hold ({}) must be shorter than timeout ({})", strategy.hold, strategy.timeout);
        out.push(Diagnostic::error(file, at, path, message));
    }
}

/// Where the keys of a project stand in the file that it was read from.
pub(crate) struct Places<'a> {
    pub(crate) positions: &'a Positions,
    /// Key path of `kfops.yaml` -> key path in the file.
    pub(crate) rename: fn(&str) -> String,
}

impl Places<'_> {
    /// The file's own key path, and its place.
    pub(crate) fn of(&self, path: &str) -> (String, Position) {
        let path = (self.rename)(path);
        let at = self.positions.value(&path);
        (path, at)
    }

    pub(crate) fn written(&self, path: &str) -> bool {
        self.positions.contains(&(self.rename)(path))
    }
}
