//! Markdown of comments as HTML that cannot do anything: no script, no form, no image from elsewhere.

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html};

/// HTML tags that may stand in a comment, without attributes.
const ALLOWED: &[&str] = &["b", "br", "code", "details", "em", "i", "kbd", "strong", "sub", "summary", "sup"];
/// Of these, the ones that have no end tag.
const VOID: &[&str] = &["br"];

/// A comment as HTML.
pub(crate) fn render(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut raw = Raw::default();
    let mut events = Vec::new();
    for event in Parser::new_ext(text, options) {
        events.push(match event {
            Event::Html(text) | Event::InlineHtml(text) => Event::Html(raw.clean(&text).into()),
            // GitHub breaks lines in comments where their authors do.
            Event::SoftBreak => Event::HardBreak,
            Event::Start(Tag::Link { dest_url, title, id, .. }) => link(&dest_url, title, id),
            Event::Start(Tag::Image { dest_url, title, id, .. }) => link(&dest_url, title, id),
            Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
            other => other,
        });
    }
    events.push(Event::Html(raw.close().into()));
    let mut out = String::with_capacity(text.len() * 2);
    html::push_html(&mut out, events.into_iter());
    out
}

fn link<'a>(target: &str, title: CowStr<'a>, id: CowStr<'a>) -> Event<'a> {
    let lower = target.trim().to_ascii_lowercase();
    let safe = ["http://", "https://", "mailto:", "#", "/"].iter().any(|prefix| lower.starts_with(prefix));
    let dest_url = if safe { target.to_owned() } else { String::new() };
    Event::Start(Tag::Link { link_type: LinkType::Inline, dest_url: dest_url.into(), title, id })
}

/// Raw HTML on its way through: allowed tags are balanced, comments vanish, the rest becomes text.
#[derive(Default)]
struct Raw {
    open: Vec<&'static str>,
    in_comment: bool,
}

impl Raw {
    fn clean(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            if self.in_comment {
                match rest.find("-->") {
                    Some(end) => {
                        self.in_comment = false;
                        rest = &rest[end + 3..];
                    }
                    None => return out,
                }
            } else if let Some(after) = rest.strip_prefix("<!--") {
                self.in_comment = true;
                rest = after;
            } else if let Some((html, length)) = self.tag(rest) {
                out.push_str(&html);
                rest = &rest[length..];
            } else {
                let mut characters = rest.chars();
                match characters.next() {
                    Some('<') => out.push_str("&lt;"),
                    Some('>') => out.push_str("&gt;"),
                    Some('"') => out.push_str("&quot;"),
                    Some('&') if !is_entity(rest) => out.push_str("&amp;"),
                    Some(other) => out.push(other),
                    None => {}
                }
                rest = characters.as_str();
            }
        }
        out
    }

    /// An allowed tag at the start of the text, as it is written out, and how long it is there.
    fn tag(&mut self, text: &str) -> Option<(String, usize)> {
        let inside = text.strip_prefix('<')?;
        let end = inside.find('>')?;
        let length = end + 2;
        let body = inside[..end].trim_end_matches('/').trim_end();
        let (closing, name) = body.strip_prefix('/').map_or((false, body), |name| (true, name));
        let name = name.to_ascii_lowercase();
        let (name, open) = if name == "details open" { ("details", " open") } else { (name.as_str(), "") };
        let name = ALLOWED.iter().copied().find(|allowed| *allowed == name)?;
        if VOID.contains(&name) {
            return Some((format!("<{name}>"), length));
        }
        if !closing {
            self.open.push(name);
            return Some((format!("<{name}{open}>"), length));
        }
        let Some(at) = self.open.iter().rposition(|open| *open == name) else { return Some((String::new(), length)) };
        Some((end_tags(self.open.drain(at..)), length))
    }

    /// Ends what the comment left open.
    fn close(&mut self) -> String {
        end_tags(self.open.drain(..))
    }
}

fn end_tags(open: impl DoubleEndedIterator<Item = &'static str>) -> String {
    open.rev().map(|name| format!("</{name}>")).collect()
}

fn is_entity(text: &str) -> bool {
    let Some(end) = text.find(';') else { return false };
    (2..12).contains(&end) && text[1..end].bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'#')
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn nothing_runs() {
        for hostile in [
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "<details open onclick=alert(1)>x</details>",
            "<b onmouseover='x()'>",
            "<svg/onload=alert(1)>",
            "</div></article><script src=//x></script>",
            "<iframe src=x></iframe>",
            "<!-- x --><script>a</script>",
            "<!-- --!><script>",
            "<DETAILS\nonload=x>",
            "a <style>*{display:none}</style> b",
        ] {
            let html = render(hostile).to_lowercase();
            for bad in ["<script", "<img", "<svg", "<iframe", "<style", "<div", "</div", "<details o", "<b "] {
                assert!(!html.contains(bad), "{hostile} became {html}");
            }
        }
        for link in ["[a](javascript:alert(1))", "[a](JaVaScRiPt:x)", "[a](data:text/html,x)", "<javascript:x>"] {
            assert!(!render(link).to_lowercase().contains("href=\"java"), "{link}");
            assert!(!render(link).contains("href=\"data"), "{link}");
        }
        assert!(!render("![x](http://elsewhere/pixel.png)").contains("<img"));
    }

    #[test]
    fn what_the_bot_writes_is_shown() {
        let html = render("**/deploy** by @a\n\n| step | state |\n|---|---|\n| gate | ✓ |\n\n~~old~~");
        assert!(
            html.contains("<table>") && html.contains("<del>old</del>") && html.contains("<strong>/deploy</strong>")
        );
        let html = render("<details><summary>Log &amp; more</summary>\n\n```\na < b\n```\n\n</details>");
        assert!(html.contains("<details><summary>Log &amp; more</summary>"), "{html}");
        assert!(html.contains("a &lt; b") && html.trim_end().ends_with("</details>"), "{html}");
        assert_eq!(render("<!-- KFOPS\nhidden -->").trim(), "");
    }

    #[test]
    fn tags_end_with_their_comment() {
        assert!(render("<b>loud").trim_end().ends_with("</b>"));
        assert!(!render("x </details>").contains("</details>"));
        assert!(render("<b><sub>x</b>").contains("</sub></b>"));
    }
}
