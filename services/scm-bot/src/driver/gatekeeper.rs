//! Collects what the rules of the gate need, cheapest first, and asks them.

use std::{sync::Arc, time::Duration};

use kfops_core::{Failure, Reason};
use kfops_project::{Memory, PROJECT_FILES, Permission, Policy, Project, ResolvedRule, render};

use super::{Done, Driver};
use crate::{
    command::{Command, PullRequest},
    gate,
    ports::Review,
    verb::Verb,
};

/// What was seen so recently is not looked at again.
const FRESH: Duration = Duration::from_secs(10);
/// How often GitHub is asked whether it knows by now if a pull request can be merged.
const MERGEABLE_TRIES: u32 = 5;

/// A rule's word, as the outcome of the stage.
macro_rules! rule {
    ($result:expr) => {
        if let Err(failure) = $result {
            return Ok(Done::No(failure));
        }
    };
}

/// What is asked of GitHub at most once for all rules.
#[derive(Default)]
struct Seen {
    reviews: Option<Vec<Review>>,
    checks: Option<Vec<String>>,
}

impl Driver {
    /// Who may, and is the pull request fit for it?
    pub(super) async fn gate(&mut self) -> Result<Done, Failure> {
        let engine = Arc::clone(&self.engine);
        let command = self.command.clone();
        let verb = command.verb;
        let has = engine.github.permission(&self.meter, &command.repository, &command.actor).await?;
        let has = gate::permission(&has);
        let least = if verb.only_reads() { Permission::Read } else { Permission::Write };
        rule!(gate::actor(&command, has, least, ""));
        if verb.only_reads() {
            return Ok(Done::Yes(String::new()));
        }
        let mut pull = self.fresh_pull().await?;
        rule!(gate::fit(&command, &pull));
        let options = command.options();
        let force = options.force && verb.merges();
        let policy = match self.base_project(&pull.base).await? {
            Ok(project) => project.map(|project| project.policy).unwrap_or_default(),
            Err(failure) => return Ok(Done::No(failure)),
        };
        let mut seen = Seen::default();
        for rule in policy.rules(verb.as_str(), force) {
            if let Err(failure) = self.rule(&command, has, &rule, &mut seen).await? {
                return Ok(Done::No(failure));
            }
        }
        let mut said = Vec::new();
        if verb == Verb::Run
            && let Err(failure) = self.choose_version(&mut said).await?
        {
            return Ok(Done::No(failure));
        }
        if verb.needs_run()
            && let Err(failure) = self.choose_run(&mut said).await?
        {
            return Ok(Done::No(failure));
        }
        if verb.merges() {
            rule!(gate::unmoved(&command, &pull));
            rule!(self.can_land(&mut pull, force, &policy, &mut said).await?);
        }
        Ok(Done::Yes(said.join(", ")))
    }

    /// The gate once more before anything goes live, unless it passed a moment ago and nothing was worked on since.
    pub(super) async fn recheck(&mut self) -> Result<Done, Failure> {
        let now = self.engine.clock.now();
        if self.gate_passed.is_some_and(|passed| now.duration_since(passed).is_ok_and(|age| age < FRESH)) {
            return Ok(Done::Skipped("the gate passed a moment ago".into()));
        }
        let command = self.command.clone();
        let mut pull = self.pull_now().await?;
        rule!(gate::fit(&command, &pull));
        rule!(gate::unmoved(&command, &pull));
        rule!(self.agreed_target(&pull.base).await?);
        let policy = match self.base_project(&pull.base).await? {
            Ok(project) => project.map(|project| project.policy).unwrap_or_default(),
            Err(failure) => return Ok(Done::No(failure)),
        };
        let mut said = Vec::new();
        rule!(self.can_land(&mut pull, command.options().force, &policy, &mut said).await?);
        Ok(Done::Yes(said.join(", ")))
    }

