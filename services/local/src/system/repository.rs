//! What a work tree's repository is called at the forge.

use std::path::Path;

/// `local/<folder>`, with what is no part of a repository's name replaced.
#[must_use]
pub fn repository_of_folder(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    format!("local/{}", repository_name(&name))
}

fn repository_name(folder: &str) -> String {
    let name: String =
        folder.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['.', '-']).to_owned();
    if name.is_empty() { "model".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_become_repository_names() {
        assert_eq!(repository_name("iris"), "iris");
        assert_eq!(repository_name("$(touch x)"), "touch-x");
        assert_eq!(repository_name("..."), "model");
    }
}
