//! ML Metadata, which up to KFP 2.17 is the only place where metrics are. Two of its gRPC calls are enough; their messages are
//! written by hand, with the fields that are read (ml_metadata/proto/metadata_store.proto, metadata_store_service.proto).

use std::{collections::BTreeMap, time::Duration};

use kfops_core::{Failure, Reason};
use prost::Message;
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// Longest wait for one answer.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Artifacts on a page, and most pages.
const PAGE: i32 = 100;
const PAGES: usize = 50;
/// The type of the context that a run is.
const RUN: &str = "system.PipelineRun";

/// A client of ML Metadata. Connects lazily.
#[derive(Debug, Clone)]
pub(in crate::cluster) struct Metadata(Channel);

#[derive(Clone, PartialEq, Message)]
struct ContextRequest {
    #[prost(string, tag = "1")]
    type_name: String,
    #[prost(string, tag = "2")]
    context_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContextResponse {
    #[prost(message, optional, tag = "1")]
    context: Option<Context>,
}

#[derive(Clone, PartialEq, Message)]
struct Context {
    #[prost(int64, tag = "1")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ArtifactsRequest {
    #[prost(int64, tag = "1")]
    context_id: i64,
    #[prost(message, optional, tag = "2")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(int32, optional, tag = "1")]
    max_result_size: Option<i32>,
    #[prost(string, optional, tag = "3")]
    next_page_token: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ArtifactsResponse {
    #[prost(message, repeated, tag = "1")]
    artifacts: Vec<Artifact>,
    #[prost(string, tag = "2")]
    next_page_token: String,
}

/// An artifact.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Artifact {
    #[prost(string, tag = "3")]
    pub(super) uri: String,
    #[prost(map = "string, message", tag = "5")]
    custom_properties: std::collections::HashMap<String, Property>,
    #[prost(string, tag = "8")]
    kind: String,
}

#[derive(Clone, PartialEq, Message)]
struct Property {
    #[prost(oneof = "Number", tags = "1, 2")]
    value: Option<Number>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum Number {
    #[prost(int64, tag = "1")]
    Integer(i64),
    #[prost(double, tag = "2")]
    Double(f64),
}

impl Artifact {
    /// The numbers of a `system.Metrics`.
    pub(super) fn metrics(&self) -> BTreeMap<String, f64> {
        if self.kind != "system.Metrics" {
            return BTreeMap::new();
        }
        let number = |property: &Property| match property.value? {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a metric that was logged as an integer is shown as a number"
            )]
            Number::Integer(value) => Some(value as f64),
            Number::Double(value) => Some(value).filter(|value| value.is_finite()),
        };
        // What KFP notes for itself.
        let own = |name: &str| matches!(name, "display_name" | "store_session_info");
        let known = self.custom_properties.iter().filter(|(name, _)| !own(name));
        known.filter_map(|(name, property)| Some((name.clone(), number(property)?))).collect()
    }
}

impl Metadata {
    pub(in crate::cluster) fn new(url: &str) -> Result<Self, Failure> {
        let wrong = |error: tonic::transport::Error| {
            Failure::new(Reason::InvalidArgument, format!("kfp.metadata `{url}` is no address: {error}"))
                .on("kfp.metadata")
        };
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(wrong)?;
        Ok(Self(endpoint.connect_timeout(TIME_LIMIT).timeout(TIME_LIMIT).connect_lazy()))
    }

    /// All artifacts of a run.
    pub(super) async fn artifacts(&self, run: &str) -> Result<Vec<Artifact>, Failure> {
        let request = ContextRequest { type_name: RUN.into(), context_name: run.into() };
        let context: ContextResponse = self.call("GetContextByTypeAndName", request).await?;
        let Some(context) = context.context else { return Ok(Vec::new()) };
        let (mut found, mut token) = (Vec::new(), None);
        for _ in 0..PAGES {
            let options = Some(Options { max_result_size: Some(PAGE), next_page_token: token });
            let request = ArtifactsRequest { context_id: context.id, options };
            let page: ArtifactsResponse = self.call("GetArtifactsByContext", request).await?;
            found.extend(page.artifacts);
            if page.next_page_token.is_empty() {
                break;
            }
            token = Some(page.next_page_token);
        }
        Ok(found)
    }

    async fn call<Q, A>(&self, name: &'static str, request: Q) -> Result<A, Failure>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let away = |error: String| Failure::new(Reason::ClusterUnavailable, format!("ML Metadata: {name}: {error}"));
        let path =
            PathAndQuery::try_from(format!("/ml_metadata.MetadataStoreService/{name}")).map_err(Failure::internal)?;
        let mut client = Grpc::new(self.0.clone());
        client.ready().await.map_err(|error| away(error.to_string()))?;
        let answer = client.unary(Request::new(request), path, ProstCodec::default()).await;
        answer.map(tonic::Response::into_inner).map_err(|status| away(status.message().chars().take(300).collect()))
    }
}
