//! Commits, comparisons and files as JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{Urls, encode};
use crate::git::{Change, Commit, Entry, Kind, Person};
use crate::model::Repository;
use crate::node_id;

/// Above this size GitHub tells no content in JSON.
const CONTENT_LIMIT: usize = 1 << 20;

fn person(person: &Person) -> Value {
    json!({ "name": person.name, "email": person.email, "date": person.date })
}

/// A commit. Its author is no user of the forge: GitHub says null then.
pub(crate) fn commit(urls: &Urls, repository: &Repository, commit: &Commit) -> Value {
    let (api, html, sha) = (urls.api(repository), urls.html(repository), &commit.sha);
    let parents: Vec<Value> = commit
        .parents
        .iter()
        .map(|sha| json!({ "sha": sha, "url": format!("{api}/commits/{sha}"), "html_url": format!("{html}/commit/{sha}") }))
        .collect();
    json!({
        "sha": sha,
        "node_id": node_id::in_git("C", repository.id, sha),
        "url": format!("{api}/commits/{sha}"),
        "html_url": format!("{html}/commit/{sha}"),
        "comments_url": format!("{api}/commits/{sha}/comments"),
        "commit": {
            "url": format!("{api}/git/commits/{sha}"),
            "author": person(&commit.author),
            "committer": person(&commit.committer),
            "message": commit.message,
            "tree": { "sha": commit.tree, "url": format!("{api}/git/trees/{}", commit.tree) },
            "comment_count": 0,
            "verification": { "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null },
        },
        "author": null,
        "committer": null,
        "parents": parents,
    })
}

/// A commit in a `push` payload.
pub(crate) fn push_commit(urls: &Urls, repository: &Repository, commit: &Commit, changes: &[Change]) -> Value {
    let paths = |status: &[&str]| -> Vec<&str> {
        changes.iter().filter(|change| status.contains(&change.status)).map(|change| change.path.as_str()).collect()
    };
    let short = |person: &Person| json!({ "name": person.name, "email": person.email, "date": person.date });
    json!({
        "id": commit.sha,
        "tree_id": commit.tree,
        "distinct": true,
        "message": commit.message,
        "timestamp": commit.committer.date,
        "url": format!("{}/commit/{}", urls.html(repository), commit.sha),
        "author": short(&commit.author),
        "committer": short(&commit.committer),
        "added": paths(&["added", "renamed", "copied"]),
        "removed": paths(&["removed"]),
        "modified": paths(&["modified"]),
    })
}

/// A file that differs, as of a head commit.
pub(crate) fn file(urls: &Urls, repository: &Repository, head: &str, change: &Change) -> Value {
    let (api, html, path) = (urls.api(repository), urls.html(repository), encode(&change.path));
    let mut value = json!({
        "sha": change.sha,
        "filename": change.path,
        "status": change.status,
        "additions": change.additions,
        "deletions": change.deletions,
        "changes": change.additions + change.deletions,
        "blob_url": format!("{html}/blob/{head}/{path}"),
        "raw_url": format!("{html}/raw/{head}/{path}"),
        "contents_url": format!("{api}/contents/{path}?ref={head}"),
    });
    if let Some(patch) = &change.patch {
        value["patch"] = patch.as_str().into();
    }
    if let Some(previous) = &change.previous {
        value["previous_filename"] = previous.as_str().into();
    }
    value
}

/// Two commits compared.
pub(crate) fn comparison(
    urls: &Urls,
    repository: &Repository,
    (base, head, merge_base): (&Commit, &Commit, &Commit),
    (ahead, behind): (i64, i64),
    commits: &[Commit],
    files: &[Change],
) -> Value {
    let (api, html) = (urls.api(repository), urls.html(repository));
    let range = format!("{}...{}", base.sha, head.sha);
    let status = match (ahead, behind) {
        (0, 0) => "identical",
        (_, 0) => "ahead",
        (0, _) => "behind",
        _ => "diverged",
    };
    json!({
        "url": format!("{api}/compare/{range}"),
        "html_url": format!("{html}/compare/{range}"),
        "permalink_url": format!("{html}/compare/{range}"),
        "diff_url": format!("{html}/compare/{range}.diff"),
        "patch_url": format!("{html}/compare/{range}.patch"),
        "base_commit": commit(urls, repository, base),
        "merge_base_commit": commit(urls, repository, merge_base),
        "status": status,
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": commits.iter().map(|one| commit(urls, repository, one)).collect::<Vec<_>>(),
        "files": files.iter().map(|change| file(urls, repository, &head.sha, change)).collect::<Vec<_>>(),
    })
}

/// An entry of a tree, with its bytes if it is a file that was asked for.
pub(crate) fn content(
    urls: &Urls,
    repository: &Repository,
    reference: &str,
    entry: &Entry,
    bytes: Option<&[u8]>,
) -> Value {
    let (api, html) = (urls.api(repository), urls.html(repository));
    let (path, reference) = (encode(&entry.path), encode(reference));
    let url = format!("{api}/contents/{path}?ref={reference}");
    let (kind, object, page) = match entry.kind {
        Kind::Folder => ("dir", "trees", "tree"),
        Kind::Submodule => ("submodule", "trees", "tree"),
        Kind::Symlink => ("symlink", "blobs", "blob"),
        Kind::File => ("file", "blobs", "blob"),
    };
    let git_url = format!("{api}/git/{object}/{}", entry.sha);
    let html_url = format!("{html}/{page}/{reference}/{path}");
    let download = (object == "blobs").then(|| format!("{html}/raw/{reference}/{path}"));
    let mut value = json!({
        "type": kind,
        "size": entry.size,
        "name": entry.path.rsplit('/').next(),
        "path": entry.path,
        "sha": entry.sha,
        "node_id": node_id::in_git(if object == "blobs" { "B" } else { "T" }, repository.id, &entry.sha),
        "url": url,
        "git_url": git_url,
        "html_url": html_url,
        "download_url": download,
        "_links": { "self": url, "git": git_url, "html": html_url },
    });
    if let Some(bytes) = bytes {
        let small = bytes.len() <= CONTENT_LIMIT;
        value["encoding"] = if small { "base64" } else { "none" }.into();
        value["content"] = if small { wrapped(bytes) } else { String::new() }.into();
        if entry.kind == Kind::Symlink {
            value["target"] = String::from_utf8_lossy(bytes).into();
        }
    }
    value
}

/// Base64 in lines of 60 characters, as GitHub breaks it.
fn wrapped(bytes: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(bytes);
    let mut lines = String::with_capacity(encoded.len() + encoded.len() / 60 + 1);
    for (index, character) in encoded.chars().enumerate() {
        lines.push(character);
        if index % 60 == 59 {
            lines.push('\n');
        }
    }
    if !lines.is_empty() && !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines
}
