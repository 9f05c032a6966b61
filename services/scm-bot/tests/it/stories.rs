//! Conversations: a comment, what the bot said, what the outside world saw.

use kfops_core::{Failure, Reason};
use kfops_proto::{
    command::{self as pb, State},
    common::Reason as PbReason,
};

use crate::{github::HEAD, world::World};

fn reason(command: &pb::Command) -> PbReason {
    command.failure.as_ref().unwrap_or_else(|| panic!("no failure: {command:#?}")).reason()
}

fn titles(command: &pb::Command) -> Vec<&str> {
    command.steps.iter().map(|step| step.title.as_str()).collect()
}

#[tokio::test]
async fn build_run_builds_and_runs_with_few_calls() {
    let mut world = World::new().await;
    let command = world.told(1, "author", "/build_run --set max_depth=5 --set pipeline_args.name=x").await;
    assert_eq!(command.state(), State::Succeeded, "{command:#?}");
    assert_eq!(command.commit, HEAD);
    assert_eq!(
        titles(&command),
        ["gate", "source", "build", "image trainer", "image client", "compile", "tag", "run", "task train"]
    );
    assert!(command.github_calls <= 8, "{}: {:#?}", command.github_calls, world.github.with(|d| d.calls.clone()));
    assert_eq!(command.github_calls as usize, world.github.with(|data| data.calls.len()));
    let lineage = command.lineage.unwrap();
    assert_eq!(lineage.reused_images, ["client"]);
    assert_eq!(lineage.images.len(), 2);
    assert!(lineage.run.starts_with("runs/r-") && lineage.pipeline_version.starts_with("pipelineVersions/v-"));
    let run = world.workers.with(|data| data.runs_asked[0].clone());
    let arguments: Vec<_> = {
        let mut all: Vec<_> =
            run.arguments.iter().map(|(k, v)| format!("{k}={:?}", v.kind.as_ref().unwrap())).collect();
        all.sort();
        all
    };
    assert_eq!(arguments, ["features=NumberValue(4.0)", "max_depth=NumberValue(5.0)", "name=StringValue(\"x\")"]);
    let said = world.github.said();
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("**/build\\_run** by @author for `3f2c1e7`") && said[0].contains("Next: `/deploy`"),
        "{}",
        said[0]
    );
    assert!(said[0].contains("| image client | ✓ |") && said[0].contains("reused"), "{}", said[0]);
    let checks = world.github.with(|data| data.checks.clone());
    assert_eq!(checks.len(), 1);
    assert_eq!((&checks[0]["name"], &checks[0]["conclusion"]), (&"kfops/build_run".into(), &"success".into()));
}

#[tokio::test]
async fn deploy_is_refused_before_anything_ran_and_works_afterwards() {
    let mut world = World::new().await;
    let refused = world.told(1, "author", "/deploy").await;
    assert_eq!((refused.state(), reason(&refused)), (State::Refused, PbReason::NoRun));
    assert!(world.github.said()[0].contains("**/deploy refused:** nothing was run in this pull request yet."));
    assert!(world.workers.with(|data| data.begun.is_empty()));

    world.github.with(|data| data.pulls.get_mut(&2).unwrap().labels.insert("Deployed-to-production".into()));
    assert_eq!(world.told(1, "author", "/build_run").await.state(), State::Succeeded);
    let deployed = world.told(1, "author", "/deploy\nthanks").await;
    assert_eq!(deployed.state(), State::Succeeded, "{deployed:#?}");
    let lineage = deployed.lineage.clone().unwrap();
    assert_eq!((lineage.revision.as_str(), lineage.merge_commit.len()), ("iris-00008", 40));
    assert_eq!(lineage.images.len(), 2);
    let asked = world.workers.with(|data| data.rollouts_asked[0].clone());
    assert_eq!(asked.inference_service, "namespaces/iris/inferenceServices/iris");
    assert_eq!(asked.strategy.unwrap().canary, [10, 50]);
    assert_eq!(asked.model.unwrap().uri, "file:///models/r");
    world.github.with(|data| {
        assert!(data.pulls[&1].merged && data.pulls[&1].merges == 1);
        assert!(data.pulls[&1].labels.contains("Deployed-to-production"));
        assert!(data.pulls[&2].labels.is_empty());
    });
    assert!(world.github.said()[2].contains("merged as `mmmmmmm`"), "{}", world.github.said()[2]);
    let again = world.told(1, "author", "/deploy").await;
    assert_eq!(reason(&again), PbReason::PullRequestClosed);
}

