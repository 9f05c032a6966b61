//! Where in a file: lines and columns from 1, and an index from key paths to them.

use std::collections::BTreeMap;

/// A place in a text file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };
}

/// Key path -> (place of its key, place of its value).
#[derive(Debug, Default)]
pub(crate) struct Positions(BTreeMap<String, (Position, Position)>);

impl Positions {
    pub(crate) fn insert(&mut self, path: &str, key: Position, value: Position) {
        self.0.insert(path.to_owned(), (key, value));
    }

    /// Place of the value, or of the nearest parent that was written.
    pub(crate) fn value(&self, path: &str) -> Position {
        if let Some((_, value)) = self.0.get(path) {
            return *value;
        }
        self.nearest(path)
    }

    pub(crate) fn contains(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    fn nearest(&self, path: &str) -> Position {
        let mut rest = path;
        while let Some(cut) = rest.rfind(['.', '[']) {
            rest = &rest[..cut];
            if let Some((key, _)) = self.0.get(rest) {
                return *key;
            }
        }
        Position::START
    }
}

/// `parent.key`; keys that would be misread are quoted.
pub(crate) fn join(parent: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/'));
    let key = if plain { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// `parent[index]`.
pub(crate) fn at(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}
