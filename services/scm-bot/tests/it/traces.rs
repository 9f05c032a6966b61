//! One command, one trace: one root, no orphan, and the workers hang below their steps.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use crate::world::{World, comment_payload};

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut routes = tonic::service::Routes::builder();
        routes.add_service(TraceServiceServer::new(collector.clone()));
        let routes = routes.routes();
        tokio::spawn(async move {
            kfops_rpc::serve(listener, routes, &[], &kfops_rpc::Lifecycle::new()).await.unwrap();
        });
        (collector, address)
    }

    /// The spans of a trace once its root is there.
    async fn trace(&self, id: &str) -> Vec<Span> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let spans: Vec<Span> =
                self.0.lock().unwrap().iter().filter(|span| hex(&span.trace_id) == id).cloned().collect();
            if spans.iter().any(|span| span.parent_span_id.is_empty()) {
                return spans;
            }
            assert!(Instant::now() < deadline, "no root of {id}: {spans:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ROOT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_command_is_one_trace() {
    let (collector, endpoint) = Collector::start().await;
    let mut world = World::with(Some(endpoint), None).await;
    let payload = comment_payload(1, 77, "author", "/build_run\n/deploy");
    let accepted = world.deliver("g-1", "issue_comment", payload, Some(ROOT)).await.unwrap();
    let built = world.ended(&accepted.commands[0]).await;
    let deployed = world.ended(&accepted.commands[1]).await;
    assert_eq!(built.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_ne!(deployed.trace_id, built.trace_id);
    // Sent before the end is recorded: nobody who is killed afterwards takes it along.
    for command in [&built, &deployed] {
        let spans = collector.0.lock().unwrap().clone();
        let root = |span: &&Span| hex(&span.trace_id) == command.trace_id && span.parent_span_id.is_empty();
        assert_eq!(spans.iter().filter(root).count(), 1, "the root is late");
    }
    world.stop().await;
    for command in [&built, &deployed] {
        let spans = collector.trace(&command.trace_id).await;
        let ids: HashSet<String> = spans.iter().map(|span| hex(&span.span_id)).collect();
        assert_eq!(ids.len(), spans.len(), "an id twice");
        let roots: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
        assert_eq!(roots.len(), 1);
        for span in spans.iter().filter(|span| !span.parent_span_id.is_empty()) {
            assert!(ids.contains(&hex(&span.parent_span_id)), "{} is an orphan", span.name);
        }
        let github = spans.iter().filter(|span| span.name.starts_with("GitHub ")).count();
        assert_eq!(github, command.github_calls as usize);
    }
    let spans = collector.trace(&built.trace_id).await;
    let root = spans.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    assert_eq!((root.name.as_str(), hex(&root.span_id).as_str()), ("command /build_run", "00f067aa0ba902b7"));
    // What the workers were told is a span that is there.
    let ids: HashSet<String> = spans.iter().map(|span| hex(&span.span_id)).collect();
    let told: Vec<_> = world.sim.with(|state| state.jobs.all.values().map(|job| (job.name(), job.trace)).collect());
    assert_eq!(told.len(), 4);
    for (name, trace) in told.iter().filter(|(_, trace)| trace.trace_id.to_string() == built.trace_id) {
        assert!(ids.contains(&trace.span_id.to_string()), "{name} hangs in the air");
    }
    let deploy = collector.trace(&deployed.trace_id).await;
    let root = deploy.iter().find(|span| span.parent_span_id.is_empty()).unwrap();
    let linked: Vec<String> = root.links.iter().map(|link| hex(&link.trace_id)).collect();
    assert_eq!(linked, [built.trace_id]);
}
