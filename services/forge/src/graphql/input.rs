//! Filters and orders.

use async_graphql::InputObject;

use super::enums::{
    CheckConclusionState, CheckRunType, CheckStatusState, DeploymentOrderField, IssueCommentOrderField, OrderDirection,
    from_rest,
};
use crate::model::CheckRun;

/// In which order comments come.
#[derive(Debug, Clone, InputObject)]
pub(super) struct IssueCommentOrder {
    pub(super) direction: OrderDirection,
    pub(super) field: IssueCommentOrderField,
}

/// In which order deployments come.
#[derive(Debug, Clone, InputObject)]
pub(super) struct DeploymentOrder {
    pub(super) direction: OrderDirection,
    pub(super) field: DeploymentOrderField,
}

/// Which check suites are meant.
#[derive(Debug, Clone, Default, InputObject)]
pub(super) struct CheckSuiteFilter {
    app_id: Option<i32>,
    check_name: Option<String>,
}

impl CheckSuiteFilter {
    /// Whether a suite with these check runs is meant.
    pub(super) fn fits(&self, runs: &[CheckRun]) -> bool {
        let app = |id: &i32| runs.iter().any(|run| run.app_id == i64::from(*id));
        let name = |name: &String| runs.iter().any(|run| run.fields.name == *name);
        self.app_id.as_ref().is_none_or(app) && self.check_name.as_ref().is_none_or(name)
    }
}

/// Which check runs are meant: the newest of each name unless told.
#[derive(Debug, Clone, Default, InputObject)]
pub(super) struct CheckRunFilter {
    app_id: Option<i32>,
    check_name: Option<String>,
    check_type: Option<CheckRunType>,
    conclusions: Option<Vec<CheckConclusionState>>,
    status: Option<CheckStatusState>,
    statuses: Option<Vec<CheckStatusState>>,
}

impl CheckRunFilter {
    /// Those of the check runs, given oldest first.
    pub(super) fn apply(&self, runs: &[CheckRun]) -> Vec<CheckRun> {
        let newest = |run: &CheckRun| {
            self.check_type == Some(CheckRunType::All)
                || !runs.iter().any(|other| other.id > run.id && other.fields.name == run.fields.name)
        };
        let fits = |run: &&CheckRun| {
            let status = from_rest::<CheckStatusState>(&run.fields.status);
            let conclusion = run.fields.conclusion.as_deref().and_then(from_rest::<CheckConclusionState>);
            newest(run)
                && self.app_id.is_none_or(|id| run.app_id == i64::from(id))
                && self.check_name.as_ref().is_none_or(|name| run.fields.name == *name)
                && self.status.is_none_or(|wanted| status == Some(wanted))
                && self.statuses.as_ref().is_none_or(|wanted| status.is_some_and(|one| wanted.contains(&one)))
                && self.conclusions.as_ref().is_none_or(|wanted| conclusion.is_some_and(|one| wanted.contains(&one)))
        };
        runs.iter().filter(fits).cloned().collect()
    }
}
