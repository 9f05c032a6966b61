//! Who may do what, as `policy:` of the base branch says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A permission on the repository, as GitHub names and orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Can see the repository.
    Read,
    /// Can manage issues.
    Triage,
    /// Can push.
    Write,
    /// Can manage the repository.
    Maintain,
    /// Can do anything.
    Admin,
}

impl Permission {
    /// As GitHub writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Triage => "triage",
            Self::Write => "write",
            Self::Maintain => "maintain",
            Self::Admin => "admin",
        }
    }
}

/// What must hold before a command is accepted. Everything that is written must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The least permission on the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Permission")]
    pub permission: Option<Permission>,
    /// Approving reviews that the pull request needs.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 20))]
    pub approvals: u32,
    /// Check runs or statuses that must have succeeded on the commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// Only these people (and the teams below).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Only members of these teams (and the people above): `team`, or `organization/team`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub teams: Vec<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A rule per verb; `force` is for `/deploy --force`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// For `/build`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub build: Option<Rule>,
    /// For `/run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub run: Option<Rule>,
    /// For `/build_run`; without it, the rules of `build` and `run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub build_run: Option<Rule>,
    /// For `/deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub deploy: Option<Rule>,
    /// For `/staging_deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub staging_deploy: Option<Rule>,
    /// For `/ship`; without it, the rules of `build`, `run` and `deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub ship: Option<Rule>,
    /// For `--force`, on top of the verb's own rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub force: Option<Rule>,
    /// For `/rollback`; without it, who may `/deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub rollback: Option<Rule>,
    /// For `/promote`; without it, who may `/deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub promote: Option<Rule>,
    /// For `/cancel` of someone else's command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub cancel: Option<Rule>,
    /// For `/unlock`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub unlock: Option<Rule>,
    /// For anything that uses the code of a pull request from a fork, on top of the verb's own rule. Without it: one
    /// approving review of the very commit by someone with write permission, who may be the one who commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Rule")]
    pub forks: Option<Rule>,
    /// Base branches, other than the default branch, from whose pull requests something may be deployed: names, or
    /// prefixes that end in `*`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<String>,
}

/// A rule with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedRule {
    /// The section of `policy` that it comes from, for messages: `policy.deploy`.
    pub section: &'static str,
    /// The least permission on the repository.
    pub permission: Permission,
    /// Approving reviews that the pull request needs.
    pub approvals: u32,
    /// Check runs or statuses that must have succeeded on the commit.
    pub checks: Vec<String>,
    /// With `teams`: only these. Both empty: everyone with the permission.
    pub users: Vec<String>,
    /// See `users`.
    pub teams: Vec<String>,
}

impl ResolvedRule {
    fn of(section: &'static str, rule: Option<&Rule>, permission: Permission) -> Self {
        let rule = rule.cloned().unwrap_or_default();
        // Who is named one by one needs no more than what the work itself needs.
        let named = !rule.users.is_empty() || !rule.teams.is_empty();
        let default = if named { Permission::Write } else { permission };
        Self {
            section,
            permission: rule.permission.unwrap_or(default),
            approvals: rule.approvals,
            checks: rule.checks,
            users: rule.users,
            teams: rule.teams,
        }
    }
}

impl Policy {
    /// The rules that all must hold for a verb (`build_run`, `deploy`, …). Empty for verbs that change nothing.
    ///
    /// Without a rule: `write` on the repository; for `force`: `maintain`.
    #[must_use]
    pub fn rules(&self, verb: &str, force: bool) -> Vec<ResolvedRule> {
        let build = || ResolvedRule::of("policy.build", self.build.as_ref(), Permission::Write);
        let run = || ResolvedRule::of("policy.run", self.run.as_ref(), Permission::Write);
        let deploy = || ResolvedRule::of("policy.deploy", self.deploy.as_ref(), Permission::Write);
        let mut rules = match verb {
            "build" => vec![build()],
            "run" => vec![run()],
            "build_run" => match &self.build_run {
                Some(rule) => vec![ResolvedRule::of("policy.build_run", Some(rule), Permission::Write)],
                None => vec![build(), run()],
            },
            "deploy" => vec![deploy()],
            "staging_deploy" => {
                vec![ResolvedRule::of("policy.staging_deploy", self.staging_deploy.as_ref(), Permission::Write)]
            }
            "ship" => match &self.ship {
                Some(rule) => vec![ResolvedRule::of("policy.ship", Some(rule), Permission::Write)],
                None => vec![build(), run(), deploy()],
            },
            "rollback" => vec![self.people("policy.rollback", self.rollback.as_ref())],
            "promote" => vec![self.people("policy.promote", self.promote.as_ref())],
            "cancel" => vec![ResolvedRule::of("policy.cancel", self.cancel.as_ref(), Permission::Write)],
            "unlock" => vec![ResolvedRule::of("policy.unlock", self.unlock.as_ref(), Permission::Maintain)],
            _ => Vec::new(),
        };
        if force {
            rules.push(ResolvedRule::of("policy.force", self.force.as_ref(), Permission::Maintain));
        }
        rules
    }

