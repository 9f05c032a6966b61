//! A gateway and its scm-bot, and the signed requests of a GitHub.

use std::{net::SocketAddr, sync::LazyLock, time::Duration};

use hmac::{Hmac, KeyInit as _, Mac as _};
use kfops_gateway::{GatewayError, Ports, Secret, Service, Settings};
use kfops_rpc::Lifecycle;
use kfops_settings::HumanDuration;
use kfops_telemetry::Tracer;
use reqwest::{Client, RequestBuilder};
use sha2::Sha256;
use tokio::task::JoinHandle;

use crate::bot::Bot;

pub(crate) const SECRET: &str = "It's a Secret to Everybody";
pub(crate) const GUID: &str = "72d3162e-cc78-11e3-81ab-4c9367dc0958";

pub(crate) static CLIENT: LazyLock<Client> =
    LazyLock::new(|| Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap());

pub(crate) struct Gateway {
    pub(crate) bot: Bot,
    pub(crate) bot_life: Lifecycle,
    pub(crate) life: Lifecycle,
    pub(crate) tracer: Tracer,
    pub(crate) address: SocketAddr,
    pub(crate) served: JoinHandle<Result<(), GatewayError>>,
}

/// A gateway with short limits in front of a scm-bot.
pub(crate) async fn gateway() -> Gateway {
    gateway_with(|_| ()).await
}

pub(crate) async fn gateway_with(change: impl FnOnce(&mut Settings)) -> Gateway {
    let (bot, bot_life, life) = (Bot::new(), Lifecycle::new(), Lifecycle::new());
    let mut settings = Settings { scm_bot: bot.serve("127.0.0.1:0", &bot_life).await, ..Settings::default() };
    settings.webhook.secrets = vec![Secret::new("an older secret"), Secret::new(SECRET)];
    settings.webhook.body_timeout = HumanDuration(Duration::from_millis(700));
    settings.webhook.accept_timeout = HumanDuration(Duration::from_secs(5));
    settings.header_timeout = HumanDuration(Duration::from_millis(700));
    settings.api.loopback_user = Some("local".into());
    change(&mut settings);
    let tracer = Tracer::disabled();
    let service = Service::build(settings, Ports::local(tracer.clone())).await.unwrap();
    let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
    let served = tokio::spawn(service.serve(listener, life.clone()));
    Gateway { bot, bot_life, life, tracer, address, served }
}

impl Gateway {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A webhook as GitHub sends it.
    pub(crate) fn webhook(&self, event: &str, body: impl Into<Vec<u8>>) -> RequestBuilder {
        let body = body.into();
        CLIENT
            .post(self.url("/webhooks/github"))
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", GUID)
            .header("x-hub-signature-256", sign(SECRET, &body))
            .body(body)
    }

    pub(crate) fn delivered(&self) -> usize {
        self.bot.seen.lock().unwrap().deliveries.len()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.life.stop();
        self.bot_life.stop();
    }
}

pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
