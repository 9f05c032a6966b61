//! Comments.

use kfops_scm_bot::grammar::{Line, parse};

use super::ensure;

/// Longest comment that has room for what the checks add.
const ROOM: usize = 30_000;

pub(super) fn check(input: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    let found = parse(&text);
    ensure(found == parse(&text), || "the same comment reads differently".into())?;
    ensure(found.len() <= 11, || format!("{} lines", found.len()))?;
    for line in &found {
        stands_there(line, &text)?;
    }
    if text.chars().count() > ROOM {
        return Ok(());
    }
    for (name, hidden) in hidden(&text) {
        let found = parse(&hidden);
        ensure(found.is_empty(), || format!("read from inside of {name}: {found:?}"))?;
    }
    // A blank line ends a paragraph: what follows changes nothing.
    let longer = parse(&format!("{text}\n\nthanks"));
    ensure(longer == found, || format!("words below change it: {found:?} to {longer:?}"))
}

/// A command is written at the start of a line, as it is.
fn stands_there(line: &Line, text: &str) -> Result<(), String> {
    // Inline HTML is not shown, so that what stands around it is one word.
    let shown = without_tags(text);
    let starts = |wanted: &str| [text, &shown].into_iter().any(|text| written(text, wanted));
    match line {
        Line::Command { verb, .. } | Line::Unclosed { verb } => {
            ensure(starts(verb.as_str()), || format!("nobody wrote /{}", verb.as_str()))
        }
        Line::Typo { word, .. } => {
            let word = word.to_ascii_lowercase().replace('-', "_");
            ensure(starts(&word), || format!("nobody wrote /{word}"))
        }
        Line::TooMany { all, .. } => ensure(*all > 10, || format!("{all} are too many")),
    }
}

fn written(text: &str, wanted: &str) -> bool {
    text.split(['\n', '\r']).any(|line| {
        let line = line.trim_start_matches([' ', '\t']).to_ascii_lowercase().replace('-', "_");
        line.strip_prefix('/').is_some_and(|rest| rest.starts_with(wanted))
    })
}

fn without_tags(text: &str) -> String {
    let mut rest = text;
    let mut shown = String::new();
    while let Some((before, tag)) = rest.split_once('<') {
        shown.push_str(before);
        rest = tag.split_once('>').map_or("", |(_, after)| after);
    }
    shown + rest
}

/// The same text where nothing of it is a command.
fn hidden(text: &str) -> Vec<(&'static str, String)> {
    let each = |prefix: &str| {
        let lines: Vec<String> = text.split(['\n', '\r']).map(|line| format!("{prefix}{line}")).collect();
        lines.join("\n")
    };
    let longest = |mark: char| text.split(|c| c != mark).map(str::len).max().unwrap_or(0).max(2) + 1;
    let (ticks, tildes) = ("`".repeat(longest('`')), "~".repeat(longest('~')));
    vec![
        ("a code block", format!("{ticks}\n{text}\n{ticks}\n")),
        ("a code block with tildes", format!("~~~{tildes} sh\n{text}\n~~~{tildes}")),
        ("a code block that nobody closed", format!("look:\n\n{ticks}\n{text}")),
        ("indented code", each("    ")),
        ("a quote", each("> ")),
        ("an HTML comment", format!("<!--\n{}\n-->", text.replace("--", ""))),
        ("an HTML comment that nobody closed", format!("<!-- {}", text.replace("--", ""))),
    ]
}
