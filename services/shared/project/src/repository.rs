//! The whole repository: whether what `kfops.yaml` names is there, and is what it should be.

use crate::{
    diagnostic::{Diagnostic, sort},
    files::{EntryKind, Files},
    path::{join, name, normalize, parent},
    position::Position,
    read::{Reading, read},
    rules::Places,
    suggest::nearest,
    template,
    types::TemplateKind,
};

/// Entries looked at for a suggestion.
const LOOKED_AT: usize = 5000;

/// Everything that is wrong with a repository, in the order of its files; empty when all is well.
#[must_use]
pub fn check(files: &dyn Files) -> Vec<Diagnostic> {
    let mut reading = match read(files) {
        Ok(reading) => reading,
        Err(diagnostics) => return diagnostics,
    };
    let mut found = std::mem::take(&mut reading.diagnostics);
    let places = Places { positions: &reading.positions, rename: reading.rename };
    Checker { files, reading: &reading, places, found: &mut found }.run();
    sort(&mut found);
    found
}

struct Checker<'a> {
    files: &'a dyn Files,
    reading: &'a Reading,
    places: Places<'a>,
    found: &'a mut Vec<Diagnostic>,
}

impl Checker<'_> {
    fn run(mut self) {
        let project = &self.reading.project;
        for (i, image) in project.images.build.iter().enumerate() {
            let base = format!("images.build[{i}]");
            if self.folder(&format!("{base}.context"), &image.context) && normalize(&image.dockerfile).is_ok() {
                let written = self.places.written(&format!("{base}.dockerfile"));
                let key = if written { "dockerfile" } else { "context" };
                self.file(&format!("{base}.{key}"), &image.dockerfile_path());
            }
            for (j, include) in image.include.iter().enumerate() {
                let key = format!("{base}.include[{j}]");
                if self.folder(&key, include) && self.files.exists(&join(&image.context, name(include))) {
                    let message = format!("{} has a {} of its own", image.context, name(include));
                    self.error(&key, message, None);
                }
            }
        }
        let source = &project.pipeline.source;
        if self.file("pipeline.source", source) && ![".py", ".yaml", ".yml"].iter().any(|end| source.ends_with(end)) {
            self.error(
                "pipeline.source",
                format!("{source} is neither Python (.py) nor a compiled pipeline (.yaml)"),
                None,
            );
        }
        if project.pipeline.function.is_some() && !source.ends_with(".py") {
            self.error("pipeline.function", "a compiled pipeline has no functions to choose from".to_owned(), None);
        }
        self.serving();
    }

    fn serving(&mut self) {
        let Some(serving) = &self.reading.project.serving else { return };
        let mut protocol = None;
        if self.file("serving.template", &serving.template) && serving.template_kind() == TemplateKind::Yaml {
            match self.files.read(&serving.template, template::MAX_BYTES) {
                Ok(bytes) => protocol = template::inference_service(&serving.template, &bytes, self.found),
                Err(error) => self.error("serving.template", format!("{} {error}", serving.template), None),
            }
        }
        if let Some(sample) = &serving.sample
            && self.file("serving.sample", sample)
        {
            match self.files.read(sample, template::MAX_BYTES) {
                Ok(bytes) => template::sample(sample, &bytes, protocol, self.found),
                Err(error) => self.error("serving.sample", format!("{sample} {error}"), None),
            }
        }
        if let Some(golden) = &serving.golden
            && self.file("serving.golden", golden)
        {
            match self.files.read(golden, 8 * template::MAX_BYTES) {
                Ok(bytes) => template::golden(golden, &bytes, protocol, self.found),
                Err(error) => self.error("serving.golden", format!("{golden} {error}"), None),
            }
        }
    }

    fn error(&mut self, key: &str, message: String, suggestion: Option<String>) {
        let (path, at) = self.places.of(key);
        self.found.push(Diagnostic::error(&self.reading.file, at, path, message).suggest(suggestion));
    }

    fn file(&mut self, key: &str, path: &str) -> bool {
        self.there(key, path, EntryKind::File)
    }

    fn folder(&mut self, key: &str, path: &str) -> bool {
        self.there(key, path, EntryKind::Folder)
    }

    fn there(&mut self, key: &str, path: &str, kind: EntryKind) -> bool {
        // What is no path at all was said when the file was read.
        let Ok(path) = normalize(path) else { return false };
        let what = if kind == EntryKind::File { "file" } else { "folder" };
        let message = match self.files.kind(&path) {
            Some(there) if there == kind => return true,
            Some(_) => format!("{path} is not a {what}"),
            None => format!("no such {what} {path}"),
        };
        let suggestion = similar(self.files, &path, kind);
        self.error(key, message, suggestion);
        false
    }
}

/// The nearest path that is a file (or a folder): a typo, or the same name elsewhere.
fn similar(files: &dyn Files, path: &str, kind: EntryKind) -> Option<String> {
    let mut queue = vec![".".to_owned()];
    let mut paths = Vec::new();
    let mut looked_at = 0;
    while looked_at <= LOOKED_AT
        && let Some(folder) = queue.pop()
    {
        for entry in files.list(&folder) {
            looked_at += 1;
            if looked_at > LOOKED_AT {
                break;
            }
            let entry_path = join(&folder, &entry);
            if files.kind(&entry_path) == Some(kind) {
                paths.push(entry_path.clone());
            }
            // Links may go round in circles.
            if !entry.starts_with('.') && entry_path.matches('/').count() < 8 && files.is_dir(&entry_path) {
                queue.push(entry_path);
            }
        }
    }
    if let Some(typo) = nearest(path, paths.iter().map(String::as_str)) {
        return Some(typo);
    }
    let same = paths.iter().filter(|other| name(other) == name(path));
    let shared =
        |other: &str| parent(other).split('/').filter(|part| parent(path).split('/').any(|p| p == *part)).count();
    same.max_by_key(|other| (shared(other), usize::MAX - strsim::osa_distance(other, path))).cloned()
}

/// The start of a file, for problems with all of it.
pub(crate) const TOP: Position = Position::START;
