//! The world of a test: GitHub, the workers, and the bot as a process that can be killed.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use kfops_proto::command::{
    self as pb, command_service_client::CommandServiceClient, delivery_service_client::DeliveryServiceClient,
};
use kfops_rpc::Lifecycle;
use kfops_scm_bot::{Ports, Service, Settings};
use kfops_settings::HumanDuration;
use kfops_telemetry::Tracer;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime, sync::Notify};
use tonic::transport::Channel;

use crate::{github::GitHub, workers::Workers};

/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the bot does to the outside is counted; at one of these events the bot is killed.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<EventsInner>);

#[derive(Default)]
struct EventsInner {
    count: AtomicUsize,
    /// 1-based; 0: never.
    kill_at: AtomicUsize,
    /// Before the effect rather than after it.
    kill_before: std::sync::atomic::AtomicBool,
    reached: Notify,
}

impl Events {
    pub(crate) fn kill_at(&self, event: usize, before: bool) {
        self.0.kill_before.store(before, Ordering::SeqCst);
        self.0.kill_at.store(event, Ordering::SeqCst);
    }

    pub(crate) async fn reached(&self) {
        self.0.reached.notified().await;
    }

    pub(crate) fn spare(&self) {
        self.0.kill_at.store(0, Ordering::SeqCst);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    pub(crate) async fn before(&self) {
        let event = self.0.count.fetch_add(1, Ordering::SeqCst) + 1;
        self.hang(event, true).await;
    }

    pub(crate) async fn after(&self) {
        self.hang(self.count(), false).await;
    }

    async fn hang(&self, event: usize, before: bool) {
        let due = self.0.kill_at.load(Ordering::SeqCst) == event;
        if due && self.0.kill_before.load(Ordering::SeqCst) == before {
            self.0.reached.notify_one();
            // The answer never comes: the caller is dead by then.
            std::future::pending::<()>().await;
        }
    }
}

/// The bot in a runtime of its own.
struct Bot {
    runtime: Runtime,
    channel: Channel,
    lifecycle: Lifecycle,
    serving: tokio::task::JoinHandle<()>,
}

pub(crate) struct World {
    pub(crate) github: GitHub,
    pub(crate) workers: Workers,
    pub(crate) events: Events,
    pub(crate) settings: Settings,
    tracing_endpoint: Option<String>,
    bot: Option<Bot>,
    deliveries: u64,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::traced(None).await
    }

    pub(crate) async fn traced(tracing_endpoint: Option<String>) -> Self {
        let events = Events::default();
        let (github, workers) = (GitHub::new(events.clone()), Workers::new(events.clone()));
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api_url = format!("http://{}", listener.local_addr().unwrap());
        let router = github.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let routes = workers.routes();
        tokio::spawn(async move { kfops_rpc::serve(listener, routes, &[], &Lifecycle::new()).await.unwrap() });
        let mut settings = Settings {
            state: folder.path().join("state"),
            store: format!("file://{}", folder.path().join("store").display()),
            ..Settings::default()
        };
        settings.github.api_url = api_url;
        settings.github.token = Some("t".to_owned().into());
        settings.github.write_interval = HumanDuration::from_secs(0);
        settings.workers.image_builder = address.clone();
        settings.workers.pipeline_runner = address.clone();
        settings.workers.serving_deployer = address;
        settings.timeouts.patience = HumanDuration::from_secs(20);
        let mut world =
            Self { github, workers, events, settings, tracing_endpoint, bot: None, deliveries: 0, _folder: folder };
        world.start().await;
        world
    }

    pub(crate) async fn start(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (settings, lifecycle, endpoint) = (self.settings.clone(), Lifecycle::new(), self.tracing_endpoint.clone());
        let life = lifecycle.clone();
        let (ready, address) = tokio::sync::oneshot::channel();
        let serving = runtime.spawn(async move {
            let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
            let tracer = Tracer::new("kfops-scm-bot", endpoint.as_deref()).unwrap();
            let ports = Ports::local(&settings, tracer).unwrap();
            let service = Service::build(settings, ports).await.unwrap();
            ready.send(address).unwrap();
            service.serve(listener, life).await.unwrap();
        });
        let address = address.await.unwrap();
        let channel = kfops_rpc::connect(&format!("http://{address}")).unwrap();
        self.bot = Some(Bot { runtime, channel, lifecycle, serving });
    }

    /// As SIGKILL: nothing is finished, nothing is said.
    pub(crate) async fn kill(&mut self) {
        let bot = self.bot.take().unwrap();
        tokio::task::spawn_blocking(move || bot.runtime.shutdown_timeout(Duration::from_secs(5))).await.unwrap();
    }

    /// As SIGTERM.
    pub(crate) async fn stop(&mut self) {
        let bot = self.bot.as_mut().unwrap();
        bot.lifecycle.stop();
        tokio::time::timeout(PATIENCE, &mut bot.serving).await.unwrap().unwrap();
        self.kill().await;
    }

    fn channel(&self) -> Channel {
        self.bot.as_ref().unwrap().channel.clone()
    }

    pub(crate) fn commands(&self) -> CommandServiceClient<Channel> {
        CommandServiceClient::new(self.channel())
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
            receive_time: Some(std::time::SystemTime::now().into()),
        };
        let mut request = tonic::Request::new(message);
        if let Some(trace) = trace {
            request.metadata_mut().insert("traceparent", trace.parse().unwrap());
        }
        DeliveryServiceClient::new(self.channel()).accept_delivery(request).await.map(tonic::Response::into_inner)
    }

    /// Someone writes a comment; the names of the commands in it.
    pub(crate) async fn comment(&mut self, pull: u64, user: &str, body: &str) -> Vec<String> {
        self.deliveries += 1;
        let payload = comment_payload(pull, self.deliveries, user, body);
        let id = format!("delivery-{}", self.deliveries);
        self.deliver(&id, "issue_comment", payload, None).await.unwrap().commands
    }

    pub(crate) async fn get(&self, name: &str) -> pb::Command {
        let request = pb::GetCommandRequest { name: name.into() };
        self.commands().get_command(request).await.unwrap().into_inner()
    }

    /// The command once it has ended.
    pub(crate) async fn ended(&self, name: &str) -> pb::Command {
        self.until(name, |command| command.end_time.is_some()).await
    }

    pub(crate) async fn until(&self, name: &str, reached: impl Fn(&pb::Command) -> bool) -> pb::Command {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let command = self.get(name).await;
            if reached(&command) {
                return command;
            }
            assert!(Instant::now() < deadline, "not reached: {command:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Someone writes one command and waits for its end.
    pub(crate) async fn told(&mut self, pull: u64, user: &str, body: &str) -> pb::Command {
        let names = self.comment(pull, user, body).await;
        assert_eq!(names.len(), 1, "{names:?}");
        self.ended(&names[0]).await
    }

    pub(crate) fn state_folder(&self) -> PathBuf {
        self.settings.state.clone()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(bot) = self.bot.take() {
            bot.runtime.shutdown_background();
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
