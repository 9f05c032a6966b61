//! What is wrong with a repository, where, and what was probably meant.

use std::fmt;

use serde::Serialize;

use crate::position::Position;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing can be done with the project until it is fixed.
    Error,
    /// It works, but probably not as meant.
    Warning,
}

/// One problem. Its `Display` is `file:line:column: path: message (did you mean …?)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// File, relative to the repository's root.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Key path inside the file, e.g. `images.build[1].dockerfile`; empty for the whole file.
    pub path: String,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl Diagnostic {
    pub(crate) fn error(file: &str, at: Position, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: at.line,
            column: at.column,
            path: path.into(),
            severity: Severity::Error,
            message: message.into(),
            suggestion: None,
        }
    }

    pub(crate) fn warning(file: &str, at: Position, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(file, at, path, message) }
    }

    pub(crate) fn suggest(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// Whether it stops the project from being used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, " (did you mean {suggestion}?)"),
            None => Ok(()),
        }
    }
}

/// One line per problem.
#[must_use]
pub fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Errors and warnings in the order of a reader: by file as first seen, then by place.
pub(crate) fn sort(diagnostics: &mut Vec<Diagnostic>) {
    let mut files: Vec<String> = Vec::new();
    for diagnostic in diagnostics.iter() {
        if !files.contains(&diagnostic.file) {
            files.push(diagnostic.file.clone());
        }
    }
    let rank = |file: &str| files.iter().position(|known| known == file);
    diagnostics.sort_by_key(|d| (rank(&d.file), d.line, d.column));
    diagnostics.dedup();
}
