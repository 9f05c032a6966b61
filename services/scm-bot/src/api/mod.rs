//! Protobuf <-> domain: the command service and the delivery service.

mod convert;

use std::sync::Arc;

use futures::{Stream, StreamExt as _, stream::BoxStream};
use kfops_core::{Failure, Reason, ResourceId};
use kfops_proto::command::{
    self as pb, command_service_server::CommandService, delivery_service_server::DeliveryService,
};
use kfops_rpc::{status_of, time_from_proto, trace_context};
use tonic::{Request, Response, Status};

use crate::{
    command::{Command, Origin, Repository},
    delivery,
    driver::Driver,
    engine::Engine,
    grammar::Line,
    intake::{Intake, Webhook},
    ports::{Created, Filter},
    step::{Step, StepState},
};

/// Names for health and routes.
pub(crate) const SERVICES: &[&str] = &["kfops.command.v1.CommandService", "kfops.command.v1.DeliveryService"];
/// Ids of the commands of comments and buttons begin so.
const COMMENT_PREFIX: &str = "c-";
/// Metadata in which the gateway says who calls.
const ACTOR: &str = "kfops-actor";
/// Largest piece of a log.
const CHUNK: usize = 64 * 1024;

/// Both services.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) engine: Arc<Engine>,
    pub(crate) intake: Intake,
}

type Answer<T> = Result<Response<T>, Status>;

fn status(failure: Failure) -> Status {
    status_of(&failure)
}

fn wrong(field: &str, message: impl Into<String>) -> Status {
    status(Failure::new(Reason::InvalidArgument, message).on(field))
}

fn id_of(name: &str) -> Result<String, Status> {
    ResourceId::of_name("commands", name).map(|id| id.to_string()).map_err(|error| wrong("name", error.to_string()))
}

/// Who calls, as the gateway says.
fn actor<T>(request: &Request<T>) -> Result<String, Status> {
    let said = request.metadata().get(ACTOR).and_then(|actor| actor.to_str().ok());
    said.filter(|actor| delivery::login(actor)).map(str::to_owned).ok_or_else(|| {
        status(Failure::new(Reason::Unauthenticated, "nobody says who calls").action("call through the gateway"))
    })
}

impl Api {
    async fn new_command(&self, request: Request<pb::CreateCommandRequest>) -> Result<Command, Status> {
        let root = trace_context(request.metadata());
        let actor = actor(&request)?;
        let pb::CreateCommandRequest { command, command_id } = request.into_inner();
        let id = ResourceId::parse(&command_id).map_err(|error| wrong("command_id", error.to_string()))?;
        if id.to_string().starts_with(COMMENT_PREFIX) {
            // They follow from comments: whoever took one beforehand would keep that comment from being heard.
            let what = format!("ids that begin with `{COMMENT_PREFIX}` are those of comments");
            return Err(wrong("command_id", what));
        }
        let asked = command.ok_or_else(|| wrong("command", "there is no command"))?;
        let verb = convert::verb_of(asked.verb()).ok_or_else(|| wrong("command.verb", "the verb is not known"))?;
        let repository = Repository::parse(&asked.repository).map_err(|error| wrong("command.repository", error))?;
        if !self.engine.settings.github.allows(&repository) {
            let what = format!("{repository} is not one of the repositories whose commands are taken");
            let failure = Failure::new(Reason::PolicyRefused, what).on("command.repository");
            return Err(status(failure.action("the operator adds it to github.allow of scm-bot's settings")));
        }
        let number = u64::try_from(asked.pull_request).ok().filter(|number| *number > 0);
        let number =
            number.ok_or_else(|| wrong("command.pull_request", "it is the number of a pull request, from 1"))?;
        if asked.arguments.len() > 100 || asked.arguments.iter().map(String::len).sum::<usize>() > 65_536 {
            return Err(wrong("command.arguments", "there are more than 100, or more than 64 KiB of them"));
        }
        let received = self.engine.clock.now();
        let trace = root.unwrap_or_else(|| self.intake.trace());
        let command = Command::new(id.to_string(), verb, (repository, number), actor, Origin::Api, trace, received)
            .reading(Line::Command { verb, arguments: asked.arguments });
        match command.unreadable {
            Some(failure) => Err(status(failure)),
            None => Ok(command),
        }
    }
}

#[tonic::async_trait]
impl DeliveryService for Api {
    async fn accept_delivery(&self, request: Request<pb::AcceptDeliveryRequest>) -> Answer<pb::AcceptDeliveryResponse> {
        let trace = trace_context(request.metadata());
        let request = request.into_inner();
        let received = request.receive_time.as_ref().and_then(time_from_proto);
        let received = received.unwrap_or_else(|| self.engine.clock.now());
        let webhook =
            Webhook { delivery: request.delivery_id, event: request.event, payload: request.payload, received, trace };
        let taken = self.intake.take(webhook).await.map_err(status)?;
        Ok(Response::new(pb::AcceptDeliveryResponse {
            commands: taken.commands.iter().map(|id| format!("commands/{id}")).collect(),
            duplicate: taken.duplicate,
        }))
    }
}

