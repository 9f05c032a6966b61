//! Calls to scm-bot.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::uri::PathAndQuery;
use kfops_core::{Failure, Reason, TraceContext};
use kfops_proto::command::{AcceptDeliveryRequest, delivery_service_client::DeliveryServiceClient};
use kfops_telemetry::{Kind, Span};
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, client::Grpc, metadata::AsciiMetadataValue, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::{bounded::bounded, codec::DynamicCodec};
use crate::{
    access::{Access, Actor},
    ports::Ports,
};

/// Methods that change nothing.
const READS: &[&str] = &["GetCommand", "ListCommands", "WatchCommand", "ReadCommandLog", "ListLocks"];

/// A webhook whose signature was right.
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) payload: Bytes,
    pub(crate) received: SystemTime,
}

/// What scm-bot made of it.
pub(crate) struct Accepted {
    pub(crate) commands: Vec<String>,
    pub(crate) duplicate: bool,
}

/// A call of an exposed method.
pub(crate) struct Call {
    pub(crate) method: MethodDescriptor,
    pub(crate) message: DynamicMessage,
    pub(crate) actor: Actor,
    pub(crate) deadline: Duration,
    pub(crate) face: Face,
}

/// How a call came in.
pub(crate) enum Face {
    /// REST: HTTP method and route.
    Http(http::Method, String),
    /// gRPC.
    Grpc,
}

/// The messages of a stream.
pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<DynamicMessage, Failure>> + Send>>;

/// scm-bot.
#[derive(Clone)]
pub(crate) struct Upstream {
    channel: Channel,
    access: Arc<Access>,
    ports: Ports,
    stopping: CancellationToken,
}

impl Upstream {
    /// Connects when it is first used.
    pub(crate) fn new(
        address: &str,
        access: Arc<Access>,
        ports: Ports,
        stopping: CancellationToken,
    ) -> Result<Self, Failure> {
        let channel = kfops_rpc::connect(address)
            .map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()).on("scm_bot"))?;
        Ok(Self { channel, access, ports, stopping })
    }

    /// Hands a delivery over; Ok once it is stored durably. May be asked again: the delivery's id makes it one.
    pub(crate) async fn accept(
        &self,
        delivery: &Delivery,
        root: &TraceContext,
        deadline: Duration,
    ) -> Result<Accepted, Failure> {
        let ask = || async {
            let message = AcceptDeliveryRequest {
                delivery_id: delivery.id.clone(),
                event: delivery.event.clone(),
                payload: delivery.payload.clone(),
                receive_time: Some(kfops_rpc::time_to_proto(delivery.received)),
            };
            let request = kfops_rpc::request(message, Some(root), deadline);
            DeliveryServiceClient::new(self.channel.clone()).accept_delivery(request).await
        };
        let response = within(deadline, kfops_rpc::retry_idempotent(ask)).await?.into_inner();
        Ok(Accepted { commands: response.commands, duplicate: response.duplicate })
    }

    /// Whether scm-bot says that it serves.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let request = Request::new(HealthCheckRequest { service: String::new() });
        let mut client = HealthClient::new(self.channel.clone());
        let answer = tokio::time::timeout(Duration::from_secs(2), client.check(request)).await;
        match answer {
            Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
            _ => Err(away()),
        }
    }

    /// One message, one answer. Every method of the contract may be asked again: ids make it one.
    pub(crate) async fn unary(&self, call: Call) -> Result<DynamicMessage, Failure> {
        let start = self.ports.clock.now();
        let login = self.allow(&call).await?;
        // A command that is made here gets its trace here, whatever trace the client is in.
        let root = call.method.name().starts_with("Create").then(|| self.ports.new_trace());
        let path = path(&call.method)?;
        let ask = || async {
            let mut grpc = Grpc::new(self.channel.clone());
            ready(&mut grpc).await?;
            let request = request(&call, login.clone(), root.as_ref());
            grpc.unary(request, path.clone(), DynamicCodec(call.method.output())).await
        };
        let response = within(call.deadline, kfops_rpc::retry_idempotent(ask)).await?.into_inner();
        if let Some(root) = root {
            let trace_id = response.get_field_by_name("trace_id");
            if trace_id.is_some_and(|id| id.as_str() == Some(root.trace_id.to_string().as_str())) {
                self.record(&call, &root, start);
            }
        }
        Ok(response)
    }

    /// One message, many answers. A failure that comes before the first answer is returned at once.
    pub(crate) async fn stream(&self, call: Call) -> Result<Messages, Failure> {
        let login = self.allow(&call).await?;
        let mut grpc = Grpc::new(self.channel.clone());
        let path = path(&call.method)?;
        let open = async {
            ready(&mut grpc).await?;
            grpc.server_streaming(request(&call, login, None), path, DynamicCodec(call.method.output())).await
        };
        let messages = open.await.map_err(|status| failure(&status))?.into_inner();
        let messages = messages.map(|message| message.map_err(|status| failure(&status))).boxed();
        Ok(bounded(messages, call.deadline, self.stopping.clone()))
    }

    /// Whether the caller may; who it is for scm-bot. Whoever only reads need not be known there.
    async fn allow(&self, call: &Call) -> Result<Option<AsciiMetadataValue>, Failure> {
        let name = call.message.get_field_by_name("name");
        let name = name.as_ref().and_then(|name| name.as_str()).unwrap_or_default();
        self.access.may(&call.actor, call.method.name(), name).await?;
        let login = match self.access.login(&call.actor) {
            Ok(login) => AsciiMetadataValue::try_from(login).map_err(Failure::internal)?,
            Err(_) if READS.contains(&call.method.name()) => return Ok(None),
            Err(failure) => return Err(failure),
        };
        Ok(Some(login))
    }

    fn record(&self, call: &Call, root: &TraceContext, start: SystemTime) {
        let end = self.ports.clock.now();
        let span = match &call.face {
            Face::Http(method, route) => Span::child(root, "gateway", format!("{method} {route}"), start, end)
                .with("http.request.method", method.as_str())
                .with("http.route", route.as_str())
                .with("http.response.status_code", 200_i32),
            Face::Grpc => {
                let name = format!("{}/{}", call.method.parent_service().full_name(), call.method.name());
                Span::child(root, "gateway", name.as_str(), start, end)
                    .with("rpc.system", "grpc")
                    .with("rpc.method", name.as_str())
            }
        };
        self.ports.tracer.record(span.kind(Kind::Server).with("enduser.id", call.actor.user()));
    }
}

