//! Where Kfops 1 went wrong, mistake by mistake, and the tests that would have caught it: those below, and others of
//! the repository. `the_table_is_true` reads this table, so that it stays true.
//!
//! | mistake of Kfops 1 | caught by |
//! |---|---|
//! | no webhook secret | services/gateway/tests/it/webhook.rs#the_signature_comes_before_everything_else, services/gateway/src/settings.rs#a_secret_is_needed_and_does_not_print |
//! | comment text inside a shell script | services/scm-bot/tests/it/mistakes/people.rs#a_comment_is_never_a_script, tests/tests/it/bad_input.rs#bad_input_is_answered_and_executes_nothing |
//! | any commenter may command | services/scm-bot/tests/it/stories/gate.rs#the_gate_refuses_with_a_reason, services/scm-bot/tests/it/stories/gate.rs#strangers_get_no_check_run |
//! | edited comments count | services/scm-bot/tests/it/mistakes/people.rs#edited_comments_and_plain_issues_start_nothing |
//! | comments on plain issues count | services/scm-bot/tests/it/mistakes/people.rs#edited_comments_and_plain_issues_start_nothing, tests/github-contract/tests/it/deliveries.rs#a_comment_on_a_pull_request_is_heard_and_one_on_an_issue_is_not |
//! | hidden variables are believed from anyone | services/scm-bot/tests/it/mistakes/people.rs#hidden_variables_are_not_believed |
//! | the pull request's code runs with the GitHub token | services/pipeline-runner/tests/it/compile.rs#a_compilation_sees_no_secrets, services/pipeline-runner/tests/it/run.rs#tasks_see_no_secrets_and_cannot_change_the_machine, services/image-builder/tests/it/escape.rs#a_step_does_not_reach_the_files_of_the_machine |
//! | cluster-wide RBAC | nothing yet: there is no chart and no role, nothing of Kfops runs in a cluster so far |
//! | the head is fetched when the job runs | services/scm-bot/tests/it/mistakes/work.rs#every_step_uses_the_commit_of_the_comment, services/scm-bot/tests/it/stories/gate.rs#a_run_of_another_commit_is_not_deployed |
//! | merge without a sha | services/scm-bot/tests/it/mistakes/work.rs#what_was_pushed_meanwhile_is_not_merged, services/scm-bot/tests/it/github_client/requests.rs#redirects_are_followed_without_credentials_elsewhere |
//! | production is live before the mergeable check | services/scm-bot/tests/it/mistakes/work.rs#what_cannot_be_merged_does_not_go_live |
//! | the first deploy has no smoke test | services/serving-deployer/src/plan/tests.rs#the_first_rollout_has_no_canary, services/serving-deployer/src/plan/tests.rs#whatever_happens_one_proven_revision_is_live |
//! | 0 to 100 % in one jump | services/serving-deployer/src/plan/tests.rs#a_canary_goes_all_the_way, services/serving-deployer/tests/it/happy.rs#a_model_changes_under_load_and_no_request_is_lost |
//! | no way back | services/scm-bot/tests/it/stories/acts.rs#rollback_brings_back_what_was_live_before, tests/tests/it/verbs.rs#every_verb_does_what_it_says, services/serving-deployer/tests/it/failures.rs#bad_models_never_become_live_and_no_request_is_lost |
//! | no HTTP timeouts | services/scm-bot/tests/it/github_client/limits.rs#reads_are_repeated_and_writes_are_not, services/scm-bot/tests/it/mistakes/work.rs#a_worker_that_says_nothing_is_not_waited_for |
//! | only `Failed` counts as failure | services/scm-bot/tests/it/mistakes/work.rs#what_did_not_succeed_goes_no_further |
//! | pending pods wait for ever | services/scm-bot/tests/it/mistakes/work.rs#work_that_does_not_end_is_ended, services/scm-bot/tests/it/mistakes/work.rs#work_that_cannot_be_ended_holds_up_nobody, services/pipeline-runner/tests/it/run.rs#a_run_without_end_is_ended_at_its_time_limit |
//! | the version is uploaded before its images exist | services/scm-bot/tests/it/mistakes/work.rs#there_is_no_version_without_its_images |
//! | `--run-id=a=b` crashes | services/scm-bot/tests/it/mistakes/people.rs#a_run_id_with_two_equals_signs_is_answered |
//! | "please do not /deploy yet" deploys | services/scm-bot/tests/it/stories/gate.rs#status_and_help_and_typos_are_answered, services/scm-bot/src/grammar.rs#a_command_stands_at_the_start_of_its_line |
//! | "/deploy" with "thanks" on the next line is ignored | services/scm-bot/tests/it/stories/work.rs#deploy_is_refused_before_anything_ran_and_works_afterwards |
//! | no dedupe | services/scm-bot/tests/it/wire.rs#a_delivery_counts_once, services/scm-bot/tests/it/ledger/mod.rs#sqlite_conforms |
//! | no lock | services/scm-bot/tests/it/stories/work.rs#commands_of_a_pull_request_run_in_order_and_targets_are_serial, services/scm-bot/tests/it/schedules/planted.rs#each_is_found, services/serving-deployer/tests/it/requests.rs#an_older_fence_moves_no_traffic |
//! | no durable state | services/scm-bot/tests/it/matrix.rs#killed_anywhere_the_world_ends_the_same, services/scm-bot/tests/it/ledger/mod.rs#sqlite_conforms, tests/tests/it/kill.rs#a_command_survives_kills_in_build_run_and_rollout |
//! | no cancel | tests/tests/it/verbs.rs#every_verb_does_what_it_says, services/scm-bot/tests/it/mistakes/work.rs#a_cancel_ends_what_is_under_way |
//! | no help | services/scm-bot/tests/it/stories/gate.rs#status_and_help_and_typos_are_answered |
//! | no status | services/scm-bot/tests/it/stories/gate.rs#status_and_help_and_typos_are_answered |
//! | no rollback | services/scm-bot/tests/it/stories/acts.rs#rollback_brings_back_what_was_live_before, tests/tests/it/verbs.rs#every_verb_does_what_it_says |
//! | no audit | services/scm-bot/tests/it/mistakes/people.rs#who_did_what_is_on_record |
//! | no metrics | tests/tests/it/processes.rs#five_processes_carry_a_command |
//! | no traces | services/scm-bot/tests/it/traces.rs#a_command_is_one_trace, services/serving-deployer/tests/it/happy.rs#a_rollout_is_one_trace_from_the_caller_to_the_model |

