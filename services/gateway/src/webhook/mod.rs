//! `POST /webhooks/github`: signature, then size and shape, then stored by scm-bot, then 202.

mod body;
mod delivery;
mod signature;

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use hyper::body::Body as _;
use kfops_core::{Failure, Reason};
use kfops_rpc::Lifecycle;
use kfops_telemetry::{Kind, Span, metrics::WEBHOOKS};
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};

use self::{
    body::BodyError,
    signature::{Secrets, Signature},
};
use crate::{
    answer,
    api::{Accepted, Delivery, Upstream},
    ports::Ports,
    settings::WebhookSettings,
};

/// Takes webhooks.
pub(crate) struct Webhooks {
    settings: WebhookSettings,
    secrets: Secrets,
    upstream: Upstream,
    ports: Ports,
    lifecycle: Lifecycle,
    slots: Semaphore,
    memory: Arc<Semaphore>,
}

/// Not taken: the HTTP status and why.
struct Refused(StatusCode, Failure);

impl Webhooks {
    pub(crate) fn new(settings: WebhookSettings, upstream: Upstream, ports: Ports, lifecycle: Lifecycle) -> Self {
        Self {
            secrets: Secrets::new(&settings.secrets),
            slots: Semaphore::new(settings.max_concurrent),
            memory: Arc::new(Semaphore::new(settings.max_memory)),
            settings,
            upstream,
            ports,
            lifecycle,
        }
    }

    /// Answers one request.
    pub(crate) async fn receive(&self, request: Request<Body>) -> Response {
        let (parts, mut body) = request.into_parts();
        let taken = self.take(&parts.headers, &mut body).await;
        if !body.is_end_stream() {
            // A client that is still sending would lose the answer to a reset connection.
            tokio::spawn(body::discard(body));
        }
        match taken {
            Ok(response) => response,
            Err(Refused(status, failure)) => {
                tracing::warn!(http.status = status.as_u16(), error = %failure, "webhook refused");
                answer::failure_as(status, &failure)
            }
        }
    }

