//! What the world looks like in the end, without what only time decides.

use std::{collections::BTreeMap, fmt::Write as _};

use kfops_scm_bot::{
    command::Command,
    step::{Stage, StepState},
};

use super::{State, hub::BOT};

/// A text without durations: `1 m 12 s` reads as `T`.
pub(crate) fn timeless(text: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for line in text.split('\n') {
        // Who died meanwhile does not know any more from whom the label was taken.
        let line = line.split(", taken from").next().unwrap_or_default().trim_end_matches([' ', '|']);
        let mut words = line.split(' ').peekable();
        while let Some(word) = words.next() {
            let number = !word.is_empty() && word.chars().all(|c| c.is_ascii_digit() || c == '.');
            let unit = words
                .peek()
                .is_some_and(|next| matches!(next.trim_end_matches(['.', ',', ';']), "ms" | "s" | "m" | "h"));
            if number && unit {
                words.next();
                if out.last() != Some(&"T") {
                    out.push("T");
                }
            } else {
                out.push(word);
            }
        }
        out.push("\n");
    }
    out.join(" ")
}

/// The command as it ended.
fn command(out: &mut String, command: &Command) {
    let failure = command.failure.as_ref().map(|failure| (failure.reason, timeless(&failure.message)));
    writeln!(
        out,
        "command {} /{} {:?} {:?} {failure:?} target {:?} acts on {:?} retry of {:?} by {:?}",
        command.id,
        command.verb.as_str(),
        command.state,
        command.outcome,
        command.target,
        command.acts_on,
        command.retry_of,
        command.canceled_by,
    )
    .unwrap();
    for step in &command.steps {
        // Whether the gate passed a moment ago, only the process that died knows.
        let recheck = step.stage == Stage::Recheck && step.state == StepState::Skipped;
        let state = if recheck { StepState::Succeeded } else { step.state };
        writeln!(out, "  {} {} {state:?} {}", step.stage.as_str(), step.title, step.resource).unwrap();
    }
    writeln!(out, "  {:?}", command.lineage).unwrap();
}

/// Everything that others would notice.
pub(crate) fn digest(state: &State) -> String {
    let mut out = String::new();
    let commands = state.book.ordered();
    commands.iter().for_each(|one| command(&mut out, one));
    for (number, pull) in &state.hub.pulls {
        writeln!(out, "pull {number} open {} merged {:?} {:?}", pull.open, pull.merges, pull.labels).unwrap();
    }
    // The order in which commands come to speak may differ; what each says may not.
    let mut said: Vec<_> = state.hub.comments.iter().filter(|comment| comment.user == BOT).collect();
    said.sort_by_key(|comment| comment.body.lines().next().unwrap_or_default().to_owned());
    for comment in said {
        writeln!(out, "comment in {}: {}", comment.pull, timeless(&comment.body)).unwrap();
    }
    let mut checks: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for check in &state.hub.checks {
        let run = &check.run;
        let shown = (&run.name, &run.commit, run.completed.map(|(how, _)| how), timeless(&run.title), &run.buttons);
        checks.entry(&run.external_id).or_default().push(shown);
    }
    writeln!(out, "checks {checks:#?}").unwrap();
    let mut deployments: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in &state.hub.deployments {
        let deployment = &record.deployment;
        let shown = (&deployment.environment, &deployment.commit, deployment.state, timeless(&deployment.description));
        deployments.entry(&deployment.command).or_default().push(shown);
    }
    writeln!(out, "deployments {deployments:#?}").unwrap();
    for (name, job) in &state.jobs.all {
        writeln!(out, "job {name} {:?} {:?} tags {:?} {:?}", job.state, job.failure, job.tags, job.work).unwrap();
    }
    for (name, service) in &state.jobs.services {
        let shown = (&service.revisions, &service.live, &service.lived, &service.fences, &service.canary);
        writeln!(out, "service {name} {shown:?}").unwrap();
    }
    for lock in state.book.locks.values() {
        writeln!(out, "lock {} {:?} {:?} fence {}", lock.target, lock.holder, lock.queue, lock.fence).unwrap();
    }
    writeln!(out, "conflicts {:?}", state.jobs.conflicts).unwrap();
    out
}
