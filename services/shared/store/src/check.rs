//! Whether the store can be used: asked at the start and by `kfc doctor`.

use std::{fmt, time::Duration};

use kfops_core::{Failure, Reason};
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions};

use crate::{
    Store,
    s3::{Seen, apart},
};

/// Longest for all of it.
const LIMIT: Duration = Duration::from_secs(30);
/// A difference of clocks that is worth a word, in seconds.
const SKEW: i64 = 60;

/// A store that works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Where it is, as in messages.
    pub place: String,
    /// How long it took.
    pub took: Duration,
    /// How far the store's clock is ahead of this machine's, in seconds; None for a folder.
    pub clock_ahead: Option<i64>,
    /// Whether the store refuses to make an object a second time where that is asked.
    pub creates_once: bool,
}

impl Health {
    /// What is not as it should be, though the store works; one line each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(ahead) = self.clock_ahead.filter(|ahead| ahead.abs() >= SKEW) {
            warnings.push(format!(
                "clocks differ by {}: beyond 15 min S3 refuses every request; set them right (NTP)",
                apart(ahead)
            ));
        }
        if !self.creates_once {
            warnings.push("it does not know `If-None-Match: *`: of two commands that fetch one commit at once, one may have to be given again".to_owned());
        }
        warnings
    }
}

/// One line.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} takes, gives, lists and removes objects ({} ms", self.place, self.took.as_millis())?;
        if let Some(ahead) = self.clock_ahead {
            write!(f, ", clocks {} s apart", ahead.abs())?;
        }
        f.write_str(")")?;
        for warning in self.warnings() {
            write!(f, "; {warning}")?;
        }
        Ok(())
    }
}

impl Store {
    /// Writes, reads, lists and removes an object under a name of its own. The failure says in one line what is wrong,
    /// and its action what to do.
    pub async fn check(&self) -> Result<Health, Failure> {
        let began = tokio::time::Instant::now();
        let key = format!("kfops-check/{}", uuid::Uuid::new_v4().simple());
        let checked = tokio::time::timeout(LIMIT, self.probe(&key)).await.unwrap_or_else(|_| {
            let text = format!("object store {} did not answer within {} s", self.url(), LIMIT.as_secs());
            Err(Failure::new(Reason::StoreUnavailable, text))
        });
        let (clock_ahead, creates_once) = match checked {
            Ok(found) => found,
            Err(failure) => {
                // What the check made is nobody's.
                tokio::time::timeout(Duration::from_secs(2), self.delete(&key)).await.ok();
                return Err(failure);
            }
        };
        Ok(Health { place: self.url().to_owned(), took: began.elapsed(), clock_ahead, creates_once })
    }

    async fn probe(&self, key: &str) -> Result<(Option<i64>, bool), Failure> {
        let cannot = |what: &'static str| {
            move |failure: Failure| Failure { message: format!("cannot {what}: {}", failure.message), ..failure }
        };
        let at = self.key(key)?;
        let bytes = key.as_bytes().to_vec();
        let seen = Seen::default();
        let put = self.inner.put(&at, bytes.clone().into());
        self.watched(key, seen.clone(), put).await.map_err(cannot("write to the object store"))?;
        let back = self.get(key).await.map_err(cannot("read from the object store"))?;
        if back != bytes {
            let text = format!("the object store {} gives other bytes than it was given", self.url());
            return Err(Failure::new(Reason::StoreUnavailable, text).action("look at what stands between it and Kfops"));
        }
        let prefix = key.split('/').next().unwrap_or(key);
        let listed = self.list(prefix).await.map_err(cannot("list the object store"))?;
        if !listed.iter().any(|listed| listed == key) {
            let text = format!("the object store {} does not list an object that it has", self.url());
            return Err(Failure::new(Reason::StoreUnavailable, text).action("use a store whose lists are up to date"));
        }
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let again = self.within(key, self.inner.put_opts(&at, bytes.into(), options)).await;
        let creates_once = again.is_err_and(|failure| failure.reason == Reason::AlreadyExists);
        self.delete(key).await.map_err(cannot("remove from the object store"))?;
        if self.exists(key).await? {
            let text = format!("the object store {} keeps what is removed", self.url());
            return Err(Failure::new(Reason::StoreUnavailable, text).action("look whether the bucket is under a lock"));
        }
        Ok((seen.last().ahead, creates_once))
    }
}
