//! URLs that let their holder read or write one object for a while.

use std::{fmt, time::Duration};

use kfops_core::{Failure, Reason};
use object_store::{path::Path as Key, signer::Signer as _};
use secrecy::{ExposeSecret as _, SecretString};

use crate::Store;

/// Longest that S3 lets a URL be valid (signature version 4).
pub const LONGEST_VALID: Duration = Duration::from_secs(7 * 24 * 3600);

/// A URL whose query is a key to one object: it prints without it.
#[derive(Clone)]
pub struct SignedUrl {
    whole: SecretString,
    shown: String,
}

impl SignedUrl {
    /// The whole URL, for the one who is to use it. It belongs into no log, and into a pod only through a Secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.whole.expose_secret()
    }
}

impl fmt::Display for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedUrl({})", self.shown)
    }
}

impl Store {
    /// A URL from which the object can be read by HTTP GET for `valid` (1 s to 7 days, and no longer than the
    /// credentials of this store: those of a web identity end after an hour). Whether there is an object is not asked.
    /// A store in a folder has no such URLs: `INVALID_ARGUMENT`.
    pub async fn signed_get(&self, key: &str, valid: Duration) -> Result<SignedUrl, Failure> {
        self.signed(http::Method::GET, key, valid).await
    }

    /// A URL to which the object can be written by one HTTP PUT of at most 5 GiB; otherwise like [`Self::signed_get`].
    pub async fn signed_put(&self, key: &str, valid: Duration) -> Result<SignedUrl, Failure> {
        self.signed(http::Method::PUT, key, valid).await
    }

    async fn signed(&self, method: http::Method, key: &str, valid: Duration) -> Result<SignedUrl, Failure> {
        let Some(signer) = self.signer() else {
            let text =
                format!("the object store {} is a folder: there is no URL of its objects for others", self.url());
            return Err(Failure::new(Reason::InvalidArgument, text)
                .on(key)
                .action("set `store` to an s3:// URL where pods need objects"));
        };
        if !(Duration::from_secs(1)..=LONGEST_VALID).contains(&valid) {
            let text = format!("a signed URL is valid for 1 s to 7 days, not {} s", valid.as_secs());
            return Err(Failure::new(Reason::InvalidArgument, text).on(key));
        }
        let at: Key = self.key(key)?;
        let url = self.within(key, signer.signed_url(method, &at, valid)).await?;
        let mut shown = url.clone();
        shown.set_query(None);
        Ok(SignedUrl { whole: SecretString::from(String::from(url)), shown: format!("{shown}?…") })
    }
}
