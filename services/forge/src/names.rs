//! Which names from outside may become paths, refs or logins. Everything else is refused before it gets near git.

/// First path segments that are routes, so that no owner may take them.
const RESERVED: &[&str] = &[
    "api",
    "app",
    "apps",
    "assets",
    "codeload",
    "graphql",
    "healthz",
    "installation",
    "orgs",
    "rate_limit",
    "repos",
    "search",
    "user",
    "users",
];

/// A login: letters, digits and single hyphens, with `[bot]` at the end for an app.
pub(crate) fn is_login(name: &str) -> bool {
    let name = name.strip_suffix("[bot]").unwrap_or(name);
    (1..=39).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !RESERVED.contains(&name.to_ascii_lowercase().as_str())
}

/// An owner of repositories: a login that is no app.
pub(crate) fn is_owner(name: &str) -> bool {
    is_login(name) && !name.ends_with("[bot]")
}

/// A repository's name. It becomes a folder.
pub(crate) fn is_repository(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name.bytes().any(|b| b != b'.')
        && !name.starts_with('-')
        && !name.to_ascii_lowercase().ends_with(".git")
}

/// A branch or tag name by the rules of `git check-ref-format`, and none that a git command could take for an option.
pub(crate) fn is_ref(name: &str) -> bool {
    (1..=240).contains(&name.len())
        && name != "@"
        && name != "HEAD"
        && !name.starts_with(['-', '/'])
        && !name.ends_with(['/', '.'])
        && !name.contains("..")
        && !name.contains("//")
        && !name.contains("@{")
        && !name.contains([' ', '~', '^', ':', '?', '*', '[', '\\'])
        && !name.chars().any(char::is_control)
        && name.split('/').all(|part| !part.starts_with('.') && !part.ends_with(".lock"))
}

/// A full SHA-1 object name.
pub(crate) fn is_sha(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// An abbreviated object name that GitHub would look up.
pub(crate) fn is_short_sha(name: &str) -> bool {
    (7..40).contains(&name.len()) && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// A path inside a tree, cleaned of slashes at its ends. The root is the empty path.
pub(crate) fn tree_path(path: &str) -> Option<&str> {
    let path = path.trim_matches('/');
    let safe = path.len() <= 4096
        && !path.chars().any(char::is_control)
        && (path.is_empty() || path.split('/').all(|part| !matches!(part, "" | "." | "..")));
    safe.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_follow_git() {
        for good in ["main", "feature/a", "$(touch$IFS/x)", "`id`", "a;b|c&d", "ünï", "<img>"] {
            assert!(is_ref(good), "{good}");
        }
        for bad in ["", "-x", "$(touch x)", "a..b", "a/.b", "a.lock", "a\u{7f}", "a~1", "a^", "a:b", "HEAD", "/a", "a/"]
        {
            assert!(!is_ref(bad), "{bad}");
        }
    }

    #[test]
    fn names_never_leave_their_folder() {
        for bad in ["", ".", "..", "a/b", "x.git", "-x", "a b", "../etc"] {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(is_repository("iris.v2_x-1"));
        assert!(is_login("kfops[bot]") && !is_owner("kfops[bot]") && !is_login("repos") && !is_login("a_b"));
        assert_eq!(tree_path("a/../b"), None);
        assert_eq!(tree_path("/a/b/"), Some("a/b"));
    }
}
