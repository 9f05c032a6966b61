//! The answer of `/plan`.

use std::{collections::BTreeMap, fmt::Write as _, time::SystemTime};

use kfops_core::Failure;
use kfops_project::{Environment, Strategy};
use similar::TextDiff;

use super::{
    escape::{block, code, prose, text},
    locks::{Held, lock},
    metrics::{compare, number},
    words::capital,
};
use crate::{command::Command, gate::short, ports::deployed_label, verb::Verb};

/// Longest difference that is shown, in bytes.
const LONGEST: usize = 12_000;

/// What was found out, or why not.
pub type Found<T> = Result<T, Failure>;

/// An argument of the pipeline, here and in the default branch.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// In the pull request.
    pub here: Option<serde_json::Value>,
    /// In the default branch.
    pub base: Option<serde_json::Value>,
}

/// A run and what it measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Its id.
    pub run: String,
    /// What it measured.
    pub metrics: BTreeMap<String, f64>,
}

/// What is live, and how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Now {
    /// The revision.
    pub revision: String,
    /// Digest of its model.
    pub model: String,
    /// Its InferenceService, YAML.
    pub manifest: String,
    /// The run that trained it.
    pub run: Found<Measured>,
}

/// The rollout to production.
#[derive(Debug, Clone, PartialEq)]
pub struct Serving {
    /// `namespaces/…/inferenceServices/…`.
    pub target: String,
    /// How traffic is shifted.
    pub strategy: Strategy,
    /// What is live; None: nothing.
    pub now: Found<Option<Now>>,
    /// Digest of the model that `/deploy` would take; None: it has yet to be trained.
    pub model: Option<String>,
    /// The rendered InferenceService, YAML.
    pub manifest: Found<String>,
    /// The lock.
    pub lock: Found<Held>,
}

/// Whether a verb would be let through now.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The verb.
    pub verb: Verb,
    /// Every rule that refuses it.
    pub refusals: Found<Vec<Failure>>,
}

/// What `/ship` would do.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The default branch.
    pub default_branch: String,
    /// By name, and whether one of the same content exists.
    pub images: Found<Vec<(String, bool)>>,
    /// Name and source of the pipeline.
    pub pipeline: (String, String),
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// Whether the default branch has a file that says arguments.
    pub base_known: bool,
    /// The run of this commit that `/deploy` would take, if there is one.
    pub run: Found<Option<Measured>>,
    /// None: kfops.yaml has no production.
    pub serving: Option<Serving>,
    /// `/ship` and `/deploy`.
    pub verdicts: Vec<Verdict>,
    /// The base branch, and how it is merged.
    pub merge: (String, &'static str),
}

/// What cannot be found out is said in its place.
fn unknown(failure: &Failure) -> String {
    format!("could not be found out: {}", text(&failure.message, 300))
}

/// The plan, Markdown.
#[must_use]
pub fn plan(command: &Command, plan: &Plan, now: SystemTime) -> String {
    let mut out = format!("**Plan** of `/ship` for {}. Nothing was changed.\n\n", code(short(command.commit()), 12));
    out += &images(plan);
    out += &pipeline(plan);
    out += &run(plan);
    match &plan.serving {
        Some(shown) => out += &serving(shown, now),
        None => out += "**Serving** · kfops.yaml has no serving or no environments.production: nothing is deployed\n\n",
    }
    out += "**Would it be let through now?**\n\n";
    for verdict in &plan.verdicts {
        out += &let_through(verdict);
    }
    let (base, method) = &plan.merge;
    writeln!(
        out,
        "\nOnce the model is live, #{} at {} goes into {} ({method}) and gets the label `{}`.",
        command.pull_request,
        code(short(command.commit()), 12),
        code(base, 80),
        deployed_label(Environment::Production),
    )
    .ok();
    out
}

fn images(plan: &Plan) -> String {
    match &plan.images {
        Err(failure) => format!("**Images** · {}\n\n", unknown(failure)),
        Ok(images) if images.is_empty() => "**Images** · kfops.yaml names none\n\n".to_owned(),
        Ok(images) => {
            let built = images.iter().filter(|(_, exists)| !exists).count();
            let mut out = format!("**Images** · {built} of {} would be built\n\n", images.len());
            for (name, exists) in images {
                let what = if *exists { "exists already" } else { "would be built" };
                writeln!(out, "- {}: {what}", text(name, 80)).ok();
            }
            out + "\n"
        }
    }
}

fn pipeline(plan: &Plan) -> String {
    let (name, source) = &plan.pipeline;
    let mut out =
        format!("**Pipeline** · {} from {}, compiled against these images\n\n", text(name, 128), code(source, 200));
    for argument in &plan.arguments {
        let value = |value: &serde_json::Value| code(&value.to_string(), 120);
        let (name, branch) = (text(&argument.name, 80), text(&plan.default_branch, 80));
        let line = match (&argument.here, &argument.base) {
            (Some(here), Some(base)) if here != base => {
                format!("{name}: {} ({} in {branch})", value(here), value(base))
            }
            (Some(here), None) if plan.base_known => format!("{name}: {} (not in {branch})", value(here)),
            (Some(here), _) => format!("{name}: {}", value(here)),
            (None, Some(base)) => format!("{name}: not set any more ({} in {branch})", value(base)),
            (None, None) => continue,
        };
        writeln!(out, "- {line}").ok();
    }
    if plan.arguments.is_empty() { out } else { out + "\n" }
}

