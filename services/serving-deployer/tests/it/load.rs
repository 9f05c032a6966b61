//! Constant load on an endpoint over connections that are kept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) errors: Vec<String>,
    pub(crate) revisions: BTreeMap<String, u64>,
    pub(crate) latencies: Vec<Duration>,
}

impl Seen {
    fn add(&mut self, latency: Duration, outcome: Result<String, String>) {
        self.sent += 1;
        self.latencies.push(latency);
        match outcome {
            Ok(revision) => *self.revisions.entry(revision).or_default() += 1,
            Err(error) => {
                self.failed += 1;
                self.errors.push(error);
            }
        }
    }

    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let mut all = self.latencies.clone();
        all.sort_unstable();
        all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).map_or(0.0, |d| d.as_secs_f64() * 1e3)
    }
}

pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// `tasks` connections, each with one request at a time, a small pause between two.
    pub(crate) fn start(url: &str, tasks: usize, instance: Value) -> Self {
        Self::start_as(url, tasks, instance, None)
    }

    /// With a token for the ingress gateway.
    pub(crate) fn start_as(url: &str, tasks: usize, instance: Value, token: Option<&str>) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let tasks = (0..tasks)
            .map(|_| {
                let (stop, seen, url) = (Arc::clone(&stop), Arc::clone(&seen), url.to_owned());
                let body = json!({"instances": [instance]});
                let token = token.map(str::to_owned);
                tokio::spawn(async move {
                    let client =
                        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
                    while !stop.load(Ordering::Relaxed) {
                        let begin = Instant::now();
                        let outcome = one(&client, &url, &body, token.as_deref()).await;
                        seen.lock().unwrap().add(begin.elapsed(), outcome);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                })
            })
            .collect();
        Self { stop, seen, tasks }
    }

    pub(crate) async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.seen.lock().unwrap().clone()
    }
}

async fn one(client: &reqwest::Client, url: &str, body: &Value, token: Option<&str>) -> Result<String, String> {
    let mut request = client.post(url).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let revision = response.headers().get("kfops-revision").map(|v| v.to_str().unwrap().to_owned());
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    if status.is_success() && text.contains("predictions") {
        Ok(revision.unwrap_or_default())
    } else {
        Err(format!("{status} {revision:?} {text}"))
    }
}
