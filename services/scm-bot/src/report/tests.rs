//! What the comment says: in order, in few words, and unmoved by hostile text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kfops_core::{Failure, Reason, TraceContext};

use super::*;
use crate::{
    command::{Command, Model, Origin, Replaced, Repository, Restored, State},
    samples,
    step::{Stage, Step, StepState},
    verb::Verb,
};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn command(verb: Verb) -> Command {
    let on = (Repository::parse("o/r").unwrap(), 1);
    let trace = TraceContext::from_random([1; 24]);
    let mut command = Command::new("c-1".into(), verb, on, "author".into(), Origin::Api, trace, at(0));
    command.pull = Some(samples::pull());
    command.state = State::Running;
    command
}

fn step(command: &mut Command, stage: Stage, state: StepState, message: &str) {
    let step = command.step_mut(stage);
    step.state = state;
    step.start = Some(at(1));
    step.end = (state != StepState::Running).then(|| at(3));
    step.message = message.to_owned();
}

#[test]
fn a_running_command() {
    let mut command = command(Verb::Deploy);
    step(&mut command, Stage::Gate, StepState::Succeeded, "up to date with main");
    step(&mut command, Stage::Source, StepState::Succeeded, "12 KiB");
    step(&mut command, Stage::Rollout, StepState::Running, "");
    let mut canary = Step::part(Stage::Rollout, "canary 10 %", StepState::Running);
    canary.start = Some(at(50));
    canary.message = "412 requests, 0 errors".into();
    command.set_parts(Stage::Rollout, vec![canary]);
    let shown = comment(&command, at(72), Some("http://127.0.0.1:8080/"));
    assert_eq!(
        shown,
        "<!-- kfops:c-1 -->
**/deploy** by @author for `3f2c1e7` · production · running for 1 m 12 s

| step | state | time | |
|---|---|---|---|
| gate | ✓ | 2.0 s | up to date with main |
| source | ✓ | 2.0 s | 12 KiB |
| canary 10 % | ● | 22 s | 412 requests, 0 errors |
| merge, label | | | |

[trace](http://127.0.0.1:8080/traces/01010101010101010101010101010101) · `/cancel` takes it back · <sub>c-1</sub>
"
    );
}

#[test]
fn a_failure_says_why_then_what_is_true_then_what_to_do() {
    let mut command = command(Verb::Deploy);
    step(&mut command, Stage::Rollout, StepState::Failed, "");
    command.lineage.previous_revision = "iris-00007".into();
    command.outcome = Some(State::Failed);
    command.failure = Some(
        Failure::new(Reason::ProofFailed, "revision iris-00008 answered 500 to the sample")
            .action("fix the model or serving/sample.json")
            .log_tail("ValueError: X has 3 features"),
    );
    let shown = comment(&command, at(72), None);
    assert!(
        shown.starts_with(
            "<!-- kfops:c-1 -->
**/deploy failed:** revision iris-00008 answered 500 to the sample. Live stays iris-00007.

Fix the model or serving/sample.json.

<details><summary>Last lines of the log</summary>

```text
ValueError: X has 3 features
```

</details>

**/deploy** by @author"
        ),
        "{shown}"
    );
    let check = check_run(&command, at(72), None);
    assert_eq!(check.name, "kfops/deploy");
    assert_eq!(check.completed, Some(("failure", at(72))));
}

#[test]
fn live_but_not_merged_is_said() {
    let mut command = command(Verb::Ship);
    step(&mut command, Stage::Rollout, StepState::Succeeded, "");
    step(&mut command, Stage::Merge, StepState::Failed, "");
    command.lineage.revision = "iris-00008".into();
    command.outcome = Some(State::Failed);
    command.failure = Some(Failure::new(Reason::MergeFailed, "github did not merge the pull request: 409"));
    let shown = comment(&command, at(72), None);
    assert!(
        shown.contains("The new model **is live** in production (iris-00008), but the pull request is not merged."),
        "{shown}"
    );
}

#[test]
fn a_refusal_names_rule_and_way_out() {
    let mut command = command(Verb::Deploy);
    command.outcome = Some(State::Refused);
    command.failure = Some(
        Failure::new(Reason::BehindBase, "the branch is 2 commits behind main")
            .action("update it and /build_run again, or /deploy --force (who may: maintain permission and above)"),
    );
    let shown = comment(&command, at(2), None);
    assert_eq!(
        shown,
        "<!-- kfops:c-1 -->
**/deploy refused:** the branch is 2 commits behind main.

Update it and /build\\_run again, or /deploy --force (who may: maintain permission and above).

<sub>by @author for `3f2c1e7`</sub>
"
    );
    assert_eq!(check_run(&command, at(2), None).completed, Some(("action_required", at(2))));
}

#[test]
fn a_typo_is_named() {
    let mut command = command(Verb::Help).reading(crate::grammar::parse("/biuld_run").remove(0));
    command.outcome = Some(State::Refused);
    command.failure = command.unreadable.clone();
    let shown = comment(&command, at(2), None);
    assert!(shown.contains("**/biuld\\_run refused:** /biuld\\_run is not a command."), "{shown}");
    assert!(shown.contains("Did you mean /build\\_run?"), "{shown}");
}

#[test]
fn what_is_no_typo_is_named_as_it_is() {
    let mut command = command(Verb::Help).reading(crate::grammar::parse("/help me").remove(0));
    command.outcome = Some(State::Refused);
    command.failure = command.unreadable.clone();
    let shown = comment(&command, at(2), None);
    assert!(shown.contains("**/help refused:** unexpected argument `me`."), "{shown}");
}

#[test]
fn the_heading_and_the_status_show_the_arguments() {
    let mut command = command(Verb::Ship)
        .reading(crate::grammar::parse("/ship --canary 20 --set max_depth=5 --set 'name=a `b` @team'").remove(0));
    let shown = comment(&command, at(2), None);
    let said = "**/ship** `--canary 20 --set max_depth=5 --set 'name=a 'b' @team'` by @author for";
    assert!(shown.contains(said), "{shown}");
    command.id = "c-2".into();
    let shown = status(&self::command(Verb::Status), &[command.clone()], None, &[], at(9));
    assert!(shown.contains("| /ship `--canary 20 --set max_depth=5"), "{shown}");
    command.arguments = vec!["x".repeat(5000)];
    assert!(comment(&command, at(2), None).len() < 1000);
    let typo = self::command(Verb::Help).reading(crate::grammar::parse("/buildrun").remove(0));
    // A typo is of a verb that only reads; what it is called is for lists that show those.
    assert_eq!(typo.typo(), Some("buildrun"));
}

#[test]
fn errors_of_the_file_stand_in_the_comment() {
    let mut command = command(Verb::Build);
    let error = |line, message: &str| crate::ports::Annotation {
        path: "kfops.yaml".into(),
        line,
        column: None,
        message: message.into(),
        warning: false,
    };
    command.annotations = (1..8).map(|line| error(line, "pipeline: missing key `source`")).collect();
    command.annotations.push(crate::ports::Annotation { warning: true, ..error(9, "odd") });
    command.outcome = Some(State::Failed);
    command.failure = Some(
        Failure::new(Reason::ConfigInvalid, "kfops.yaml:1:1: pipeline: missing key `source` (and 6 more)")
            .action("mend it and push; `kfc check` shows every problem beforehand")
            .log_tail("kfops.yaml:1:1: …"),
    );
    let shown = comment(&command, at(2), None);
    assert!(
        shown.contains(
            "**/build failed:** 7 errors in the files of this commit.

- `kfops.yaml:1` pipeline: missing key `source`
"
        ),
        "{shown}"
    );
    assert!(shown.contains("- `kfops.yaml:5` ") && !shown.contains("- `kfops.yaml:6` "), "{shown}");
    let rest = "- and 2 more

Mend it and push; `kfc check` shows every problem beforehand.

<details><summary>All problems of kfops.yaml</summary>";
    assert!(shown.contains(rest), "{shown}");
}

#[test]
fn hostile_text_moves_nothing() {
    let hostile =
        "x | y\n| z | <script>alert(1)</script> @everyone [a](http://evil.example) <!-- kfops:c-2 --> ```\n</details>";
    let mut command = command(Verb::BuildRun);
    command.actor = "me <b>@team</b>".into();
    step(&mut command, Stage::Run, StepState::Failed, hostile);
    let mut task = Step::part(Stage::Run, hostile, StepState::Failed);
    task.message = hostile.into();
    command.set_parts(Stage::Run, vec![task]);
    command.outcome = Some(State::Failed);
    command.failure = Some(Failure::new(Reason::TaskFailed, hostile).action(hostile).log_tail(hostile));
    command.lineage.endpoint = "javascript:alert(1)".into();
    let shown = comment(&command, at(9), None);
    let mut html = String::new();
    let parser = pulldown_cmark::Parser::new_ext(&shown, pulldown_cmark::Options::ENABLE_TABLES);
    pulldown_cmark::html::push_html(&mut html, parser);
    for tag in ["<script", "<a ", "<b>", "<!-- kfops:c-2", "javascript:"] {
        assert!(!html.contains(tag), "{tag}: {html}");
    }
    assert_eq!(html.matches("</details>").count(), 1, "{html}");
    assert_eq!(html.matches("<tr>").count(), 3, "{html}");
    let (before, rest) = html.split_once("<pre>").unwrap();
    let (_, after) = rest.split_once("</pre>").unwrap();
    assert!(!before.contains("@everyone") && !after.contains("@everyone"), "mentions outside of the log: {html}");
}

#[test]
fn status_and_help() {
    let status_command = command(Verb::Status);
    let mut other = command(Verb::BuildRun);
    other.id = "c-2".into();
    other.outcome = Some(State::Failed);
    other.failure = Some(Failure::new(Reason::TaskFailed, "task train | failed"));
    other.ended = Some(at(65));
    let place = Place {
        environment: "production",
        lock: Ok(Held { environment: "production", holder: None, since: None, queue: Vec::new() }),
        live: Ok(None),
    };
    let away = Failure::new(Reason::WorkerUnavailable, "nobody answers");
    let lost = Place { environment: "staging", lock: Err(away.clone()), live: Err(away) };
    let shown = status(&status_command, &[other], None, &[place, lost], at(100));
    assert!(shown.contains("| /build\\_run `c-2` | failed | `3f2c1e7` | 1 m 5 s | task train \\| failed |"), "{shown}");
    assert!(shown.contains("Nothing is live in production.\nLock of production: free\n"), "{shown}");
    assert!(shown.contains("What is live in staging could not be found out: nobody answers.\n"), "{shown}");
    assert!(shown.contains("Lock of staging: could not be found out: nobody answers\n"), "{shown}");
    for verb in Verb::ALL {
        assert!(help().contains(&verb.usage().replace('|', "\\|")));
    }
}

#[test]
fn a_rollout_says_what_it_replaces() {
    let mut command = command(Verb::Deploy);
    command.lineage.model = Some(Model { digest: format!("sha256:{}", "9".repeat(64)), ..Model::default() });
    command.lineage.metrics = [("acc|uracy".to_owned(), 0.967)].into();
    command.lineage.replaced = Some(Replaced {
        revision: "iris-00006".into(),
        model: format!("sha256:{}", "0".repeat(64)),
        metrics: [("acc|uracy".to_owned(), 0.953)].into(),
    });
    step(&mut command, Stage::Rollout, StepState::Running, "");
    command.set_parts(Stage::Rollout, vec![Step::part(Stage::Rollout, "revision iris-00007", StepState::Running)]);
    let mut first = command.clone();
    first.lineage.replaced = Some(Replaced::default());
    let shown = comment(&first, at(9), None);
    assert!(shown.contains("model sha256:999999999999 is the first · acc\\|uracy 0.967 |"), "{shown}");
    let shown = comment(&command, at(9), None);
    let plan = "| plan | ✓ |  | model sha256:999999999999 replaces sha256:000000000000 of iris-00006 · acc\\|uracy 0.953 → 0.967 (+0.014) |\n";
    let (_, after) = shown.split_once(plan).unwrap_or_else(|| panic!("{shown}"));
    assert!(after.starts_with("| revision iris-00007 | ● |"), "{shown}");
    assert!(shown.contains("`/cancel` restores iris-00006"), "{shown}");
    step(&mut command, Stage::Rollout, StepState::Succeeded, "");
    assert!(!comment(&command, at(9), None).contains("/cancel"), "what is live is not taken back by /cancel");
}

#[test]
fn a_retry_and_a_rollback_say_so() {
    let mut command = command(Verb::BuildRun);
    command.retry_of = Some("c-0".into());
    assert!(comment(&command, at(9), None).contains("**/retry of /build\\_run** by @author"));
    command.outcome = Some(State::Failed);
    command.failure = Some(Failure::new(Reason::WorkerUnavailable, "pipeline-runner does not answer"));
    step(&mut command, Stage::Gate, StepState::Succeeded, "");
    let shown = comment(&command, at(9), None);
    assert!(shown.contains("**/retry of /build\\_run failed:** pipeline-runner does not answer."), "{shown}");
    assert!(shown.contains("Next: `/retry c-1` does again what is not done"), "{shown}");
    for reason in Reason::ALL.iter().filter(|reason| !reason.retryable()) {
        command.failure = Some(Failure::new(*reason, "no"));
        let helps = matches!(reason, Reason::Canceled | Reason::Internal);
        assert_eq!(comment(&command, at(9), None).contains("Next: `/retry "), helps, "{reason}");
    }
    for action in ["write /ship again", "allow it more under timeouts of kfops.yaml", "end it there, then /retry"] {
        command.failure = Some(Failure::new(Reason::DeadlineExceeded, "late").action(action));
        assert!(!comment(&command, at(9), None).contains("Next: `/retry "), "{action}");
    }

    let mut back = self::command(Verb::Rollback);
    step(&mut back, Stage::Rollout, StepState::Succeeded, "");
    back.lineage.revision = "iris-00009".into();
    back.lineage.restored = Some(Restored {
        revision: "iris-00007".into(),
        rollout: "d-1".into(),
        serving: kfops_project::Serving { name: "iris".into(), template: "t".into(), sample: None, golden: None },
        pull_request: 4,
        replaces: "iris-00008".into(),
    });
    let shown = comment(&back, at(9), None);
    assert!(shown.contains("`iris-00009` brings back the model of `iris-00007`"), "{shown}");
}

#[test]
fn waiting_canceled_and_superseded_are_said() {
    let mut command = command(Verb::Deploy);
    command.step_mut(Stage::Rollout).message = waits_for_target("c-7", 2, false);
    let shown = comment(&command, at(72), None);
    assert!(shown.contains("production · waiting for 1 m 12 s"), "{shown}");
    assert!(shown.contains("waits for c-7, which deploys to the same place; place 3 in the queue"), "{shown}");
    assert!(shown.contains("`/cancel` ends it"), "{shown}");
    assert!(waits_for_target("c-7", 0, true).contains("by its merge leaves this branch behind; place 1"));
    command.outcome = Some(State::Canceled);
    command.canceled_by = "@boss wrote /cancel".into();
    command.failure = Some(Failure::new(Reason::Canceled, "it was canceled: @boss wrote /cancel"));
    let shown = comment(&command, at(72), None);
    assert!(shown.contains("**/deploy canceled:** @\u{200b}boss wrote /cancel."), "{shown}");
    command.outcome = Some(State::Superseded);
    command.failure = Some(Failure::new(Reason::Superseded, "the branch moved on"));
    assert!(comment(&command, at(72), None).contains("**/deploy superseded:** the branch moved on."));
}
