//! A cancel reaches the work wherever it is, and nothing of it stays behind.

use std::time::{Duration, Instant};

use kfops_core::Failure;
use kfops_process::Command;
use kfops_proto::pipeline as pb;
use tokio_util::sync::CancellationToken;

use crate::harness::{PATIENCE, Runner};

/// A number that no other process has on its command line.
fn marker(kind: u32) -> String {
    format!("{}.{}", 70_000 + kind, std::process::id())
}

/// Whether a process sleeps for that long.
async fn sleeps(marker: &str) -> bool {
    let look = Command::new("pgrep").args(["-f", &format!("^sleep {marker}$")]);
    look.run(&CancellationToken::new()).await.unwrap().code == Some(0)
}

async fn until(what: &str, so: impl AsyncFn() -> bool) {
    let look = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// One task with this body.
fn pipeline(body: &str) -> String {
    let body: String = body.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "from kfp import dsl\n\n@dsl.component(base_image=\"trainer\", install_kfp_package=False)\ndef task():\n{body}\n@dsl.pipeline(name=\"one\")\ndef one():\n    task()\n"
    )
}

/// Two forks and a session of its own, with the task's output still open.
const DAEMON: &str = r#"import os, signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "MARKER"])
    os._exit(0)
"#;

async fn cancel_run(runner: &mut Runner, id: &str) -> Result<pb::Run, Failure> {
    let answer = runner.clients.runs.cancel_run(pb::CancelRunRequest { name: format!("runs/{id}") }).await;
    answer.map(tonic::Response::into_inner).map_err(|status| kfops_rpc::failure_of(&status))
}

#[tokio::test]
async fn a_daemon_of_a_task_does_not_hold_the_run() {
    let mut runner = Runner::start().await;
    let marker = marker(1);
    let timeout = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    // It must have begun before the task ends, or there is nothing to end.
    let body = format!(
        "{}while subprocess.run(['pgrep', '-f', '^sleep {marker}$'], stdout=subprocess.DEVNULL).returncode: time.sleep(0.01)\nprint('done')",
        DAEMON.replace("MARKER", &marker)
    );
    let begun = Instant::now();
    let run = runner.run(&pipeline(&body), pb::Run { timeout, ..Default::default() }).await;
    assert_eq!(run.state(), pb::State::Succeeded, "{:?}", run.failure);
    println!("a run whose task left a daemon: {:.1} s with compiling", begun.elapsed().as_secs_f64());
    until("the daemon has ended", async || !sleeps(&marker).await).await;
    let log = runner.text("logs/runs/r-1/task.log").await;
    assert!(log.contains("done") && log.contains("ended 1 process(es) that the task had left behind"), "{log}");
}

#[tokio::test]
async fn a_task_that_does_not_want_to_end_ends_with_all_that_it_started() {
    let mut runner = Runner::with(|settings| settings.max_runs = 1, kfops_telemetry::Tracer::disabled()).await;
    let (daemon, child) = (marker(2), marker(3));
    let body = format!("{}subprocess.run(['sleep', '{child}'])\ntime.sleep(600)", DAEMON.replace("MARKER", &daemon));
    let version = runner.compile("p.py", &[("p.py", &pipeline(&body))]).await;
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
    for id in ["r-1", "r-2"] {
        let run = pb::Run { pipeline_version: version.name.clone(), ..Default::default() };
        runner.clients.create_run(id, run, None).await.unwrap();
    }
    until("the task runs", async || sleeps(&daemon).await && sleeps(&child).await).await;

    // Waits for the one slot.
    let begun = Instant::now();
    cancel_run(&mut runner, "r-2").await.unwrap();
    assert_eq!(runner.clients.run("r-2").await.state(), pb::State::Canceled);
    println!("canceled waiting for a slot: ended after {:.2} s", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    cancel_run(&mut runner, "r-1").await.unwrap();
    let run = runner.clients.run("r-1").await;
    println!("canceled in a task that ignores SIGTERM: ended after {:.2} s", begun.elapsed().as_secs_f64());
    assert_eq!((run.state(), run.tasks[0].state()), (pb::State::Canceled, pb::State::Canceled), "{run:?}");
    until("nothing is left", async || !sleeps(&daemon).await && !sleeps(&child).await).await;
    // The slot is free again: a run ends by itself.
    let run = pb::Run { pipeline_version: version.name, ..Default::default() };
    runner.clients.create_run("r-3", run, None).await.unwrap();
    until("the next one runs", async || sleeps(&daemon).await).await;
    cancel_run(&mut runner, "r-3").await.unwrap();
    assert_eq!(runner.clients.run("r-3").await.state(), pb::State::Canceled);
}

#[tokio::test]
async fn a_canceled_compilation_ends_its_processes() {
    let mut runner = Runner::start().await;
    let marker = marker(4);
    let file = format!("{}time.sleep(600)\n", DAEMON.replace("MARKER", &marker));
    let version = runner.request("p.py", &[("p.py", &file)]).await;
    runner.clients.create_version("v-1", version, None).await.unwrap();
    until("the import is under way", async || sleeps(&marker).await).await;
    let begun = Instant::now();
    let cancel = pb::CancelPipelineVersionRequest { name: "pipelineVersions/v-1".into() };
    runner.clients.versions.cancel_pipeline_version(cancel).await.unwrap();
    let version = runner.clients.version("v-1").await;
    println!("canceled in the sandbox: ended after {:.2} s", begun.elapsed().as_secs_f64());
    assert_eq!(version.state(), pb::State::Canceled, "{version:?}");
    until("nothing is left", async || !sleeps(&marker).await).await;
}