    async fn take(&self, headers: &HeaderMap, body: &mut Body) -> Result<Response, Refused> {
        let received = self.ports.clock.now();
        let _slot = self.slots.try_acquire().map_err(|_| busy("too many webhooks at the same time"))?;
        if body.size_hint().lower() > self.settings.max_body as u64 {
            return Err(self.refused(BodyError::TooLarge));
        }
        let signature = Signature::of(headers).ok_or_else(|| unsigned("has no X-Hub-Signature-256"))?;
        let mut check = self.secrets.check();
        let limits = (self.settings.max_body, self.settings.body_timeout.get());
        let held =
            body::read(body, limits, &self.memory, |bytes| check.update(bytes)).await.map_err(|e| self.refused(e))?;
        if !check.matches(&signature) {
            return Err(unsigned("is not signed with the webhook's secret"));
        }
        // From here on the sender is GitHub.
        let (id, event) = delivery::identity(headers).map_err(bad_request)?;
        delivery::is_json(headers.get(CONTENT_TYPE)).map_err(|f| Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, f))?;
        delivery::is_object(&held.bytes).map_err(bad_request)?;
        if event == "ping" {
            tracing::info!(delivery = id, "ping");
            return Ok(answer::json(StatusCode::OK, &json!({"message": "pong", "delivery": id})));
        }
        self.hand_over(Delivery { id, event, payload: held.bytes.clone(), received }).await
    }

    /// Goes on to its end even if the sender hangs up: what was begun is finished.
    async fn hand_over(&self, delivery: Delivery) -> Result<Response, Refused> {
        let (upstream, ports) = (self.upstream.clone(), self.ports.clone());
        let deadline = self.settings.accept_timeout.get();
        let (done, accepted) = oneshot::channel();
        let id = delivery.id.clone();
        self.lifecycle.spawn(async move {
            let root = ports.new_trace();
            let accepted = upstream.accept(&delivery, &root, deadline).await;
            metrics::counter!(WEBHOOKS, "event" => delivery.event.clone(), "result" => result(&accepted)).increment(1);
            if let Ok(accepted) = &accepted {
                tracing::info!(
                    delivery = delivery.id,
                    event = delivery.event,
                    bytes = delivery.payload.len(),
                    duplicate = accepted.duplicate,
                    commands = accepted.commands.len(),
                    "webhook accepted"
                );
                if !accepted.duplicate && !accepted.commands.is_empty() {
                    ports.tracer.record(span(&root, &delivery, accepted, ports.clock.now()));
                }
            }
            done.send(accepted).ok();
        });
        match accepted.await {
            Ok(Ok(accepted)) => Ok(answer::json(
                StatusCode::ACCEPTED,
                &json!({"delivery": id, "commands": accepted.commands, "duplicate": accepted.duplicate}),
            )),
            Ok(Err(failure)) if failure.reason == Reason::InvalidArgument => Err(bad_request(failure)),
            Ok(Err(failure)) => Err(not_stored(&failure, &id)),
            Err(_) => Err(not_stored(&Failure::internal("the gateway is stopping"), &id)),
        }
    }

    fn refused(&self, error: BodyError) -> Refused {
        match error {
            BodyError::TooLarge => Refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                Failure::new(
                    Reason::InvalidArgument,
                    format!("the body is larger than {} bytes", self.settings.max_body),
                ),
            ),
            BodyError::TooSlow => Refused(
                StatusCode::REQUEST_TIMEOUT,
                Failure::new(
                    Reason::DeadlineExceeded,
                    format!("the body did not arrive within {} s", self.settings.body_timeout.get().as_secs_f32()),
                ),
            ),
            BodyError::Broken(error) => {
                bad_request(Failure::new(Reason::InvalidArgument, format!("the body broke off: {error}")))
            }
            BodyError::NoMemory => busy("too many large webhooks at the same time"),
        }
    }
}

const fn result(accepted: &Result<Accepted, Failure>) -> &'static str {
    match accepted {
        Ok(accepted) if accepted.duplicate => "duplicate",
        Ok(_) => "accepted",
        Err(_) => "not_stored",
    }
}

fn span(root: &kfops_core::TraceContext, delivery: &Delivery, accepted: &Accepted, end: std::time::SystemTime) -> Span {
    Span::child(root, "gateway", "POST /webhooks/github", delivery.received, end)
        .kind(Kind::Server)
        .with("http.request.method", "POST")
        .with("http.route", "/webhooks/github")
        .with("url.path", "/webhooks/github")
        .with("http.response.status_code", 202_i32)
        .with("http.request.body.size", i64::try_from(delivery.payload.len()).unwrap_or(i64::MAX))
        .with("kfops.delivery", delivery.id.as_str())
        .with("kfops.event", delivery.event.as_str())
        .with("kfops.command", accepted.commands.join(","))
}

fn unsigned(what: &str) -> Refused {
    let failure = Failure::new(Reason::Unauthenticated, format!("the request {what}"))
        .action("set the same secret in the webhook on GitHub and in webhook.secrets of the gateway");
    Refused(StatusCode::UNAUTHORIZED, failure)
}

fn busy(what: &str) -> Refused {
    let failure = Failure::new(Reason::ResourceExhausted, what).action("redeliver it in some seconds");
    Refused(StatusCode::SERVICE_UNAVAILABLE, failure)
}

fn bad_request(failure: Failure) -> Refused {
    Refused(StatusCode::BAD_REQUEST, failure)
}

fn not_stored(cause: &Failure, id: &str) -> Refused {
    let failure = Failure::new(Reason::WorkerUnavailable, format!("the delivery was not stored: {cause}"))
        .on(format!("deliveries/{id}"))
        .action("redeliver it, nothing happens twice");
    Refused(StatusCode::SERVICE_UNAVAILABLE, failure)
}
