//! `kfops.serving.v1.RolloutService`: protobuf messages <-> the domain.

use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use kfops_core::{Failure, Reason, ResourceId};
use kfops_proto::serving::{self as wire, rollout_service_server::RolloutService};
use kfops_rpc::{status_of, trace_context};
use tonic::{Request, Response, Status};

use self::convert::{request_from, rollout_to, service_to};
use crate::{
    deployer::{Deployer, Seen},
    rollout::Rollout,
    service::ServiceName,
};

mod convert;

/// The gRPC service.
pub(crate) struct Api(pub(crate) Deployer);

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: Result<T, Failure>) -> Answer<T> {
    result.map(Response::new).map_err(|failure| status_of(&failure))
}

#[tonic::async_trait]
impl RolloutService for Api {
    type WatchRolloutStream = Pin<Box<dyn Stream<Item = Result<wire::Rollout, Status>> + Send>>;

    async fn create_rollout(&self, request: Request<wire::CreateRolloutRequest>) -> Answer<wire::Rollout> {
        let context = trace_context(request.metadata());
        let message = request.into_inner();
        let preview = message.validate_only;
        let read = || {
            let id = ResourceId::parse(&message.rollout_id).map_err(|e| invalid("rollout_id", e.to_string()))?;
            let rollout = message.rollout.ok_or_else(|| invalid("rollout", "is missing"))?;
            Ok((id.to_string(), request_from(rollout)?))
        };
        let (id, request) = read().map_err(|failure: Failure| status_of(&failure))?;
        if preview {
            return answer(self.0.preview(id, request).await.map(rollout_to));
        }
        answer(self.0.create(id, request, context).await.map(rollout_to))
    }

    async fn get_rollout(&self, request: Request<wire::GetRolloutRequest>) -> Answer<wire::Rollout> {
        let id = id_of(&request.get_ref().name)?;
        answer(self.0.get(&id).await.map(rollout_to))
    }

    async fn list_rollouts(&self, request: Request<wire::ListRolloutsRequest>) -> Answer<wire::ListRolloutsResponse> {
        let request = request.into_inner();
        answer(self.0.list(request.page_size, &request.page_token).await.map(|page| wire::ListRolloutsResponse {
            rollouts: page.items.into_iter().map(|rollout| rollout_to(short(rollout))).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn watch_rollout(&self, request: Request<wire::WatchRolloutRequest>) -> Answer<Self::WatchRolloutStream> {
        let id = id_of(&request.get_ref().name)?;
        let stream = self.0.watch(&id).await.map_err(|failure| status_of(&failure))?;
        Ok(Response::new(Box::pin(stream.map(|rollout| Ok(rollout_to(rollout))))))
    }

    async fn cancel_rollout(&self, request: Request<wire::CancelRolloutRequest>) -> Answer<wire::Rollout> {
        let id = id_of(&request.get_ref().name)?;
        answer(self.0.cancel(&id).await.map(rollout_to))
    }

    async fn promote_rollout(&self, request: Request<wire::PromoteRolloutRequest>) -> Answer<wire::Rollout> {
        let id = id_of(&request.get_ref().name)?;
        answer(self.0.promote(&id).await.map(rollout_to))
    }

    async fn get_inference_service(
        &self,
        request: Request<wire::GetInferenceServiceRequest>,
    ) -> Answer<wire::InferenceService> {
        let name = ServiceName::parse(&request.get_ref().name).map_err(|failure| status_of(&failure.on("name")))?;
        answer(self.0.inference_service(&name).await.map(service_to))
    }

    async fn list_inference_services(
        &self,
        request: Request<wire::ListInferenceServicesRequest>,
    ) -> Answer<wire::ListInferenceServicesResponse> {
        let request = request.into_inner();
        let page = self.0.inference_services(request.page_size, &request.page_token).await;
        answer(page.map(|page| wire::ListInferenceServicesResponse {
            inference_services: page.items.into_iter().map(|seen| service_to(briefly(seen))).collect(),
            next_page_token: page.next_page_token,
        }))
    }
}

fn invalid(field: &str, message: impl Into<String>) -> Failure {
    Failure::new(Reason::InvalidArgument, format!("{field}: {}", message.into())).on(field)
}

fn id_of(name: &str) -> Result<String, Status> {
    ResourceId::of_name("rollouts", name)
        .map(|id| id.to_string())
        .map_err(|error| status_of(&invalid("name", format!("{error}; write it as rollouts/ID"))))
}

/// A page with every manifest could exceed what a message may hold: Get has them.
fn short(rollout: Rollout) -> Rollout {
    Rollout { manifest: String::new(), ..rollout }
}

/// See `short`.
fn briefly(mut seen: Seen) -> Seen {
    seen.service.revisions.iter_mut().for_each(|revision| revision.manifest.clear());
    seen
}