#[tokio::test]
async fn ship_goes_the_whole_way() {
    let mut world = World::new().await;
    let command = world.told(1, "author", "/ship").await;
    assert_eq!(command.state(), State::Succeeded, "{command:#?}");
    let begun = world.workers.with(|data| data.begun.clone());
    let kinds: Vec<_> = begun.iter().map(|name| name.split('/').next().unwrap()).collect();
    assert_eq!(kinds, ["builds", "pipelineVersions", "runs", "rollouts"]);
    assert!(titles(&command).contains(&"revision iris-00008") && titles(&command).contains(&"canary 10 %"));
    assert!(world.github.with(|data| data.pulls[&1].merged));
}

#[tokio::test]
async fn staging_neither_merges_nor_asks_for_the_base() {
    let mut world = World::new().await;
    world.github.with(|data| data.pulls.get_mut(&1).unwrap().behind = 3);
    world.told(1, "author", "/build_run").await;
    let command = world.told(1, "author", "/staging_deploy").await;
    assert_eq!(command.state(), State::Succeeded, "{command:#?}");
    let asked = world.workers.with(|data| data.rollouts_asked[0].clone());
    assert_eq!(asked.inference_service, "namespaces/team-iris-staging/inferenceServices/iris");
    world.github.with(|data| {
        assert!(!data.pulls[&1].merged);
        assert!(data.pulls[&1].labels.contains("Deployed-to-staging"));
    });
}

#[tokio::test]
async fn run_takes_the_version_built_last() {
    let mut world = World::new().await;
    let refused = world.told(1, "author", "/run").await;
    assert_eq!(reason(&refused), PbReason::NoVersion);
    let built = world.told(1, "author", "/build").await;
    let ran = world.told(1, "author", "/run --set max_depth=7").await;
    assert_eq!(ran.state(), State::Succeeded, "{ran:#?}");
    let version = built.lineage.unwrap().pipeline_version;
    assert_eq!(ran.lineage.unwrap().pipeline_version, version);
    let partial = world.told(1, "author", "/build trainer").await;
    assert_eq!(partial.lineage.unwrap().images.len(), 2);
    assert_eq!(world.workers.with(|data| data.builds_asked.last().unwrap().images.len()), 1);
    let named = world
        .told(1, "author", &format!("/run --version-id {}", version.trim_start_matches("pipelineVersions/")))
        .await;
    assert_eq!(named.state(), State::Succeeded);
    assert_eq!(reason(&world.told(1, "author", "/run --version-id v-none").await), PbReason::NoVersion);
    assert_eq!(reason(&world.told(1, "author", "/build nothing").await), PbReason::InvalidArgument);
}

#[tokio::test]
async fn the_gate_refuses_with_a_reason() {
    let mut world = World::new().await;
    assert_eq!(reason(&world.told(1, "stranger", "/build").await), PbReason::PermissionDenied);
    assert_eq!(reason(&world.told(1, "nobody", "/build").await), PbReason::PermissionDenied);
    world.github.with(|data| data.pulls.get_mut(&1).unwrap().head_repo = "stranger/r".into());
    assert_eq!(reason(&world.told(1, "author", "/build").await), PbReason::PolicyRefused);
    world.github.with(|data| {
        let pull = data.pulls.get_mut(&1).unwrap();
        (pull.head_repo, pull.behind) = ("o/r".into(), 2);
    });
    let behind = world.told(1, "author", "/ship").await;
    assert_eq!((behind.state(), reason(&behind)), (State::Refused, PbReason::BehindBase));
    let said = world.github.said().pop().unwrap();
    assert!(said.contains("the branch is 2 commits behind main."), "{said}");
    assert!(said.contains("/ship --force (who may: maintain permission and above)"), "{said}");
    assert_eq!(reason(&world.told(1, "author", "/ship --force").await), PbReason::PermissionDenied);
    assert!(world.workers.with(|data| data.begun.is_empty()));
    assert_eq!(world.told(1, "boss", "/ship --force").await.state(), State::Succeeded);
    world.github.with(|data| data.pulls.get_mut(&2).unwrap().mergeable = Some(false));
    assert_eq!(reason(&world.told(2, "author", "/ship").await), PbReason::NotMergeable);
}

#[tokio::test]
async fn a_run_of_another_commit_is_not_deployed() {
    let mut world = World::new().await;
    world.told(1, "author", "/build_run").await;
    world.github.with(|data| data.pulls.get_mut(&1).unwrap().head = "a".repeat(40));
    let refused = world.told(1, "author", "/deploy").await;
    assert_eq!(reason(&refused), PbReason::RunOfOtherCommit);
    assert_eq!(reason(&world.told(1, "author", "/deploy --run-id=r-none").await), PbReason::NoRun);
}

