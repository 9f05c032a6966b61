//! Where a command deploys to. The default branch has the last word on it: a pull request that could name its own target
//! could replace the production model by the verb that asks for less.

use kfops_core::{Failure, Reason};
use kfops_project::{Environment, Project, Target};

use super::Driver;
use crate::verb::Verb;

impl Driver {
    /// The name of the InferenceService to deploy to, if the default branch agrees with the pull request.
    pub(super) async fn agreed_target(&mut self) -> Result<Result<String, Failure>, Failure> {
        let project = self.project().await?;
        let look = self.fresh_look().await?;
        Ok(self.base().and_then(|base| agreed(&project, base.as_ref(), &look.default_branch, self.command.verb)))
    }

    /// Name of the InferenceService that the command deploys to: what its lock is called.
    pub(super) async fn target_name(&mut self) -> Result<String, Failure> {
        let agreed = &self.command.lineage.inference_service;
        if !agreed.is_empty() {
            return Ok(agreed.clone());
        }
        self.agreed_target().await?
    }
}

/// The InferenceService of an environment, by name.
pub(super) fn service_of(project: &Project, environment: Environment) -> Option<String> {
    let (target, serving) = (project.target(environment)?, project.serving.as_ref()?);
    Some(format!("namespaces/{}/inferenceServices/{}", target.namespace, serving.name))
}

/// Where a verb deploys to, by name, and how.
pub(super) fn target(project: &Project, verb: Verb) -> Result<(String, &Target), Failure> {
    let environment = verb.environment().ok_or_else(|| Failure::internal("this verb deploys nothing"))?;
    let missing = |what: &str| {
        Failure::new(Reason::ConfigInvalid, format!("kfops.yaml has no {what}, so that nothing can be deployed there"))
            .action(format!("add {what} and push"))
    };
    let serving = project.serving.as_ref().ok_or_else(|| missing("serving"))?;
    let target =
        project.target(environment).ok_or_else(|| missing(&format!("environments.{}", environment.as_str())))?;
    Ok((format!("namespaces/{}/inferenceServices/{}", target.namespace, serving.name), target))
}

/// The target's name, if the base branch names the same. Without a file in the base, the pull request's counts, but
/// staging can't be production.
pub(super) fn agreed(project: &Project, base: Option<&Project>, branch: &str, verb: Verb) -> Result<String, Failure> {
    let (name, own) = target(project, verb)?;
    let environment = verb.environment().ok_or_else(|| Failure::internal("this verb deploys nothing"))?;
    let key = format!("environments.{}.namespace", environment.as_str());
    let Some(base) = base else {
        let production = project.target(Environment::Production).map(|target| &target.namespace);
        if environment == Environment::Staging && production == Some(&own.namespace) {
            return Err(Failure::new(
                Reason::PolicyRefused,
                format!("{key} is {}, and so is environments.production.namespace", own.namespace),
            )
            .on(&key)
            .action(format!("give staging a namespace of its own, push and /{} again", verb.as_str())));
        }
        return Ok(name);
    };
    let namespaces = (base.target(environment).map(|target| target.namespace.as_str()), own.namespace.as_str());
    let service = |project: &'_ Project| project.serving.as_ref().map(|serving| serving.name.clone());
    let (theirs, ours) = (service(base), service(project).unwrap_or_default());
    for (key, (theirs, ours)) in [(key.as_str(), namespaces), ("serving.name", (theirs.as_deref(), ours.as_str()))] {
        if theirs == Some(ours) {
            continue;
        }
        let theirs = theirs.map_or_else(|| format!("{branch} has none"), |theirs| format!("{theirs} in {branch}"));
        return Err(Failure::new(
            Reason::PolicyRefused,
            format!("{key} is {ours} in this pull request, and {theirs}: the default branch says where a model goes"),
        )
        .on(key)
        .action(format!(
            "merge the change of {key} into {branch} first, without a deployment, or take it back; then /{} again",
            verb.as_str()
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use kfops_project::Memory;

    use super::*;

    fn project(name: &str, staging: &str) -> Project {
        let text = format!(
            "apiVersion: kfops.dev/v1\nkind: Project\n\
             pipeline: {{name: iris, source: p.py, model: {{task: train, output: model}}}}\n\
             serving: {{name: {name}, template: t.yaml, sample: s.json}}\n\
             environments: {{build: team, {staging} production: {{namespace: live}}}}\n"
        );
        Project::load(&Memory::new().with("kfops.yaml", text)).unwrap().project
    }

    fn refusal(result: Result<String, Failure>) -> (Reason, String) {
        let failure = result.unwrap_err();
        assert!(!failure.action.is_empty(), "no way out: {failure:?}");
        (failure.reason, failure.message)
    }

    #[test]
    fn the_base_says_where_a_model_goes() {
        let base = project("iris", "staging: {namespace: test},");
        let name = agreed(&base, Some(&base), "main", Verb::StagingDeploy).unwrap();
        assert_eq!(name, "namespaces/test/inferenceServices/iris");
        let moved = project("iris", "staging: {namespace: live},");
        let (reason, message) = refusal(agreed(&moved, Some(&base), "main", Verb::StagingDeploy));
        assert_eq!(reason, Reason::PolicyRefused);
        assert_eq!(
            message,
            "environments.staging.namespace is live in this pull request, and test in main: the default branch says where \
             a model goes"
        );
        // What is not touched by the verb may change.
        agreed(&moved, Some(&base), "main", Verb::Deploy).unwrap();
        let renamed = project("other", "staging: {namespace: test},");
        for verb in [Verb::Deploy, Verb::Ship, Verb::StagingDeploy] {
            let message = refusal(agreed(&renamed, Some(&base), "main", verb)).1;
            assert!(message.starts_with("serving.name is other in this pull request, and iris in main"), "{message}");
        }
        let without = project("iris", "");
        let message = refusal(agreed(&moved, Some(&without), "main", Verb::StagingDeploy)).1;
        assert!(message.contains("and main has none"), "{message}");
    }

    #[test]
    fn the_first_pull_request_speaks_for_itself() {
        let own = project("iris", "staging: {namespace: test},");
        agreed(&own, None, "main", Verb::StagingDeploy).unwrap();
        agreed(&own, None, "main", Verb::Deploy).unwrap();
        let same = project("iris", "staging: {namespace: live},");
        assert_eq!(refusal(agreed(&same, None, "main", Verb::StagingDeploy)).0, Reason::PolicyRefused);
        agreed(&same, None, "main", Verb::Deploy).unwrap();
    }
}
