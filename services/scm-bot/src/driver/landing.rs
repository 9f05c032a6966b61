//! After the model is live: merge and labels.

use std::sync::Arc;

use kfops_core::{Failure, Reason};

use super::{Done, Driver};
use crate::{
    gate::short,
    ports::{Merged, deployed_label},
    step::Stage,
};

impl Driver {
    /// Merges exactly the commit whose model is live.
    pub(super) async fn merge(&mut self) -> Result<Done, Failure> {
        let engine = Arc::clone(&self.engine);
        // An earlier try may have merged without our having heard of it.
        if self.fresh != Some(Stage::Merge)
            && let Some(done) = self.merged_already().await?
        {
            return Ok(done);
        }
        let command = &self.command;
        let on = (&command.repository, command.pull_request);
        let why = match engine.github.merge(&self.meter, on, command.commit()).await? {
            Merged::Yes(commit) => return Ok(self.landed(commit)),
            Merged::No(why) => why,
        };
        if let Some(done) = self.merged_already().await? {
            return Ok(done);
        }
        if why.contains("Base branch was modified") {
            // GitHub says so while another merge is under way, and to try again.
            return Err(Failure::new(Reason::GithubUnavailable, format!("github did not merge: {why}")));
        }
        Ok(Done::No(
            Failure::new(Reason::MergeFailed, format!("github did not merge the pull request: {why}"))
                .on(format!("{}/pulls/{}", self.command.repository, self.command.pull_request))
                .action(
                    "merge it by hand if nothing else came into it; otherwise update the branch, /build_run and /deploy again",
                ),
        ))
    }

    async fn merged_already(&mut self) -> Result<Option<Done>, Failure> {
        let pull = self.pull_now().await?;
        let ours = pull.merged && pull.head == self.command.commit();
        Ok(ours.then(|| self.landed(pull.merge_commit.unwrap_or_default())))
    }

    fn landed(&mut self, commit: String) -> Done {
        let said = format!("merged as {}", short(&commit));
        self.command.lineage.merge_commit = commit;
        Done::Yes(said)
    }

    /// Puts the label on this pull request and takes it from all others. Labels are sets: twice is once.
    pub(super) async fn label(&mut self) -> Result<Done, Failure> {
        let engine = Arc::clone(&self.engine);
        let Some(environment) = self.command.verb.environment() else { return Ok(Done::Skipped(String::new())) };
        let label = deployed_label(environment);
        let (repository, number) = (&self.command.repository, self.command.pull_request);
        let restored = self.command.lineage.restored.as_ref();
        let number = restored.map_or(number, |restored| restored.pull_request);
        let others = engine.github.move_label(&self.meter, (repository, number), label).await?;
        let from: Vec<String> = others.iter().map(|other| format!("#{other}")).collect();
        Ok(Done::Yes(if from.is_empty() {
            label.to_owned()
        } else {
            format!("{label}, taken from {}", from.join(", "))
        }))
    }
}
