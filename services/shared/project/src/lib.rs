//! `kfops.yaml`: what a model repository says about itself.
//!
//! [`Project::load`] reads it (or Kfops 1's `config_files/config.yaml`) from any [`Files`]; [`check`] says everything
//! that is wrong with a repository, each with its line and column. Nothing here does I/O except through [`Files`].

mod diagnostic;
mod environments;
mod files;
mod legacy;
mod path;
mod policy;
mod position;
mod quantity;
mod read;
mod repository;
mod rules;
mod scalar;
mod schema;
mod shape;
mod suggest;
mod template;
mod types;
mod yaml;

#[cfg(test)]
mod tests;

pub use diagnostic::{Diagnostic, Severity, render};
pub use environments::{Environment, Environments, Strategy, Target, Timeouts};
pub use files::{EntryKind, FileError, Files, Folder, Memory};
pub use path::normalize;
pub use policy::{Permission, Policy, ResolvedRule, Rule};
pub use quantity::{Duration, Percent, QuantityError};
pub use read::{Loaded, PROJECT_FILES};
pub use repository::check;
pub use schema::json_schema;
pub use types::{Image, Images, Model, Pipeline, Project, Serving, TemplateKind};
