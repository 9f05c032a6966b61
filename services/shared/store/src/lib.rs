//! The object store: source archives, logs and models, under keys with `/` between their parts. It is a folder of this
//! machine, or a bucket of S3.

mod archive;
mod check;
mod folder;
mod key;
mod s3;
mod settings;
mod signed;
mod store;
mod transfer;

pub use archive::{ArchiveLimits, SourceRef, extract_source};
pub use check::Health;
pub use folder::{StoredFolder, digest_folder, digest_stored, get_folder, put_folder};
pub use settings::{CredentialFiles, StoreOptions, StoreSettings, WebIdentity};
pub use signed::{LONGEST_VALID, SignedUrl};
pub use store::Store;
