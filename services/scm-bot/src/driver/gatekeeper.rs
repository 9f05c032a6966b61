//! Collects what the rules of the gate need, cheapest first, and asks them.

use std::{sync::Arc, time::Duration};

use kfops_core::{Failure, Reason};
use kfops_project::{Memory, Permission, Policy, Project, ResolvedRule, render};

use super::{Done, Driver, target::service_of};
use crate::{
    command::{Command, MergeState, PullRequest},
    gate, merging,
    ports::Look,
    step::{Stage, StepState},
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

impl Driver {
    /// Who may, and is the pull request fit for it?
    pub(super) async fn gate(&mut self) -> Result<Done, Failure> {
        let engine = Arc::clone(&self.engine);
        if self.command.verb == Verb::Cancel && self.choose_commands().await?.is_ok() && self.all_own().await? {
            return Ok(Done::Yes(String::new()));
        }
        let has = engine.github.permission(&self.meter, &self.command.repository, &self.command.actor).await?;
        let has = gate::permission(&has);
        let writes = has.is_some_and(|has| has >= Permission::Write);
        let now = engine.clock.now();
        engine.manners.right(&self.command.repository, &self.command.actor, now).note(writes, now);
        let reads = matches!(self.command.verb, Verb::Status | Verb::Why | Verb::Help);
        let least = if reads { Permission::Read } else { Permission::Write };
        rule!(gate::actor(&self.command, has, least, ""));
        if self.command.verb == Verb::Help {
            return Ok(Done::Yes(String::new()));
        }
        let mut look = self.fresh_look().await?;
        self.command.pull.get_or_insert_with(|| look.pull.clone());
        let mut said = Vec::new();
        if self.command.verb == Verb::Retry {
            rule!(self.take_up(&mut said).await?);
        }
        let command = self.command.clone();
        let verb = command.verb;
        // The policy is the default branch's, so that no pull request can choose the rules that apply to it.
        let base = match self.base() {
            Ok(base) => base,
            // What is under way can be ended, and what is known can be shown, whatever the file says.
            Err(_) if reads || verb == Verb::Cancel => None,
            Err(failure) => return Ok(Done::No(failure)),
        };
        let target = base.as_ref().zip(verb.environment()).and_then(|(base, place)| service_of(base, place));
        let policy = base.map(|project| project.policy).unwrap_or_default();
        if verb.uses_code() {
            rule!(gate::fit(&look.pull));
            if look.pull.head != command.commit() {
                self.command.superseded_by = Some(look.pull.head);
                return Ok(Done::Interrupted);
            }
        }
        if verb.uses_code() && verb.environment().is_some() {
            rule!(gate::branch(&command, &policy, &look.pull.base, &look.default_branch));
        }
        // Where the default branch names no target, the pull request does; it is asked about once its files are there.
        if let Some(target) = &target
            && !self.done(Stage::Rollout)
        {
            rule!(self.owned(target).await?);
        }
        if verb.acts_on_commands() {
            rule!(self.choose_commands().await?);
        }
        if verb != Verb::Cancel || !self.all_own().await? {
            rule!(self.rules(&command, has, &policy, &look).await?);
        }
        match verb {
            Verb::Run if !self.done(Stage::Run) => rule!(self.choose_version(&mut said).await?),
            Verb::Rollback if !self.done(Stage::Rollout) => rule!(self.choose_revision(&mut said).await?),
            // What was rolled out is what its merge and its label are about.
            _ if verb.needs_run() && !self.done(Stage::Rollout) => rule!(self.choose_run(&mut said).await?),
            _ => {}
        }
        if verb.merges() && !self.done(Stage::Merge) {
            rule!(self.can_land(&mut look, &policy, &mut said).await?);
        }
        Ok(Done::Yes(said.join(", ")))
    }

    /// The gate once more before anything goes live, unless it passed a moment ago and nothing was worked on since.
    /// People, reviews, checks and the policy itself are asked for as they are now.
    pub(super) async fn recheck(&mut self) -> Result<Done, Failure> {
        let now = self.engine.clock.now();
        let passed = self.gate_passed.is_some_and(|passed| now.duration_since(passed).is_ok_and(|age| age < FRESH));
        // Who else deployed meanwhile is known only now that the lock is ours: what is live, and whose the target is.
        if self.done(Stage::Rollout) {
            rule!(self.lives_on().await?);
        } else {
            let target = self.target_name().await?;
            rule!(self.owned(&target).await?);
            if self.command.verb == Verb::Rollback {
                rule!(self.still_live().await?);
            }
        }
        if passed {
            return Ok(Done::Skipped("the gate passed a moment ago".into()));
        }
        let command = self.command.clone();
        let mut look = self.look_now().await?;
        if command.verb.uses_code() {
            rule!(gate::fit(&look.pull));
            rule!(gate::unmoved(&command, &look.pull));
        }
        let policy = match self.base() {
            Ok(project) => project.map(|project| project.policy).unwrap_or_default(),
            Err(failure) => return Ok(Done::No(failure)),
        };
        let engine = Arc::clone(&self.engine);
        let has = engine.github.permission(&self.meter, &command.repository, &command.actor).await?;
        if command.verb.uses_code() {
            rule!(gate::branch(&command, &policy, &look.pull.base, &look.default_branch));
        }
        rule!(self.rules(&command, gate::permission(&has), &policy, &look).await?);
        if command.verb.uses_code() {
            rule!(self.agreed_target().await?);
        }
        let mut said = Vec::new();
        if command.verb.merges() && !self.done(Stage::Merge) {
            rule!(self.can_land(&mut look, &policy, &mut said).await?);
        }
        Ok(Done::Yes(said.join(", ")))
    }

    fn done(&self, stage: Stage) -> bool {
        self.command.progress(stage) == StepState::Succeeded
    }

    /// What the policy asks of people, reviews and checks.
    async fn rules(
        &mut self,
        command: &Command,
        has: Option<Permission>,
        policy: &Policy,
        look: &Look,
    ) -> Result<Result<(), Failure>, Failure> {
        for (rule, fork) in &rules_of(command, policy, look) {
            let verdict = self.rule(command, has, rule, look, *fork).await?;
            if verdict.is_err() {
                return Ok(verdict);
            }
        }
        Ok(Ok(()))
    }

    /// One rule's word.
    pub(super) async fn rule(
        &mut self,
        command: &Command,
        has: Option<Permission>,
        rule: &ResolvedRule,
        look: &Look,
        fork: bool,
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
            // A review of one's own command does not count, but for a fork it is its author who is not believed.
            let not = if fork { &look.pull.author } else { &command.actor };
            let verdict = gate::approved(command, rule, &look.reviews, not);
            if verdict.is_err() {
                return Ok(verdict);
            }
        }
        Ok(gate::checked(command, rule, &look.succeeded))
    }

    /// The pull request as it is now, or was a moment ago.
    pub(super) async fn fresh_look(&mut self) -> Result<Look, Failure> {
        let now = self.engine.clock.now();
        if let Some(look) = &self.look
            && now.duration_since(look.pull.seen).is_ok_and(|age| age < FRESH)
        {
            return Ok(look.clone());
        }
        self.look_now().await
    }

    async fn look_now(&mut self) -> Result<Look, Failure> {
        let engine = Arc::clone(&self.engine);
        let on = (&self.command.repository, self.command.pull_request);
        let mut look = engine.github.look(&self.meter, on).await?;
        look.pull.seen = engine.clock.now();
        self.look = Some(look.clone());
        Ok(look)
    }

    pub(super) async fn pull_now(&mut self) -> Result<PullRequest, Failure> {
        let engine = Arc::clone(&self.engine);
        let mut pull =
            engine.github.pull_request(&self.meter, &self.command.repository, self.command.pull_request).await?;
        pull.seen = engine.clock.now();
        Ok(pull)
    }

    /// Whether GitHub would let the bot merge, as the bot is set to merge.
    pub(super) fn may_merge(&self, command: &Command, look: &Look) -> Result<(), Failure> {
        let (pull, settings) = (&look.pull, &self.engine.settings.github);
        let (method, bypasses) = (settings.merge_method, settings.bypasses_protection);
        merging::allowed(command, &pull.base, pull.merge_state, &look.merging, method, bypasses)
    }

    /// Whether GitHub would merge it, and it has all of its base.
    async fn can_land(
        &mut self,
        look: &mut Look,
        policy: &Policy,
        said: &mut Vec<String>,
    ) -> Result<Result<(), Failure>, Failure> {
        let engine = Arc::clone(&self.engine);
        for wait in 0..MERGEABLE_TRIES {
            let known = look.pull.merge_state != MergeState::Unknown || look.pull.mergeable == Some(false);
            if look.pull.mergeable.is_some() && known {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500 << wait)).await;
            look.pull = self.pull_now().await?;
        }
        if !self.command.options().force {
            let (base, head) = (look.pull.base.clone(), self.command.commit().to_owned());
            let behind = engine.github.behind_by(&self.meter, &self.command.repository, &base, &head).await?;
            let who = policy.rules(self.command.verb.as_str(), true).last().map(gate::who).unwrap_or_default();
            let verdict = gate::current(&self.command, &base, behind, &who);
            if verdict.is_err() {
                return Ok(verdict);
            }
            said.push(format!("up to date with {base}"));
        }
        Ok(gate::mergeable(&self.command, &look.pull).and_then(|()| self.may_merge(&self.command, look)))
    }

    /// The default branch's project, as the last look showed it. A failure when there is one that cannot be read: then
    /// nobody knows the policy.
    pub(super) fn base(&self) -> Result<Option<Project>, Failure> {
        let Some(look) = &self.look else { return Ok(None) };
        let Some((path, bytes)) = &look.project else { return Ok(None) };
        let branch = &look.default_branch;
        match Project::load(&Memory::new().with(path, bytes.to_vec())) {
            Ok(loaded) => Ok(Some(loaded.project)),
            Err(problems) => {
                let what = problems.first().map(ToString::to_string).unwrap_or_default();
                Err(Failure::new(
                    Reason::ConfigInvalid,
                    format!(
                        "who may do this stands in the default branch {branch}, and its file cannot be read: {what}"
                    ),
                )
                .action(format!("mend the file in {branch}"))
                .log_tail(&render(&problems)))
            }
        }
    }
}

/// The rules that a command must fulfil, each with whether it is there because the code comes from a fork.
pub(super) fn rules_of(command: &Command, policy: &Policy, look: &Look) -> Vec<(ResolvedRule, bool)> {
    let (verb, force) = (command.verb, command.options().force && command.verb.merges());
    let mut rules: Vec<_> = policy.rules(verb.as_str(), force).into_iter().map(|rule| (rule, false)).collect();
    if verb.uses_code() && look.pull.fork {
        rules.push((policy.fork_rule(), true));
    }
    rules
}
