//! Names that KFP can keep, made from names that anybody may have chosen.

use kfops_core::short_hash;

/// Of versions, and with them of pipelines, whose first version takes the pipeline's name; bytes. Runs and experiments are
/// kept within it too.
const LIMIT: usize = 127;
/// What tells apart names that became the same.
const MARK: usize = 8;

/// A name of at most 127 bytes without characters of four bytes (KFP's columns are of three-byte UTF-8), controls or
/// invisible marks. One that had to be changed ends with a part of the original's digest, so that two stay two.
pub(crate) fn safe_name(name: &str) -> String {
    let kept: String = name.chars().map(|c| if storable(c) { c } else { '-' }).collect();
    let kept = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    if kept == name && (1..=LIMIT).contains(&name.len()) {
        return kept;
    }
    let mut end = kept.len().min(LIMIT - MARK - 1);
    while !kept.is_char_boundary(end) {
        end -= 1;
    }
    let head = kept.get(..end).unwrap_or_default().trim_end();
    let head = if head.is_empty() { "unnamed" } else { head };
    format!("{head}-{}", short_hash(&["kfp-name", name], MARK))
}

fn storable(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}');
    u32::from(c) < 0x1_0000 && !c.is_control() && !invisible
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay() {
        for name in ["iris", "Two Step 1", "größe", &"v".repeat(127)] {
            assert_eq!(safe_name(name), name);
        }
    }

    #[test]
    fn hostile_names_become_storable_and_stay_apart() {
        let names = [
            "",
            " ",
            "🎉",
            "🎊",
            "a\nb",
            "a\tb",
            "a\u{202e}b",
            "x  y",
            &"n".repeat(128),
            &"ä".repeat(64),
            &"n".repeat(300),
        ];
        let safe: std::collections::BTreeSet<String> = names.iter().map(|name| safe_name(name)).collect();
        assert_eq!(safe.len(), names.len());
        for name in safe {
            assert!((1..=LIMIT).contains(&name.len()) && name.chars().all(storable) && name.trim() == name, "{name:?}");
        }
    }
}
