//! Running: what works, and each way in which it does not.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use kfops_core::Reason;
use kfops_proto::pipeline as pb;
use kfops_rpc::failure_from_proto;
use prost_types::{Value, value::Kind};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::harness::{COMMIT, PATIENCE, Runner, pinned, waiting_pipeline};

const PIPELINE: &str = r#"
from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

# With kfp's own pip step, as most pipelines have it.
@dsl.component(base_image="trainer")
def prepare(rows: int, data: Output[Dataset]) -> int:
    print("preparing", rows, "rows")
    with open(data.path, "w") as file:
        file.write("x" * rows)
    return rows

@dsl.component(base_image="kfops://trainer", install_kfp_package=False)
def train(data: Input[Dataset], rows: int, model: Output[Model], metrics: Output[Metrics]):
    import os
    os.makedirs(model.path)
    with open(data.path) as source, open(model.path + "/model.bin", "w") as file:
        file.write(source.read())
    metrics.log_metric("accuracy", 0.953)
    metrics.log_metric("rows", rows)

@dsl.component(base_image="evaluator", install_kfp_package=False)
def finish():
    pass

@dsl.pipeline(name="tiny")
def tiny(rows: int, label: str = "none"):
    prepared = prepare(rows=rows)
    trained = train(data=prepared.outputs["data"], rows=prepared.outputs["Output"])
    finish().after(trained)
"#;

fn number(value: f64) -> Value {
    Value { kind: Some(Kind::NumberValue(value)) }
}

fn arguments(rows: f64) -> HashMap<String, Value> {
    HashMap::from([("rows".to_owned(), number(rows))])
}

fn failure(run: &pb::Run) -> kfops_core::Failure {
    assert_eq!(run.state(), pb::State::Failed, "{run:?}");
    failure_from_proto(run.failure.clone().unwrap())
}

