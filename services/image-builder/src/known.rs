//! Which content has been built already, and where it lies.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use kfops_core::{Digest, Failure, short_hash};
use kfops_resource::{Created, Table};

use crate::{
    build::KnownContent,
    ports::{Registry, Repository},
};

/// Content that lies in a registry.
pub(crate) struct Known {
    table: Table<KnownContent>,
    registry: Arc<dyn Registry>,
    under_way: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// The tag that content is pushed under; found again even without our database.
pub(crate) fn content_tag(content: &Digest) -> String {
    format!("kfops-content-{}", content.hex())
}

impl Known {
    pub(crate) fn new(table: Table<KnownContent>, registry: Arc<dyn Registry>) -> Self {
        Self { table, registry, under_way: Mutex::default() }
    }

    /// The digest of the image that has this content, when the registry really has it.
    pub(crate) async fn find(&self, repository: &Repository, content: &Digest) -> Result<Option<Digest>, Failure> {
        if let Ok(known) = self.table.get(&id(repository, content)).await
            && self.registry.head(repository, known.digest.as_str()).await?.is_some()
        {
            return Ok(Some(known.digest));
        }
        let found = self.registry.head(repository, &content_tag(content)).await?;
        if let Some(digest) = &found {
            self.remember(repository, content, digest).await?;
        }
        Ok(found)
    }

    pub(crate) async fn remember(
        &self,
        repository: &Repository,
        content: &Digest,
        digest: &Digest,
    ) -> Result<(), Failure> {
        let record = KnownContent {
            id: id(repository, content),
            repository: repository.name.clone(),
            content: content.clone(),
            digest: digest.clone(),
        };
        if let Created::Existing(existing) = self.table.create(record).await?
            && existing.digest != *digest
        {
            let digest = digest.clone();
            self.table.update(&existing.id, move |record| record.digest = digest).await?;
        }
        Ok(())
    }

    /// Held while content is built, so that two builds of the same thing become one.
    pub(crate) fn building(&self, repository: &Repository, content: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, lock| lock.strong_count() > 0);
        let key = id(repository, content);
        if let Some(lock) = under_way.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        under_way.insert(key, Arc::downgrade(&lock));
        lock
    }
}

fn id(repository: &Repository, content: &Digest) -> String {
    short_hash(&[&repository.name, content.as_str()], 40)
}
