//! Constant load on a model's endpoint: as many requests a second as asked for, whatever the answers.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use kfops_core::Failure;
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Load that is running.
pub struct Load {
    shared: Arc<Shared>,
    stop: CancellationToken,
    driver: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    sent: AtomicU64,
    failed: AtomicU64,
    times: Mutex<Vec<Duration>>,
    first_failure: Mutex<Option<String>>,
}

/// What became of the requests.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Requests sent.
    pub sent: u64,
    /// Requests without status 200 and a prediction, or without an answer within 10 s.
    pub failed: u64,
    /// Median latency, milliseconds.
    pub p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub p99_ms: f64,
    /// The first failure, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
}

impl Load {
    /// Starts sending `body` to `url`, `rate` times a second.
    pub fn start(url: String, body: String, rate: u32) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .pool_max_idle_per_host(64)
            .build()
            .map_err(Failure::internal)?;
        let (shared, stop) = (Arc::new(Shared::default()), CancellationToken::new());
        let driver = tokio::spawn(drive(http, url, body, rate, Arc::clone(&shared), stop.clone()));
        Ok(Self { shared, stop, driver })
    }

    /// Requests sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for the answers and adds up.
    pub async fn stop(self) -> LoadReport {
        self.stop.cancel();
        self.driver.await.ok();
        let mut times = std::mem::take(&mut *self.shared.times.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_unstable();
        LoadReport {
            sent: self.shared.sent.load(Ordering::Relaxed),
            failed: self.shared.failed.load(Ordering::Relaxed),
            p50_ms: percentile(&times, 50),
            p99_ms: percentile(&times, 99),
            first_failure: self.shared.first_failure.lock().unwrap_or_else(PoisonError::into_inner).take(),
        }
    }
}

/// Open loop: a slow answer does not slow the sending down.
async fn drive(
    http: reqwest::Client,
    url: String,
    body: String,
    rate: u32,
    shared: Arc<Shared>,
    stop: CancellationToken,
) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let tasks = TaskTracker::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = ticks.tick() => {
                shared.sent.fetch_add(1, Ordering::Relaxed);
                let (http, url, body, shared) = (http.clone(), url.clone(), body.clone(), Arc::clone(&shared));
                tasks.spawn(async move {
                    let begun = Instant::now();
                    match ask(&http, &url, body).await {
                        Ok(()) => shared.times.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed()),
                        Err(cause) => {
                            shared.failed.fetch_add(1, Ordering::Relaxed);
                            shared.first_failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
                        }
                    }
                });
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn ask(http: &reqwest::Client, url: &str, body: String) -> Result<(), String> {
    let request = http.post(url).header("content-type", "application/json").body(body);
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    let answered = serde_json::from_str::<serde_json::Value>(&text)
        .is_ok_and(|json| json.get("predictions").or_else(|| json.get("outputs")).is_some_and(|v| !v.is_null()));
    if status.is_success() && answered {
        Ok(())
    } else {
        Err(format!("{status}: {}", text.chars().take(200).collect::<String>()))
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).map_or(0.0, |d| (d.as_secs_f64() * 1e5).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!((percentile(&times, 50), percentile(&times, 99)), (50.0, 99.0));
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