#[tokio::test]
async fn a_run_reports_tasks_metrics_logs_and_keeps_the_model() {
    let mut runner = Runner::start().await;
    let run = runner.run(PIPELINE, pb::Run { arguments: arguments(7.0), ..Default::default() }).await;
    assert_eq!(run.state(), pb::State::Succeeded, "{:?}", run.failure);
    let names: Vec<&str> = run.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["prepare", "train", "finish"]);
    assert!(run.tasks.iter().all(|task| task.state() == pb::State::Succeeded), "{:?}", run.tasks);
    assert_eq!(run.metrics, HashMap::from([("accuracy".to_owned(), 0.953), ("rows".to_owned(), 7.0)]));
    assert_eq!(run.tasks[1].image, pinned("trainer"));
    assert_eq!(run.tasks[0].inputs["rows"], number(7.0));
    assert_eq!(run.tasks[0].outputs["Output"], number(7.0));
    assert_eq!((run.commit.as_str(), run.attempt), (COMMIT, 1));
    let nanos = |time: &Option<prost_types::Timestamp>| time.as_ref().map(|t| (t.seconds, t.nanos)).unwrap();
    assert!(nanos(&run.tasks[0].end_time) <= nanos(&run.tasks[1].start_time));
    assert!(runner.text(&run.tasks[0].log_key).await.contains("preparing 7 rows"));
    assert!(runner.text(&run.log_key).await.contains("[prepare] preparing 7 rows"));

    let model = run.model.unwrap();
    assert_eq!(model.uri, runner.store.uri("models/r-1"));
    assert_eq!((model.size_bytes, model.digest.len()), (7, 71));
    assert_eq!(runner.text("models/r-1/model.bin").await, "xxxxxxx");

    // Asking twice is asking once; another request under the id is refused.
    let same =
        pb::Run { pipeline_version: "pipelineVersions/v-1".into(), arguments: arguments(7.0), ..Default::default() };
    assert_eq!(runner.clients.create_run("r-1", same.clone(), None).await.unwrap().uid, run.uid);
    let other = pb::Run { arguments: arguments(8.0), ..same };
    let refused = runner.clients.create_run("r-1", other, None).await.unwrap_err();
    assert_eq!(refused.reason, Reason::AlreadyExists);
    let left = runner.folder.path().join("state/runs/r-1");
    let begun = Instant::now();
    while left.exists() {
        assert!(begun.elapsed() < PATIENCE, "the run's files are still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn wrong_arguments_are_refused_before_anything_runs() {
    let mut runner = Runner::start().await;
    let version = runner.compile("p.py", &[("p.py", PIPELINE)]).await;
    let run = |arguments| pb::Run { pipeline_version: version.name.clone(), arguments, ..Default::default() };
    let text = Value { kind: Some(Kind::StringValue("many".into())) };
    for (arguments, message) in [
        (HashMap::from([("row".to_owned(), number(1.0))]), "no parameter `row`; it has: label, rows"),
        (HashMap::new(), "needs a value for: rows"),
        (HashMap::from([("rows".to_owned(), text)]), "`rows` is of type NUMBER_INTEGER"),
    ] {
        let failure = runner.clients.create_run("r-1", run(arguments), None).await.unwrap_err();
        assert_eq!(failure.reason, Reason::InvalidArgument);
        assert!(failure.message.contains(message), "{}", failure.message);
    }
    let missing = pb::Run { pipeline_version: "pipelineVersions/v-9".into(), ..Default::default() };
    assert_eq!(runner.clients.create_run("r-1", missing, None).await.unwrap_err().reason, Reason::NotFound);
}

#[tokio::test]
async fn a_failing_task_is_named_with_its_exception() {
    let mut runner = Runner::start().await;
    let pipeline = PIPELINE.replace("metrics.log_metric(\"accuracy\", 0.953)", "raise KeyError('petal width')");
    let run = runner.run(&pipeline, pb::Run { arguments: arguments(1.0), ..Default::default() }).await;
    let failure = failure(&run);
    assert_eq!(failure.reason, Reason::TaskFailed);
    assert_eq!(failure.message, "task `train` failed: KeyError: 'petal width'");
    assert_eq!(failure.resource, "runs/r-1/tasks/train");
    assert!(failure.log_tail.contains("Traceback"), "{}", failure.log_tail);
    let states: Vec<pb::State> = run.tasks.iter().map(pb::Task::state).collect();
    assert_eq!(states, [pb::State::Succeeded, pb::State::Failed, pb::State::Skipped]);
    assert_eq!(run.model, None);
}

#[tokio::test]
async fn a_run_without_end_is_ended_at_its_time_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut runner = Runner::start().await;
    let timeout = Some(prost_types::Duration { seconds: 4, nanos: 0 });
    let pipeline = waiting_pipeline(listener.local_addr().unwrap().port());
    let run = runner.run(&pipeline, pb::Run { timeout, ..Default::default() }).await;
    let failure = failure(&run);
    assert_eq!(failure.reason, Reason::RunTimeout);
    assert_eq!(failure.message, "the run took longer than 4s; still running: wait");
    assert_eq!(run.tasks[0].state(), pb::State::Failed);
}

#[tokio::test]
async fn a_canceled_run_ends_its_processes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut runner = Runner::start().await;
    let pipeline = waiting_pipeline(listener.local_addr().unwrap().port());
    let version = runner.compile("p.py", &[("p.py", &pipeline)]).await;
    let run = pb::Run { pipeline_version: version.name, ..Default::default() };
    runner.clients.create_run("r-1", run, None).await.unwrap();
    let (mut task, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let begun = Instant::now();
    let cancel = pb::CancelRunRequest { name: "runs/r-1".into() };
    runner.clients.runs.cancel_run(cancel.clone()).await.unwrap();
    // The connection of a process ends with the process.
    let gone = tokio::time::timeout(PATIENCE, task.read(&mut [0])).await.expect("the task has ended");
    assert_eq!(gone.unwrap_or(0), 0);
    let run = runner.clients.run("r-1").await;
    println!("canceled run with a waiting task: ended after {:.2} s", begun.elapsed().as_secs_f64());
    assert_eq!((run.state(), run.tasks[0].state()), (pb::State::Canceled, pb::State::Canceled));
    // Canceling what has ended changes nothing.
    let again = runner.clients.runs.cancel_run(cancel).await.unwrap().into_inner();
    assert_eq!(again.end_time, run.end_time);
}

#[tokio::test]
async fn a_missing_model_says_which_artifacts_there_are() {
    let mut runner = Runner::start().await;
    let source = pb::ModelSource { task: "train".into(), output: "weights".into() };
    let run = pb::Run { arguments: arguments(1.0), model_source: Some(source), ..Default::default() };
    let failure = failure(&runner.run(PIPELINE, run).await);
    assert_eq!(failure.reason, Reason::ModelMissing);
    assert!(failure.message.contains("prepare.data, train.metrics, train.model"), "{}", failure.message);
}