#[tokio::test]
async fn the_policy_of_the_base_branch_counts() {
    let mut world = World::new().await;
    // The pull request grants itself what the base does not.
    world.github.with(|data| {
        let base = data.base.clone().unwrap() + "policy:\n  build: {users: [boss]}\n";
        data.base = Some(base);
    });
    let refused = world.told(1, "author", "/build").await;
    assert_eq!(reason(&refused), PbReason::PolicyRefused);
    assert!(refused.failure.unwrap().message.contains("policy.build lets only boss do this"));
    assert_eq!(world.told(1, "boss", "/build").await.state(), State::Succeeded);
}

#[tokio::test]
async fn a_failure_in_each_worker_is_told() {
    for (collection, broken, says) in [
        ("builds", Reason::ImageBuildFailed, "Nothing that is live was touched."),
        ("pipelineVersions", Reason::CompileFailed, "Nothing that is live was touched."),
        ("runs", Reason::TaskFailed, "Nothing that is live was touched."),
        ("rollouts", Reason::ProofFailed, "Live stays iris-00007."),
    ] {
        let mut world = World::new().await;
        let failure = Failure::new(broken, "it broke <b>@all</b>").log_tail("line 1\nline 2").action("mend it");
        world.workers.with(|data| data.failing.insert(collection, failure));
        let command = world.told(1, "author", "/ship").await;
        assert_eq!(command.state(), State::Failed, "{command:#?}");
        assert_eq!(command.failure.as_ref().unwrap().log_tail, "line 1\nline 2");
        let said = world.github.said().pop().unwrap();
        assert!(said.contains("**/ship failed:** it broke &lt;b&gt;@\u{200b}all&lt;/b&gt;."), "{said}");
        assert!(said.contains(says) && said.contains("line 1\nline 2"), "{said}");
        world.github.with(|data| {
            assert!(!data.pulls[&1].merged && data.pulls[&1].labels.is_empty());
            assert_eq!(data.checks[0]["conclusion"], "failure");
        });
    }
}

#[tokio::test]
async fn a_merge_that_github_refuses_is_told_with_what_is_live() {
    let mut world = World::new().await;
    world.github.with(|data| {
        data.merge_refusal = Some((409, "Head branch was modified. Review and try the merge again.".into()))
    });
    let command = world.told(1, "author", "/ship").await;
    assert_eq!(reason(&command), PbReason::MergeFailed);
    let said = world.github.said().pop().unwrap();
    assert!(
        said.contains("The new model **is live** in production (iris-00008), but the pull request is not merged."),
        "{said}"
    );
}

#[tokio::test]
async fn a_broken_project_is_told_with_its_place() {
    let mut world = World::new().await;
    world.github.with(|data| data.project = data.project.replace("name: iris\n  source", "nam: iris\n  source"));
    let command = world.told(1, "author", "/build").await;
    assert_eq!(reason(&command), PbReason::ConfigInvalid);
    let failure = command.failure.unwrap();
    assert!(failure.message.contains("kfops.yaml:"), "{failure:?}");
}

#[tokio::test]
async fn cancel_reaches_the_worker() {
    let mut world = World::new().await;
    world.workers.with(|data| data.held.insert("runs"));
    let name = world.comment(1, "author", "/build_run").await.remove(0);
    world.until(&name, |command| command.steps.iter().any(|step| step.title == "task train")).await;
    world.commands().cancel_command(pb::CancelCommandRequest { name: name.clone() }).await.unwrap();
    let command = world.ended(&name).await;
    assert_eq!((command.state(), reason(&command)), (State::Canceled, PbReason::Canceled));
    assert_eq!(world.workers.with(|data| data.canceled.len()), 1);
    assert_eq!(world.github.with(|data| data.checks[0]["conclusion"].clone()), "cancelled");
}

#[tokio::test]
async fn commands_of_a_pull_request_run_in_order_and_targets_are_serial() {
    let mut world = World::new().await;
    world.workers.with(|data| data.held.insert("builds"));
    let names = world.comment(1, "author", "/build\n/run\n/status").await;
    assert_eq!(names.len(), 3);
    // The one that only reads waits for nobody.
    assert_eq!(world.ended(&names[2]).await.state(), State::Succeeded);
    world.until(&names[0], |command| command.steps.iter().any(|step| step.title == "image trainer")).await;
    assert_eq!(world.get(&names[1]).await.state(), State::Received);
    world.workers.with(|data| data.held.clear());
    assert_eq!(world.ended(&names[1]).await.state(), State::Succeeded);

    world.told(2, "author", "/build_run").await;
    world.workers.with(|data| data.held.insert("rollouts"));
    let first = world.comment(1, "author", "/deploy").await.remove(0);
    world.until(&first, |command| command.steps.iter().any(|step| step.title == "canary 10 %")).await;
    let second = world.comment(2, "author", "/deploy").await.remove(0);
    world
        .until(&second, |command| command.steps.iter().any(|step| step.title == "source" && step.end_time.is_some()))
        .await;
    assert_eq!(world.workers.with(|data| data.rollouts_asked.len()), 1);
    // What the first merges puts the second behind: it must not go live.
    world.github.with(|data| data.pulls.get_mut(&2).unwrap().behind = 1);
    world.workers.with(|data| data.held.clear());
    assert_eq!(world.ended(&first).await.state(), State::Succeeded);
    let second = world.ended(&second).await;
    assert_eq!((second.state(), reason(&second)), (State::Refused, PbReason::BehindBase), "{second:#?}");
    assert_eq!(world.workers.with(|data| data.rollouts_asked.len()), 1);
}

