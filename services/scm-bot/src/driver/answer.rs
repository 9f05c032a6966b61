//! The verbs that only read.

use std::sync::Arc;

use kfops_core::Failure;
use kfops_project::Environment;

use super::{Done, Driver};
use crate::{report, verb::Verb};

impl Driver {
    pub(super) async fn answer(&mut self) -> Result<Done, Failure> {
        self.command.answer = match self.command.verb {
            Verb::Status => self.status().await?,
            _ => report::help(),
        };
        Ok(Done::Yes(String::new()))
    }

    async fn status(&mut self) -> Result<String, Failure> {
        let engine = Arc::clone(&self.engine);
        let history = engine.history(&self.command).await?;
        self.fresh_look().await?;
        // Without a readable file nobody knows what could be live; the rest is worth showing.
        let project = self.base().unwrap_or_default();
        let mut live = Vec::new();
        if let Some((project, serving)) =
            project.as_ref().and_then(|project| Some((project, project.serving.as_ref()?)))
        {
            for environment in [Environment::Production, Environment::Staging] {
                let Some(target) = project.target(environment) else { continue };
                let name = format!("namespaces/{}/inferenceServices/{}", target.namespace, serving.name);
                live.push((environment.as_str(), engine.workers.live(&name).await?));
            }
        }
        Ok(report::status(&self.command, &history, &live, engine.clock.now()))
    }
}
