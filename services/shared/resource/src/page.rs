//! Pagination as AIP-158 says.

use kfops_core::{Failure, Reason};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// Newest first.
    pub items: Vec<T>,
    /// Empty when this was the last page.
    pub next_page_token: String,
}

/// Why a page cannot be had.
pub type PageError = Failure;

/// Size and start of the page that is asked for.
pub(crate) fn parse(page_size: i32, page_token: &str) -> Result<(usize, i64), PageError> {
    let size = match page_size {
        0 => 50,
        1.. => usize::try_from(page_size).unwrap_or(1000).min(1000),
        _ => return Err(Failure::new(Reason::InvalidArgument, "page_size must not be negative").on("page_size")),
    };
    let before = if page_token.is_empty() {
        i64::MAX
    } else {
        page_token.parse().map_err(|_| {
            Failure::new(Reason::InvalidArgument, "page_token is not one that a list gave out").on("page_token")
        })?
    };
    Ok((size, before))
}
