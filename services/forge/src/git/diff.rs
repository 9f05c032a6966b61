//! What changed between two trees, file by file.

use super::Bare;
use crate::error::{Error, Result};

/// Longest patch of one file that is shown.
const PATCH_LIMIT: usize = 256 << 10;

/// A file that differs.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) path: String,
    pub(crate) previous: Option<String>,
    /// `added`, `removed`, `modified` or `renamed`.
    pub(crate) status: &'static str,
    pub(crate) sha: String,
    pub(crate) additions: u64,
    pub(crate) deletions: u64,
    /// None for a binary file, or one whose patch is too long.
    pub(crate) patch: Option<String>,
}

const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

impl Bare {
    /// Files that differ from `base` to `head`; without a base, everything is new.
    pub(crate) async fn changes(&self, base: Option<&str>, head: &str, patches: bool) -> Result<Vec<Change>> {
        let base = base.unwrap_or(EMPTY_TREE);
        let common = ["diff-tree", "-r", "-M", "--no-ext-diff", "--no-textconv", "--no-color"];
        let with = |extra: &[&'static str]| -> Vec<String> {
            common.iter().chain(extra).map(|&arg| arg.to_owned()).chain([base.to_owned(), head.to_owned()]).collect()
        };
        let run = async |extra: &[&'static str]| {
            let args = with(extra);
            self.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await?.ok()
        };
        let raw = run(&["-z", "--raw", "--abbrev=40"]).await?;
        let counts = run(&["-z", "--numstat"]).await?;
        let mut changes = parse_raw(&raw.stdout);
        for (change, (additions, deletions)) in changes.iter_mut().zip(parse_counts(&counts.stdout)) {
            (change.additions, change.deletions) = (additions, deletions);
        }
        if patches {
            match run(&["-p"]).await {
                Ok(output) => add_patches(&mut changes, &String::from_utf8_lossy(&output.stdout)),
                // A diff beyond the limit is shown without its text.
                Err(Error::TooLarge(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(changes)
    }
}

fn parse_raw(raw: &[u8]) -> Vec<Change> {
    let mut fields = raw.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let mut changes = Vec::new();
    while let Some(head) = fields.next() {
        let words: Vec<&str> = head.split(' ').collect();
        let [_, _, old, new, letter] = words[..] else { continue };
        let Some(first) = fields.next() else { break };
        let (path, previous) = if letter.starts_with(['R', 'C']) {
            (fields.next().unwrap_or_default().into_owned(), Some(first.into_owned()))
        } else {
            (first.into_owned(), None)
        };
        let status = match letter.as_bytes().first() {
            Some(b'A') => "added",
            Some(b'D') => "removed",
            Some(b'R') => "renamed",
            Some(b'C') => "copied",
            _ => "modified",
        };
        let sha = if status == "removed" { old } else { new }.to_owned();
        changes.push(Change { path, previous, status, sha, additions: 0, deletions: 0, patch: None });
    }
    changes
}

/// Counts in the same order as `--raw`. A rename has an empty path and two more fields.
fn parse_counts(counts: &[u8]) -> Vec<(u64, u64)> {
    let mut fields = counts.split(|&byte| byte == 0).map(String::from_utf8_lossy);
    let mut all = Vec::new();
    while let Some(field) = fields.next() {
        let mut parts = field.splitn(3, '\t');
        let (Some(added), Some(deleted), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        if path.is_empty() {
            fields.next();
            fields.next();
        }
        all.push((added.parse().unwrap_or(0), deleted.parse().unwrap_or(0)));
    }
    all
}

/// Sections follow the order of `--raw`, and only a header line starts with `diff --git`.
fn add_patches(changes: &mut [Change], text: &str) {
    let mut sections: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("diff --git ") {
            if let Some(last) = sections.last_mut() {
                last.1 = at;
            }
            sections.push((at, text.len()));
        }
        at += line.len();
    }
    if sections.len() != changes.len() {
        return;
    }
    for (change, (start, end)) in changes.iter_mut().zip(sections) {
        let section = &text[start..end];
        let body = section.find("\n@@ ").map(|hunk| section[hunk + 1..].trim_end_matches('\n'));
        change.patch = body.filter(|body| body.len() <= PATCH_LIMIT).map(str::to_owned);
    }
}
