//! Finds the commands in a comment. What is plain text, the Markdown parser decides: code, quotes, lists, HTML and HTML
//! comments are not read.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::verb::Verb;

/// GitHub's limit for a comment, in characters.
const LONGEST: usize = 65_536;
/// More commands in one comment are not meant.
pub(crate) const MOST: usize = 10;

/// A line that addresses the bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// A command.
    Command {
        /// What it asks for.
        verb: Verb,
        /// What follows the verb, split as a shell does.
        arguments: Vec<String>,
    },
    /// A verb with a quote that is never closed.
    Unclosed {
        /// What it asks for.
        verb: Verb,
    },
    /// Almost a verb.
    Typo {
        /// As written, without the slash.
        word: String,
        /// What was probably meant.
        meant: Verb,
    },
    /// The first of those that are too many; the others are not read.
    TooMany {
        /// What it asks for, or probably meant.
        verb: Verb,
        /// How many the comment has in all.
        all: usize,
    },
}

/// The commands of a comment, in order; after the tenth, one line that stands for all the rest.
#[must_use]
pub fn parse(comment: &str) -> Vec<Line> {
    if comment.chars().count() > LONGEST {
        return Vec::new();
    }
    let mut lines: Vec<Line> = plain_lines(comment).iter().filter_map(|line| command(line)).collect();
    let all = lines.len();
    if let Some(first) = lines.get_mut(MOST) {
        let (Line::Command { verb, .. }
        | Line::Unclosed { verb }
        | Line::Typo { meant: verb, .. }
        | Line::TooMany { verb, .. }) = *first;
        *first = Line::TooMany { verb, all };
        lines.truncate(MOST + 1);
    }
    lines
}

/// The lines of top-level paragraphs that begin with plain text, without inline HTML.
fn plain_lines(comment: &str) -> Vec<String> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_GFM;
    let mut lines = Vec::new();
    let mut depth = 0usize;
    let mut line: Option<Scan> = None;
    let mut inside = false;
    for (event, range) in Parser::new_ext(comment, options).into_offset_iter() {
        match event {
            Event::Start(Tag::Paragraph) if depth == 0 => {
                inside = true;
                line = Some(Scan::default());
            }
            Event::End(TagEnd::Paragraph) if depth == 0 => {
                lines.extend(line.take().and_then(|scan| scan.text(comment)));
                inside = false;
            }
            Event::SoftBreak | Event::HardBreak if inside => {
                lines.extend(line.take().and_then(|scan| scan.text(comment)));
                line = Some(Scan::default());
            }
            // Blocks other than paragraphs; what is nested in them is no command.
            Event::Start(_) if !inside => depth += 1,
            Event::End(_) if !inside => depth = depth.saturating_sub(1),
            event => {
                if let Some(scan) = line.as_mut() {
                    scan.see(&event, range);
                }
            }
        }
    }
    lines
}

/// One line of a paragraph while its events pass.
#[derive(Default)]
struct Scan {
    range: Option<Range<usize>>,
    plain: bool,
    cut: Vec<Range<usize>>,
}

impl Scan {
    fn see(&mut self, event: &Event<'_>, range: Range<usize>) {
        if matches!(event, Event::InlineHtml(_) | Event::Html(_)) {
            self.cut.push(range.clone());
        }
        match &mut self.range {
            None => {
                self.plain = matches!(event, Event::Text(_));
                self.range = Some(range);
            }
            Some(whole) => whole.end = whole.end.max(range.end),
        }
    }

    fn text(self, comment: &str) -> Option<String> {
        let whole = self.range.filter(|_| self.plain)?;
        // The parser leaves the backslash of an escape out of the text.
        if comment.get(..whole.start)?.ends_with('\\') {
            return None;
        }
        let mut text = String::new();
        let mut at = whole.start;
        for cut in self.cut {
            text.push_str(comment.get(at..cut.start)?);
            at = cut.end;
        }
        text.push_str(comment.get(at..whole.end)?);
        // An emphasis that spans several lines ends on another one.
        text.lines().next().map(str::to_owned)
    }
}

fn command(line: &str) -> Option<Line> {
    let rest = line.strip_prefix('/')?;
    let (word, arguments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    if word.is_empty() || word.len() > 40 || !word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return None;
    }
    let Some(verb) = Verb::parse(word) else {
        return Some(Line::Typo { word: word.to_owned(), meant: nearest(word)? });
    };
    match shell_words::split(arguments) {
        Ok(arguments) => Some(Line::Command { verb, arguments }),
        Err(_) => Some(Line::Unclosed { verb }),
    }
}

