//! Which lines of the repository's files are wrong, as far as a problem or the end of a log tells: they become the
//! annotations of the check run.

use kfops_core::{Digest, Failure, Reason};
use kfops_project::{Diagnostic, Files, Folder, Project, normalize};
use kfops_store::{ArchiveLimits, SourceRef, extract_source};

use super::Driver;
use crate::{
    command::Command,
    ports::Annotation,
    step::{Stage, StepState},
};

/// Most annotations of a check run, as GitHub says.
const MOST: usize = 50;
/// Longest message of one.
const LONGEST: usize = 500;
/// Largest file in which a line is looked for.
const LARGEST: usize = 1 << 20;
/// Most frames of a traceback that are looked at.
const FRAMES: usize = 100;

/// The problems of kfops.yaml, each with its place.
pub(super) fn problems(found: &[Diagnostic]) -> Vec<Annotation> {
    let annotation = |problem: &Diagnostic| {
        let suggestion = problem.suggestion.as_ref().map(|meant| format!(" (did you mean {meant}?)"));
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        Some(Annotation {
            column: u32::try_from(problem.column).ok().filter(|column| *column > 0),
            warning: !problem.is_error(),
            ..at(&problem.file, problem.line, &format!("{path}{}{}", problem.message, suggestion.unwrap_or_default()))?
        })
    };
    found.iter().filter_map(annotation).take(MOST).collect()
}

/// None when the path leads out of the repository.
fn at(path: &str, line: usize, message: &str) -> Option<Annotation> {
    let message: String = message.chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    Some(Annotation {
        path: normalize(path).ok()?,
        line: u32::try_from(line).ok()?.max(1),
        column: None,
        message: if message.is_empty() { "it fails here".to_owned() } else { message },
        warning: false,
    })
}

impl Driver {
    /// Looks for the lines that made a stage fail. Finding none is no failure.
    pub(super) async fn annotate(&mut self, stage: Stage, failure: &Failure) {
        if !matches!(failure.reason, Reason::ImageBuildFailed | Reason::CompileFailed) {
            return;
        }
        let Some(source) = self.command.lineage.source.clone() else { return };
        let Ok(project) = self.project().await else { return };
        let Ok(digest) = Digest::parse(&source.digest) else { return };
        let Ok(folder) = tempfile::tempdir() else { return };
        let archive = SourceRef { key: source.key, digest };
        if let Err(failure) =
            extract_source(&self.engine.store, &archive, folder.path(), ArchiveLimits::default()).await
        {
            tracing::info!(command = self.command.id, %failure, "not annotated");
            return;
        }
        let (image, failure) = (failed_image(&self.command), failure.clone());
        let found = tokio::task::spawn_blocking(move || {
            let files = Folder::new(folder.path()).ok()?;
            match stage {
                Stage::Build => dockerfile(&files, &project, image.as_deref(), &failure),
                _ => python(&files, &failure),
            }
        });
        if let Ok(Some(annotation)) = found.await {
            self.command.annotations.push(annotation);
            self.command.annotations.truncate(MOST);
        }
    }
}

/// The image whose build failed, by the title of its part.
fn failed_image(command: &Command) -> Option<String> {
    let failed = |step: &&crate::step::Step| step.part && step.stage == Stage::Build && step.state == StepState::Failed;
    command.steps.iter().find(failed)?.title.strip_prefix("image ").map(str::to_owned)
}

/// The line of the Dockerfile that a builder's log names, by number or by instruction.
fn dockerfile(files: &dyn Files, project: &Project, image: Option<&str>, failure: &Failure) -> Option<Annotation> {
    let image = match (image, project.images.build.as_slice()) {
        (Some(name), _) => project.image(name)?,
        (None, [only]) => only,
        (None, _) => return None,
    };
    let path = image.dockerfile_path();
    let text = String::from_utf8_lossy(&files.read(&path, LARGEST).ok()?).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let logged = format!("{}\n{}", failure.log_tail, failure.message);
    let number = numbered(&logged).filter(|line| (1..=lines.len()).contains(line));
    let line = number.or_else(|| instruction(&logged).and_then(|step| find(&lines, &step)))?;
    at(&path, line, &failure.message)
}

