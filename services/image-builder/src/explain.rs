//! Why a builder failed, from what it wrote: the step of the Dockerfile and the last lines.

use kfops_core::{Failure, Reason};
use kfops_process::Ended;

use crate::ports::Job;

/// Longest step that is repeated in a message.
const STEP: usize = 200;

pub(crate) fn build(ended: &Ended, job: &Job) -> Failure {
    let output = &ended.output;
    let step = last_step(output);
    let at = step.as_ref().map_or_else(String::new, |step| format!(" at {step}"));
    let failure = if ended.timed_out {
        Failure::new(
            Reason::ImageBuildFailed,
            format!("the build reached its time limit of {} s{at}", job.timeout.as_secs()),
        )
        .action("make the step faster, or raise build_timeout")
    } else if output.contains("no space left on device") {
        Failure::new(Reason::ResourceExhausted, format!("the disk is full{at}")).action("free space, then build again")
    } else if ["pinging container registry", "failed to resolve source metadata", "initializing source docker://"]
        .iter()
        .any(|sign| output.contains(sign))
    {
        Failure::new(Reason::RegistryUnavailable, format!("a base image cannot be pulled{at}"))
            .action("it can be tried again; look whether the registry of the FROM line is reachable")
    } else {
        Failure::new(Reason::ImageBuildFailed, format!("the build failed{at}: {}", cause(output, ended)))
            .action("correct the Dockerfile or what it copies; the log has the whole output")
    };
    failure.log_tail(output)
}

pub(crate) fn push(ended: &Ended, job: &Job) -> Failure {
    Failure::new(
        Reason::ImagePushFailed,
        format!("pushing to {}: {}", job.repository.location, cause(&ended.output, ended)),
    )
    .action("it can be tried again; look whether the registry is reachable and takes this image")
    .log_tail(&ended.output)
}

/// `step 3/5 (RUN pip install x)`, from the last line in which buildah, podman or BuildKit say what they do.
fn last_step(output: &str) -> Option<String> {
    output.lines().rev().find_map(|line| {
        let line = line.trim();
        // buildah: `STEP 3/5: RUN x`, with several stages `[2/2] STEP 1/2: FROM y`.
        if let Some((stage, rest)) =
            line.split_once("STEP ").filter(|(before, _)| before.is_empty() || before.starts_with('['))
        {
            let (number, instruction) = rest.split_once(": ")?;
            let stage = if stage.is_empty() { String::new() } else { format!(" of stage {}", stage.trim()) };
            return Some(format!("step {number}{stage} ({})", shorten(instruction)));
        }
        // BuildKit: `#7 [2/4] RUN x`.
        let rest = line.strip_prefix('#')?.split_once(" [")?.1;
        let (number, instruction) = rest.split_once("] ")?;
        Some(format!("step {number} ({})", shorten(instruction)))
    })
}

fn cause(output: &str, ended: &Ended) -> String {
    if ended.code.is_none() {
        return ended.describe();
    }
    let line = output
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| ["error", "ERROR", "Error"].iter().any(|word| line.starts_with(word)))
        .or_else(|| output.lines().rev().map(str::trim).find(|line| !line.is_empty()));
    // `error building at STEP "RUN x": while running runtime: exit status 1`: the step was said before.
    let line = line.unwrap_or_default();
    let end = line.rsplit_once("\": ").map_or(line, |(_, end)| end);
    if end.is_empty() { ended.describe() } else { shorten(end) }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(STEP).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found() {
        let one = "STEP 1/2: FROM a\nSTEP 2/2: RUN false\nerror building at STEP \"RUN false\": while running runtime: exit status 1\n";
        assert_eq!(last_step(one).unwrap(), "step 2/2 (RUN false)");
        let ended = Ended { code: Some(1), output: one.into(), ..Ended::default() };
        assert_eq!(cause(one, &ended), "while running runtime: exit status 1");
        let staged = "[1/2] STEP 1/2: FROM a\n[2/2] STEP 3/4: COPY x y\nError: x\n";
        assert_eq!(last_step(staged).unwrap(), "step 3/4 of stage [2/2] (COPY x y)");
        assert_eq!(last_step("#5 [1/2] FROM a\n#6 [2/2] RUN x\n#6 0.1 out\n").unwrap(), "step 2/2 (RUN x)");
        assert_eq!(last_step("nothing"), None);
    }
}
