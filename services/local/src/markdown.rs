//! An answer, which is Markdown for GitHub, as text for a terminal.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// What a line of a difference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Only in the new.
    Added,
    /// Only in the old.
    Removed,
    /// Where it is.
    Place,
}

/// Plain text; `paint` colours the lines of differences.
#[must_use]
pub fn render(markdown: &str, paint: &dyn Fn(Tone, &str) -> String) -> String {
    let mut page = Page { paint, out: String::new(), line: String::new(), depth: 0, table: None, block: None };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        page.take(event);
    }
    page.flush();
    let text = page.out.trim_matches('\n');
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

struct Page<'a> {
    paint: &'a dyn Fn(Tone, &str) -> String,
    out: String,
    line: String,
    /// Lists around this place.
    depth: usize,
    table: Option<Vec<Vec<String>>>,
    /// Language and text of a code block.
    block: Option<(String, String)>,
}

impl Page<'_> {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let language =
                    if let CodeBlockKind::Fenced(language) = kind { language.to_string() } else { String::new() };
                self.block = Some((language, String::new()));
            }
            Event::End(TagEnd::CodeBlock) => self.code(),
            Event::Start(Tag::List(_)) => {
                self.flush();
                self.depth += 1;
            }
            Event::End(TagEnd::List(_)) => {
                self.flush();
                self.depth = self.depth.saturating_sub(1);
                self.gap();
            }
            Event::Start(Tag::Item) => {
                self.flush();
                self.line = format!("{}- ", "  ".repeat(self.depth.saturating_sub(1)));
            }
            Event::Start(Tag::Table(_)) => self.table = Some(Vec::new()),
            Event::Start(Tag::TableHead | Tag::TableRow) => {
                self.table.iter_mut().for_each(|rows| rows.push(Vec::new()))
            }
            Event::Start(Tag::TableCell) => self.line.clear(),
            Event::End(TagEnd::TableCell) => {
                let cell = std::mem::take(&mut self.line);
                if let Some(row) = self.table.as_mut().and_then(|rows| rows.last_mut()) {
                    row.push(cell.trim().to_owned());
                }
            }
            Event::End(TagEnd::Table) => self.rows(),
            Event::End(TagEnd::Item) => self.flush(),
            Event::End(TagEnd::Paragraph | TagEnd::Heading(_)) => {
                self.flush();
                self.gap();
            }
            Event::Text(text) => match &mut self.block {
                Some((_, code)) => code.push_str(&text),
                None => self.line.push_str(&plain(&text)),
            },
            Event::Code(text) => self.line.push_str(&plain(&text)),
            Event::SoftBreak | Event::HardBreak => self.flush(),
            Event::Html(html) | Event::InlineHtml(html) => self.line.push_str(&plain(&without_tags(&html))),
            Event::End(TagEnd::HtmlBlock) => self.flush(),
            _ => {}
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        if !line.trim().is_empty() {
            self.out.push_str(line.trim_end());
            self.out.push('\n');
        }
    }

    /// An empty line, never two.
    fn gap(&mut self) {
        if self.depth == 0 && !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    fn code(&mut self) {
        let Some((language, code)) = self.block.take() else { return };
        self.flush();
        for line in code.lines() {
            let line = plain(line);
            let tone = match line.chars().next() {
                Some('+') => Some(Tone::Added),
                Some('-') => Some(Tone::Removed),
                Some('@') => Some(Tone::Place),
                _ => None,
            };
            let line = match tone.filter(|_| language == "diff") {
                Some(tone) => (self.paint)(tone, &line),
                None => line,
            };
            self.out.push_str(&format!("  {line}\n"));
        }
        self.gap();
    }

    fn rows(&mut self) {
        let Some(rows) = self.table.take() else { return };
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
        // A header without words says nothing.
        for row in rows.iter().filter(|row| row.iter().any(|cell| !cell.is_empty())) {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            self.out.push_str(cells.join("  ").trim_end());
            self.out.push('\n');
        }
        self.gap();
    }
}

/// Without control characters, and without those that keep GitHub from linking.
fn plain(text: &str) -> String {
    let hidden =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars().filter(|c| !c.is_control() && !hidden(*c)).collect()
}

/// Comments and tags out of HTML; what stands between them stays.
fn without_tags(html: &str) -> String {
    let mut out = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        out.push_str(before);
        rest = match tag.strip_prefix("!--") {
            Some(comment) => comment.split_once("-->").map_or("", |(_, after)| after),
            None => tag.split_once('>').map_or("", |(_, after)| after),
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_a_terminal() {
        let markdown = "<!-- kfops:c-1 -->\n**Plan** of `/ship` for `3f2c1e7`.\n\n- trainer: would be built\n- a\\_b\n  - deeper @\u{200b}ann\n\n\
            | | link | found |\n|---|---|---|\n| ✓ | revision | `iris-00007` |\n| ✗ | run | r-1 \\| gone |\n\n\
            <details><summary>The log</summary>\n\n```diff\n-a\n+b \u{1b}[31m\n```\n\n</details>\n\nLast &lt;line&gt;.\n";
        let shown = render(markdown, &|_, line| line.to_owned());
        assert_eq!(
            shown,
            "Plan of /ship for 3f2c1e7.\n\n- trainer: would be built\n- a_b\n  - deeper @ann\n\n\
             \u{20}  link      found\n✓  revision  iris-00007\n✗  run       r-1 | gone\n\n\
             The log\n  -a\n  +b [31m\n\nLast <line>.\n"
        );
        assert_eq!(render("", &|_, line| line.to_owned()), "");
    }
}