#[tokio::test]
async fn status_and_help_and_typos_are_answered() {
    let mut world = World::new().await;
    world.told(1, "author", "/build").await;
    world.workers.with(|data| data.live.insert("namespaces/iris/inferenceServices/iris".into(), "iris-00003".into()));
    let status = world.told(1, "stranger", "/status").await;
    assert_eq!(status.state(), State::Succeeded, "{status:#?}");
    let said = world.github.said().pop().unwrap();
    assert!(said.contains("| /build `c-") && said.contains("Live in production: `iris-00003`"), "{said}");
    assert!(said.contains("Nothing is live in staging."), "{said}");
    let help = world.told(1, "stranger", "/help").await;
    assert_eq!((help.state(), help.github_calls), (State::Succeeded, 2));
    let typo = world.told(1, "author", "/biuld_run").await;
    assert_eq!((typo.state(), reason(&typo)), (State::Refused, PbReason::InvalidArgument));
    assert!(world.github.said().pop().unwrap().contains("Did you mean /build\\_run?"));
    let extra = world.told(1, "author", "/deploy now").await;
    assert_eq!(extra.state(), State::Refused);
    assert!(world.comment(1, "author", "please do not /deploy yet").await.is_empty());
    assert!(world.comment(1, "kfops[bot]", "/deploy").await.is_empty());
}

#[tokio::test]
async fn a_pull_request_does_not_choose_its_own_target() {
    let mut world = World::new().await;
    let moved = crate::repository::PROJECT.replace("{namespace: team-iris-staging}", "{namespace: iris}");
    world.github.with(|data| data.project.clone_from(&moved));
    world.told(1, "author", "/build_run").await;
    let refused = world.told(1, "author", "/staging_deploy").await;
    assert_eq!((refused.state(), reason(&refused)), (State::Refused, PbReason::PolicyRefused), "{refused:#?}");
    let said = world.github.said().pop().unwrap();
    assert!(
        said.contains("environments.staging.namespace is iris in this pull request, and team-iris-staging in main")
    );
    // Nor the first one, where nobody has said yet what is whose.
    world.github.with(|data| data.base = None);
    let refused = world.told(1, "author", "/staging_deploy").await;
    assert_eq!((refused.state(), reason(&refused)), (State::Refused, PbReason::PolicyRefused), "{refused:#?}");
    assert!(world.workers.with(|data| data.rollouts_asked.is_empty()));
    // Once it is merged it counts at once.
    world.github.with(|data| data.base = Some(moved));
    assert_eq!(world.told(1, "author", "/staging_deploy").await.state(), State::Succeeded);
}

#[tokio::test]
async fn what_was_closed_during_a_ship_does_not_go_live() {
    let mut world = World::new().await;
    world.workers.with(|data| data.held.insert("runs"));
    let name = world.comment(1, "author", "/ship").await.remove(0);
    world.until(&name, |command| command.steps.iter().any(|step| step.title == "task train")).await;
    // Well within ten seconds of the gate.
    world.github.with(|data| data.pulls.get_mut(&1).unwrap().open = false);
    world.workers.with(|data| data.held.clear());
    let command = world.ended(&name).await;
    assert_eq!((command.state(), reason(&command)), (State::Failed, PbReason::PullRequestClosed), "{command:#?}");
    assert!(world.workers.with(|data| data.rollouts_asked.is_empty()));
}

#[tokio::test]
async fn commands_that_are_too_many_are_answered() {
    let mut world = World::new().await;
    let names = world.comment(1, "author", &"/help\n".repeat(13)).await;
    assert_eq!(names.len(), 11);
    let command = world.ended(&names[10]).await;
    assert_eq!((command.state(), reason(&command)), (State::Refused, PbReason::InvalidArgument));
    let said = world.github.said();
    let answers =
        said.iter().filter(|body| body.contains("this comment has 13 commands") && body.contains("at most 10"));
    assert_eq!(answers.count(), 1, "{said:#?}");
}
