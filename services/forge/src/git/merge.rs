//! Merges without a work tree: `merge-tree`, `commit-tree`, then a compare-and-swap of the ref by the caller.

use super::Bare;
use crate::error::{Error, Result};

/// Most commits that a rebase replays.
const REBASE_LIMIT: usize = 250;

/// A merge to be computed.
#[derive(Debug, Clone)]
pub(crate) struct Merge<'a> {
    /// The tip that gets the commits.
    pub(crate) onto: &'a str,
    /// The tip whose commits it gets.
    pub(crate) head: &'a str,
    /// Message of the new commit.
    pub(crate) message: &'a str,
    /// Who does it: name and e-mail address.
    pub(crate) actor: (&'a str, &'a str),
}

impl Bare {
    /// The tree of a merge, or none when it conflicts.
    pub(crate) async fn merge_tree(&self, onto: &str, head: &str) -> Result<Option<String>> {
        let output = self.run(&["merge-tree", "--write-tree", "--no-messages", onto, head]).await?;
        match output.code {
            0 => Ok(output.text().lines().next().map(str::to_owned)),
            1 => Ok(None),
            // Unrelated histories and the like: not mergeable either.
            _ if output.stderr.contains("unrelated histories") => Ok(None),
            _ => output.ok().map(|_| None),
        }
    }

    /// A commit with two parents, or none when it conflicts.
    pub(crate) async fn merge_commit(&self, merge: &Merge<'_>) -> Result<Option<String>> {
        let Some(tree) = self.merge_tree(merge.onto, merge.head).await? else { return Ok(None) };
        let parents = [merge.onto, merge.head];
        self.commit_tree(&tree, &parents, merge.message, merge.actor, None).await.map(Some)
    }

    /// All changes as one commit, or none when it conflicts.
    pub(crate) async fn squash_commit(&self, merge: &Merge<'_>) -> Result<Option<String>> {
        let Some(tree) = self.merge_tree(merge.onto, merge.head).await? else { return Ok(None) };
        self.commit_tree(&tree, &[merge.onto], merge.message, merge.actor, None).await.map(Some)
    }

    /// Every commit replayed on top, or none when one of them conflicts.
    pub(crate) async fn rebase_commits(&self, merge: &Merge<'_>) -> Result<Option<String>> {
        let mut tip = merge.onto.to_owned();
        let commits = self.commits(merge.onto, merge.head, REBASE_LIMIT + 1).await?;
        if commits.len() > REBASE_LIMIT {
            return Err(Error::NotAllowed("This branch can't be rebased: it has too many commits".to_owned()));
        }
        for commit in commits.iter().filter(|commit| commit.parents.len() < 2) {
            let Some(parent) = commit.parents.first() else { return Ok(None) };
            // git 2.39 has no `merge-tree --merge-base`: a commit with the new tip's tree and the replayed commit's
            // parent makes that parent the merge base.
            let tree = self.text(&["rev-parse", "--verify", &format!("{tip}^{{tree}}")]).await?;
            let stand_in = self.commit_tree(&tree, &[parent], "stand-in", merge.actor, None).await?;
            let Some(tree) = self.merge_tree(&stand_in, &commit.sha).await? else { return Ok(None) };
            tip = self.commit_tree(&tree, &[&tip], &commit.message, merge.actor, Some(&commit.author)).await?;
        }
        Ok(Some(tip))
    }

    async fn commit_tree(
        &self,
        tree: &str,
        parents: &[&str],
        message: &str,
        actor: (&str, &str),
        author: Option<&super::Person>,
    ) -> Result<String> {
        let mut args = vec!["commit-tree", tree, "-F", "-"];
        for parent in parents {
            args.extend(["-p", parent]);
        }
        let (name, email) = author.map_or(actor, |person| (person.name.as_str(), person.email.as_str()));
        // git refuses a name that is empty once its own punctuation is gone.
        let name = if name.chars().any(char::is_alphanumeric) { name } else { "unknown" };
        let mut env = vec![
            ("GIT_AUTHOR_NAME", name),
            ("GIT_AUTHOR_EMAIL", email),
            ("GIT_COMMITTER_NAME", actor.0),
            ("GIT_COMMITTER_EMAIL", actor.1),
        ];
        if let Some(person) = author {
            env.push(("GIT_AUTHOR_DATE", &person.date));
        }
        let message = if message.trim().is_empty() { "(no message)" } else { message };
        let output = self.git.run(Some(&self.dir), &args, message.as_bytes().to_vec(), &env).await?.ok()?;
        Ok(output.text())
    }
}
