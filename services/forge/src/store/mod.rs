//! The forge's database: SQLite, one writer, every change in a transaction with the webhooks it causes.

mod apps;
mod checks;
mod comments;
mod deployments;
mod hooks;
mod issues;
mod labels;
mod nodes;
mod pulls;
mod repositories;
mod teams;
mod upgrade;
mod users;

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior};

pub(crate) use apps::{
    App, Grant, Installation, NewApp, Permissions, app, app_of_bot, grant_of, install, installation, installations,
    installed, put_app, put_installation_token,
};
pub(crate) use checks::{
    NewStatus, check_run, check_runs, create_check_run, create_status, statuses, update_check_run,
};
pub(crate) use comments::{
    comment, comments, create_comment, create_review, delete_comment, edit_comment, react, reactions, reviews,
};
pub(crate) use deployments::{Deployment, create_deployment, deployment, deployment_statuses, deployments};
pub(crate) use hooks::{
    NewHook, app_hook, app_hooks, create_hook, delete_hook, deliveries, delivery, enqueue, hand_over_hook, hook, hooks,
    next_delivery, put_app_hook, put_hook, record, redeliver, update_hook, waiting_hooks,
};
pub(crate) use issues::{
    Filter, close_issue, create_issue, edit_issue, issue, issues, issues_of_sha, reopen_issue, touch,
};
pub(crate) use labels::{add_label, create_label, label, labels, remove_label, set_labels, update_label};
pub(crate) use nodes::place_of;
pub(crate) use pulls::{
    create_pull, intend_merge, mark_merged, open_pulls, set_base, set_base_ref, set_draft, set_head,
};
pub(crate) use repositories::{
    branches, create_repository, delete_repository, dependents, forks, former_names, put_branches, relative,
    rename_repository, renamed, repositories, repository, repository_by_id, set_archived, set_default_branch,
    set_description, set_parent,
};
pub(crate) use teams::{put_team, team, team_members, team_role};
pub(crate) use users::{
    create_user, put_collaborator, put_token, role_in, secret, user, user_by_id, user_by_token, users,
};

use crate::clock;
use crate::error::{Error, Result};

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
    /// How many seconds the forge's clock is ahead.
    shift: Arc<AtomicI64>,
}

impl Store {
    /// Opens or makes the database of a forge.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", false)?;
        connection.execute_batch(include_str!("schema.sql"))?;
        connection.execute_batch(include_str!("apps.sql"))?;
        upgrade::upgrade(&connection)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.set_prepared_statement_cache_capacity(128);
        Ok(Self { connection: Arc::new(Mutex::new(connection)), shift: Arc::default() })
    }

    /// What the forge's clock is shifted by.
    pub(crate) fn shift(&self) -> Arc<AtomicI64> {
        self.shift.clone()
    }

    /// Reads, or changes one row that nothing else hangs on.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (connection, shift) = (self.connection.clone(), self.shift.load(Ordering::SeqCst));
        let work = move || {
            let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            clock::shifted_now(shift, || work(&connection))
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
    }

    /// Changes all or nothing.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let (connection, shift) = (self.connection.clone(), self.shift.load(Ordering::SeqCst));
        let work = move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = clock::shifted_now(shift, || work(&transaction))?;
            transaction.commit()?;
            Ok(done)
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
    }
}

/// One page of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub(crate) number: u32,
    pub(crate) size: u32,
}

impl Page {
    /// Everything, for the forge itself.
    pub(crate) const ALL: Self = Self { number: 1, size: u32::MAX };

    pub(crate) fn offset(self) -> i64 {
        i64::from(self.number.saturating_sub(1)) * i64::from(self.size)
    }

    /// One more than fits, to know whether there is a next page.
    pub(crate) fn limit(self) -> i64 {
        i64::from(self.size) + 1
    }
}

/// All rows of a query.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>()?;
    Ok(rows)
}

/// The one row of a query, or none.
fn maybe<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    match connection.prepare_cached(sql)?.query_row(params, read) {
        Ok(row) => Ok(Some(row)),
        Err(rusqlite::Error::QueryReturnedNoRows) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
