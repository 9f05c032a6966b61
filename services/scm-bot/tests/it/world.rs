//! The simulated world in real time, for what speaks gRPC: the bot serves on a port of its own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kfops_proto::command::{
    self as pb, command_service_client::CommandServiceClient, delivery_service_client::DeliveryServiceClient,
};
use kfops_rpc::Lifecycle;
use kfops_scm_bot::{Service, Settings, ports::Workers};
use kfops_settings::HumanDuration;
use kfops_store::Store;
use kfops_telemetry::Tracer;
use tonic::transport::Channel;

use crate::sim::{World as SimWorld, bot::ports};

/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The bot and its world.
pub(crate) struct World {
    pub(crate) sim: Arc<SimWorld>,
    pub(crate) store: Store,
    channel: Channel,
    lifecycle: Lifecycle,
    serving: tokio::task::JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(None, None).await
    }

    pub(crate) async fn with(tracing_endpoint: Option<String>, workers: Option<Arc<dyn Workers>>) -> Self {
        Self::set(tracing_endpoint, workers, |_| ()).await
    }

    pub(crate) async fn set(
        tracing_endpoint: Option<String>,
        workers: Option<Arc<dyn Workers>>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let sim = SimWorld::new(true);
        sim.time.enter();
        sim.with(|state| state.jobs.hurry());
        let mut settings = Settings::default();
        settings.github.write_interval = HumanDuration::from_secs(0);
        settings.recovery.every = HumanDuration::from_secs(0);
        settings.ledger.compact_every = HumanDuration::from_secs(0);
        change(&mut settings);
        let lifecycle = Lifecycle::new();
        let tracer = Tracer::new("kfops-scm-bot", tracing_endpoint.as_deref()).unwrap();
        let mut ports = ports(&sim, &Arc::default(), tracer, 1);
        let store = ports.store.clone();
        ports.workers = workers.unwrap_or(ports.workers);
        let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
        let service = Service::build(settings, ports).await.unwrap();
        let life = lifecycle.clone();
        let serving = tokio::spawn(async move { service.serve(listener, life).await.unwrap() });
        let channel = kfops_rpc::connect(&format!("http://{address}")).unwrap();
        Self { sim, store, channel, lifecycle, serving }
    }

    /// As SIGTERM.
    pub(crate) async fn stop(&mut self) {
        self.lifecycle.stop();
        tokio::time::timeout(PATIENCE, &mut self.serving).await.unwrap().unwrap();
    }

    pub(crate) fn commands(&self) -> CommandServiceClient<Channel> {
        CommandServiceClient::new(self.channel.clone())
    }

    /// A webhook as the gateway hands it over.
    pub(crate) async fn deliver(
        &self,
        id: &str,
        event: &str,
        payload: Vec<u8>,
        trace: Option<&str>,
    ) -> Result<pb::AcceptDeliveryResponse, tonic::Status> {
        let message = pb::AcceptDeliveryRequest {
            delivery_id: id.into(),
            event: event.into(),
            payload: payload.into(),
            receive_time: Some(self.sim.time.now().into()),
        };
        let mut request = tonic::Request::new(message);
        if let Some(trace) = trace {
            request.metadata_mut().insert("traceparent", trace.parse().unwrap());
        }
        DeliveryServiceClient::new(self.channel.clone()).accept_delivery(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn get(&self, name: &str) -> pb::Command {
        let request = pb::GetCommandRequest { name: name.into() };
        self.commands().get_command(request).await.unwrap().into_inner()
    }

    /// The command once it has ended.
    pub(crate) async fn ended(&self, name: &str) -> pb::Command {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let command = self.get(name).await;
            if command.end_time.is_some() {
                return command;
            }
            assert!(Instant::now() < deadline, "not reached: {command:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn comment_payload(pull: u64, id: u64, user: &str, body: &str) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "action": "created",
        "issue": {"number": pull, "pull_request": {}, "title": "$(touch x) `id`"},
        "comment": {"id": id, "body": body, "user": {"login": user, "type": "User"}},
        "repository": {"full_name": "o/r"},
        "sender": {"login": user, "type": "User"},
    }))
    .unwrap()
}
