//! Node ids that a look has shown, so that they need not be asked for again. Wrong ones are forgotten, and asked for.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;

use crate::command::Repository;

/// Most repositories, pull requests and labels that are remembered, each.
const MOST: usize = 4096;

/// A pull request that bears a label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Bearer {
    pub(super) id: String,
    pub(super) number: u64,
}

/// A label, and who bore it when it was seen last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SeenLabel {
    /// None: there is no such label.
    pub(super) id: Option<String>,
    pub(super) bearers: Vec<Bearer>,
}

#[derive(Debug, Default)]
struct Ids {
    repositories: HashMap<String, String>,
    pulls: HashMap<(String, u64), String>,
    labels: HashMap<(String, String), SeenLabel>,
    /// By command and environment.
    deployments: HashMap<(String, String), String>,
    /// Counts the changes of labels.
    moves: u64,
}

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Ids>);

fn key(repository: &Repository) -> String {
    repository.to_string().to_ascii_lowercase()
}

fn remember<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= MOST && !map.contains_key(&key) {
        map.clear();
    }
    map.insert(key, value);
}

impl Known {
    fn with<T>(&self, act: impl FnOnce(&mut Ids) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn note(&self, on: (&Repository, u64), repository: &str, pull: &str) {
        self.with(|ids| {
            remember(&mut ids.repositories, key(on.0), repository.to_owned());
            remember(&mut ids.pulls, (key(on.0), on.1), pull.to_owned());
        });
    }

    /// Of the repository and of the pull request.
    pub(super) fn ids(&self, on: (&Repository, u64)) -> Option<(String, String)> {
        self.with(|ids| {
            let repository = ids.repositories.get(&key(on.0))?.clone();
            Some((repository, ids.pulls.get(&(key(on.0), on.1))?.clone()))
        })
    }

    /// To be told to `note_label`.
    pub(super) fn moves(&self) -> u64 {
        self.with(|ids| ids.moves)
    }

    /// What a look showed, unless labels were moved since it began.
    pub(super) fn note_label(&self, repository: &Repository, label: &str, seen: SeenLabel, moves: u64) {
        self.with(|ids| {
            if ids.moves == moves {
                remember(&mut ids.labels, (key(repository), label.to_ascii_lowercase()), seen);
            }
        });
    }

    /// It was moved, and is now so.
    pub(super) fn moved(&self, repository: &Repository, label: &str, now: Option<SeenLabel>) {
        let key = (key(repository), label.to_ascii_lowercase());
        self.with(|ids| {
            ids.moves += 1;
            match now {
                Some(now) => remember(&mut ids.labels, key, now),
                None => drop(ids.labels.remove(&key)),
            }
        });
    }

    pub(super) fn label(&self, repository: &Repository, label: &str) -> Option<SeenLabel> {
        self.with(|ids| ids.labels.get(&(key(repository), label.to_ascii_lowercase())).cloned())
    }

    /// A deployment was made, even if its status could not be written: it is not made again.
    pub(super) fn note_deployment(&self, command: &str, environment: &str, id: &str) {
        self.with(|ids| remember(&mut ids.deployments, (command.to_owned(), environment.to_owned()), id.to_owned()));
    }

    pub(super) fn deployment(&self, command: &str, environment: &str) -> Option<String> {
        self.with(|ids| ids.deployments.get(&(command.to_owned(), environment.to_owned())).cloned())
    }

    /// It was deleted.
    pub(super) fn forget_deployment(&self, id: &str) {
        self.with(|ids| ids.deployments.retain(|_, known| known != id));
    }

    /// Something of it was wrong.
    pub(super) fn forget(&self, repository: &Repository) {
        let key = key(repository);
        self.with(|ids| {
            ids.repositories.remove(&key);
            ids.pulls.retain(|(of, _), _| *of != key);
            ids.labels.retain(|(of, _), _| *of != key);
        });
    }
}
