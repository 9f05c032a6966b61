//! What a sandbox prints: the log for people, and the result between marks that only the last container knows.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use flate2::read::GzDecoder;
use kfops_core::{Digest, Failure, Reason};
use kfops_kube::job::Observer;
use serde::Deserialize;
use serde_json::Value;

use super::pod::SOURCE;
use crate::{
    explain,
    ir::{Ir, MAX_BYTES, invalid},
};

/// Length of a mark, characters.
const MARK: usize = 32;

/// Takes the log of the pod.
pub(super) struct Output {
    path: PathBuf,
    log: Mutex<File>,
    /// Lines that begin like marked ones. The repository's code can print such lines, too, with other marks.
    marked: Mutex<Vec<String>>,
}

/// The last words of the container `emit`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    refused: Option<String>,
    mark: String,
    sha256: String,
    problems: Vec<String>,
}

impl Output {
    pub(super) fn to(path: PathBuf) -> Result<Self, Failure> {
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", path.display()))
        })?;
        Ok(Self { path, log: Mutex::new(file), marked: Mutex::default() })
    }

    /// The log's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The pipeline that the pod printed. An inner error: its log was not all read.
    pub(super) fn result(&self, last_words: &str) -> Result<Result<Ir, Failure>, Failure> {
        let strange = |what: &str| {
            Failure::internal(format!("the sandbox printed {what}"))
                .action("is sandbox.image an image with Python and kfp?")
        };
        let said: Said = serde_json::from_str(last_words).map_err(|_| strange("no result"))?;
        if let Some(refused) = said.refused {
            return Err(invalid(refused.chars().take(500).collect::<String>()));
        }
        let mut packed = String::new();
        for line in self.marked.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some((mark, piece)) = line.split_once(' ')
                && mark == said.mark
            {
                packed.push_str(piece);
            }
        }
        let mut text = Vec::new();
        let unpacked = hex::decode(&packed)
            .map_err(|_| strange("something else"))
            .map(|bytes| GzDecoder::new(bytes.as_slice()).take(MAX_BYTES + 1).read_to_end(&mut text).is_ok());
        if !matches!(unpacked, Ok(true)) || Digest::of(&text).hex() != said.sha256 {
            let failure = Failure::new(Reason::ClusterUnavailable, "the sandbox's log could not be read to its end");
            return Ok(Err(failure.action("try again")));
        }
        let documents: Vec<Value> = serde_json::from_slice(&text)
            .map_err(|error| invalid(format!("the compiled pipeline is not valid: {error}")))?;
        let ir = Ir::of(documents)?;
        let problems: Vec<&str> = said.problems.iter().map(String::as_str).collect();
        explain::against_schema(&problems).map_or(Ok(Ok(ir)), Err)
    }
}

impl Observer for Output {
    fn log(&self, line: &[u8]) {
        if is_marked(line) {
            let line = String::from_utf8_lossy(line).trim_end().to_owned();
            return self.marked.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
        if let Err(error) = self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(line) {
            tracing::warn!(%error, "log not written");
        }
    }

    fn waits(&self, failure: &Failure) {
        self.log(format!("kfops: waits: {}\n", failure.message).as_bytes());
    }
}

fn is_marked(line: &[u8]) -> bool {
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    line.len() > MARK && line[MARK] == b' ' && line[..MARK].iter().all(hex)
}

/// Paths as the repository's people know them.
pub(super) fn clean(text: &str) -> String {
    text.replace(&format!("{SOURCE}/"), "")
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use serde_json::json;

    use super::*;

    fn printed(mark: &str, documents: &Value) -> (Vec<String>, String) {
        let text = documents.to_string();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let packed = hex::encode(gzip.finish().unwrap());
        let lines = packed.as_bytes().chunks(10).map(|piece| format!("{mark} {}\n", String::from_utf8_lossy(piece)));
        (lines.collect(), Digest::of(text.as_bytes()).hex().to_owned())
    }

    fn output(lines: &[String]) -> (tempfile::TempDir, Output) {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::to(folder.path().join("log")).unwrap();
        lines.iter().for_each(|line| output.log(line.as_bytes()));
        (folder, output)
    }

    #[test]
    fn only_what_carries_the_mark_of_the_last_words_is_the_result() {
        let (mark, false_mark) = ("a".repeat(MARK), "b".repeat(MARK));
        let (mut lines, digest) = printed(&mark, &json!([{"pipelineInfo": {"name": "true"}}]));
        let (forged, _) = printed(&false_mark, &json!([{"pipelineInfo": {"name": "forged"}}]));
        lines.splice(0..0, forged);
        lines.insert(0, "hello\n".into());
        let words = json!({"mark": mark, "sha256": digest, "problems": []}).to_string();
        let (_folder, whole) = output(&lines);
        assert_eq!(whole.result(&words).unwrap().unwrap().pipeline["pipelineInfo"]["name"], "true");
        assert_eq!(std::fs::read_to_string(whole.path()).unwrap(), "hello\n");
        // A line that did not arrive.
        let (_folder, cut) = output(&lines[..lines.len() - 1]);
        assert!(cut.result(&words).unwrap().unwrap_err().retryable);
        let words = json!({"mark": mark, "sha256": digest, "problems": ["root is missing"]}).to_string();
        assert_eq!(whole.result(&words).unwrap_err().reason, Reason::PipelineInvalid);
        assert_eq!(whole.result(r#"{"refused": "is too large"}"#).unwrap_err().reason, Reason::PipelineInvalid);
        assert_eq!(whole.result("").unwrap_err().reason, Reason::Internal);
    }
}
