//! SIGKILL of the whole of `kfc local` in the middle of a build, a run and a rollout: the command ends as it would have, nothing is done twice.

use std::time::Duration;

use kfops_core::Reason;
use kfops_local::demo::ended;
use kfops_proto::{
    build::{ListBuildsRequest, build_service_client::BuildServiceClient},
    pipeline::{ListRunsRequest, run_service_client::RunServiceClient},
    serving::{ListInferenceServicesRequest, ListRolloutsRequest, rollout_service_client::RolloutServiceClient},
};
use kfops_tests::{local_up::LocalUp, wait};
use serde_json::Value as Json;

use crate::{fixture, judge::judge};

const REPOSITORY: &str = "local/iris";
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn a_command_survives_kills_in_build_run_and_rollout() {
    let folder = tempfile::tempdir().unwrap();
    let slow_task = ("pipelines/iris.py", "    import os\n", "    import os, time\n    time.sleep(4)\n");
    let tree = fixture::repository(&folder.path().join("iris"), &["first", "second"], &[slow_task]).await;
    let mut local = LocalUp::start(tree.path(), &folder.path().join("state")).await.unwrap();
    let forge = local.forge(REPOSITORY).unwrap();
    let first = forge.open_pull_request("First", "first", "main", "").await.unwrap();
    forge.comment(first, "/ship").await.unwrap();
    for step in ["image trainer", "task train", "revision"] {
        running(&local, first, step).await;
        local.kill_and_start().await.unwrap();
    }
    let shipped = end(&local, first).await;
    assert_eq!(shipped["state"], "STATE_SUCCEEDED", "{shipped:#}\n{}", local.log());

    // Now there is a live model: killed with a tenth of the traffic on the new one.
    let forge = local.forge(REPOSITORY).unwrap();
    let second = forge.open_pull_request("Second", "second", "main", "").await.unwrap();
    forge.update_branch(second).await.unwrap();
    forge.comment(second, "/ship").await.unwrap();
    running(&local, second, "canary 10 %").await;
    local.kill_and_start().await.unwrap();
    let shipped = end(&local, second).await;
    assert_eq!(shipped["state"], "STATE_SUCCEEDED", "{shipped:#}\n{}", local.log());

    nothing_twice(&local, &[first, second]).await;
    assert_eq!(local.stop().await.unwrap(), Some(0), "{}", local.log());
    judge(&local.forge_log(), 4);
}

/// Waits until a step of the pull request's newest command is under way.
async fn running(local: &LocalUp, pull_request: i64, title: &str) {
    let client = local.client().unwrap();
    let what = format!("step {title}");
    let seen = wait::until(&what, LIMIT, async || {
        let commands = client.commands(REPOSITORY, pull_request).await.ok()?;
        let command = commands.first()?;
        assert!(!ended(command), "ended before {title}: {command:#}\n{}", local.log());
        let steps = command["steps"].as_array()?.clone();
        steps
            .into_iter()
            .find(|s| s["title"].as_str().is_some_and(|t| t.starts_with(title)) && s["state"] == "STEP_STATE_RUNNING")
    });
    seen.await.unwrap_or_else(|error| panic!("{error}\n{}", local.log()));
}

async fn end(local: &LocalUp, pull_request: i64) -> Json {
    let client = local.client().unwrap();
    let ended = wait::until("the command's end", LIMIT, async || {
        let commands = client.commands(REPOSITORY, pull_request).await.ok()?;
        assert_eq!(commands.len(), 1, "one comment is one command");
        commands.into_iter().next().filter(ended)
    });
    ended.await.unwrap_or_else(|error| panic!("{error}\n{}", local.log()))
}

async fn nothing_twice(local: &LocalUp, pull_requests: &[i64]) {
    let services = &local.endpoints.services;
    let count = pull_requests.len();
    let channel = |address: &str| kfops_rpc::connect(address).unwrap();
    let builds = BuildServiceClient::new(channel(&services.image_builder))
        .list_builds(ListBuildsRequest::default())
        .await
        .unwrap();
    assert_eq!(builds.get_ref().builds.len(), count);
    let runs =
        RunServiceClient::new(channel(&services.pipeline_runner)).list_runs(ListRunsRequest::default()).await.unwrap();
    assert_eq!(runs.get_ref().runs.len(), count);
    assert!(runs.get_ref().runs.iter().any(|run| run.attempt > 1), "the killed run was not begun again");
    let mut serving = RolloutServiceClient::new(channel(&services.serving_deployer));
    assert_eq!(serving.list_rollouts(ListRolloutsRequest::default()).await.unwrap().get_ref().rollouts.len(), count);
    let live = serving
        .list_inference_services(ListInferenceServicesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .inference_services;
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].revisions.len(), count, "{live:#?}");
    let serves: Vec<&str> = live[0].revisions.iter().filter(|r| r.percent == 100).map(|r| r.name.as_str()).collect();
    assert_eq!(serves, [live[0].live_revision.as_str()]);

    let forge = local.forge(REPOSITORY).unwrap();
    for number in pull_requests {
        let comments = forge.comments(*number).await.unwrap();
        let bots = comments.iter().filter(|c| c["user"]["login"] == "kfops[bot]").count();
        assert_eq!(bots, 1, "one live comment: {comments:#?}");
        let pull = forge.pull_request(*number).await.unwrap();
        assert_eq!(pull["merged"], true);
        let checks = forge.check_runs(pull["head"]["sha"].as_str().unwrap()).await.unwrap();
        assert_eq!(checks.len(), 1, "{checks:#?}");
        assert_eq!(checks[0]["conclusion"], "success");
    }
    let labelled = carries_label(local, pull_requests).await;
    assert_eq!(labelled, [false, true], "the label moved to the last one");
    for number in pull_requests {
        let command = end(local, *number).await;
        let trace = local.client().unwrap().trace(command["traceId"].as_str().unwrap()).await.unwrap().unwrap();
        assert_eq!(kfops_local::waterfall::problems(&trace), Vec::<String>::new());
    }
    let missing = local.client().unwrap().command("commands/c-0").await.unwrap_err();
    assert_eq!(missing.reason, Reason::NotFound);
}

async fn carries_label(local: &LocalUp, pull_requests: &[i64]) -> Vec<bool> {
    let forge = local.forge(REPOSITORY).unwrap();
    let mut labelled = Vec::new();
    for number in pull_requests {
        let pull = forge.pull_request(*number).await.unwrap();
        labelled.push(pull["labels"].as_array().unwrap().iter().any(|l| l["name"] == "Deployed-to-production"));
    }
    labelled
}
