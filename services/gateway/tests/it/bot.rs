//! A scm-bot that remembers what it was asked and answers as a test wants.

use std::{
    collections::{BTreeMap, HashSet},
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt as _, stream};
use kfops_core::{Failure, Reason, TraceContext};
use kfops_proto::command::{
    AcceptDeliveryRequest, AcceptDeliveryResponse, CancelCommandRequest, Command, CreateCommandRequest,
    GetCommandRequest, ListCommandsRequest, ListCommandsResponse, ListLocksRequest, ListLocksResponse, Lock,
    ReadCommandLogRequest, ReadCommandLogResponse, State, WatchCommandRequest,
    command_service_server::{CommandService, CommandServiceServer},
    delivery_service_server::{DeliveryService, DeliveryServiceServer},
};
use kfops_rpc::{Lifecycle, status_of, trace_context};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, service::Routes};

#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) deliveries: Vec<AcceptDeliveryRequest>,
    pub(crate) ids: HashSet<String>,
    pub(crate) roots: Vec<Option<TraceContext>>,
    pub(crate) actors: Vec<String>,
    pub(crate) metadata: Vec<String>,
    pub(crate) commands: BTreeMap<String, Command>,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bot {
    pub(crate) seen: Arc<Mutex<Seen>>,
    /// One permit a delivery: without any, storing takes for ever.
    pub(crate) gate: Arc<Semaphore>,
    /// What deliveries are answered with.
    pub(crate) fails: Arc<Mutex<Option<Failure>>>,
}

impl Bot {
    pub(crate) fn new() -> Self {
        Self { seen: Arc::default(), gate: Arc::new(Semaphore::new(1 << 20)), fails: Arc::default() }
    }

    /// Serves on `listen`; the address.
    pub(crate) async fn serve(&self, listen: &str, lifecycle: &Lifecycle) -> String {
        let (listener, address) = kfops_rpc::bind(listen).await.unwrap();
        let routes = Routes::new(DeliveryServiceServer::new(self.clone()).max_decoding_message_size(32 << 20))
            .add_service(CommandServiceServer::new(self.clone()));
        let lifecycle = lifecycle.clone();
        tokio::spawn(async move {
            let names = ["kfops.command.v1.CommandService", "kfops.command.v1.DeliveryService"];
            kfops_rpc::serve(listener, routes, &names, &lifecycle).await.unwrap();
        });
        format!("http://{address}")
    }

    fn note<T>(&self, request: &Request<T>) {
        let mut seen = self.seen.lock().unwrap();
        let actor = request.metadata().get("kfops-actor").map(|v| v.to_str().unwrap().to_owned());
        seen.actors.push(actor.unwrap_or_default());
        seen.roots.push(trace_context(request.metadata()));
        seen.metadata = request
            .metadata()
            .keys()
            .map(|key| match key {
                tonic::metadata::KeyRef::Ascii(key) => key.to_string(),
                tonic::metadata::KeyRef::Binary(key) => key.to_string(),
            })
            .collect();
    }

    fn command(&self, name: &str) -> Result<Command, Status> {
        self.seen.lock().unwrap().commands.get(name).cloned().ok_or_else(|| {
            let failure = Failure::new(Reason::NotFound, format!("there is no command {name}")).on(name);
            status_of(&failure.action("see `kfc list`"))
        })
    }
}

#[tonic::async_trait]
impl DeliveryService for Bot {
    async fn accept_delivery(
        &self,
        request: Request<AcceptDeliveryRequest>,
    ) -> Result<Response<AcceptDeliveryResponse>, Status> {
        self.note(&request);
        self.gate.acquire().await.unwrap().forget();
        if let Some(failure) = self.fails.lock().unwrap().as_ref() {
            return Err(status_of(failure));
        }
        let request = request.into_inner();
        let mut seen = self.seen.lock().unwrap();
        let duplicate = !seen.ids.insert(request.delivery_id.clone());
        let commands =
            if request.event == "issue_comment" { vec![format!("commands/c-{}", seen.ids.len())] } else { Vec::new() };
        seen.deliveries.push(request);
        Ok(Response::new(AcceptDeliveryResponse { commands, duplicate }))
    }
}

type Snapshots<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl CommandService for Bot {
    async fn create_command(&self, request: Request<CreateCommandRequest>) -> Result<Response<Command>, Status> {
        self.note(&request);
        let root = trace_context(request.metadata());
        let request = request.into_inner();
        let mut command = request.command.unwrap_or_default();
        if command.repository.is_empty() {
            let failure = Failure::new(Reason::InvalidArgument, "repository is missing").on("command.repository");
            return Err(status_of(&failure));
        }
        command.name = format!("commands/{}", request.command_id);
        command.state = State::Received.into();
        command.trace_id = root.map(|root| root.trace_id.to_string()).unwrap_or_default();
        let mut seen = self.seen.lock().unwrap();
        Ok(Response::new(seen.commands.entry(command.name.clone()).or_insert(command).clone()))
    }

    async fn get_command(&self, request: Request<GetCommandRequest>) -> Result<Response<Command>, Status> {
        self.note(&request);
        self.command(&request.get_ref().name).map(Response::new)
    }

    async fn list_commands(
        &self,
        request: Request<ListCommandsRequest>,
    ) -> Result<Response<ListCommandsResponse>, Status> {
        self.note(&request);
        let commands = self.seen.lock().unwrap().commands.values().rev().cloned().collect();
        Ok(Response::new(ListCommandsResponse { commands, next_page_token: String::new() }))
    }

    type WatchCommandStream = Snapshots<Command>;
    /// Received, running, then it ends; a command called `broken` breaks in between, one called `long` never ends.
    async fn watch_command(
        &self,
        request: Request<WatchCommandRequest>,
    ) -> Result<Response<Self::WatchCommandStream>, Status> {
        self.note(&request);
        let command = self.command(&request.get_ref().name)?;
        let running = Command { state: State::Running.into(), ..command.clone() };
        let done = Command { state: State::Succeeded.into(), ..command.clone() };
        let broken = Failure::new(Reason::StoreUnavailable, "the ledger is away");
        Ok(Response::new(match command.name.as_str() {
            "commands/broken" => stream::iter([Ok(command), Err(status_of(&broken))]).boxed(),
            "commands/long" => stream::iter([Ok(command)]).chain(stream::pending()).boxed(),
            _ => stream::iter([Ok(command), Ok(running), Ok(done)]).boxed(),
        }))
    }

    async fn cancel_command(&self, request: Request<CancelCommandRequest>) -> Result<Response<Command>, Status> {
        self.note(&request);
        let command = self.command(&request.get_ref().name)?;
        Ok(Response::new(Command { state: State::Canceled.into(), ..command }))
    }

    async fn list_locks(&self, request: Request<ListLocksRequest>) -> Result<Response<ListLocksResponse>, Status> {
        self.note(&request);
        let lock = Lock { target: "namespaces/live/inferenceServices/iris".into(), fence: 3, ..Default::default() };
        Ok(Response::new(ListLocksResponse { locks: vec![lock] }))
    }

    type ReadCommandLogStream = Snapshots<ReadCommandLogResponse>;
    async fn read_command_log(
        &self,
        request: Request<ReadCommandLogRequest>,
    ) -> Result<Response<Self::ReadCommandLogStream>, Status> {
        self.command(&request.get_ref().name)?;
        let chunk = |data: &[u8]| Ok(ReadCommandLogResponse { data: data.to_vec() });
        Ok(Response::new(stream::iter([chunk(b"one\n"), chunk(b"two\n")]).boxed()))
    }
}