#[tonic::async_trait]
impl CommandService for Api {
    type WatchCommandStream = BoxStream<'static, Result<pb::Command, Status>>;
    type ReadCommandLogStream = BoxStream<'static, Result<pb::ReadCommandLogResponse, Status>>;

    async fn create_command(&self, request: Request<pb::CreateCommandRequest>) -> Answer<pb::Command> {
        let command = self.new_command(request).await?;
        match self.engine.ledger.create(command).await.map_err(status)? {
            Created::Existing(command) => Ok(Response::new(convert::command(&command))),
            Created::New(command) => {
                let answer = convert::command(&command);
                self.engine.admit(command);
                Ok(Response::new(answer))
            }
        }
    }

    async fn get_command(&self, request: Request<pb::GetCommandRequest>) -> Answer<pb::Command> {
        let id = id_of(&request.get_ref().name)?;
        let command = self.engine.ledger.get(&id).await.map_err(status)?;
        Ok(Response::new(convert::command(&command)))
    }

    async fn list_commands(&self, request: Request<pb::ListCommandsRequest>) -> Answer<pb::ListCommandsResponse> {
        let request = request.into_inner();
        let repository = match request.repository.as_str() {
            "" => None,
            text => Some(Repository::parse(text).map_err(|error| wrong("repository", error))?),
        };
        let pull_request = match request.pull_request {
            0 => None,
            number => Some(u64::try_from(number).map_err(|_| wrong("pull_request", "it must not be negative"))?),
        };
        let filter = Filter { repository, pull_request };
        let page = self.engine.ledger.list(filter, request.page_size, &request.page_token).await.map_err(status)?;
        Ok(Response::new(pb::ListCommandsResponse {
            commands: page.commands.iter().map(convert::command).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn watch_command(&self, request: Request<pb::WatchCommandRequest>) -> Answer<Self::WatchCommandStream> {
        let id = id_of(&request.get_ref().name)?;
        let snapshots = self.engine.watch(&id).await.map_err(status)?;
        Ok(Response::new(until(snapshots.map(|command| Ok(convert::command(&command))), &self.engine)))
    }

    async fn cancel_command(&self, request: Request<pb::CancelCommandRequest>) -> Answer<pb::Command> {
        let actor = actor(&request)?;
        let by = format!("by @{actor} through the API");
        let id = id_of(&request.get_ref().name)?;
        let command = self.engine.ledger.get(&id).await.map_err(status)?;
        if !command.state.ended() {
            Driver::may_cancel(&self.engine, &command, actor).await.map_err(status)?;
        }
        let command = self.engine.cancel(&id, &by).await.map_err(status)?;
        Ok(Response::new(convert::command(&command)))
    }

    async fn list_locks(&self, _: Request<pb::ListLocksRequest>) -> Answer<pb::ListLocksResponse> {
        let locks = self.engine.ledger.locks().await.map_err(status)?;
        Ok(Response::new(pb::ListLocksResponse { locks: locks.iter().map(convert::lock).collect() }))
    }

    async fn read_command_log(
        &self,
        request: Request<pb::ReadCommandLogRequest>,
    ) -> Answer<Self::ReadCommandLogStream> {
        let request = request.into_inner();
        let command = self.engine.ledger.get(&id_of(&request.name)?).await.map_err(status)?;
        let step = log_step(&command, &request.step).ok_or_else(|| {
            let what = if request.step.is_empty() {
                "no step has a log yet".into()
            } else {
                format!("step `{}` has no log", request.step)
            };
            status(Failure::new(Reason::NotFound, what).on(&request.name))
        })?;
        let log = self.engine.store.get(&step.log_key).await.map_err(status)?;
        let pieces: Vec<_> = (0..log.len().div_ceil(CHUNK))
            .map(|at| {
                Ok(pb::ReadCommandLogResponse { data: log[at * CHUNK..((at + 1) * CHUNK).min(log.len())].to_vec() })
            })
            .collect();
        Ok(Response::new(futures::stream::iter(pieces).boxed()))
    }
}

/// The step of that title; without one: the one that failed, its parts first, else the last with a log.
fn log_step<'a>(command: &'a Command, title: &str) -> Option<&'a Step> {
    let mut logged = command.steps.iter().filter(|step| !step.log_key.is_empty());
    if !title.is_empty() {
        return logged.find(|step| step.title == title);
    }
    let failed = |part: bool| {
        command
            .steps
            .iter()
            .find(|step| step.part == part && step.state == StepState::Failed && !step.log_key.is_empty())
    };
    failed(true).or_else(|| failed(false)).or_else(|| logged.next_back())
}

/// Ends with the service's first stage of stopping, so that watchers come again elsewhere.
fn until<T: Send + 'static>(
    stream: impl Stream<Item = Result<T, Status>> + Send + 'static,
    engine: &Engine,
) -> BoxStream<'static, Result<T, Status>> {
    let stopping = engine.lifecycle.stopping();
    stream.take_until(async move { stopping.cancelled().await }).boxed()
}
