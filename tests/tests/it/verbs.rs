//! The verbs that show, end, repeat and undo, on real parts: what they say, and what becomes of the world.

use std::time::{Duration, Instant};

use kfops_local::demo::{Load, ended};
use kfops_tests::wait;
use serde_json::Value as Json;

use crate::{
    conversation::{Conversation, id},
    fixture,
    judge::judge,
};

/// With `max_depth=7` training takes its time.
const SLOW: (&str, &str, &str) =
    ("pipelines/iris.py", "    import os\n", "    import os, time\n    time.sleep(4 if max_depth == 7 else 0)\n");
const BUILD_SLOWLY: &str = "/build_run --set max_depth=7";

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_does_what_it_says() {
    let begun = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let tree = fixture::repository(&folder.path().join("iris"), &["first", "second", "third"], &[SLOW]).await;
    let mut talk = Conversation::start(tree, &folder.path().join("state")).await;
    let first = talk.open("First", "first").await;
    plan_changes_nothing(&talk, first).await;
    let canceled = cancel_ends_a_run(&talk, first).await;
    retry_does_the_rest(&talk, first, &canceled).await;
    let live = talk.say(first, "/deploy", "SUCCEEDED").await;
    assert!(talk.labelled(first).await);
    nobody_holds_the_lock(&talk, first).await;

    tokio::join!(a_lost_webhook_is_found(&talk, first), there_and_back(&talk, first, &live));
    buttons_and_a_push(&talk).await;
    an_error_is_marked_on_its_line(&talk).await;
    println!("all of it took {:.0} s", begun.elapsed().as_secs_f64());
    assert_eq!(talk.local.stop().await.unwrap(), Some(0), "{}", talk.local.log());
    judge(&talk.local.forge_log(), 0);
}

async fn plan_changes_nothing(talk: &Conversation, pull: i64) {
    let plan = talk.say(pull, "/plan", "SUCCEEDED").await;
    let answer = plan["answer"].as_str().unwrap();
    for said in ["Nothing was changed", "2 of 2 would be built", "trainer: would be built", "is the first"] {
        assert!(answer.contains(said), "{said}: {answer}");
    }
    talk.told(pull, &plan, "Nothing was changed").await;
    assert_eq!(talk.work().await, (0, 0, 0));
    let commit = plan["commit"].as_str().unwrap();
    assert!(talk.forge.check_runs(commit).await.unwrap().is_empty());
    assert_eq!(talk.forge.get("/deployments").await.unwrap().as_array().unwrap().len(), 0);
}

