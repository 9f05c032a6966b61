//! Sends queued webhooks: in order for each hook, one attempt each, never in the way of a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use sha2::Sha256;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::faults::WebhookFault;
use crate::held::Held;
use crate::hub::Hub;
use crate::json::encode;
use crate::model::{Delivery, Hook, Outcome};
use crate::store;

/// GitHub waits this long.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Most of an answer that is kept.
const BODY_LIMIT: usize = 64 << 10;
/// How long a failing database is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts a sender for every hook that has something to send, until told to stop.
pub(crate) async fn run(hub: Arc<Hub>, stop: CancellationToken) {
    let client = match client() {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(?error, "webhooks cannot be sent");
            return;
        }
    };
    let mut senders: HashMap<i64, (Arc<Notify>, tokio::task::JoinHandle<()>)> = HashMap::new();
    loop {
        let waiting = hub.store.read(store::waiting_hooks).await.unwrap_or_else(|error| {
            tracing::error!(?error, "deliveries cannot be read");
            Vec::new()
        });
        for hook in waiting {
            let (wake, _) = senders.entry(hook).or_insert_with(|| {
                let wake = Arc::new(Notify::new());
                let sender = send(hub.clone(), client.clone(), hook, wake.clone());
                (wake, tokio::spawn(sender))
            });
            wake.notify_one();
        }
        tokio::select! {
            () = hub.wake.notified() => {}
            // After a database that failed.
            () = tokio::time::sleep(PAUSE) => {}
            () = stop.cancelled() => break,
        }
    }
    for (_, (_, sender)) in senders {
        // What it was sending is sent again by the next start, under the same GUID.
        sender.abort();
    }
}

/// Sends what one hook has to send, whenever it is woken.
async fn send(hub: Arc<Hub>, client: reqwest::Client, hook: i64, wake: Arc<Notify>) {
    let mut held = Held::default();
    loop {
        match held.next() {
            None => wake.notified().await,
            Some(at) => tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep_until(at.into()) => {}
            },
        }
        drain(&hub, &client, hook, &mut held).await;
    }
}

fn client() -> Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIME_LIMIT)
        .build()
        .map_err(Error::internal)
}

async fn drain(hub: &Hub, client: &reqwest::Client, hook: i64, held: &mut Held) {
    loop {
        let back = held.back();
        let (delivery, hook) = match hub.store.read(move |db| store::next_delivery(db, hook, &back)).await {
            Ok(Some(next)) => next,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(?error, "a delivery cannot be read");
                return;
            }
        };
        let (event, action) = (delivery.event.as_str(), delivery.action.as_deref());
        let fault = match held.is_fresh(delivery.id) {
            true => hub.faults.of_webhook(event, action, delivery.redelivery),
            false => None,
        };
        if fault.is_some_and(|fault| held.hold(delivery.id, fault)) {
            continue;
        }
        let outcome = misbehave(client, &hook, &delivery, fault).await;
        if let Some(log) = &hub.exchange {
            let fault = fault.map(|fault| format!("{fault:?}").to_lowercase());
            log.webhook(event, &outcome.request_headers, &delivery.payload, outcome.status_code, fault.as_deref());
        }
        tracing::debug!(
            delivery = delivery.guid,
            event = delivery.event,
            status = outcome.status_code,
            message = outcome.status,
            "webhook sent"
        );
        if let Err(error) = hub.store.write(move |db| store::record(db, delivery.id, &outcome)).await {
            tracing::error!(?error, "the outcome of a delivery cannot be written");
            return;
        }
        held.sent(delivery.id);
    }
}

