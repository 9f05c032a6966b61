//! Whom the operator lets in: which repositories' commands are taken, and which targets are whose.

use kfops_core::{Failure, Reason};

use crate::{
    command::Repository,
    settings::{GitHubSettings, Settings, TargetSettings},
};

impl GitHubSettings {
    /// Whether commands of that repository are taken.
    pub(crate) fn allows(&self, repository: &Repository) -> bool {
        let named = |allowed: &String| match allowed.strip_suffix("/*") {
            Some(owner) => owner.eq_ignore_ascii_case(&repository.owner),
            None => allowed.eq_ignore_ascii_case(&repository.to_string()),
        };
        self.allow.is_empty() || self.allow.iter().any(named)
    }
}

impl TargetSettings {
    /// The repository that a target was given to.
    pub(crate) fn owner(&self, target: &str) -> Option<Repository> {
        // What cannot be read was refused at the start.
        self.owners.get(target).and_then(|owner| Repository::parse(owner).ok())
    }
}

impl Settings {
    /// Everything that the types cannot say.
    pub fn validate(&self) -> Result<(), Failure> {
        let wrong = |key: &str, what: String| Err(Failure::new(Reason::InvalidArgument, what).on(key));
        for allowed in &self.github.allow {
            let example = allowed.strip_suffix("/*").map_or_else(|| allowed.clone(), |owner| format!("{owner}/x"));
            if let Err(error) = Repository::parse(&example) {
                return wrong("github.allow", format!("github.allow: {error}, or all of an owner as owner/*"));
            }
        }
        for (target, owner) in &self.targets.owners {
            let named = target.strip_prefix("namespaces/").and_then(|rest| rest.split_once("/inferenceServices/"));
            let label = |part: &str| {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                !part.is_empty() && part.chars().all(plain)
            };
            if !named.is_some_and(|(namespace, name)| label(namespace) && label(name)) {
                let what = format!("`{target}` is not a target: write namespaces/NAMESPACE/inferenceServices/NAME");
                return wrong("targets.owners", format!("targets.owners: {what}"));
            }
            if let Err(error) = Repository::parse(owner) {
                return wrong("targets.owners", format!("targets.owners: {target}: {error}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_are_named_one_by_one_or_by_owner() {
        let mut github = GitHubSettings::default();
        let of = |text: &str| Repository::parse(text).unwrap();
        assert!(github.allows(&of("any/one")));
        github.allow = vec!["Team/*".into(), "o/r".into()];
        for (repository, expected) in
            [("team/x", true), ("O/R", true), ("o/r2", false), ("teams/x", false), ("x/team", false)]
        {
            assert_eq!(github.allows(&of(repository)), expected, "{repository}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_at_the_start() {
        let with = |allow: &str, target: &str, owner: &str| {
            let mut settings = Settings::default();
            settings.github.allow = vec![allow.into()];
            settings.targets.owners = [(target.to_owned(), owner.to_owned())].into();
            settings.validate()
        };
        let target = "namespaces/iris/inferenceServices/iris";
        with("team/*", target, "o/r").unwrap();
        for (allow, target, owner) in [
            ("team", target, "o/r"),
            ("*", target, "o/r"),
            ("*/*", target, "o/r"),
            ("o/r*", target, "o/r"),
            ("o/r", "iris/iris", "o/r"),
            ("o/r", "namespaces/iris/inferenceServices/", "o/r"),
            ("o/r", "namespaces/Iris/inferenceServices/iris", "o/r"),
            ("o/r", target, "o"),
        ] {
            let failure = with(allow, target, owner).unwrap_err();
            assert_eq!(failure.reason, Reason::InvalidArgument, "{allow} {target} {owner}");
        }
    }
}
