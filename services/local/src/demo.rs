//! `kfc local demo`: three pull requests, from a comment to a live model, without a person.

mod forge;
mod load;
mod report;
mod story;
mod teller;
mod work_tree;

pub use forge::Repository;
pub use load::{Load, LoadReport};
pub use report::Report;
pub use story::{DemoOptions, REPOSITORY, run};
pub use teller::{ended, follow};
pub use work_tree::WorkTree;