fn path(method: &MethodDescriptor) -> Result<PathAndQuery, Failure> {
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    path.parse().map_err(Failure::internal)
}

fn request(call: &Call, login: Option<AsciiMetadataValue>, root: Option<&TraceContext>) -> Request<DynamicMessage> {
    let mut request = kfops_rpc::request(call.message.clone(), root, call.deadline);
    if let Some(login) = login {
        request.metadata_mut().insert("kfops-actor", login);
    }
    request
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))
}

async fn within<T>(deadline: Duration, call: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Err(failure)) if failure.reason == Reason::WorkerUnavailable => {
            tracing::warn!(error = %failure, "scm-bot away");
            Err(away())
        }
        Ok(result) => result,
        Err(_) => Err(late(deadline)),
    }
}

/// A stream's failure: as scm-bot made it, or that it is not there.
fn failure(status: &Status) -> Failure {
    let failure = kfops_rpc::failure_of(status);
    match status.code() {
        Code::DeadlineExceeded if failure.reason == Reason::DeadlineExceeded => {
            Failure::new(Reason::DeadlineExceeded, "the stream was open as long as it may").action("open it again")
        }
        _ if failure.reason == Reason::WorkerUnavailable => away(),
        _ => failure,
    }
}

fn away() -> Failure {
    Failure::new(Reason::WorkerUnavailable, "scm-bot does not answer")
        .on("scm-bot")
        .action("try again in some seconds; if it lasts, look whether kfops-scm-bot runs")
}

fn late(deadline: Duration) -> Failure {
    Failure::new(Reason::DeadlineExceeded, format!("scm-bot did not answer within {} s", deadline.as_secs_f32()))
        .on("scm-bot")
        .action("try again; asking twice is asking once")
}
