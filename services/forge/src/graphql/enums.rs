//! Enums, and the way from REST's lower-case words and back.

use async_graphql::Enum;
use async_graphql::resolver_utils::EnumType;

/// The value that REST calls so.
pub(super) fn from_rest<E: EnumType>(word: &str) -> Option<E> {
    E::items().iter().find(|item| item.name.eq_ignore_ascii_case(word)).map(|item| item.value)
}

/// What REST calls the value.
pub(super) fn to_rest<E: EnumType>(value: E) -> String {
    let item = E::items().iter().find(|item| item.value == value);
    item.map(|item| item.name.to_ascii_lowercase()).unwrap_or_default()
}

macro_rules! enums {
    ($($(#[$doc:meta])* $name:ident { $($value:ident),+ $(,)? })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
            pub(super) enum $name { $($value),+ }
        )+
    };
}

enums! {
    OrderDirection { Asc, Desc }
    IssueCommentOrderField { UpdatedAt }
    DeploymentOrderField { CreatedAt }
    MergeableState { Conflicting, Mergeable, Unknown }
    MergeStateStatus { Behind, Blocked, Clean, Dirty, Draft, HasHooks, Unknown, Unstable }
    PullRequestState { Closed, Merged, Open }
    IssueState { Closed, Open }
    PullRequestReviewState { Approved, ChangesRequested, Commented, Dismissed, Pending }
    PullRequestMergeMethod { Merge, Rebase, Squash }
    CommentAuthorAssociation { Collaborator, Contributor, FirstTimer, FirstTimeContributor, Mannequin, Member, None, Owner }
    StatusState { Error, Expected, Failure, Pending, Success }
    CheckStatusState { Completed, InProgress, Pending, Queued, Requested, Waiting }
    RequestableCheckStatusState { Completed, InProgress, Pending, Queued, Waiting }
    CheckConclusionState {
        ActionRequired, Cancelled, Failure, Neutral, Skipped, Stale, StartupFailure, Success, TimedOut,
    }
    CheckAnnotationLevel { Failure, Notice, Warning }
    CheckRunType { All, Latest }
    DeploymentState { Abandoned, Active, Destroyed, Error, Failure, Inactive, InProgress, Pending, Queued, Success, Waiting }
    DeploymentStatusState { Error, Failure, Inactive, InProgress, Pending, Queued, Success, Waiting }
}
