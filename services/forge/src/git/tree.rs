//! Files and folders of a commit.

use super::Bare;
use crate::error::Result;

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Symlink,
    Submodule,
}

/// An entry of a tree.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) sha: String,
    pub(crate) size: i64,
    pub(crate) path: String,
}

impl Bare {
    /// The entries of a folder of a commit, or the one entry that a path names; empty if there is none.
    pub(crate) async fn list(&self, sha: &str, path: &str, inside: bool) -> Result<Vec<Entry>> {
        let slash;
        let mut args = vec!["ls-tree", "-z", "-l", "--full-tree", sha];
        if !path.is_empty() {
            args.push("--");
            slash = if inside { format!("{path}/") } else { path.to_owned() };
            args.push(&slash);
        }
        let output = self.run(&args).await?.ok()?;
        Ok(output.stdout.split(|&byte| byte == 0).filter_map(parse).collect())
    }

    /// The bytes of a file.
    pub(crate) async fn blob(&self, sha: &str) -> Result<Vec<u8>> {
        Ok(self.run(&["cat-file", "blob", sha]).await?.ok()?.stdout)
    }
}

fn parse(line: &[u8]) -> Option<Entry> {
    let line = String::from_utf8_lossy(line);
    let (head, path) = line.split_once('\t')?;
    let mut words = head.split_whitespace();
    let (mode, kind, sha, size) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let kind = match (mode, kind) {
        ("120000", _) => Kind::Symlink,
        (_, "tree") => Kind::Folder,
        (_, "commit") => Kind::Submodule,
        _ => Kind::File,
    };
    Some(Entry { kind, sha: sha.to_owned(), size: size.parse().unwrap_or(0), path: path.to_owned() })
}
