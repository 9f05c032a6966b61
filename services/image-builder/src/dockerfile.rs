//! Reads from a Dockerfile which images it builds on.

use std::collections::{BTreeMap, BTreeSet};

use kfops_core::{Failure, Reason};

use crate::reference::ImageName;

/// Largest Dockerfile.
pub(crate) const MAX: usize = 1 << 20;

/// The images named by `FROM`, `COPY --from` and `RUN --mount=from`, with arguments expanded; not `scratch` and not stages.
pub(crate) fn bases(text: &str, build_args: &BTreeMap<String, String>) -> Result<BTreeSet<ImageName>, Failure> {
    let invalid = |line: usize, message: String| {
        Failure::new(Reason::ImageBuildFailed, format!("Dockerfile line {line}: {message}"))
            .action("correct the Dockerfile")
    };
    if text.len() > MAX {
        return Err(invalid(1, format!("it is larger than {MAX} bytes")));
    }
    let mut globals = platform();
    let mut stages: BTreeSet<String> = BTreeSet::new();
    let mut found = BTreeSet::new();
    let mut seen_from = false;
    for (line, instruction) in instructions(text) {
        let mut words = instruction.split_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        match keyword.as_str() {
            "ARG" if !seen_from => {
                for word in words {
                    let (name, default) =
                        word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
                    let value = match (build_args.get(name), default) {
                        (Some(given), _) => Some(given.clone()),
                        (None, Some(default)) => {
                            Some(expand(unquote(default), &globals).map_err(|message| invalid(line, message))?)
                        }
                        (None, None) => None,
                    };
                    if let Some(value) = value {
                        globals.insert(name.to_owned(), value);
                    }
                }
            }
            "FROM" => {
                seen_from = true;
                let mut words = words.skip_while(|word| word.starts_with("--"));
                let image = words.next().ok_or_else(|| invalid(line, "FROM names no image".into()))?;
                let image = expand(unquote(image), &globals).map_err(|message| invalid(line, message))?;
                add(&image, &stages, &mut found).map_err(|message| invalid(line, message))?;
                if words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"))
                    && let Some(name) = words.next()
                {
                    stages.insert(name.to_ascii_lowercase());
                }
            }
            "COPY" | "ADD" | "RUN" if seen_from => {
                for word in words.take_while(|word| word.starts_with("--")) {
                    let image = match word.split_once('=') {
                        Some(("--from", image)) => Some(image),
                        Some(("--mount", options)) => {
                            options.split(',').find_map(|option| option.strip_prefix("from="))
                        }
                        _ => None,
                    };
                    // A number is a stage by its position.
                    if let Some(image) = image.filter(|image| image.parse::<u32>().is_err()) {
                        add(unquote(image), &stages, &mut found).map_err(|message| invalid(line, message))?;
                    }
                }
            }
            _ => {}
        }
    }
    if seen_from { Ok(found) } else { Err(invalid(1, "there is no FROM".into())) }
}

fn add(image: &str, stages: &BTreeSet<String>, found: &mut BTreeSet<ImageName>) -> Result<(), String> {
    if image != "scratch" && !stages.contains(&image.to_ascii_lowercase()) {
        found.insert(ImageName::parse(image)?);
    }
    Ok(())
}

/// Whole instructions with the numbers of their first lines: continued lines joined, comments and here-documents left out.
fn instructions(text: &str) -> Vec<(usize, String)> {
    let text = text.trim_start_matches('\u{feff}');
    let escape = escape_character(text);
    let mut all = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let mut here: Vec<(String, bool)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some((end, strip_tabs)) = here.first() {
            let candidate = if *strip_tabs { line.trim_start_matches('\t') } else { line };
            if candidate == end {
                here.remove(0);
            }
            continue;
        }
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        if let Some(part) = trimmed.strip_suffix(escape) {
            whole.push_str(part);
            whole.push(' ');
            open = Some((number, whole));
        } else {
            whole.push_str(trimmed);
            here = here_documents(&whole);
            all.push((number, whole));
        }
    }
    all.extend(open);
    all
}

