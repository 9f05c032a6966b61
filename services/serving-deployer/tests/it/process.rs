//! The service as a process of its own, which can be killed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kfops_proto::serving::{GetInferenceServiceRequest, rollout_service_client::RolloutServiceClient};
use kfops_serving_deployer::Settings;
use tonic::transport::Channel;

use crate::world::SERVICE;

pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) client: RolloutServiceClient<Channel>,
}

impl Process {
    pub(crate) fn start(settings: &Settings, file: &Path) -> Self {
        // JSON is YAML.
        std::fs::write(file, serde_json::to_string(settings).unwrap()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_kfops-serving-deployer"))
            .arg("--settings")
            .arg(file)
            .stderr(match std::env::var_os("KFOPS_TEST_LOG") {
                Some(_) => Stdio::inherit(),
                None => Stdio::null(),
            })
            .spawn()
            .unwrap();
        let channel = kfops_rpc::connect(&format!("http://{}", settings.listen)).unwrap();
        Self { child, client: RolloutServiceClient::new(channel) }
    }

    pub(crate) async fn up(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let request = GetInferenceServiceRequest { name: SERVICE.into() };
        while let Err(status) = self.client.get_inference_service(request.clone()).await {
            if status.code() == tonic::Code::NotFound {
                return;
            }
            assert!(Instant::now() < deadline, "{status}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
