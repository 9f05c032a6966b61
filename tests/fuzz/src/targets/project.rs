//! kfops.yaml.

use kfops_project::{Diagnostic, Memory, Project};

use super::ensure;

pub(super) fn check(input: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let files = Memory::new().with("kfops.yaml", input.to_vec());
    match Project::load(&files) {
        Ok(loaded) => {
            loaded.warnings.iter().try_for_each(|one| inside(one, &text))?;
            stays(&loaded.project)?;
        }
        Err(all) => {
            ensure(all.iter().any(Diagnostic::is_error), || "refused without an error".into())?;
            all.iter().try_for_each(|one| inside(one, &text))?;
        }
    }
    // With the files, or rather without them.
    kfops_project::check(&files).iter().filter(|one| one.file == "kfops.yaml").try_for_each(|one| inside(one, &text))
}

/// No path leads out of the repository.
fn stays(project: &Project) -> Result<(), String> {
    let mut paths = vec![project.pipeline.source.clone()];
    for image in &project.images.build {
        paths.extend([image.context.clone(), image.dockerfile.clone(), image.dockerfile_path()]);
        paths.extend(image.include.clone());
    }
    if let Some(serving) = &project.serving {
        paths.push(serving.template.clone());
        paths.extend(serving.sample.clone());
        paths.extend(serving.golden.clone());
    }
    paths.iter().try_for_each(|path| {
        let out = path.starts_with('/')
            || path.contains('\\')
            || path.contains('\0')
            || path.split('/').any(|part| part == "..");
        ensure(!out, || format!("{path} leads out of the repository"))
    })
}

/// A problem points into the file, at most one place behind its end.
fn inside(one: &Diagnostic, text: &str) -> Result<(), String> {
    let holds = |lines: Vec<&str>| match lines.get(one.line.wrapping_sub(1)) {
        Some(line) => (1..=line.chars().count() + 1).contains(&one.column),
        None => one.line == lines.len() + 1 && one.column == 1,
    };
    // A carriage return alone ends a line for YAML, and for hardly anybody else.
    let text = text.replace("\r\n", "\n");
    let either = holds(text.split('\n').collect()) || holds(text.split(['\n', '\r']).collect());
    ensure(either, || format!("{}:{} lies outside of the file: {}", one.line, one.column, one.message))
}