    /// What must hold for the code of a fork, on top of the verb's rules. Approvals count even when they are the actor's
    /// own: it is the author of the pull request whose word is not enough.
    #[must_use]
    pub fn fork_rule(&self) -> ResolvedRule {
        let default = Rule { approvals: 1, ..Rule::default() };
        ResolvedRule::of("policy.forks", Some(self.forks.as_ref().unwrap_or(&default)), Permission::Write)
    }

    /// Whether pull requests into a branch may deploy; the default branch always may.
    #[must_use]
    pub fn deploys_from(&self, branch: &str, default_branch: &str) -> bool {
        branch == default_branch
            || self.branches.iter().any(|known| match known.strip_suffix('*') {
                Some(prefix) => branch.starts_with(prefix),
                None => branch == known,
            })
    }

    /// The rule, or who may deploy: undoing must not wait for reviews and checks.
    fn people(&self, section: &'static str, rule: Option<&Rule>) -> ResolvedRule {
        if rule.is_some() {
            return ResolvedRule::of(section, rule, Permission::Write);
        }
        let deploy = ResolvedRule::of("policy.deploy", self.deploy.as_ref(), Permission::Write);
        ResolvedRule { approvals: 0, checks: Vec::new(), ..deploy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ship_needs_what_its_parts_need() {
        let deploy = Rule { permission: Some(Permission::Admin), approvals: 2, ..Rule::default() };
        let policy = Policy { deploy: Some(deploy), ..Policy::default() };
        let rules = policy.rules("ship", true);
        let seen: Vec<_> = rules.iter().map(|r| (r.section, r.permission, r.approvals)).collect();
        assert_eq!(
            seen,
            [
                ("policy.build", Permission::Write, 0),
                ("policy.run", Permission::Write, 0),
                ("policy.deploy", Permission::Admin, 2),
                ("policy.force", Permission::Maintain, 0),
            ]
        );
        assert!(policy.rules("help", false).is_empty());
    }

    #[test]
    fn undoing_waits_for_nobody() {
        let deploy = Rule {
            permission: Some(Permission::Maintain),
            approvals: 2,
            checks: vec!["test".into()],
            ..Rule::default()
        };
        let policy = Policy { deploy: Some(deploy), ..Policy::default() };
        for verb in ["rollback", "promote"] {
            let rule = policy.rules(verb, false).remove(0);
            assert_eq!((rule.permission, rule.approvals, rule.checks.len()), (Permission::Maintain, 0, 0), "{verb}");
        }
        assert_eq!(policy.rules("unlock", false)[0].permission, Permission::Maintain);
        assert_eq!(policy.fork_rule().approvals, 1);
    }

    #[test]
    fn branches_are_names_or_prefixes() {
        let policy = Policy { branches: vec!["next".into(), "release/*".into()], ..Policy::default() };
        for (branch, may) in [("main", true), ("next", true), ("release/1", true), ("nextish", false), ("lax", false)] {
            assert_eq!(policy.deploys_from(branch, "main"), may, "{branch}");
        }
    }

    #[test]
    fn a_named_team_needs_write_only() {
        let force = Rule { teams: vec!["ml-platform".to_owned()], ..Rule::default() };
        let policy = Policy { force: Some(force), ..Policy::default() };
        assert_eq!(policy.rules("deploy", true)[1].permission, Permission::Write);
    }
}
