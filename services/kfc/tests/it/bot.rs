//! A scm-bot that plays each command by its verb: builds succeed, runs fail, deploys are refused.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex},
};

use futures::{Stream, StreamExt as _, stream};
use kfops_core::{Failure, Reason};
use kfops_proto::command::{
    CancelCommandRequest, Command, CreateCommandRequest, GetCommandRequest, Lineage, ListCommandsRequest,
    ListCommandsResponse, ListLocksRequest, ListLocksResponse, Lock, ReadCommandLogRequest, ReadCommandLogResponse,
    State, Step, StepState, Verb, WatchCommandRequest,
    command_service_server::{CommandService, CommandServiceServer},
};
use kfops_rpc::{Lifecycle, failure_to_proto, status_of};
use tonic::{Request, Response, Status, service::Routes};

/// Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Bot {
    pub(crate) commands: Arc<Mutex<BTreeMap<String, Command>>>,
    /// How many watches are still to be cut off in the middle.
    pub(crate) cuts: Arc<Mutex<u32>>,
    pub(crate) locks: Arc<Mutex<Vec<Lock>>>,
}

impl Bot {
    pub(crate) async fn serve(&self, life: &Lifecycle) -> String {
        let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
        let (routes, life) = (Routes::new(CommandServiceServer::new(self.clone())), life.clone());
        tokio::spawn(async move { kfops_rpc::serve(listener, routes, &[], &life).await.unwrap() });
        format!("http://{address}")
    }

    fn get(&self, name: &str) -> Result<Command, Status> {
        let missing = || status_of(&Failure::new(Reason::NotFound, format!("there is no command {name}")));
        self.commands.lock().unwrap().get(name).cloned().ok_or_else(missing)
    }
}

fn time(seconds: i64, tenths: i32) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_795_000_000 + seconds, nanos: tenths * 100_000_000 })
}

fn step(title: &str, state: StepState, message: &str) -> Step {
    let ended = state != StepState::Running;
    Step {
        title: title.into(),
        state: state.into(),
        start_time: time(0, 0),
        end_time: ended.then(|| time(21, 0)).flatten(),
        message: message.into(),
        ..Step::default()
    }
}

/// Snapshots from the first to the last.
fn story(command: &Command) -> Vec<Command> {
    let at = |state: State, steps: Vec<Step>| Command { state: state.into(), steps, ..command.clone() };
    let gate = || step("gate", StepState::Succeeded, "up to date with `main`");
    let end = |mut command: Command, reason: Reason, message: &str| {
        let failure = Failure::new(reason, message).action("look at the log").log_tail("line 1\nline 2");
        command.failure = Some(failure_to_proto(&failure));
        command
    };
    let running = at(State::Running, vec![gate(), step("build", StepState::Running, "")]);
    let mut last = match command.verb() {
        Verb::Deploy => {
            end(at(State::Refused, vec![gate()]), Reason::BehindBase, "the branch is 2 commits behind `main`")
        }
        Verb::Run => {
            let steps = vec![gate(), step("task train", StepState::Failed, "exit code 1\u{1b}[31m")];
            end(at(State::Failed, steps), Reason::TaskFailed, "task train failed")
        }
        Verb::Plan | Verb::Status | Verb::Why | Verb::Unlock => {
            let answer =
                format!("**{:?}** of `{}`\n\n| | link |\n|---|---|\n| ✓ | run |\n", command.verb(), command.repository);
            Command { answer, ..at(State::Succeeded, vec![gate(), step("answer", StepState::Succeeded, "")]) }
        }
        _ => at(State::Succeeded, vec![gate(), step("build", StepState::Succeeded, "2 images")]),
    };
    last.end_time = time(72, 4);
    vec![command.clone(), running, last]
}

type Snapshots<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl CommandService for Bot {
    async fn create_command(&self, request: Request<CreateCommandRequest>) -> Result<Response<Command>, Status> {
        let root = kfops_rpc::trace_context(request.metadata());
        let request = request.into_inner();
        let mut command = request.command.unwrap_or_default();
        if command.repository == "o/forbidden" {
            return Err(status_of(&Failure::new(Reason::PermissionDenied, "local may not command o/forbidden")));
        }
        command.name = format!("commands/{}", request.command_id);
        command.state = State::Received.into();
        command.create_time = time(0, 0);
        if command.verb() == Verb::Deploy && command.arguments.is_empty() {
            command.lineage = Some(Lineage {
                inference_service: "namespaces/live/inferenceServices/iris".into(),
                revision: "iris-00009".into(),
                ..Lineage::default()
            });
        }
        command.trace_id = root.map(|root| root.trace_id.to_string()).unwrap_or_default();
        self.commands.lock().unwrap().entry(command.name.clone()).or_insert(command.clone());
        Ok(Response::new(command))
    }

    async fn get_command(&self, request: Request<GetCommandRequest>) -> Result<Response<Command>, Status> {
        let command = self.get(&request.get_ref().name)?;
        Ok(Response::new(story(&command).pop().unwrap_or(command)))
    }

    /// Pages of two.
    async fn list_commands(
        &self,
        request: Request<ListCommandsRequest>,
    ) -> Result<Response<ListCommandsResponse>, Status> {
        let request = request.into_inner();
        let all: Vec<Command> = self.commands.lock().unwrap().values().cloned().collect();
        let skip = request.page_token.parse().unwrap_or(0);
        let commands: Vec<_> =
            all.iter().skip(skip).take(2.min(request.page_size.try_into().unwrap_or(2))).cloned().collect();
        let next = skip + commands.len();
        let next_page_token = if next < all.len() { next.to_string() } else { String::new() };
        Ok(Response::new(ListCommandsResponse { commands, next_page_token }))
    }

    type WatchCommandStream = Snapshots<Command>;
    async fn watch_command(
        &self,
        request: Request<WatchCommandRequest>,
    ) -> Result<Response<Self::WatchCommandStream>, Status> {
        let mut snapshots = story(&self.get(&request.get_ref().name)?);
        let mut cuts = self.cuts.lock().unwrap();
        if *cuts > 0 {
            *cuts -= 1;
            snapshots.pop();
            let cut = status_of(&Failure::new(Reason::StoreUnavailable, "the ledger is away"));
            return Ok(Response::new(stream::iter(snapshots).map(Ok).chain(stream::iter([Err(cut)])).boxed()));
        }
        Ok(Response::new(stream::iter(snapshots).map(Ok).boxed()))
    }

    async fn cancel_command(&self, request: Request<CancelCommandRequest>) -> Result<Response<Command>, Status> {
        let command = self.get(&request.get_ref().name)?;
        Ok(Response::new(Command { state: State::Canceled.into(), ..command }))
    }

    async fn list_locks(&self, _: Request<ListLocksRequest>) -> Result<Response<ListLocksResponse>, Status> {
        let locks = self.locks.lock().unwrap().clone();
        Ok(Response::new(ListLocksResponse { locks }))
    }

    type ReadCommandLogStream = Snapshots<ReadCommandLogResponse>;
    async fn read_command_log(
        &self,
        request: Request<ReadCommandLogRequest>,
    ) -> Result<Response<Self::ReadCommandLogStream>, Status> {
        self.get(&request.get_ref().name)?;
        let chunk = |text: &str| Ok(ReadCommandLogResponse { data: text.as_bytes().to_vec() });
        let title = format!("[{}]\n", request.get_ref().step);
        Ok(Response::new(stream::iter([chunk(&title), chunk("one\n"), chunk("two\n")]).boxed()))
    }
}
