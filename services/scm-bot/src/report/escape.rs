//! Foreign text in Markdown: it shows as it is, and does nothing.

/// One line of text. No markup, no mention, no link, no table cell ends; at most `limit` characters.
pub(super) fn text(foreign: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut count = 0;
    let mut space = false;
    for c in foreign.chars() {
        if c.is_whitespace() || c.is_control() {
            space = !out.is_empty();
            continue;
        }
        if invisible(c) {
            continue;
        }
        if count >= limit {
            out.push('…');
            return out;
        }
        if space {
            out.push(' ');
            count += 1;
            space = false;
        }
        count += 1;
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '$' => {
                out.push('\\');
                out.push(c);
            }
            // GitHub looks for mentions and references in the rendered text: something must stand between.
            '@' | '#' => {
                out.push(c);
                out.push('\u{200b}');
            }
            // `https://` and `www.` become links by themselves.
            '/' if out.ends_with(":/") => {
                out.truncate(out.len() - 2);
                out.push_str(":\u{200b}//");
            }
            '.' if out.to_ascii_lowercase().ends_with("www") => out.push_str("\u{200b}."),
            c => out.push(c),
        }
    }
    out
}

/// Most code spans of one sentence.
const SPANS: usize = 20;
/// Stands for a code span while the rest is escaped.
const SPAN: char = '\u{e000}';

/// One line of text as `text` gives it, but a command, path or name between backticks is shown as code.
pub(super) fn prose(foreign: &str, limit: usize) -> String {
    let mut spans = Vec::new();
    let mut marked = String::new();
    let whole = foreign.replace(SPAN, "");
    let mut rest = whole.as_str();
    while let Some((before, after)) = rest.split_once('`') {
        marked += before;
        match after.split_once('`').filter(|(span, tail)| named(span) && !tail.starts_with('`') && spans.len() < SPANS)
        {
            Some((span, tail)) => {
                marked.push(SPAN);
                spans.push(span);
                rest = tail;
            }
            None => {
                marked.push('`');
                rest = after;
            }
        }
    }
    marked += rest;
    let mut spans = spans.into_iter();
    let mut out = String::new();
    for c in text(&marked, limit).chars() {
        match (c, if c == SPAN { spans.next() } else { None }) {
            (_, Some(span)) => out += &format!("`{span}`"),
            (c, None) => out.push(c),
        }
    }
    out
}

/// Nothing of it means anything in Markdown or in a table.
fn named(span: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || " ./_:=-".contains(c);
    (1..=80).contains(&span.len()) && span.chars().all(plain) && span.trim() == span
}

/// Text in a code span; at most `limit` characters. Inside a table, too.
pub(super) fn code(foreign: &str, limit: usize) -> String {
    let mut clean: String = foreign
        .chars()
        .filter(|c| !c.is_control() && !invisible(*c))
        .map(|c| match c {
            '`' => '\'',
            '|' => '¦',
            c => c,
        })
        .take(limit)
        .collect();
    if foreign.chars().count() > limit {
        clean.push('…');
    }
    if clean.trim().is_empty() { String::new() } else { format!("`{}`", clean.trim()) }
}

/// A log, or a text of another kind, in a code block whose fence it cannot close.
pub(super) fn block(log: &str, kind: &str) -> String {
    let clean: String =
        strip_ansi(log).chars().filter(|c| *c == '\n' || *c == '\t' || (!c.is_control() && !invisible(*c))).collect();
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{kind}\n{}\n{fence}", clean.trim_end())
}

/// Terminal sequences out of a log.
fn strip_ansi(log: &str) -> String {
    let mut out = String::new();
    let mut chars = log.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' && chars.peek() == Some(&'[') {
            chars.next();
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that turn the direction of text or hide in it.
fn invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_does_nothing() {
        let hostile = "a | b\n# h <img src=x onerror=1> **b** [l](https://evil.example) @team `c` www.evil.example ![i](x) $x$ \u{202e}";
        let shown = text(hostile, 500);
        let html = {
            let mut html = String::new();
            pulldown_cmark::html::push_html(
                &mut html,
                pulldown_cmark::Parser::new_ext(&shown, pulldown_cmark::Options::all()),
            );
            html
        };
        for tag in ["<img", "<a ", "<strong", "<code", "<h1", "<table", "<em"] {
            assert!(!html.contains(tag), "{tag}: {html}");
        }
        assert!(!shown.contains("@team") && !shown.contains("://") && !shown.contains("www.") && !shown.contains('\n'));
        assert!(!shown.replace("\\|", "").contains('|'));
    }

    #[test]
    fn plain_text_stays_readable() {
        assert_eq!(
            text("revision iris-00007 is ready: 0.2 s, p99 38 ms (live: 41 ms)", 100),
            "revision iris-00007 is ready: 0.2 s, p99 38 ms (live: 41 ms)"
        );
        assert_eq!(text("abcdef", 3), "abc…");
        assert_eq!(code("a`b|c", 20), "`a'b¦c`");
    }

    #[test]
    fn names_in_backticks_are_code_and_nothing_else_is() {
        assert_eq!(
            prose("task `evaluate` failed; `kfc check` shows it", 99),
            "task `evaluate` failed; `kfc check` shows it"
        );
        assert_eq!(
            prose("a_b `x|y` `` ` `@team` `<b>`", 99),
            "a\\_b \\`x\\|y\\` \\`\\` \\` \\`@\u{200b}team\\` \\`&lt;b&gt;\\`"
        );
        assert_eq!(prose("\u{e000}`a` b", 3), "`a` b");
        assert_eq!(prose("`abc` and more", 3), "`abc` a…");
        for hostile in ["``a`", "`a``b`", "`a`<img src=x>`b`", "`a\n`*b*", "`a`[l](http://x)"] {
            let mut html = String::new();
            let shown = prose(hostile, 99);
            pulldown_cmark::html::push_html(&mut html, pulldown_cmark::Parser::new(&shown));
            assert!(!html.contains("<img") && !html.contains("<em") && !html.contains("<a "), "{hostile}: {html}");
        }
        assert!(prose(&"`ab`".repeat(400), 1000).len() < 4000);
    }

    #[test]
    fn a_log_stays_in_its_block() {
        let shown = block("\u{1b}[31mred\u{1b}[0m\n```\n</details>\n````\n@team", "text");
        assert!(shown.starts_with("`````text\nred\n```\n</details>"));
        assert!(shown.ends_with("\n`````"));
    }
}