async fn cancel_ends_a_run(talk: &Conversation, pull: i64) -> Json {
    talk.say(pull, "/build_run", "SUCCEEDED").await;
    let comment = talk.write(pull, BUILD_SLOWLY).await;
    let running = talk.running(pull, &comment, "task train").await;
    let run = running["lineage"]["run"].as_str().filter(|run| !run.is_empty()).map(str::to_owned);
    let written = Instant::now();
    let cancel = talk.write(pull, "/cancel").await;
    let worker = wait::until("the run's end", Duration::from_secs(20), async || {
        let runs = talk.runs().await;
        let newest = runs.into_iter().filter(|one| run.as_ref().is_none_or(|name| one.name == *name));
        newest.max_by_key(|one| one.create_time.map(|at| (at.seconds, at.nanos))).filter(|one| one.end_time.is_some())
    });
    worker.await.unwrap();
    let took = written.elapsed();
    println!("from /cancel to the end of the run: {:.2} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(4), "{took:?}");
    let canceled = talk.end(pull, comment, "CANCELED").await;
    talk.end(pull, cancel, "SUCCEEDED").await;
    talk.told(pull, &canceled, "@author wrote /cancel").await;
    assert_eq!(talk.check(&canceled).await["conclusion"], "cancelled");
    canceled
}

async fn retry_does_the_rest(talk: &Conversation, pull: i64, canceled: &Json) {
    let (builds, runs, _) = talk.work().await;
    let retried = talk.say(pull, "/retry", "SUCCEEDED").await;
    assert_eq!((&retried["retryOf"], &retried["verb"]), (&canceled["name"], &canceled["verb"]));
    assert_eq!(retried["lineage"]["images"], canceled["lineage"]["images"]);
    assert_eq!(retried["lineage"]["pipelineVersion"], canceled["lineage"]["pipelineVersion"]);
    assert_eq!(talk.work().await, (builds, runs + 1, 0));
}

async fn nobody_holds_the_lock(talk: &Conversation, pull: i64) {
    let refused = talk.say(pull, "/unlock", "REFUSED").await;
    talk.told(pull, &refused, "nobody holds the lock of production").await;
}

/// Another model goes live and is taken back, and no prediction fails meanwhile.
async fn there_and_back(talk: &Conversation, first: i64, live: &Json) {
    let second = talk.open("Second", "second").await;
    let endpoint = live["lineage"]["endpoint"].as_str().unwrap();
    let sample = std::fs::read_to_string(talk.tree.path().join("serving/sample.json")).unwrap();
    let load = Load::start(endpoint.to_owned(), sample.clone(), 10).unwrap();
    let deployed = promote_ends_the_canary(talk, second).await;
    every_link_holds(talk, second, &deployed).await;
    rollback_brings_it_back(talk, (first, second), live, &deployed, &sample).await;
    let load = load.stop().await;
    assert_eq!(load.failed, 0, "{load:?}");
    println!("{} predictions while the model changed twice, none failed", load.sent);
}

async fn promote_ends_the_canary(talk: &Conversation, pull: i64) -> Json {
    talk.forge.update_branch(pull).await.unwrap();
    talk.say(pull, "/build_run", "SUCCEEDED").await;
    let comment = talk.write(pull, "/deploy --canary 50").await;
    talk.running(pull, &comment, "canary 50 %").await;
    let promoted = Instant::now();
    let promote = talk.say(pull, "/promote", "SUCCEEDED").await;
    talk.told(pull, &promote, "its new model gets all traffic now").await;
    let deployed = talk.end(pull, comment, "SUCCEEDED").await;
    println!("from /promote to the end of /deploy: {:.2} s", promoted.elapsed().as_secs_f64());
    let hold = Duration::from_secs(10);
    assert!(promoted.elapsed() < hold, "the step was held for {:?} all the same", promoted.elapsed());
    deployed
}

async fn every_link_holds(talk: &Conversation, pull: i64, deployed: &Json) {
    let why = talk.say(pull, "/why", "SUCCEEDED").await;
    let answer = why["answer"].as_str().unwrap();
    assert!(answer.contains("every link holds") && !answer.contains('✗') && !answer.contains("| ? |"), "{answer}");
    assert!(answer.matches("| ✓ |").count() >= 7, "{answer}");
    let lineage = &deployed["lineage"];
    for part in [&lineage["revision"], &deployed["commit"]] {
        assert!(answer.contains(part.as_str().unwrap().get(..7).unwrap()), "{part}: {answer}");
    }
}

async fn rollback_brings_it_back(
    talk: &Conversation,
    (first, second): (i64, i64),
    live: &Json,
    deployed: &Json,
    sample: &str,
) {
    let endpoint = live["lineage"]["endpoint"].as_str().unwrap();
    assert_eq!(talk.asked(endpoint, sample).await, deployed["lineage"]["revision"].as_str().unwrap());
    assert_eq!((talk.labelled(first).await, talk.labelled(second).await), (false, true));
    let (builds, runs, rollouts) = talk.work().await;
    let back = talk.say(second, "/rollback", "SUCCEEDED").await;
    assert_eq!(talk.work().await, (builds, runs, rollouts + 1));
    assert_eq!(back["lineage"]["model"]["digest"], live["lineage"]["model"]["digest"]);
    assert_ne!(back["lineage"]["model"]["digest"], deployed["lineage"]["model"]["digest"]);
    assert_eq!(talk.asked(endpoint, sample).await, back["lineage"]["revision"].as_str().unwrap());
    assert_eq!((talk.labelled(first).await, talk.labelled(second).await), (true, false));
    let deployments = talk.forge.get("/deployments?environment=production").await.unwrap();
    let newest = &deployments[0];
    assert_eq!(newest["sha"], live["commit"], "{deployments:#}");
    let statuses = talk.forge.get(&format!("/deployments/{}/statuses", newest["id"])).await.unwrap();
    assert_eq!(statuses[0]["state"], "success", "{statuses:#}");
    let why = talk.say(second, "/why", "SUCCEEDED").await;
    let answer = why["answer"].as_str().unwrap();
    assert!(answer.contains("every link holds"), "{answer}");
}

/// Buttons end and repeat; what waits when the branch moves on is superseded, what is under way is not.
async fn buttons_and_a_push(talk: &Conversation) {
    let pull = talk.open("Third", "third").await;
    let comment = talk.write(pull, BUILD_SLOWLY).await;
    let running = talk.running(pull, &comment, "task train").await;
    talk.press(pull, &running, "cancel").await;
    let canceled = talk.end(pull, comment, "CANCELED").await;
    talk.told(pull, &canceled, "@author").await;
    talk.press(pull, &canceled, "retry").await;
    let again = |command: &Json| command["retryOf"] == canceled["name"];
    let retry = talk.command(pull, "the retry", again).await;
    let waiting = talk.write(pull, "/build").await;
    talk.command(pull, "/build", |command| command["commentId"] == waiting && command["commit"] != "").await;
    talk.tree.branch("third", "third").await.unwrap();
    talk.tree.edit("README.md", "\n", "\n\nPushed meanwhile.\n").unwrap();
    talk.tree.commit("Meanwhile").await.unwrap();
    talk.push("third").await;
    let superseded = talk.end(pull, waiting, "SUPERSEDED").await;
    talk.told(pull, &superseded, "superseded").await;
    let retried = talk.command(pull, "the retry's end", |command| id(command) == id(&retry) && ended(command)).await;
    assert_eq!((&retried["state"], &retried["actor"]), (&Json::from("STATE_SUCCEEDED"), &Json::from("author")));
}

async fn an_error_is_marked_on_its_line(talk: &Conversation) {
    talk.tree.branch("wrong", "main").await.unwrap();
    talk.tree.edit("kfops.yaml", "context: images/client", "contxt: images/client").unwrap();
    talk.tree.commit("Wrong").await.unwrap();
    talk.push("wrong").await;
    let file = std::fs::read_to_string(talk.tree.path().join("kfops.yaml")).unwrap();
    let line = file.lines().position(|line| line.contains("contxt")).unwrap() + 1;
    let pull = talk.open("Wrong", "wrong").await;
    let failed = talk.say(pull, "/build", "FAILED").await;
    assert_eq!(failed["failure"]["reason"], "REASON_CONFIG_INVALID");
    let check = talk.check(&failed).await;
    let annotations = talk.forge.get(&format!("/check-runs/{}/annotations", check["id"])).await.unwrap();
    let marked = annotations.as_array().unwrap().iter().find(|one| one["start_line"] == line).unwrap_or(&Json::Null);
    assert_eq!(marked["path"], "kfops.yaml", "{annotations:#}");
    assert!(marked["message"].as_str().unwrap().contains("contxt"), "{annotations:#}");
}

async fn a_lost_webhook_is_found(talk: &Conversation, pull: i64) {
    talk.drop_next_comment().await;
    let written = Instant::now();
    let comment = talk.write(pull, "/status").await;
    talk.end(pull, comment, "SUCCEEDED").await;
    println!("a comment whose webhook was lost was answered after {:.1} s", written.elapsed().as_secs_f64());
    let log = talk.local.log();
    assert!(log.contains("a delivery that never arrived was recovered"), "{log}");
    assert!(talk.fault_hit().await, "the webhook was not lost");
}