/// Sends a webhook as often as the fault says, and says of it what the fault says.
async fn misbehave(client: &reqwest::Client, hook: &Hook, delivery: &Delivery, fault: Option<WebhookFault>) -> Outcome {
    let failed = |outcome: Outcome| Outcome {
        status: "timed out".to_owned(),
        status_code: 0,
        response_headers: Map::new(),
        response_body: String::new(),
        ..outcome
    };
    match fault {
        Some(WebhookFault::Drop) => {
            let headers = request(hook, delivery).map(|(headers, _)| described(&headers)).unwrap_or_default();
            failed(Outcome { url: hook.url.clone(), request_headers: headers, ..Outcome::default() })
        }
        Some(WebhookFault::Unheard) => failed(attempt(client, hook, delivery).await),
        Some(WebhookFault::Duplicate) => {
            attempt(client, hook, delivery).await;
            attempt(client, hook, delivery).await
        }
        _ => attempt(client, hook, delivery).await,
    }
}

/// What is sent: the body, and the headers that describe it.
fn request(hook: &Hook, delivery: &Delivery) -> Result<(HeaderMap, String)> {
    let body = if hook.form { format!("payload={}", encode(&delivery.payload)) } else { delivery.payload.clone() };
    let mut headers = HeaderMap::new();
    let mut add = |name: &'static str, value: &str| {
        let value = HeaderValue::from_str(value).map_err(Error::internal)?;
        headers.insert(HeaderName::from_static(name), value);
        Ok::<_, Error>(())
    };
    add("accept", "*/*")?;
    add("content-type", if hook.form { "application/x-www-form-urlencoded" } else { "application/json" })?;
    add("user-agent", "GitHub-Hookshot/kfops")?;
    add("x-github-delivery", &delivery.guid)?;
    add("x-github-event", &delivery.event)?;
    add("x-github-hook-id", &hook.id.to_string())?;
    let (kind, target) = match hook.app_id {
        Some(app) => ("integration", Some(app)),
        None => ("repository", hook.repository_id),
    };
    add("x-github-hook-installation-target-id", &target.unwrap_or_default().to_string())?;
    add("x-github-hook-installation-target-type", kind)?;
    if let Some(secret) = &hook.secret {
        add("x-hub-signature-256", &sign(secret, body.as_bytes()))?;
    }
    Ok((headers, body))
}

/// `sha256=` and the HMAC of exactly these bytes.
pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        Ok(mut mac) => {
            mac.update(body);
            format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
        }
        // HMAC takes keys of any length.
        Err(_) => String::new(),
    }
}

async fn attempt(client: &reqwest::Client, hook: &Hook, delivery: &Delivery) -> Outcome {
    let mut outcome = Outcome { url: hook.url.clone(), ..Outcome::default() };
    let (headers, body) = match request(hook, delivery) {
        Ok(request) => request,
        Err(_) => {
            outcome.status = "invalid headers".to_owned();
            return outcome;
        }
    };
    outcome.request_headers = described(&headers);
    let started = Instant::now();
    let answer = client.post(&hook.url).headers(headers).body(body).send().await;
    match answer {
        Ok(mut answer) => {
            outcome.status_code = answer.status().as_u16();
            outcome.response_headers = described(answer.headers());
            let mut text = Vec::new();
            while let Ok(Some(chunk)) = answer.chunk().await {
                text.extend_from_slice(&chunk);
                if text.len() >= BODY_LIMIT {
                    text.truncate(BODY_LIMIT);
                    break;
                }
            }
            outcome.response_body = String::from_utf8_lossy(&text).into_owned();
            outcome.status = match outcome.status_code {
                200..300 => "OK".to_owned(),
                code => format!("Invalid HTTP Response: {code}"),
            };
        }
        Err(error) if error.is_timeout() => outcome.status = "timed out".to_owned(),
        Err(error) if error.is_connect() => outcome.status = "failed to connect to host".to_owned(),
        Err(error) => outcome.status = format!("failed: {}", error.without_url()),
    }
    outcome.duration = (started.elapsed().as_secs_f64() * 100.0).round() / 100.0;
    outcome
}

fn described(headers: &HeaderMap) -> Map<String, Value> {
    let text = |value: &HeaderValue| Value::from(String::from_utf8_lossy(value.as_bytes()).into_owned());
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_githubs() {
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(sign("It's a Secret to Everybody", b"Hello, World!"), expected);
    }
}
