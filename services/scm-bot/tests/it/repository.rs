//! A model repository as GitHub would pack it.

use std::{
    collections::HashMap,
    io::Write as _,
    sync::{LazyLock, Mutex, PoisonError},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// kfops.yaml of the tests' repository.
pub(crate) const PROJECT: &str = "\
apiVersion: kfops.dev/v1
kind: Project
images:
  registry: registry.example.com/iris
  build:
    - {name: trainer, context: images/trainer}
    - {name: client, context: images/client}
pipeline:
  name: iris
  source: pipelines/iris.py
  arguments: {max_depth: 2, features: 4}
  model: {task: train, output: model}
serving:
  name: iris
  template: serving/inferenceservice.yaml
  sample: serving/sample.json
environments:
  build: team-iris
  staging: {namespace: team-iris-staging}
  production: {namespace: iris}
";

/// The archive of a commit; made once for each text.
pub(crate) fn archived(commit: &str, project: &str) -> Bytes {
    static MADE: LazyLock<Mutex<HashMap<String, Bytes>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let key = format!("{commit}\n{project}");
    made.entry(key).or_insert_with(|| archive(commit, project).into()).clone()
}

/// A gzip-compressed tar archive with one top folder.
fn archive(commit: &str, project: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in [("kfops.yaml", project), ("pipelines/iris.py", "pass\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("o-r-{commit}/{path}"), text.as_bytes()).unwrap();
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar.into_inner().unwrap()).unwrap();
    gzip.finish().unwrap()
}
