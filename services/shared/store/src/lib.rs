//! The object store: source archives, logs and models, under keys with `/` between their parts.

mod archive;
mod folder;
mod store;

pub use archive::{ArchiveLimits, SourceRef, extract_source};
pub use folder::{StoredFolder, digest_folder, get_folder, put_folder};
pub use store::Store;
