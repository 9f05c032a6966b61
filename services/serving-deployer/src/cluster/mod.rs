//! The ports over a cluster: revisions are InferenceServices of KServe in Standard mode, behind Istio's ingress gateway.
//!
//! The InferenceService of the template's name is the one that people know. A new revision is a second one beside it,
//! `<name>-<number>`, without an address outside of the cluster; the VirtualService `kfops-<name>` shares the traffic of
//! both predictors' Services. Once the new one is live, the one of the template's name is given its spec, and takes over
//! when all its pods serve the revision; then the second one goes. Whatever dies meanwhile, the route leads to a predictor
//! that is proven, and all that is needed to go on is in the objects' labels.
//!
//! What the service account needs, in each namespace that is deployed to unless it says otherwise:
//!
//! | resources | verbs | for |
//! |---|---|---|
//! | serving.kserve.io inferenceservices | get list create patch delete | revisions |
//! | serving.kserve.io servingruntimes | list | the runtime's way to name a model |
//! | serving.kserve.io clusterservingruntimes (of the cluster) | list | the same |
//! | networking.istio.io virtualservices | get create patch | the route |
//! | security.istio.io authorizationpolicies | create patch | Kfops' own requests, with `kserve.user` |
//! | apps deployments | get | readiness |
//! | pods | list | readiness, failures |
//! | pods/log | get | the model server's log |
//! | pods (the ingress gateway's namespace) | list | counters, without a Prometheus |
//! | pods/proxy (the ingress gateway's namespace) | get | counters, with `kserve.metrics.by_api_server` |

mod drift;
mod functions;
#[cfg(test)]
mod knative;
mod kserve;
mod metrics;
mod objects;
mod pods;
mod prober;
mod render;
mod route;
mod router;
mod runtime;
mod runtimes;
mod scrape;
mod settings;
mod settle;
mod state;

use std::sync::Arc;

use kfops_core::{Failure, Reason, SystemClock};
use kfops_store::Store;
use kfops_telemetry::Tracer;

pub use settings::{KserveSettings, MetricsSettings, Mode};

use crate::{Ports, Settings};

impl Ports {
    /// Connects lazily.
    pub async fn cluster(settings: &Settings, tracer: Tracer) -> Result<Self, Failure> {
        let Some(kserve) = &settings.kserve else {
            return Err(Failure::new(Reason::InvalidArgument, "the section kserve is missing").on("kserve"));
        };
        kserve.validate()?;
        let client = kfops_kube::connect(&settings.kubernetes).await?;
        let prober = Arc::new(prober::Ingress::new(kserve)?);
        let cluster = Arc::new(kserve::Kserve::new(client, kserve.clone(), settings, Arc::clone(&prober))?);
        Ok(Self {
            runtime: Arc::new(runtime::Runtime(Arc::clone(&cluster))),
            router: Arc::new(router::Router(cluster)),
            prober,
            functions: Arc::new(functions::Refused),
            store: Store::open(&settings.store)?,
            clock: Arc::new(SystemClock),
            tracer,
        })
    }
}
