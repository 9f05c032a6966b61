//! Health, readiness, and the two stages of stopping.

use std::time::Duration;

use kfops_gateway::{Ports, Service, Settings};
use kfops_proto::command::{WatchCommandRequest, command_service_client::CommandServiceClient};
use kfops_telemetry::Tracer;

use crate::harness::{CLIENT, gateway, until};

#[tokio::test]
async fn ready_as_long_as_scm_bot_is() {
    let gateway = gateway().await;
    let ask = async |path: &str| CLIENT.get(gateway.url(path)).send().await.unwrap().status().as_u16();
    assert_eq!(ask("/healthz").await, 200);
    assert_eq!(ask("/readyz").await, 200);
    gateway.bot_life.stop();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while ask("/readyz").await != 503 {
        assert!(tokio::time::Instant::now() < deadline, "still ready");
    }
    assert_eq!(ask("/healthz").await, 200);
}

#[tokio::test]
async fn webhooks_under_way_finish_before_the_end() {
    let mut gateway = gateway().await;
    gateway.bot.gate.forget_permits(usize::MAX >> 4);
    let sent = tokio::spawn(gateway.webhook("issue_comment", "{}").send());
    until("scm-bot is asked", || !gateway.bot.seen.lock().unwrap().roots.is_empty()).await;
    gateway.life.stop();
    let address = gateway.address;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        assert!(tokio::time::Instant::now() < deadline, "still listening");
    }
    assert!(!gateway.served.is_finished());
    gateway.bot.gate.add_permits(1);
    assert_eq!(sent.await.unwrap().unwrap().status(), 202);
    let served = tokio::time::timeout(Duration::from_secs(10), &mut gateway.served).await;
    served.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn streams_do_not_keep_it_alive() {
    let mut gateway = gateway().await;
    let body = serde_json::json!({"verb": "VERB_RUN", "repository": "o/r"});
    CLIENT.post(gateway.url("/v1/commands?command_id=long")).json(&body).send().await.unwrap();
    let watch = CLIENT.get(gateway.url("/v1/commands/long:watch")).send().await.unwrap();
    let mut client = CommandServiceClient::new(kfops_rpc::connect(&gateway.url("")).unwrap());
    let request = WatchCommandRequest { name: "commands/long".into() };
    let mut grpc = client.watch_command(request).await.unwrap().into_inner();
    grpc.message().await.unwrap();
    gateway.life.stop();
    let text = watch.text().await.unwrap();
    assert!(text.contains("the gateway is stopping"), "{text}");
    let status = grpc.message().await.unwrap_err();
    assert_eq!(status.message(), "the gateway is stopping");
    tokio::time::timeout(Duration::from_secs(10), &mut gateway.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn wrong_settings_are_said_at_once() {
    let ports = || Ports::local(Tracer::disabled());
    let failure = Service::build(Settings::default(), ports()).await.err().unwrap();
    assert!(failure.message.contains("webhook.secrets"), "{failure}");
}

#[tokio::test]
async fn the_binary_says_what_is_wrong_and_stops_on_a_signal() {
    use tokio::io::{AsyncBufReadExt as _, BufReader};

    let binary = env!("CARGO_BIN_EXE_kfops-gateway");
    let output = tokio::process::Command::new(binary).output().await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("webhook.secrets"), "{output:?}");
    let mut child = tokio::process::Command::new(binary)
        .args(["--set", "listen=127.0.0.1:0"])
        .env("KFOPS_GATEWAY_WEBHOOK__SECRETS", "[s3cret]")
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.unwrap().unwrap().unwrap();
    assert!(line.contains("listening") && line.contains("127.0.0.1:"), "{line}");
    let pid = child.id().unwrap().to_string();
    tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}
