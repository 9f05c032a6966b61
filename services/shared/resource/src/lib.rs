//! The resources of a worker on one machine: kept in SQLite, created once, watched as whole snapshots.

mod page;
mod table;

pub use page::{Page, PageError};
pub use table::{Created, Record, Table};
