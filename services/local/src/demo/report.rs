//! What the demo shows, as JSON.

use std::{collections::BTreeMap, path::Path};

use kfops_core::{Failure, Reason};
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::load::LoadReport;

/// Everything that `--report` writes.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Every command of the story, oldest first.
    pub commands: Vec<Json>,
    /// What `/plan` said before anything was done, Markdown.
    pub plan: String,
    /// What `/rollback` brought back: the revision, the one that it replaced, the model.
    pub rollback: Json,
    /// Every image of every build.
    pub images: Vec<Json>,
    /// Pipeline versions.
    pub versions: Vec<Json>,
    /// Runs with their metrics.
    pub runs: Vec<Json>,
    /// Revisions of the production InferenceService.
    pub revisions: Vec<Json>,
    /// The load across the change of the model.
    pub load: Option<LoadReport>,
    /// Where the model answers.
    pub endpoint: String,
    /// Predictions that were asked for.
    pub predictions: Vec<Json>,
    /// Spans by service, by trace.
    pub spans: BTreeMap<String, BTreeMap<String, usize>>,
    /// The OTLP JSON of all commands' traces.
    pub trace_file: String,
    /// Seconds from the first comment to the end of the story.
    pub seconds: f64,
}

/// A command of the API as the report has it.
#[must_use]
pub(super) fn command_entry(command: &Json) -> Json {
    let text = |key: &str| command[key].as_str().unwrap_or_default().to_owned();
    json!({
        "id": text("name").trim_start_matches("commands/"),
        "pull_request": command["pullRequest"].as_str().and_then(|n| n.parse::<i64>().ok()),
        "verb": format!("/{}", text("verb").trim_start_matches("VERB_").to_lowercase()),
        "state": text("state").trim_start_matches("STATE_").to_lowercase(),
        "commit": text("commit"),
        "trace_id": text("traceId"),
        "started": text("createTime"),
        "finished": text("endTime"),
        "github_calls": command["githubCalls"].as_i64().unwrap_or_default(),
        "failure": command.get("failure").cloned().unwrap_or(Json::Null),
    })
}

/// Spans of a trace by service.
#[must_use]
pub(super) fn spans_by_service(trace: &Json) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for group in trace["resourceSpans"].as_array().into_iter().flatten() {
        let attributes = group["resource"]["attributes"].as_array();
        let service = attributes
            .and_then(|a| a.iter().find(|a| a["key"] == "service.name"))
            .and_then(|a| a["value"]["stringValue"].as_str())
            .unwrap_or("unknown");
        let spans = group["scopeSpans"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| s["spans"].as_array())
            .map(Vec::len)
            .sum::<usize>();
        *counts.entry(service.to_owned()).or_default() += spans;
    }
    counts
}

/// Whether a span of the trace links to another trace.
pub(super) fn links_to(trace: &Json, other: &str) -> bool {
    let groups = trace["resourceSpans"].as_array().into_iter().flatten();
    let spans =
        groups.filter_map(|g| g["scopeSpans"].as_array()).flatten().filter_map(|s| s["spans"].as_array()).flatten();
    spans.filter_map(|s| s["links"].as_array()).flatten().any(|link| link["traceId"] == other)
}

/// Writes the report, and the traces beside it.
pub(super) fn write_report(path: &Path, report: &mut Report, traces: &BTreeMap<String, Json>) -> Result<(), Failure> {
    let trace_file = path.with_extension("traces.json");
    let groups: Vec<&Json> = traces.values().filter_map(|t| t["resourceSpans"].as_array()).flatten().collect();
    report.trace_file = trace_file.display().to_string();
    let write = |path: &Path, json: &Json| {
        let text = serde_json::to_string_pretty(json).unwrap_or_default();
        std::fs::write(path, text + "\n").map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", path.display()))
        })
    };
    write(&trace_file, &json!({ "resourceSpans": groups }))?;
    write(path, &serde_json::to_value(&*report).map_err(Failure::internal)?)
}

/// Where the model came from, for the terminal.
pub(super) fn print_lineage(lineage: &Json) {
    let short = |value: &Json| value.as_str().unwrap_or_default().chars().take(19).collect::<String>();
    println!("\nlineage");
    println!("  commit            {}", lineage["commit"].as_str().unwrap_or_default());
    println!("  source archive    {}", short(&lineage["sourceDigest"]));
    for image in lineage["images"].as_array().into_iter().flatten() {
        println!("  image {:<11} {}", image["name"].as_str().unwrap_or_default(), short(&image["digest"]));
    }
    println!(
        "  pipeline version  {} ({})",
        lineage["pipelineVersion"].as_str().unwrap_or_default(),
        short(&lineage["specDigest"])
    );
    println!("  run               {} {}", lineage["run"].as_str().unwrap_or_default(), lineage["metrics"]);
    println!(
        "  model             {} {}",
        short(&lineage["model"]["digest"]),
        lineage["model"]["uri"].as_str().unwrap_or_default()
    );
    println!(
        "  revision          {} (before: {})",
        lineage["revision"].as_str().unwrap_or_default(),
        lineage["previousRevision"].as_str().unwrap_or_default()
    );
}
