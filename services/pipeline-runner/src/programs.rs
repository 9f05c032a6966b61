//! The Python programs that compile and check a pipeline, and what the repository's code can import of ours.

use serde_json::Value;

use crate::ports::CompileJob;

/// Imports a repository's pipeline and compiles it.
pub(crate) const COMPILE: &str = include_str!("python/compile.py");
/// Checks IR against KFP's schema.
pub(crate) const CHECK: &str = include_str!("python/check_ir.py");
/// What pipelines of Kfops 1 import.
const LEGACY: &[(&str, &str)] = &[
    ("kfops/__init__.py", include_str!("python/kfops/__init__.py")),
    ("kfops/tagger.py", include_str!("python/kfops/tagger.py")),
    ("kfops/model.py", include_str!("python/kfops/model.py")),
];

/// The files of the library that compiled code finds, by their path in it.
pub(crate) fn library(job: &CompileJob) -> Vec<(&'static str, String)> {
    let images: serde_json::Map<String, Value> =
        job.images.iter().map(|image| (image.name.clone(), image.reference().into())).collect();
    let images = ("kfops/images.json", Value::Object(images).to_string());
    LEGACY.iter().map(|(path, text)| (*path, (*text).to_owned())).chain([images]).collect()
}
