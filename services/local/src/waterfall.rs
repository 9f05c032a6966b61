//! A trace as a waterfall in the terminal, and the steps of a command as lines: pure text out of JSON.

use std::collections::{HashMap, HashSet};

use serde_json::Value as Json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What is drawn of a span.
#[derive(Debug)]
struct Span {
    id: String,
    parent: String,
    name: String,
    service: String,
    start: u64,
    end: u64,
    /// Set when it failed; may be empty.
    error: Option<String>,
}

/// The waterfall of a trace in OTLP JSON, at most `width` columns wide. Spans without their parent are drawn as roots.
#[must_use]
pub fn draw(otlp: &Json, width: usize) -> String {
    let spans = spans(otlp);
    let Some(begin) = spans.iter().map(|span| span.start).min() else {
        return "the trace has no spans\n".to_owned();
    };
    let total = spans.iter().map(|span| span.end).max().unwrap_or(begin).saturating_sub(begin).max(1);
    let rows = tree(&spans);
    let longest = |of: &dyn Fn(&(usize, &Span)) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let width = width.max(60);
    let services = longest(&|(_, span)| span.service.chars().count()).min(24);
    let names = longest(&|(depth, span)| depth * 2 + span.name.chars().count()).min(width * 2 / 5);
    let bars = width.saturating_sub(names + services + 17).max(10);
    let mut out = String::new();
    for (depth, span) in rows {
        let name = clip(&format!("{}{}", "  ".repeat(depth.min(12)), span.name), names);
        let bar = bar(span.start - begin, span.end - span.start, total, bars);
        let took = seconds_text(nanos(span.end - span.start));
        let mut line = format!("{name:<names$}  {bar}  {took:>9}  {}", clip(&span.service, services));
        if let Some(error) = &span.error {
            line.push_str(" ✗");
            if !error.is_empty() {
                line.push_str(&format!(
                    "\n{:1$}✗ {2}",
                    "",
                    depth.min(12) * 2,
                    clip(error, width - 2 * depth.min(12) - 2)
                ));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// What is wrong with the shape of a trace: several traces, not one root, spans whose parent is not there, ids twice.
#[must_use]
pub fn problems(otlp: &Json) -> Vec<String> {
    let spans = spans(otlp);
    let mut found = Vec::new();
    let traces: HashSet<String> = raw(otlp).map(|(_, span)| text(span, "traceId")).collect();
    if traces.len() > 1 {
        found.push(format!("spans of {} traces", traces.len()));
    }
    let mut ids = HashSet::new();
    for span in &spans {
        if !ids.insert(span.id.as_str()) {
            found.push(format!("span id {} twice: {} of {}", span.id, span.name, span.service));
        }
    }
    let roots: Vec<&str> = spans.iter().filter(|span| span.parent.is_empty()).map(|span| span.name.as_str()).collect();
    match roots.len() {
        1 => {}
        0 => found.push("no root span".to_owned()),
        count => found.push(format!("{count} root spans: {}", roots.join(", "))),
    }
    for span in spans.iter().filter(|span| !span.parent.is_empty() && !ids.contains(span.parent.as_str())) {
        found.push(format!(
            "orphan: {} of {} names the parent {}, which is not there",
            span.name, span.service, span.parent
        ));
    }
    found
}

/// A step of a command (proto3 JSON) as one line: mark, title, time, message.
#[must_use]
pub fn step_line(step: &Json) -> String {
    let mark = mark(step["state"].as_str().unwrap_or_default());
    let message = clean(step["message"].as_str().unwrap_or_default());
    let title = clip(&clean(step["title"].as_str().unwrap_or_default()), 48);
    let mark = if mark.is_empty() { " " } else { mark };
    format!("{mark} {title:<22} {:>9}  {message}", step_time(step)).trim_end().to_owned()
}

/// The mark of a `StepState`, as in the comment.
#[must_use]
pub fn mark(state: &str) -> &'static str {
    match state {
        "STEP_STATE_RUNNING" => "●",
        "STEP_STATE_SUCCEEDED" => "✓",
        "STEP_STATE_FAILED" => "✗",
        "STEP_STATE_SKIPPED" => "–",
        "STEP_STATE_CANCELED" => "⊘",
        _ => "",
    }
}

/// How long something with `startTime` and `endTime` took, in words; empty while it has no end.
#[must_use]
pub fn step_time(of: &Json) -> String {
    let at = |key: &str| of[key].as_str().and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    match (at("startTime"), at("endTime")) {
        (Some(start), Some(end)) => seconds_text((end - start).as_seconds_f64().max(0.0)),
        _ => String::new(),
    }
}

/// `3 ms`, `0.2 s`, `21 s`, `1 m 12 s`, `2 h 3 m`.
#[must_use]
pub fn seconds_text(seconds: f64) -> String {
    // Saturates; a negative time is none.
    let whole = seconds as u64;
    match whole {
        _ if seconds < 0.095 => format!("{:.0} ms", (seconds * 1000.0).max(0.0)),
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} m {} s", whole / 60, whole % 60),
        _ => format!("{} h {} m", whole / 3600, whole / 60 % 60),
    }
}

fn nanos(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Depth first, children in the order of their start.
fn tree(spans: &[Span]) -> Vec<(usize, &Span)> {
    let ids: HashSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let mut children: HashMap<&str, Vec<&Span>> = HashMap::new();
    for span in spans {
        let parent =
            if ids.contains(span.parent.as_str()) && span.parent != span.id { span.parent.as_str() } else { "" };
        children.entry(parent).or_default().push(span);
    }
    for list in children.values_mut() {
        // The last is taken first from the stack.
        list.sort_by(|a, b| (b.start, b.end, &b.name).cmp(&(a.start, a.end, &a.name)));
    }
    let mut stack: Vec<(usize, &Span)> =
        children.remove("").unwrap_or_default().into_iter().map(|span| (0, span)).collect();
    let mut rows = Vec::new();
    while let Some((depth, span)) = stack.pop() {
        rows.push((depth, span));
        // Removed, so that spans which name each other do not go round for ever.
        stack.extend(children.remove(span.id.as_str()).unwrap_or_default().into_iter().map(|child| (depth + 1, child)));
    }
    rows
}

fn bar(offset: u64, length: u64, total: u64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let scale = |nanos: u64, units: usize| (nanos as f64 / total as f64 * units as f64).round() as usize;
    let start = scale(offset, width).min(width - 1);
    let eighths = scale(length, width * 8).clamp(1, (width - start) * 8);
    let bar = format!("{}{}{}", " ".repeat(start), "█".repeat(eighths / 8), EIGHTHS[eighths % 8]);
    format!("{bar:<width$}")
}

fn raw(otlp: &Json) -> impl Iterator<Item = (&Json, &Json)> {
    otlp["resourceSpans"].as_array().into_iter().flatten().flat_map(|group| {
        let scopes = group["scopeSpans"].as_array().into_iter().flatten();
        scopes.flat_map(|scope| scope["spans"].as_array().into_iter().flatten()).map(move |span| (group, span))
    })
}

fn spans(otlp: &Json) -> Vec<Span> {
    let span = |(group, span): (&Json, &Json)| {
        let attributes = group["resource"]["attributes"].as_array().into_iter().flatten();
        let service =
            attributes.filter(|a| a["key"] == "service.name").find_map(|a| a["value"]["stringValue"].as_str());
        let start = time_of(span, "startTimeUnixNano");
        // As a number, or as its name in proto3's JSON.
        let failed = span["status"]["code"] == 2 || span["status"]["code"] == "STATUS_CODE_ERROR";
        Span {
            id: text(span, "spanId"),
            parent: text(span, "parentSpanId"),
            name: clean(&text(span, "name")),
            service: clean(service.unwrap_or("unknown")),
            start,
            end: time_of(span, "endTimeUnixNano").max(start),
            error: failed.then(|| clean(&text(&span["status"], "message"))),
        }
    };
    raw(otlp).map(span).collect()
}

fn text(of: &Json, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}

/// 64-bit numbers are strings in OTLP JSON; numbers are taken too.
fn time_of(span: &Json, key: &str) -> u64 {
    let value = &span[key];
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(0)
}

/// One line without control characters: names come from repositories.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

fn clip(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(id: &str, parent: &str, name: &str, start: u64, end: u64) -> Json {
        let nanos = |seconds: u64| (1_700_000_000_000_000_000 + seconds * 1_000_000_000).to_string();
        json!({"traceId": "t", "spanId": id, "parentSpanId": parent, "name": name,
               "startTimeUnixNano": nanos(start), "endTimeUnixNano": nanos(end), "status": {}})
    }

    fn trace(spans: &[Json]) -> Json {
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "kfops-scm-bot"}}]});
        json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})
    }

    #[test]
    fn a_tree_with_bars() {
        let mut gate = span("b", "a", "gate", 0, 0);
        gate["status"] = json!({"code": 2, "message": "behind\nmain"});
        let drawn =
            draw(&trace(&[span("c", "a", "rollout iris", 4, 8), gate, span("a", "", "command /deploy", 0, 8)]), 65);
        let expected = "\
command /deploy  ████████████████████      8.0 s  kfops-scm-bot
  gate           ▏                          0 ms  kfops-scm-bot ✗
  ✗ behind main
  rollout iris             ██████████      4.0 s  kfops-scm-bot
";
        assert_eq!(drawn, expected, "\n{drawn}");
    }

    #[test]
    fn a_good_trace_has_no_problems() {
        let good = trace(&[span("a", "", "x", 0, 1), span("b", "a", "y", 0, 1)]);
        assert_eq!(problems(&good), Vec::<String>::new());
    }

    #[test]
    fn problems_are_named() {
        let bad = trace(&[
            span("a", "", "x", 0, 1),
            span("b", "", "y", 0, 1),
            span("c", "z", "lost", 0, 1),
            span("c", "a", "w", 0, 1),
        ]);
        let found = problems(&bad);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].contains("twice") && found[1].contains("2 root") && found[2].contains("orphan: lost"),
            "{found:?}"
        );
        assert_eq!(problems(&json!({})), ["no root span"]);
    }

    #[test]
    fn nonsense_is_drawn_without_harm() {
        let round =
            trace(&[span("a", "b", "x\u{1b}[31m", 5, 1), span("b", "a", "y", 0, 1), span("c", "c", "self", 0, 0)]);
        let drawn = draw(&round, 0);
        assert!(!drawn.contains('\u{1b}') && drawn.contains("self"), "{drawn}");
        assert_eq!(draw(&json!([1]), 80), "the trace has no spans\n");
    }

    #[test]
    fn steps_read_like_the_comment() {
        let step = json!({"title": "gate", "state": "STEP_STATE_SUCCEEDED", "message": "up to date",
                          "startTime": "2026-11-21T08:00:00Z", "endTime": "2026-11-21T08:00:00.200Z"});
        assert_eq!(step_line(&step), "✓ gate                       0.2 s  up to date");
        assert_eq!(step_line(&json!({"title": "merge"})), "  merge");
        assert_eq!(seconds_text(72.4), "1 m 12 s");
    }
}