#[tokio::test]
async fn a_model_outside_of_the_run_is_not_copied() {
    let mut runner = Runner::start().await;
    let pipeline = PIPELINE
        .replace(
            "import os\n    os.makedirs(model.path)",
            "import os\n    os.makedirs(model.path); good = model.path; model.path = '/etc'",
        )
        .replace("open(model.path +", "open(good +");
    let run = runner.run(&pipeline, pb::Run { arguments: arguments(1.0), ..Default::default() }).await;
    assert_eq!(failure(&run).reason, Reason::ModelMissing);
    assert!(!runner.store.exists("models/r-1/hostname").await.unwrap());
}

#[tokio::test]
async fn a_component_that_one_machine_cannot_run_says_so() {
    let mut runner = Runner::start().await;
    let pipeline = r#"
from kfp import dsl

@dsl.container_component
def shell():
    return dsl.ContainerSpec(image="alpine", command=["echo"], args=["hello"])

@dsl.pipeline(name="shell")
def pipeline():
    shell()
"#;
    let failure = failure(&runner.run(pipeline, pb::Run::default()).await);
    assert_eq!(failure.reason, Reason::TaskFailed);
    assert!(failure.message.contains("Container Component"), "{}", failure.message);
    assert!(failure.action.contains("lightweight Python components"), "{}", failure.action);
}

#[tokio::test]
async fn loops_and_conditions_show_the_tasks_that_ran() {
    let mut runner = Runner::start().await;
    let pipeline = r#"
from typing import Optional
from kfp import dsl

@dsl.component(base_image="trainer", install_kfp_package=False)
def square(x: int, note: Optional[str] = None) -> int:
    print("note", note)
    return x * x

@dsl.component(base_image="trainer", install_kfp_package=False)
def never():
    raise RuntimeError("never")

@dsl.pipeline(name="loops")
def loops(wanted: bool = False, note: Optional[str] = None):
    with dsl.ParallelFor([2, 3]) as item:
        square(x=item, note=note)
    with dsl.If(wanted == True):
        never()
"#;
    let run = runner.run(pipeline, pb::Run::default()).await;
    assert_eq!(run.state(), pb::State::Succeeded, "{:?}", run.failure);
    let mut outputs: Vec<(String, Option<Kind>)> =
        run.tasks.iter().map(|task| (task.name.clone(), task.outputs["Output"].kind.clone())).collect();
    outputs.sort_by(|a, b| a.0.cmp(&b.0));
    let expected = [("for-loop-2-iteration-0.square", 4.0), ("for-loop-2-iteration-1.square", 9.0)];
    assert_eq!(outputs, expected.map(|(name, value)| (name.to_owned(), Some(Kind::NumberValue(value)))));
}

#[tokio::test]
async fn tasks_see_no_secrets_and_cannot_change_the_machine() {
    let mut runner = Runner::start().await;
    let database = runner.folder.path().join("state/pipelines.db");
    let pipeline = format!(
        r#"
from kfp import dsl

@dsl.component(base_image="trainer", install_kfp_package=False)
def look() -> str:
    import os, sysconfig
    try:
        open(os.path.join(sysconfig.get_paths()["stdlib"], "written"), "w")
        written = True
    except OSError:
        written = False
    database = os.path.exists({database:?})
    return f"{{sorted(os.environ)}} db={{database}} written={{written}}"

@dsl.pipeline(name="look")
def pipeline():
    look()
"#
    );
    let run = runner.run(&pipeline, pb::Run::default()).await;
    assert_eq!(run.state(), pb::State::Succeeded, "{:?}", run.failure);
    let seen = format!("{:?}", run.tasks[0].outputs["Output"]);
    assert!(seen.contains("KFOPS_TASK_NAME"), "{seen}");
    assert!(!seen.contains("KFOPS_PYTHON") && !seen.contains("CARGO"), "{seen}");
    let version = runner.clients.version("v-1").await;
    if version.sandbox.starts_with("bubblewrap") {
        assert!(seen.contains("db=False written=False"), "{seen}");
    }
}
