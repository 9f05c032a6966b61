//! Changing a record, also one that the database does not take for now.

use std::{sync::Arc, time::Duration};

use kfops_core::Failure;

use super::{Record, Table, missing, write};

/// Between two tries to write what the database did not take; doubles.
const RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

impl<T: Record> Table<T> {
    /// Changes a record and tells its watchers. A record that has ended stays as it is unless `change` is a no-op on it.
    pub async fn update(&self, id: &str, change: impl FnOnce(&mut T) + Send + 'static) -> Result<T, Failure> {
        self.change(id, false, change).await
    }

    /// Changes a record even when the database refuses to keep that, e.g. because its disk is full: readers and watchers
    /// then see the change, and it is written as soon as the database takes it. A process that dies before finds the
    /// record as it was kept last. For the end of work that cannot go on; everything else is an `update`.
    pub async fn update_anyway(&self, id: &str, change: impl FnOnce(&mut T) + Send + 'static) -> Result<T, Failure> {
        self.change(id, true, change).await
    }

    async fn change(&self, id: &str, anyway: bool, change: impl FnOnce(&mut T) + Send + 'static) -> Result<T, Failure> {
        let (owned, table) = (id.to_owned(), self.clone());
        let (record, saved) = self
            .blocking(move |connection| {
                let mut record = table.read(connection, &owned)?.ok_or_else(|| missing::<T>(&owned))?;
                change(&mut record);
                let saved = write(connection, &record);
                match &saved {
                    Ok(()) => _ = table.unsaved().remove(&owned),
                    Err(failure) if anyway => {
                        tracing::error!(collection = T::COLLECTION, id = owned, %failure, "not kept yet");
                        table.unsaved().insert(owned, record.clone());
                    }
                    Err(failure) => return Err(failure.clone()),
                }
                // Under the connection's lock, so that watchers see the changes in their order.
                table.notify(&record);
                Ok((record, saved.is_ok()))
            })
            .await?;
        if !saved {
            self.save_later(id.to_owned());
        }
        Ok(record)
    }

    /// Tries until it is written, or until nobody has the table any more.
    fn save_later(&self, id: String) {
        let inner = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            let mut pause = RETRY;
            loop {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_RETRY);
                let Some(table) = inner.upgrade().map(|inner| Self { inner }) else { return };
                let (owned, again) = (id.clone(), table.clone());
                let saved = table.blocking(move |connection| {
                    let Some(record) = again.unsaved().get(&owned).cloned() else { return Ok(()) };
                    write(connection, &record)?;
                    again.unsaved().remove(&owned);
                    Ok(())
                });
                if saved.await.is_ok() {
                    tracing::info!(collection = T::COLLECTION, id, "kept after all");
                    return;
                }
            }
        });
    }
}