/// The ends of the here-documents that an instruction begins, and whether their tabs are ignored.
fn here_documents(instruction: &str) -> Vec<(String, bool)> {
    let keyword = instruction.split_whitespace().next().unwrap_or_default();
    if !["RUN", "COPY", "ADD"].iter().any(|k| keyword.eq_ignore_ascii_case(k)) {
        return Vec::new();
    }
    let words = instruction.split_whitespace().filter_map(|word| word.strip_prefix("<<"));
    words
        .filter_map(|word| {
            let (word, strip_tabs) = word.strip_prefix('-').map_or((word, false), |word| (word, true));
            let name = unquote(word);
            let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            valid.then(|| (name.to_owned(), strip_tabs))
        })
        .collect()
}

/// From the parser directive `# escape=`, which stands before everything else.
fn escape_character(text: &str) -> char {
    for line in text.lines() {
        let Some((key, value)) = line.trim().strip_prefix('#').and_then(|rest| rest.split_once('=')) else { break };
        if key.trim().eq_ignore_ascii_case("escape") {
            return if value.trim() == "`" { '`' } else { '\\' };
        }
    }
    '\\'
}

/// What builders define by themselves.
fn platform() -> BTreeMap<String, String> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let whole = format!("linux/{architecture}");
    let pairs = [("PLATFORM", whole.as_str()), ("OS", "linux"), ("ARCH", architecture)];
    let both =
        ["TARGET", "BUILD"].into_iter().flat_map(|side| pairs.map(|(key, value)| (format!("{side}{key}"), value)));
    both.map(|(key, value)| (key, value.to_owned())).collect()
}

fn unquote(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+other}`.
fn expand(text: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (expression, remaining) = if let Some(braced) = after.strip_prefix('{') {
            braced.split_once('}').ok_or_else(|| format!("`{text}` has a `${{` without `}}`"))?
        } else {
            after.split_at(after.find(|c| !word(c)).unwrap_or(after.len()))
        };
        let (name, operator) = expression.split_at(expression.find(|c| !word(c)).unwrap_or(expression.len()));
        let value = values.get(name).filter(|value| !value.is_empty());
        match (operator.get(..2), value) {
            (None, Some(value)) => out.push_str(value),
            (Some(":-"), Some(value)) => out.push_str(value),
            (Some(":-"), None) => out.push_str(&operator[2..]),
            (Some(":+"), Some(_)) => out.push_str(&operator[2..]),
            (Some(":+"), None) => {}
            (None, None) => {
                return Err(format!(
                    "`{text}` uses {name}, which has no value: give the ARG a default, or a build argument"
                ));
            }
            _ => return Err(format!("`{text}` is not understood")),
        }
        rest = remaining;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str, args: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let args = args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        bases(text, &args).map(|found| found.iter().map(ToString::to_string).collect()).map_err(|f| f.message)
    }

    #[test]
    fn arguments_stages_and_scratch() {
        let text = "# syntax=x\nARG VERSION=3.11\nARG FLAVOUR\nFROM --platform=$BUILDPLATFORM python:${VERSION}-slim AS Base\n\
                    RUN echo \\\n  # comment\n  FROM no\nFROM base\nCOPY --from=0 /a /a\nCOPY --from=gcr.io/x/y:1 /b /b\nFROM scratch\nFROM debian:${FLAVOUR:-bookworm}\n";
        assert_eq!(
            names(text, &[("VERSION", "3.12")]).unwrap(),
            ["docker.io/library/debian:bookworm", "docker.io/library/python:3.12-slim", "gcr.io/x/y:1"]
        );
    }

    #[test]
    fn here_documents_and_escapes_are_not_instructions() {
        let text = "# escape=`\nFROM a\nRUN <<EOF cat > x <<-'END'\nFROM b\nEOF\nFROM c\n\tEND\nRUN x `\nFROM d\n";
        assert_eq!(names(text, &[]).unwrap(), ["docker.io/library/a:latest"]);
    }

    #[test]
    fn wrong_ones_say_the_line() {
        assert!(names("RUN x", &[]).unwrap_err().contains("no FROM"));
        assert!(names("ARG A\nFROM x:$A", &[]).unwrap_err().starts_with("Dockerfile line 2: `x:$A` uses A"));
        assert!(names("FROM dir:/etc", &[]).unwrap_err().contains("not an image name"));
        assert!(names("FROM", &[]).unwrap_err().contains("names no image"));
    }
}
