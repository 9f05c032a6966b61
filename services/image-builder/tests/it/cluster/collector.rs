//! A receiver of spans in a pod: this very test binary, in an image.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{LogParams, PostParams};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use serde_json::json;
use tonic::{Request, Response, Status};

use super::{image, world::Cluster};

/// A span, as it was received.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Seen {
    pub(super) name: String,
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
}

/// A running receiver.
pub(super) struct Collector<'a> {
    cluster: &'a Cluster,
    /// For pods.
    pub(super) url: String,
}

/// Prints what it gets.
struct Printer;

#[tonic::async_trait]
impl TraceService for Printer {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        for scope in request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans) {
            for span in scope.spans {
                let (trace, id, parent) = (hex(&span.trace_id), hex(&span.span_id), hex(&span.parent_span_id));
                println!("{}", serde_json::to_string(&Seen { name: span.name, trace, id, parent }).unwrap());
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "what the pod of the receiver runs"]
async fn serves() {
    let address: SocketAddr = "0.0.0.0:4317".parse().unwrap();
    println!("serves");
    tonic::transport::Server::builder().add_service(TraceServiceServer::new(Printer)).serve(address).await.unwrap();
}

impl<'a> Collector<'a> {
    pub(super) async fn start(cluster: &'a Cluster) -> Self {
        let program = std::env::current_exe().unwrap();
        let image = image::push(&cluster.registry, "kfops-it/collector", &program).await;
        let pod = json!({
            "metadata": {"name": "collector"},
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [{
                "name": "collector", "image": image,
                "args": ["--exact", "cluster::collector::serves", "--ignored", "--nocapture"],
            }]},
        });
        let pods = cluster.api::<Pod>();
        pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
        let started = Self { cluster, url: String::new() };
        cluster.eventually("the receiver of spans", async || started.log().await.contains("serves")).await;
        let address = pods.get("collector").await.unwrap().status.and_then(|status| status.pod_ip).unwrap();
        Self { url: format!("http://{address}:4317"), ..started }
    }

    async fn log(&self) -> String {
        self.cluster.api::<Pod>().logs("collector", &LogParams::default()).await.unwrap_or_default()
    }

    /// Everything that came by now.
    pub(super) async fn spans(&self) -> Vec<Seen> {
        self.log().await.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
