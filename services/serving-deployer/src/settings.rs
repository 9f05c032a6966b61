//! What can be set.

use std::{net::SocketAddr, path::PathBuf};

use kfops_core::{Failure, Reason};
use kfops_kube::KubernetesSettings;
use kfops_settings::HumanDuration;
use kfops_store::StoreSettings;
use kfops_telemetry::TelemetrySettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::KserveSettings;

/// Settings of the serving-deployer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where gRPC is served.
    pub listen: String,
    /// Spans and logs.
    pub telemetry: TelemetrySettings,
    /// Folder of this service alone: its database, logs of the model servers, the router's configuration.
    pub state: PathBuf,
    /// Object store: `file:///folder`, `s3://bucket/prefix`, or a mapping with `url`, `endpoint` and more.
    pub store: StoreSettings,
    /// Serves models by KServe in a cluster. Unset: by processes on this machine.
    pub kserve: Option<KserveSettings>,
    /// How the cluster is reached.
    pub kubernetes: KubernetesSettings,
    /// Where models are answered; a loopback address. Port 0 takes a free one and keeps it over restarts.
    pub listen_models: String,
    /// Python of an environment with kserve and the frameworks of the models.
    pub python: PathBuf,
    /// Folders that model servers and deployment functions must not see, e.g. with secrets. The state folder is hidden
    /// anyway; a revision's own model and the Python environment stay readable. Only bubblewrap can hide.
    pub hide: Vec<PathBuf>,
    /// The Envoy program.
    pub envoy: PathBuf,
    /// OTLP/HTTP base URL that model servers send spans to, e.g. `http://127.0.0.1:4318`. Unset: they send none.
    pub model_otlp_endpoint: Option<String>,
    /// A revision that is not ready by then has failed.
    pub ready_timeout: HumanDuration,
    /// Between two questions to a model server whether it is there, and how long it may take to say so. One that misses
    /// three in a row hangs: it is started again.
    pub probe_interval: HumanDuration,
    /// A prediction that takes longer is cut off.
    pub predict_timeout: HumanDuration,
    /// How long each canary percentage is watched when the rollout does not say.
    pub hold: HumanDuration,
    /// A canary step that cannot be judged by then fails, when the rollout does not say.
    pub step_timeout: HumanDuration,
    /// Fewer requests than this hold a canary step, when the rollout does not say.
    pub min_requests: u32,
    /// Requests that a revision still answers when it leaves are waited for so long, then they are cut. Not shorter than
    /// `predict_timeout`, or requests that are in time would be cut.
    pub drain_timeout: HumanDuration,
    /// Work under way may take so long to reach a point from which it can be resumed, when the service is stopped.
    pub patience: HumanDuration,
}

impl kfops_boot::ServiceSettings for Settings {
    fn listen(&self) -> &str {
        &self.listen
    }

    fn telemetry(&self) -> &TelemetrySettings {
        &self.telemetry
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9004".into(),
            telemetry: TelemetrySettings::default(),
            state: ".kfops/serving-deployer".into(),
            store: StoreSettings::default(),
            kserve: None,
            kubernetes: KubernetesSettings::default(),
            listen_models: "127.0.0.1:8081".into(),
            python: "python3".into(),
            hide: Vec::new(),
            envoy: "envoy".into(),
            model_otlp_endpoint: None,
            ready_timeout: HumanDuration::from_secs(90),
            probe_interval: HumanDuration::from_secs(10),
            predict_timeout: HumanDuration::from_secs(60),
            hold: HumanDuration::from_secs(30),
            step_timeout: HumanDuration::from_secs(600),
            min_requests: 20,
            drain_timeout: HumanDuration::from_secs(65),
            patience: HumanDuration::from_secs(10),
        }
    }
}

impl Settings {
    /// The address for models: models have no authentication of their own here, so they stay on this machine.
    pub fn models_address(&self) -> Result<SocketAddr, Failure> {
        let wrong = |cause: &str| {
            Failure::new(Reason::InvalidArgument, format!("`{}` {cause}", self.listen_models))
                .on("listen_models")
                .action("write it like 127.0.0.1:8081")
        };
        let address: SocketAddr = self.listen_models.parse().map_err(|_| wrong("is not an address with a port"))?;
        if address.ip().is_loopback() { Ok(address) } else { Err(wrong("is not a loopback address")) }
    }

    /// What no type can say: a drain leaves requests the time that they have.
    pub fn check(&self) -> Result<(), Failure> {
        match &self.kserve {
            Some(kserve) => kserve.validate()?,
            None => drop(self.models_address()?),
        }
        let (drain, predict) = (self.drain_timeout.get(), self.predict_timeout.get());
        if drain >= predict {
            return Ok(());
        }
        let text = format!("{drain:?} is shorter than predict_timeout, {predict:?}: requests would be cut");
        Err(Failure::new(Reason::InvalidArgument, text)
            .on("drain_timeout")
            .action("make drain_timeout as long as predict_timeout, or a little longer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_lasts_as_long_as_a_prediction_may() {
        let of = |drain: u64, predict: u64| {
            let (drain_timeout, predict_timeout) = (HumanDuration::from_secs(drain), HumanDuration::from_secs(predict));
            Settings { drain_timeout, predict_timeout, ..Settings::default() }.check()
        };
        assert!(Settings::default().check().is_ok() && of(60, 60).is_ok());
        assert_eq!(of(59, 60).unwrap_err().resource, "drain_timeout");
    }

    #[test]
    fn models_stay_on_the_loopback_interface() {
        let of = |text: &str| Settings { listen_models: text.into(), ..Settings::default() }.models_address();
        assert!(of("127.0.0.1:0").is_ok());
        for bad in ["0.0.0.0:8081", "10.0.0.1:80", "localhost", "127.0.0.1"] {
            assert_eq!(of(bad).unwrap_err().reason, Reason::InvalidArgument, "{bad}");
        }
    }
}
