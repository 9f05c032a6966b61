//! `kfc check`.

use std::{io::Write as _, path::Path};

use kfops_project::{Diagnostic, Folder};

use crate::{
    exit::Exit,
    output::{Colour, Format, Output, one_line},
};

/// Prints everything that is wrong with a repository; 1 when there are errors.
pub(crate) fn run(path: &Path, output: &Output) -> Result<(), Exit> {
    let folder = Folder::new(path)
        .map_err(|error| Exit::usage(format!("{}: {error}", path.display()), "give the folder of a repository"))?;
    let found = kfops_project::check(&folder);
    let errors = found.iter().filter(|diagnostic| diagnostic.is_error()).count();
    match output.format {
        Format::Json | Format::Yaml => {
            output.value(&serde_json::to_value(&found).unwrap_or_default());
        }
        Format::Table | Format::Name => {
            for diagnostic in &found {
                output.line(&line(path, diagnostic, output));
            }
            let warnings = found.len() - errors;
            let said = match (errors, warnings) {
                (0, 0) => "no problems".to_owned(),
                (errors, 0) => count(errors, "error"),
                (0, warnings) => count(warnings, "warning"),
                (errors, warnings) => format!("{}, {}", count(errors, "error"), count(warnings, "warning")),
            };
            writeln!(std::io::stderr(), "{said}").ok();
        }
    }
    if errors > 0 { Err(Exit::Code(1)) } else { Ok(()) }
}

/// `file:line:col: …`, with the file as seen from here, so that an editor finds it.
fn line(root: &Path, diagnostic: &Diagnostic, output: &Output) -> String {
    let text = one_line(&diagnostic.to_string());
    let text = match root.as_os_str().to_str() {
        Some("." | "./") | None => text,
        Some(_) => format!("{}/{text}", root.display().to_string().trim_end_matches('/')),
    };
    if diagnostic.is_error() { text } else { format!("{text} {}", output.paint(Colour::Yellow, "[warning]")) }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