mod people;
mod work;

use std::path::Path;

/// How many mistakes there are.
const MISTAKES: usize = 31;

#[test]
fn the_table_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rows = include_str!("mistakes.rs").lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    let (mut seen, mut wrong) = (0, Vec::new());
    for row in rows {
        seen += 1;
        let (mistake, tests) = row.trim_end_matches(" |").split_once(" | ").unwrap();
        if let Some(why) = tests.strip_prefix("nothing yet: ") {
            println!("nothing catches \"{mistake}\": {why}");
            continue;
        }
        for test in tests.split(", ") {
            let (path, name) = test.split_once('#').unwrap();
            if !is_test(&std::fs::read_to_string(root.join(path)).unwrap_or_default(), name) {
                wrong.push(format!("{mistake}: there is no test {name} in {path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, MISTAKES);
}

/// Whether there is a test of that name, and it is not ignored.
fn is_test(file: &str, name: &str) -> bool {
    let lines: Vec<&str> = file.lines().map(str::trim).collect();
    let begins = |line: &&str| {
        let line = line.trim_start_matches("async ");
        line.strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name)).is_some_and(|rest| rest.starts_with('('))
    };
    let Some(at) = lines.iter().position(begins) else { return false };
    let mut above = lines[..at].iter().rev().take_while(|line| line.starts_with('#') || line.starts_with("//"));
    let attributes: Vec<_> = above.by_ref().collect();
    let test = attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    test && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}