/// The verb that a word is a slip of. Short words are near to many others: they may differ less.
fn nearest(word: &str) -> Option<Verb> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let allowed = if word.len() <= 4 { 1 } else { 2 };
    Verb::ALL
        .into_iter()
        .map(|verb| (strsim::damerau_levenshtein(&word, verb.as_str()), verb))
        .filter(|(distance, verb)| *distance <= allowed && *distance * 3 <= verb.as_str().len() + 1)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, verb)| verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verbs(comment: &str) -> Vec<&'static str> {
        parse(comment)
            .into_iter()
            .map(|line| match line {
                Line::Command { verb, .. } => verb.as_str(),
                Line::Unclosed { .. } => "unclosed",
                Line::Typo { .. } => "typo",
                Line::TooMany { .. } => "too many",
            })
            .collect()
    }

    fn arguments(comment: &str) -> Vec<String> {
        match parse(comment).remove(0) {
            Line::Command { arguments, .. } => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_stands_at_the_start_of_its_line() {
        assert_eq!(verbs("/deploy"), ["deploy"]);
        assert_eq!(verbs("/deploy\nthanks"), ["deploy"]);
        assert_eq!(verbs("/deploy\r\nthanks"), ["deploy"]);
        assert_eq!(verbs("looks good\n/build_run"), ["build_run"]);
        assert_eq!(verbs("  /Build-Run  "), ["build_run"]);
        assert_eq!(verbs("/build\n/run\n\n/status"), ["build", "run", "status"]);
        assert!(verbs("please do not /deploy yet").is_empty());
        assert!(verbs("").is_empty());
    }

    #[test]
    fn only_plain_text_is_read() {
        for comment in [
            "    /deploy",
            "```\n/deploy\n```",
            "~~~\n/deploy",
            "`/deploy`",
            "> /deploy",
            "> quoted\n/deploy",
            "- /deploy",
            "1. /deploy",
            "# /deploy",
            "<!-- \n/deploy\n-->",
            "<!-- /deploy -->",
            "<div>\n/deploy\n</div>",
            "<b>/deploy</b>",
            "**/deploy**",
            "[/deploy](https://example.com)",
            "| a |\n|---|\n| /deploy |",
            "\\/deploy",
            "text <!--\n/deploy\n--> text",
        ] {
            assert!(verbs(comment).is_empty(), "{comment}: {:?}", parse(comment));
        }
    }

    #[test]
    fn paths_and_other_bots_commands_are_not_ours() {
        for comment in [
            "/usr/bin/env",
            "/runs",
            "/etc",
            "/lgtm",
            "/",
            "/ deploy",
            "//deploy",
            "/deploy/now",
            "/$(touch x)",
            "/retest",
        ] {
            let lines = parse(comment);
            assert!(!lines.iter().any(|line| matches!(line, Line::Command { .. })), "{comment}: {lines:?}");
        }
        assert!(verbs("/usr/bin/env\n/lgtm\n/etc\n/retest\n/hold").is_empty());
    }

    #[test]
    fn typos_are_seen() {
        assert_eq!(parse("/biuld_run"), [Line::Typo { word: "biuld_run".into(), meant: Verb::BuildRun }]);
        assert_eq!(parse("/depoly"), [Line::Typo { word: "depoly".into(), meant: Verb::Deploy }]);
        assert_eq!(parse("/buildrun"), [Line::Typo { word: "buildrun".into(), meant: Verb::BuildRun }]);
    }

    #[test]
    fn arguments_are_quoted_as_in_a_shell_and_run_nothing() {
        assert_eq!(arguments("/run --set 'name=a b' --set x=\"1\""), ["--set", "name=a b", "--set", "x=1"]);
        assert_eq!(arguments("/deploy --run-id=a=b"), ["--run-id=a=b"]);
        assert_eq!(arguments("/run --set a_=1 --set _b=2 *x* \\*"), ["--set", "a_=1", "--set", "_b=2", "*x*", "*"]);
        assert_eq!(arguments("/run --set x=$(touch y)`id`")[1], "x=$(touch");
        assert_eq!(arguments("/deploy <!-- --force -->"), Vec::<String>::new());
        assert_eq!(parse("/run --set 'a"), [Line::Unclosed { verb: Verb::Run }]);
    }

    #[test]
    fn limits_hold() {
        assert_eq!(verbs(&"/build\n".repeat(MOST)), ["build"; MOST]);
        let many = parse(&format!("{}/ship\n{}", "/build\n".repeat(MOST), "/run 'x\n".repeat(89)));
        assert_eq!(many.len(), MOST + 1);
        assert_eq!(many[MOST], Line::TooMany { verb: Verb::Ship, all: 100 });
        // GitHub counts characters, not bytes.
        let wide = "\u{1f980}".repeat(LONGEST - "/build\n".len());
        assert_eq!(verbs(&format!("/build\n{wide}")), ["build"]);
        assert!(parse(&format!("/build\n{wide}x")).is_empty());
        assert!(parse(&format!("/build\n{}", "x".repeat(LONGEST))).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(comment in "(?s).{0,200}") {
            let _ = parse(&comment);
        }

        #[test]
        fn never_panics_on_markdown(comment in "[/a-z`*_<>!\\[\\]()|#\n \\-'\"\\\\]{0,120}") {
            let _ = parse(&comment);
        }
    }
}