fn run(plan: &Plan) -> String {
    let live = plan.serving.as_ref().and_then(|serving| serving.now.as_ref().ok()?.as_ref());
    let new = match &plan.run {
        Err(failure) => return format!("**Run** · {}\n\n", unknown(failure)),
        Ok(None) => {
            return "**Run** · `/ship` runs it; there is no run of this commit yet that `/deploy` could take\n\n"
                .into();
        }
        Ok(Some(new)) => new,
    };
    let mut out =
        format!("**Run** · `/ship` runs it again; `/deploy` takes {}, which is of this commit\n\n", code(&new.run, 64));
    let own = || new.metrics.iter().take(10).map(|(name, value)| format!("{} {}", text(name, 60), number(*value)));
    match live.map(|live| (&live.revision, &live.run)) {
        Some((revision, Ok(old))) => {
            let against = format!("against {} of {}, which is live", code(&old.run, 64), code(revision, 80));
            let compared: Vec<String> =
                compare(&old.metrics, &new.metrics).iter().map(|metric| text(metric, 120)).collect();
            let compared = if compared.is_empty() { "no metrics".to_owned() } else { compared.join(" · ") };
            writeln!(out, "{compared}, {against}\n").ok();
        }
        Some((revision, Err(failure))) => {
            let own: Vec<String> = own().collect();
            let what = unknown(failure);
            writeln!(out, "{} · what {} measured {what}\n", own.join(" · "), code(revision, 80)).ok();
        }
        None if new.metrics.is_empty() => {}
        None => {
            writeln!(out, "{}\n", own().collect::<Vec<_>>().join(" · ")).ok();
        }
    }
    out
}

fn serving(serving: &Serving, now: SystemTime) -> String {
    let mut out = format!("**Serving** · {} · {}\n\n", code(&serving.target, 200), strategy(serving));
    let digest = |digest: &str| code(digest.get(..19).unwrap_or(digest), 20);
    let model = serving.model.as_deref().map_or_else(|| "the model that the run will train".to_owned(), digest);
    let before = match &serving.now {
        Err(failure) => {
            writeln!(out, "What is live {}\n", unknown(failure)).ok();
            None
        }
        Ok(None) => {
            writeln!(out, "{} is the first: nothing is live there\n", capital(&model)).ok();
            None
        }
        Ok(Some(live)) => {
            let revision = code(&live.revision, 80);
            writeln!(out, "{} replaces {} of {revision}\n", capital(&model), digest(&live.model)).ok();
            Some(live)
        }
    };
    match (&serving.manifest, before) {
        (Err(failure), _) => {
            writeln!(out, "The InferenceService {}\n", unknown(failure)).ok();
        }
        (Ok(manifest), Some(live)) if !live.manifest.is_empty() => {
            out += &difference(&live.manifest, manifest, &live.revision);
        }
        (Ok(manifest), _) => {
            let shown: String = manifest.chars().take(LONGEST).collect();
            writeln!(
                out,
                "<details><summary>The InferenceService</summary>\n\n{}\n\n</details>\n",
                block(&shown, "yaml")
            )
            .ok();
        }
    }
    if serving.model.is_none() && serving.manifest.is_ok() {
        out += "The storage URI is a placeholder until the model is trained.\n\n";
    }
    match &serving.lock {
        Ok(held) => writeln!(out, "**Lock** · {}\n", lock(held, now)),
        Err(failure) => writeln!(out, "**Lock** · {}\n", unknown(failure)),
    }
    .ok();
    out
}

fn difference(live: &str, new: &str, revision: &str) -> String {
    let mut diff = TextDiff::from_lines(live, new).unified_diff().header(revision, "this commit").to_string();
    if diff.is_empty() {
        return "The InferenceService stays as it is.\n\n".to_owned();
    }
    if diff.len() > LONGEST {
        let mut end = LONGEST;
        while !diff.is_char_boundary(end) {
            end -= 1;
        }
        diff.truncate(end);
        diff.push_str("\n… and more");
    }
    format!("{}\n\n", block(&diff, "diff"))
}

fn strategy(serving: &Serving) -> String {
    let strategy = &serving.strategy;
    let hold = humantime::format_duration(strategy.hold.get());
    match strategy.canary.as_slice() {
        [] => "all traffic at once, after the proof".to_owned(),
        _ if serving.now == Ok(None) => "no canary: nothing is live yet".to_owned(),
        steps => {
            let steps: Vec<String> = steps.iter().map(|percent| format!("{percent} %")).collect();
            format!("canary {}, each watched for {hold}", steps.join(", "))
        }
    }
}

fn let_through(verdict: &Verdict) -> String {
    let verb = verdict.verb.as_str();
    match &verdict.refusals {
        Err(failure) => format!("- `/{verb}`: {}\n", unknown(failure)),
        Ok(refusals) if refusals.is_empty() => format!("- `/{verb}`: yes\n"),
        Ok(refusals) => {
            let mut out = format!("- `/{verb}`: no\n");
            for refusal in refusals {
                let action = if refusal.action.is_empty() {
                    String::new()
                } else {
                    format!(": {}", prose(&refusal.action, 400))
                };
                writeln!(out, "  - {}{action}", prose(&refusal.message, 400)).ok();
            }
            out
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