/// `Dockerfile:12` (BuildKit), `Dockerfile line 12`, `dockerfile parse error on line 12`; the last one counts.
fn numbered(log: &str) -> Option<usize> {
    log.lines().rev().find_map(|line| {
        ["Dockerfile:", "Dockerfile line ", "parse error on line ", "parse error line "].iter().find_map(|sign| {
            let (_, rest) = line.split_once(sign)?;
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok().filter(|line| *line > 0)
        })
    })
}

/// The instruction under way, as buildah (`STEP 3/5: RUN x`) or BuildKit (`#7 [2/4] RUN x`) wrote it last.
fn instruction(log: &str) -> Option<String> {
    log.lines().rev().find_map(|line| {
        let line = line.trim();
        if let Some((before, rest)) = line.split_once("STEP ")
            && (before.is_empty() || before.starts_with('['))
        {
            return rest.split_once(": ").map(|(_, instruction)| instruction.to_owned());
        }
        if let Some(rest) = line.strip_prefix('#') {
            return rest.split_once(" [")?.1.split_once("] ").map(|(_, instruction)| instruction.to_owned());
        }
        // image-builder's own words: `the build failed at step 3/5 (RUN x): …`.
        let (_, rest) = line.split_once(" at step ")?;
        let (_, rest) = rest.split_once(" (")?;
        let end = rest.rfind("):").or_else(|| rest.rfind(')'))?;
        rest.get(..end).map(|instruction| instruction.trim_end_matches('…').to_owned())
    })
}

/// The line on which an instruction begins. Builders join continued lines and spaces, so that words are compared.
fn find(lines: &[&str], step: &str) -> Option<usize> {
    let wanted: Vec<&str> = step.split_whitespace().collect();
    let (keyword, rest) = wanted.split_first()?;
    let mut best = None;
    let mut begins = true;
    for (index, line) in lines.iter().enumerate() {
        let start = begins;
        let trimmed = line.trim();
        if trimmed.starts_with('#') || trimmed.is_empty() {
            continue;
        }
        begins = !trimmed.ends_with('\\');
        let Some(first) = trimmed.split_whitespace().next().filter(|_| start) else { continue };
        if !first.eq_ignore_ascii_case(keyword) {
            continue;
        }
        let own: Vec<&str> = lines[index..]
            .iter()
            .flat_map(|line| line.split_whitespace())
            .filter(|word| *word != "\\")
            .skip(1)
            .take(rest.len())
            .collect();
        let same = own.iter().zip(rest).take_while(|(own, wanted)| own == wanted).count();
        // Arguments are expanded in logs: the longest agreement is the best guess.
        if (same > 0 || rest.is_empty()) && best.is_none_or(|(known, _)| same > known) {
            best = Some((same, index + 1));
        }
    }
    best.map(|(_, line)| line)
}

/// The last frame of a Python traceback that lies in the repository, with what was raised.
fn python(files: &dyn Files, failure: &Failure) -> Option<Annotation> {
    let lines: Vec<&str> = failure.log_tail.lines().collect();
    let frames = lines.iter().rev().filter_map(|line| {
        let rest = line.trim().strip_prefix("File \"")?;
        let (path, rest) = rest.split_once("\", line ")?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some((path, digits.parse::<usize>().ok()?))
    });
    let (path, line) = frames.take(FRAMES).find_map(|(path, line)| Some((inside(files, path)?, line)))?;
    let raised = lines.iter().rev().find(|line| {
        // `ValueError: x`, `kfp.dsl.X: y`; not the lines of code, which are indented.
        let name = line.split(':').next().unwrap_or_default();
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
    });
    at(&path, line, raised.map_or(failure.message.as_str(), |raised| *raised))
}

/// The file of the repository that an absolute path of a sandbox ends with; the longest such end.
fn inside(files: &dyn Files, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "site-packages" | "dist-packages")) {
        return None;
    }
    (0..parts.len()).map(|from| parts[from..].join("/")).find(|end| files.is_file(end))
}

#[cfg(test)]
#[path = "annotate_tests.rs"]
mod tests;
