//! The git work tree in which the demo's author works: a copy of examples/iris.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use include_dir::{Dir, DirEntry, include_dir};
use kfops_core::{Failure, Reason};
use kfops_process::Command;
use tokio_util::sync::CancellationToken;

static EXAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../examples/iris");

/// A git work tree.
#[derive(Debug, Clone)]
pub struct WorkTree {
    root: PathBuf,
}

impl WorkTree {
    /// A new repository with one commit on `main`: the example.
    pub async fn create(root: &Path) -> Result<Self, Failure> {
        write(&EXAMPLE, root)?;
        let tree = Self { root: root.to_owned() };
        tree.git(&["init", "--quiet", "--initial-branch=main"]).await?;
        tree.commit("A model of iris flowers").await?;
        Ok(tree)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Starts a branch at another one.
    pub async fn branch(&self, name: &str, from: &str) -> Result<(), Failure> {
        self.git(&["checkout", "--quiet", "-B", name, from, "--"]).await
    }

    /// Replaces text in a file; the text must be there.
    pub fn edit(&self, file: &str, from: &str, to: &str) -> Result<(), Failure> {
        let path = self.root.join(file);
        let io = |error: std::io::Error| Failure::new(Reason::Internal, format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(io)?;
        if !text.contains(from) {
            return Err(Failure::internal(format!("{file} has no `{from}`")));
        }
        std::fs::write(&path, text.replacen(from, to, 1)).map_err(io)
    }

    /// Commits everything.
    pub async fn commit(&self, message: &str) -> Result<(), Failure> {
        self.git(&["add", "--all"]).await?;
        self.git(&["commit", "--quiet", "--no-verify", "--message", message]).await
    }

    /// Fetches a branch into FETCH_HEAD.
    pub async fn fetch(&self, url: &str, branch: &str) -> Result<(), Failure> {
        self.git(&["fetch", "--quiet", url, &format!("refs/heads/{branch}")]).await
    }

    /// Pushes a branch.
    pub async fn push(&self, url: &str, branch: &str) -> Result<(), Failure> {
        self.git(&["push", "--quiet", "--force", url, &format!("refs/heads/{branch}:refs/heads/{branch}")]).await
    }

    async fn git(&self, args: &[&str]) -> Result<(), Failure> {
        let command = Command::new("git")
            .args([
                "-c",
                "user.name=Author",
                "-c",
                "user.email=author@example.com",
                "-c",
                "commit.gpgsign=false",
                "-c",
                "core.hooksPath=/dev/null",
            ])
            .args(args)
            .cwd(&self.root)
            .env("GIT_TERMINAL_PROMPT", "0")
            .timeout(Duration::from_secs(60));
        let ended = command.run(&CancellationToken::new()).await?;
        if ended.success() {
            return Ok(());
        }
        Err(Failure::internal(format!("git {}: {}", args.join(" "), ended.describe())).log_tail(&ended.output))
    }
}

fn write(dir: &Dir<'_>, root: &Path) -> Result<(), Failure> {
    for entry in dir.entries() {
        let target = root.join(entry.path());
        // What a build of the example left behind is no part of it.
        if entry.path().components().any(|c| c.as_os_str() == "__pycache__") {
            continue;
        }
        let made = match entry {
            DirEntry::Dir(inner) => {
                write(inner, root)?;
                continue;
            }
            DirEntry::File(file) => target
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::write(&target, file.contents())),
        };
        made.map_err(|error| Failure::internal(format!("{}: {error}", target.display())))?;
    }
    Ok(())
}
