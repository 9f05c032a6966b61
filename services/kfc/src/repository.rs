//! Which repository is meant.

use std::time::Duration;

use kfops_process::Command;
use tokio_util::sync::CancellationToken;

use crate::{exit::Exit, server::Server};

/// `--repo`, else the local system's, else the work tree's `origin`.
pub(crate) async fn find(asked: Option<String>, server: &Server) -> Result<String, Exit> {
    if let Some(name) = asked {
        return if is_full_name(&name) {
            Ok(name)
        } else {
            Err(Exit::usage(format!("--repo {name}: not a repository"), "write it as OWNER/NAME"))
        };
    }
    if let Some(name) = server.repository.clone().filter(|name| server.local && is_full_name(name)) {
        return Ok(name);
    }
    let origin = Command::new("git").args(["remote", "get-url", "origin"]).timeout(Duration::from_secs(5));
    let url = match origin.run(&CancellationToken::new()).await {
        Ok(ended) if ended.success() => ended.output,
        _ => String::new(),
    };
    of_url(url.trim()).ok_or_else(|| {
        Exit::usage(
            "no repository: this is not a work tree with a remote `origin` on a forge",
            "give --repo OWNER/NAME",
        )
    })
}

/// `https://host/o/n.git`, `ssh://git@host/o/n`, `git@host:o/n.git`.
fn of_url(url: &str) -> Option<String> {
    let path = match url.split_once("://") {
        Some((scheme, rest)) if ["http", "https", "ssh", "git"].contains(&scheme) => rest.split_once('/')?.1,
        Some(_) => return None,
        None => url.split_once(':').filter(|(host, _)| !host.contains('/'))?.1,
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    is_full_name(path).then(|| path.to_owned())
}

fn is_full_name(name: &str) -> bool {
    let part = |part: &str| {
        (1..=100).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            && part != "."
            && part != ".."
    };
    name.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes() {
        for url in
            ["https://github.com/o/n.git", "https://github.com/o/n/", "ssh://git@h:22/o/n.git", "git@github.com:o/n"]
        {
            assert_eq!(of_url(url).as_deref(), Some("o/n"), "{url}");
        }
        for url in ["", "/srv/o/n", "../o/n", "file:///o/n", "https://h/o", "https://h/a/b/c", "git@h:../n", "C:o"] {
            assert_eq!(of_url(url), None, "{url}");
        }
    }
}
