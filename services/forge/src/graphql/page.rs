//! Connections: a window of a list, told by `first` or `last`, `after` or `before`.

use async_graphql::{OutputType, Result, SimpleObject};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::check::{CheckRun, CheckSuite};
use super::commit::PullRequestCommit;
use super::deployment::{Deployment, DeploymentStatus};
use super::fault::fault;
use super::pull::PullRequest;
use super::rollup::StatusCheckRollupContext;
use super::talk::{IssueComment, Label, PullRequestReview};

/// Most nodes of one connection.
const MOST: usize = 100;

/// Where the neighbours are.
#[derive(Debug, Clone, Default, SimpleObject)]
pub(super) struct PageInfo {
    end_cursor: Option<String>,
    has_next_page: bool,
    has_previous_page: bool,
    start_cursor: Option<String>,
}

/// A window of a list.
#[derive(Debug, Clone, SimpleObject)]
#[graphql(concrete(name = "CheckRunConnection", params(CheckRun)))]
#[graphql(concrete(name = "CheckSuiteConnection", params(CheckSuite)))]
#[graphql(concrete(name = "DeploymentConnection", params(Deployment)))]
#[graphql(concrete(name = "DeploymentStatusConnection", params(DeploymentStatus)))]
#[graphql(concrete(name = "IssueCommentConnection", params(IssueComment)))]
#[graphql(concrete(name = "LabelConnection", params(Label)))]
#[graphql(concrete(name = "PullRequestConnection", params(PullRequest)))]
#[graphql(concrete(name = "PullRequestCommitConnection", params(PullRequestCommit)))]
#[graphql(concrete(name = "PullRequestReviewConnection", params(PullRequestReview)))]
#[graphql(concrete(name = "StatusCheckRollupContextConnection", params(StatusCheckRollupContext)))]
pub(super) struct Connection<T: OutputType> {
    nodes: Option<Vec<Option<T>>>,
    page_info: PageInfo,
    total_count: i32,
}

/// Which window is wanted.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) first: Option<i32>,
    pub(super) last: Option<i32>,
    pub(super) after: Option<String>,
    pub(super) before: Option<String>,
}

/// The cursor of a row.
pub(super) fn cursor(key: i64) -> String {
    BASE64_STANDARD.encode(format!("cursor:v2:{key}"))
}

fn key_of(name: &str, cursor: &str) -> Result<i64> {
    let bytes = BASE64_STANDARD.decode(cursor).unwrap_or_default();
    let text = String::from_utf8(bytes).unwrap_or_default();
    text.strip_prefix("cursor:v2:").and_then(|key| key.parse().ok()).ok_or_else(|| {
        let shown: String = cursor.chars().take(100).collect();
        fault("INVALID_CURSOR_ARGUMENTS", format!("`{shown}` does not appear to be a valid cursor for `{name}`."))
    })
}

impl Window {
    fn size(&self, field: &str) -> Result<(&'static str, usize)> {
        let (name, wanted) = match (self.first, self.last) {
            (Some(_), Some(_)) => {
                let text =
                    format!("Passing both `first` and `last` to paginate the `{field}` connection is not supported.");
                return Err(fault("UNPROCESSABLE", text));
            }
            (Some(first), None) => ("first", first),
            (None, Some(last)) => ("last", last),
            (None, None) => {
                let text = format!(
                    "You must provide a `first` or `last` value to properly paginate the `{field}` connection."
                );
                return Err(fault("MISSING_PAGINATION_BOUNDARIES", text));
            }
        };
        let size = usize::try_from(wanted).map_err(|_| {
            let text = format!("`{name}` on the `{field}` connection cannot be less than zero.");
            fault("ARGUMENT_ERROR", text)
        })?;
        if size > MOST {
            let text = format!(
                "Requesting {size} records on the `{field}` connection exceeds the `{name}` limit of {MOST} records."
            );
            return Err(fault("EXCESSIVE_PAGINATION", text));
        }
        Ok((name, size))
    }

    /// The window of `all`, whose keys are different from each other.
    pub(super) fn of<T: OutputType>(&self, field: &str, all: Vec<T>, key: impl Fn(&T) -> i64) -> Result<Connection<T>> {
        let (name, size) = self.size(field)?;
        let rising = all.first().map(&key) <= all.last().map(&key);
        // The row of a cursor may be gone: then the place where it was counts.
        let place = |wanted: i64| {
            let gone = |one: &T| if rising { key(one) > wanted } else { key(one) < wanted };
            match all.iter().position(|one| key(one) == wanted) {
                Some(index) => (index, index + 1),
                None => {
                    let index = all.iter().position(gone).unwrap_or(all.len());
                    (index, index)
                }
            }
        };
        let mut from = match &self.after {
            Some(cursor) => place(key_of("after", cursor)?).1,
            None => 0,
        };
        let mut to = match &self.before {
            Some(cursor) => place(key_of("before", cursor)?).0.max(from),
            None => all.len(),
        };
        if name == "first" {
            to = to.min(from + size);
        } else {
            from = from.max(to.saturating_sub(size));
        }
        let info = PageInfo {
            start_cursor: all.get(from).filter(|_| from < to).map(|one| cursor(key(one))),
            end_cursor: to
                .checked_sub(1)
                .filter(|_| from < to)
                .and_then(|index| all.get(index))
                .map(|one| cursor(key(one))),
            has_next_page: to < all.len(),
            has_previous_page: from > 0,
        };
        let total_count = i32::try_from(all.len()).unwrap_or(i32::MAX);
        let nodes = all.into_iter().skip(from).take(to - from).map(Some).collect();
        Ok(Connection { nodes: Some(nodes), page_info: info, total_count })
    }
}
