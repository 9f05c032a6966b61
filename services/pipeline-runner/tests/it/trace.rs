//! Spans of versions and runs.

use kfops_core::TraceContext;
use kfops_proto::pipeline as pb;
use kfops_telemetry::Tracer;

use crate::{
    collector::{Collector, attribute},
    harness::Runner,
};

const PIPELINE: &str = r#"
from kfp import dsl
from kfp.dsl import Output, Metrics

@dsl.component(base_image="trainer", install_kfp_package=False)
def good(metrics: Output[Metrics]) -> str:
    import os, time
    metrics.log_metric("accuracy", 0.75)
    time.sleep(0.2)
    return os.environ["TRACEPARENT"]

@dsl.component(base_image="trainer", install_kfp_package=False)
def bad(given: str):
    raise ValueError("no good")

@dsl.pipeline(name="traced")
def traced():
    bad(given=good().outputs["Output"])
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_part_is_a_span_with_its_true_time() {
    let (collector, endpoint) = Collector::start().await;
    let tracer = Tracer::new("kfops-pipeline-runner", Some(&endpoint)).unwrap();
    let mut runner = Runner::with(|_| {}, tracer).await;
    let caller = TraceContext::from_random(*b"a trace of twenty-four b");
    let version = runner.request("p.py", &[("p.py", PIPELINE)]).await;
    runner.clients.create_version("v-1", version, Some(&caller)).await.unwrap();
    assert_eq!(runner.clients.version("v-1").await.state(), pb::State::Succeeded);
    let run = pb::Run { pipeline_version: "pipelineVersions/v-1".into(), ..Default::default() };
    runner.clients.create_run("r-1", run, Some(&caller)).await.unwrap();
    let run = runner.clients.run("r-1").await;
    assert_eq!(run.state(), pb::State::Failed);

    let spans = collector.spans(6).await;
    assert_eq!(spans.len(), 6);
    let span = |name: &str| spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}"));
    for (name, parent) in
        [("sandbox", "compile tiny"), ("check", "compile tiny"), ("task good", "run tiny"), ("task bad", "run tiny")]
    {
        assert_eq!(span(name).parent_span_id, span(parent).span_id, "{name}");
    }
    for top in ["compile tiny", "run tiny"] {
        assert_eq!(span(top).parent_span_id, caller.span_id.0);
        assert_eq!(span(top).trace_id, caller.trace_id.0);
    }
    let good = span("task good");
    assert!(good.end_time_unix_nano - good.start_time_unix_nano >= 200_000_000);
    assert!(good.end_time_unix_nano <= span("task bad").start_time_unix_nano);
    assert_eq!(attribute(good, "kfops.run.id"), "r-1");
    assert_eq!(attribute(good, "kfops.task.name"), "good");
    assert_eq!(attribute(good, "kfops.metrics"), "{\"accuracy\":0.75}");
    // 2 is STATUS_CODE_ERROR.
    let code = |name: &str| span(name).status.clone().map(|status| status.code);
    assert_eq!((code("task bad"), code("run tiny")), (Some(2), Some(2)));
    assert_ne!(code("task good"), Some(2));
    // What a task is told as its context is the span that is exported for it.
    let told = run.tasks[0].outputs["Output"].kind.clone();
    let Some(prost_types::value::Kind::StringValue(told)) = told else { panic!("{told:?}") };
    assert_eq!(TraceContext::parse(&told).unwrap().span_id.0.as_slice(), good.span_id);
}
