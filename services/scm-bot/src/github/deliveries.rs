//! Webhooks that GitHub sent, also those that never arrived.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, header};
use kfops_core::{Failure, Reason};
use serde::Deserialize;
use serde_json::Value;

use super::{
    call::{About, Call},
    client::GitHubClient,
    failure::{absent, accepted, json, unexpected},
    identity::Identity,
};
use crate::{
    command::Repository,
    ports::{Meter, SentDelivery},
};

/// Most pages, 100 deliveries each.
const PAGES: usize = 100;
/// Where the gateway takes webhooks.
const PATH: &str = "/webhooks/github";
/// GitHub's payloads have at most 25 MB; within the answer they are JSON as text.
const LARGEST: usize = 64 << 20;

#[derive(Deserialize)]
struct Item {
    id: u64,
    guid: String,
    delivered_at: String,
    event: String,
    action: Option<String>,
}

#[derive(Deserialize)]
struct Hook {
    id: u64,
    config: HookConfig,
}

#[derive(Deserialize)]
struct HookConfig {
    url: Option<String>,
}

#[derive(Deserialize)]
struct Detail {
    request: Request,
}

#[derive(Deserialize)]
struct Request {
    payload: Value,
}

impl GitHubClient {
    pub(super) async fn sent(&self, since: SystemTime) -> Result<Vec<SentDelivery>, Failure> {
        let mut found = HashMap::new();
        if let Identity::App(_) = self.transport.identity {
            self.list(About::App, "/app/hook/deliveries", "app", since, &mut found).await?;
        } else {
            for repository in self.repositories.iter() {
                match self.sent_by_hooks(repository, since, &mut found).await {
                    // Others are not kept waiting for what does not mend itself.
                    Err(failure) if !failure.retryable => {
                        tracing::warn!(%repository, %failure, "lost deliveries cannot be asked for");
                    }
                    other => other?,
                }
            }
        }
        let mut found: Vec<SentDelivery> = found.into_values().collect();
        found.sort_by(|one, other| (one.delivered, &one.guid).cmp(&(other.delivered, &other.guid)));
        Ok(found)
    }

    async fn sent_by_hooks(
        &self,
        repository: &Repository,
        since: SystemTime,
        found: &mut HashMap<String, SentDelivery>,
    ) -> Result<(), Failure> {
        let about = About::Repository(repository);
        let path = format!("/repos/{repository}/hooks?per_page=100");
        let call = Call { keep: true, ..Call::get("GET hooks", path, about) };
        let hooks: Vec<Hook> =
            self.read(&Meter::default(), &call).await?.ok_or_else(|| absent(&format!("webhooks of {repository}")))?;
        let ours =
            |hook: &&Hook| hook.config.url.as_deref().is_some_and(|url| url.trim_end_matches('/').ends_with(PATH));
        for hook in hooks.iter().filter(ours) {
            let path = format!("/repos/{repository}/hooks/{}/deliveries", hook.id);
            self.list(about, &path, &format!("{repository}/{}", hook.id), since, found).await?;
        }
        Ok(())
    }

    /// Newest first, page by page.
    async fn list(
        &self,
        about: About<'_>,
        path: &str,
        source: &str,
        since: SystemTime,
        found: &mut HashMap<String, SentDelivery>,
    ) -> Result<(), Failure> {
        let mut cursor = None::<String>;
        for _ in 0..PAGES {
            let from = cursor.as_ref().map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let call = Call::get("GET hook deliveries", format!("{path}?per_page=100{from}"), about);
            let answer = self.transport.send(&Meter::default(), &call).await?;
            cursor = next_cursor(&answer.headers);
            let items: Vec<Item> = json(&call, &accepted(&call, answer)?)?;
            let mut past = items.is_empty();
            for item in items {
                let delivered =
                    humantime::parse_rfc3339_weak(&item.delivered_at).map_err(|error| unexpected(&call, &error))?;
                // GitHub's times may lack what is below a second.
                if delivered + Duration::from_secs(1) < since {
                    past = true;
                    continue;
                }
                let sent = SentDelivery {
                    handle: format!("{source}/{}", item.id),
                    event: item.event,
                    action: item.action.unwrap_or_default(),
                    delivered,
                    guid: item.guid,
                };
                // What is sent again keeps its GUID; the first time counts.
                let first = found.get(&sent.guid).is_none_or(|known| sent.delivered <= known.delivered);
                if first {
                    found.insert(sent.guid.clone(), sent);
                }
            }
            if past || cursor.is_none() {
                return Ok(());
            }
        }
        tracing::warn!(pages = PAGES, "github lists more deliveries than are read");
        Ok(())
    }

    pub(super) async fn payload_of(&self, delivery: &SentDelivery) -> Result<Bytes, Failure> {
        let parts: Vec<&str> = delivery.handle.split('/').collect();
        let numbers = |texts: &[&str]| texts.iter().all(|text| text.parse::<u64>().is_ok());
        let wrong =
            || Failure::new(Reason::InvalidArgument, "not a delivery that this client listed").on(&*delivery.handle);
        let repository;
        let (path, about) = match parts[..] {
            ["app", id] if numbers(&[id]) => (format!("/app/hook/deliveries/{id}"), About::App),
            [owner, name, hook, id] if numbers(&[hook, id]) => {
                repository = Repository::parse(&format!("{owner}/{name}")).map_err(|_| wrong())?;
                (format!("/repos/{repository}/hooks/{hook}/deliveries/{id}"), About::Repository(&repository))
            }
            _ => return Err(wrong()),
        };
        let call = Call { largest: LARGEST, ..Call::get("GET hook delivery", path, about) };
        let detail: Option<Detail> = self.read(&Meter::default(), &call).await?;
        let payload = detail.ok_or_else(|| absent(&format!("delivery {}", delivery.guid)))?.request.payload;
        Ok(match payload {
            Value::String(text) => Bytes::from(text),
            payload => Bytes::from(serde_json::to_vec(&payload).map_err(Failure::internal)?),
        })
    }
}

/// The cursor of the next page, from `Link`. Only the cursor: the address itself is not believed.
fn next_cursor(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(header::LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let url = next.split_once('<')?.1.split_once('>')?.0;
    let cursor = url.split_once('?')?.1.split('&').find_map(|pair| pair.strip_prefix("cursor="))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '.' | '=');
    (cursor.len() <= 200 && cursor.chars().all(plain)).then(|| cursor.to_owned())
}
