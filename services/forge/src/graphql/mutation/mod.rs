//! What can be changed. Each change goes the way of its REST twin, and fails on its own.

mod check;
mod deployment;
mod label;
mod talk;

use async_graphql::{Context, Object, Result};

use super::Session;

pub(super) struct Mutation;

#[Object]
impl Mutation {
    async fn add_comment(
        &self,
        ctx: &Context<'_>,
        input: talk::AddCommentInput,
    ) -> Option<Result<talk::AddCommentPayload>> {
        Some(async { talk::add(Session::of(ctx)?, input).await }.await)
    }

    async fn update_issue_comment(
        &self,
        ctx: &Context<'_>,
        input: talk::UpdateIssueCommentInput,
    ) -> Option<Result<talk::UpdateIssueCommentPayload>> {
        Some(async { talk::update(Session::of(ctx)?, input).await }.await)
    }

    async fn merge_pull_request(
        &self,
        ctx: &Context<'_>,
        input: talk::MergePullRequestInput,
    ) -> Option<Result<talk::MergePullRequestPayload>> {
        Some(async { talk::merge(Session::of(ctx)?, input).await }.await)
    }

    async fn create_check_run(
        &self,
        ctx: &Context<'_>,
        input: check::CreateCheckRunInput,
    ) -> Option<Result<check::CreateCheckRunPayload>> {
        Some(async { check::create(Session::of(ctx)?, input).await }.await)
    }

    async fn update_check_run(
        &self,
        ctx: &Context<'_>,
        input: check::UpdateCheckRunInput,
    ) -> Option<Result<check::UpdateCheckRunPayload>> {
        Some(async { check::update(Session::of(ctx)?, input).await }.await)
    }

    async fn create_deployment(
        &self,
        ctx: &Context<'_>,
        input: deployment::CreateDeploymentInput,
    ) -> Option<Result<deployment::CreateDeploymentPayload>> {
        Some(async { deployment::create(Session::of(ctx)?, input).await }.await)
    }

    async fn create_deployment_status(
        &self,
        ctx: &Context<'_>,
        input: deployment::CreateDeploymentStatusInput,
    ) -> Option<Result<deployment::CreateDeploymentStatusPayload>> {
        Some(async { deployment::create_status(Session::of(ctx)?, input).await }.await)
    }

    async fn add_labels_to_labelable(
        &self,
        ctx: &Context<'_>,
        input: label::AddLabelsToLabelableInput,
    ) -> Option<Result<label::AddLabelsToLabelablePayload>> {
        Some(async { label::add(Session::of(ctx)?, input).await }.await)
    }

    async fn remove_labels_from_labelable(
        &self,
        ctx: &Context<'_>,
        input: label::RemoveLabelsFromLabelableInput,
    ) -> Option<Result<label::RemoveLabelsFromLabelablePayload>> {
        Some(async { label::remove(Session::of(ctx)?, input).await }.await)
    }

    async fn create_label(
        &self,
        ctx: &Context<'_>,
        input: label::CreateLabelInput,
    ) -> Option<Result<label::CreateLabelPayload>> {
        Some(async { label::create(Session::of(ctx)?, input).await }.await)
    }
}
