//! Paths that a repository writes about itself: relative, with `/`, never out of it.

/// `a/./b/` becomes `a/b`; the root is `.`. An error says why the path is not usable.
pub fn normalize(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Err("an empty path".to_owned());
    }
    if path.len() > 1024 {
        return Err("a path longer than 1024 bytes".to_owned());
    }
    if path.chars().any(char::is_control) || path.contains('\\') {
        return Err("a path with a control character or a backslash".to_owned());
    }
    if path.starts_with('/') || path.starts_with('~') || path.as_bytes().get(1) == Some(&b':') {
        return Err(format!("{path} is absolute; write it relative to the root of the repository"));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return Err(format!("{path} leads out of the repository"));
                }
            }
            part => parts.push(part),
        }
    }
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

/// `folder/name`, where `folder` may be `.`.
pub(crate) fn join(folder: &str, name: &str) -> String {
    if folder == "." { name.to_owned() } else { format!("{folder}/{name}") }
}

/// The folder that holds `path`, `.` for the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(parent, _)| parent)
}

/// The last part of `path`.
pub(crate) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_inside() {
        assert_eq!(normalize("./a//b/../c/"), Ok("a/c".to_owned()));
        assert_eq!(normalize("."), Ok(".".to_owned()));
        for bad in ["", "..", "a/../../b", "/etc/passwd", "~/x", "C:/x", "a\\b", "a\0b"] {
            assert!(normalize(bad).is_err(), "{bad}");
        }
    }
}