    async fn rule(
        &mut self,
        command: &Command,
        has: Option<Permission>,
        rule: &ResolvedRule,
        seen: &mut Seen,
    ) -> Result<Result<(), Failure>, Failure> {
        let engine = Arc::clone(&self.engine);
        let (meter, repository) = (&self.meter, &command.repository);
        let verdict = gate::actor(command, has, rule.permission, rule.section);
        if verdict.is_err() {
            return Ok(verdict);
        }
        let listed = rule.users.iter().any(|user| user.eq_ignore_ascii_case(&command.actor));
        let mut in_team = false;
        for team in rule.teams.iter().filter(|_| !listed) {
            let team = if team.contains('/') { team.clone() } else { format!("{}/{team}", repository.owner) };
            in_team = in_team || engine.github.team_member(meter, &team, &command.actor).await?;
        }
        let verdict = gate::named(command, rule, in_team);
        if verdict.is_err() {
            return Ok(verdict);
        }
        if rule.approvals > 0 {
            if seen.reviews.is_none() {
                seen.reviews = Some(engine.github.reviews(meter, repository, command.pull_request).await?);
            }
            let verdict = gate::approved(command, rule, seen.reviews.as_deref().unwrap_or_default());
            if verdict.is_err() {
                return Ok(verdict);
            }
        }
        if !rule.checks.is_empty() {
            if seen.checks.is_none() {
                seen.checks = Some(engine.github.succeeded_checks(meter, repository, command.commit()).await?);
            }
            return Ok(gate::checked(command, rule, seen.checks.as_deref().unwrap_or_default()));
        }
        Ok(Ok(()))
    }

    /// The pull request as it is now, or was a moment ago.
    async fn fresh_pull(&mut self) -> Result<PullRequest, Failure> {
        let now = self.engine.clock.now();
        if let Some(pull) = &self.command.pull
            && now.duration_since(pull.seen).is_ok_and(|age| age < FRESH)
        {
            return Ok(pull.clone());
        }
        self.pull_now().await
    }

    pub(super) async fn pull_now(&mut self) -> Result<PullRequest, Failure> {
        let engine = Arc::clone(&self.engine);
        let mut pull =
            engine.github.pull_request(&self.meter, &self.command.repository, self.command.pull_request).await?;
        pull.seen = engine.clock.now();
        Ok(pull)
    }

    /// Whether GitHub would merge it, and it has all of its base.
    async fn can_land(
        &mut self,
        pull: &mut PullRequest,
        force: bool,
        policy: &Policy,
        said: &mut Vec<String>,
    ) -> Result<Result<(), Failure>, Failure> {
        let engine = Arc::clone(&self.engine);
        for wait in 0..MERGEABLE_TRIES {
            if pull.mergeable.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500 << wait)).await;
            *pull = self.pull_now().await?;
        }
        if !force {
            let (base, head) = (pull.base.clone(), self.command.commit().to_owned());
            let behind = engine.github.behind_by(&self.meter, &self.command.repository, &base, &head).await?;
            let who = policy.rules(self.command.verb.as_str(), true).last().map(gate::who).unwrap_or_default();
            let verdict = gate::current(&self.command, &base, behind, &who);
            if verdict.is_err() {
                return Ok(verdict);
            }
            said.push(format!("up to date with {base}"));
        }
        Ok(gate::mergeable(&self.command, pull))
    }

    /// The base branch's project. Ok(Err) when there is one that cannot be read: then nobody knows the policy.
    pub(super) async fn base_project(&mut self, base: &str) -> Result<Result<Option<Project>, Failure>, Failure> {
        let key = (self.command.repository.clone(), base.to_owned());
        if let Some(project) = self.engine.remembered(&key) {
            return Ok(Ok(project));
        }
        let engine = Arc::clone(&self.engine);
        let mut found = None;
        for path in PROJECT_FILES {
            if let Some(bytes) = engine.github.file(&self.meter, &key.0, path, base).await? {
                found = Some(Memory::new().with(path, bytes));
                break;
            }
        }
        let project = match found.map(|files| Project::load(&files)).transpose() {
            Ok(loaded) => loaded.map(|loaded| loaded.project),
            Err(problems) => {
                let what = problems.first().map(ToString::to_string).unwrap_or_default();
                return Ok(Err(Failure::new(
                    Reason::ConfigInvalid,
                    format!("who may do this stands in the base branch {base}, and its file cannot be read: {what}"),
                )
                .action(format!("mend the file in {base}"))
                .log_tail(&render(&problems))));
            }
        };
        self.engine.remember(key, project.clone());
        Ok(Ok(project))
    }
}
