//! Finds the project's file, reads it, and says everything that is wrong with it.

use serde::de::DeserializeOwned;

use crate::{
    diagnostic::{Diagnostic, Severity, sort},
    files::{FileError, Files},
    legacy,
    position::{Position, Positions},
    rules::{self, Places},
    schema,
    shape::{Rules, Shape},
    types::Project,
    yaml::{self, Node},
};

/// Where a project's file may be, the first that exists wins.
pub const PROJECT_FILES: &[&str] = &["kfops.yaml", "kfops.yml", "config_files/config.yaml", "config_files/config.yml"];

/// A project that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the file says.
    pub project: Project,
    /// The file, one of [`PROJECT_FILES`].
    pub source_file: String,
    /// What works, but probably not as meant.
    pub warnings: Vec<Diagnostic>,
}

/// Everything known after reading, for further checks.
pub(crate) struct Reading {
    pub(crate) project: Project,
    pub(crate) file: String,
    pub(crate) positions: Positions,
    pub(crate) rename: fn(&str) -> String,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Project {
    /// Reads `kfops.yaml`, or Kfops 1's `config_files/config.yaml` turned into the same.
    ///
    /// Looks at that one file only: whether the files it names exist is for [`crate::check`].
    pub fn load(files: &dyn Files) -> Result<Loaded, Vec<Diagnostic>> {
        let reading = read(files)?;
        if reading.diagnostics.iter().any(Diagnostic::is_error) {
            return Err(reading.diagnostics);
        }
        Ok(Loaded { project: reading.project, source_file: reading.file, warnings: reading.diagnostics })
    }
}

/// Reads the file. An error where there is no project to go on with; other problems lie in the reading.
pub(crate) fn read(files: &dyn Files) -> Result<Reading, Vec<Diagnostic>> {
    let missing = || {
        let message = "no such file; it says what to build, run and serve (see docs/kfops.yaml.md)";
        vec![Diagnostic::error(PROJECT_FILES[0], Position::START, "", message)]
    };
    let file = PROJECT_FILES.iter().find(|file| files.is_file(file)).ok_or_else(missing)?;
    let failed = |at, message: String| vec![Diagnostic::error(file, at, "", message)];
    let bytes = files.read(file, yaml::MAX_BYTES).map_err(|error| match error {
        FileError::NotFound => missing(),
        error => failed(Position::START, error.to_string()),
    })?;
    let documents = yaml::parse(&bytes).map_err(|error| failed(error.at, error.message))?;
    let root = match documents.as_slice() {
        [] => return Err(failed(Position::START, "empty".to_owned())),
        [root] => root,
        [_, second, ..] => return Err(failed(second.at, "a second document; only one is read".to_owned())),
    };
    if root.is_null() {
        return Err(failed(Position::START, "empty".to_owned()));
    }
    let mut reading = if file.starts_with("config_files/") { legacy::read(file, root)? } else { current(file, root)? };
    let places = Places { positions: &reading.positions, rename: reading.rename };
    reading.diagnostics.extend(rules::project(file, &reading.project, &places));
    sort(&mut reading.diagnostics);
    Ok(reading)
}

fn current(file: &str, root: &Node) -> Result<Reading, Vec<Diagnostic>> {
    let rules = Rules { unknown_keys: Severity::Error, nothing_is_absent: false };
    let (project, positions, diagnostics) = typed::<Project>(file, root, rules, &schema::inlined::<Project>())?;
    Ok(Reading { project, file: file.to_owned(), positions, rename: str::to_owned, diagnostics })
}

/// The tree as `T`; fails with everything that is wrong when there is no `T` to be had.
pub(crate) fn typed<T: DeserializeOwned>(
    file: &str,
    root: &Node,
    rules: Rules,
    schema: &serde_json::Value,
) -> Result<(T, Positions, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut shape = Shape::new(file, rules);
    let json = shape.read(root, schema);
    let Shape { mut diagnostics, positions, .. } = shape;
    match serde_json::from_value(json) {
        Ok(value) => Ok((value, positions, diagnostics)),
        Err(error) => {
            if !diagnostics.iter().any(Diagnostic::is_error) {
                diagnostics.push(Diagnostic::error(file, root.at, "", error.to_string()));
            }
            sort(&mut diagnostics);
            Err(diagnostics)
        }
    }
}
