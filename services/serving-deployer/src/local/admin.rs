//! Envoy's admin interface on a unix socket: what is in force, what was counted.

use std::{path::Path, time::Duration};

use kfops_core::{Failure, Reason};
use serde::Deserialize;

use crate::gate::Counters;

/// It answers from memory.
const PATIENCE: Duration = Duration::from_secs(5);

/// A client of it.
pub(super) struct Admin(reqwest::Client);

/// What one cluster has counted.
#[derive(Debug, Default)]
pub(super) struct ClusterStats {
    pub(super) counters: Counters,
    pub(super) active: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stat {
    Number { name: String, value: u64 },
    Histograms { histograms: Histograms },
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Histograms {
    #[serde(default)]
    details: Vec<Histogram>,
}

#[derive(Deserialize)]
struct Histogram {
    name: String,
    #[serde(default)]
    totals: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    lower_bound: f64,
    width: f64,
    count: u64,
}

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Stat>,
}

impl Admin {
    pub(super) fn new(socket: &Path) -> Result<Self, Failure> {
        // No connection is kept: Envoy may be another process the next time.
        let client = reqwest::Client::builder().unix_socket(socket).timeout(PATIENCE);
        Ok(Self(client.pool_max_idle_per_host(0).build().map_err(Failure::internal)?))
    }

    async fn get(&self, path: &str) -> Result<String, Failure> {
        let failed = |error: reqwest::Error| Failure::new(Reason::RouteFailed, why(&error));
        let response = self.0.get(format!("http://envoy{path}")).send().await.map_err(failed)?;
        response.error_for_status().map_err(failed)?.text().await.map_err(failed)
    }

    /// Whether anybody is there. One that is not ready says that too.
    pub(super) async fn answers(&self) -> bool {
        self.0.get("http://envoy/ready").send().await.is_ok()
    }

    /// Whether it serves.
    pub(super) async fn live(&self) -> bool {
        self.get("/ready").await.is_ok_and(|text| text.trim() == "LIVE")
    }

    /// Versions of clusters and routes in force.
    pub(super) async fn versions(&self) -> Result<(Option<u64>, Option<u64>), Failure> {
        let text = self.get("/stats?type=TextReadouts&filter=version_text").await?;
        let of = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
            value.trim().trim_matches('"').parse().ok()
        };
        let routes = format!("http.{0}.rds.{0}.version_text", super::config::MODELS);
        Ok((of("cluster_manager.cds.version_text"), of(&routes)))
    }

    /// What was counted for a cluster.
    pub(super) async fn cluster(&self, cluster: &str) -> Result<ClusterStats, Failure> {
        let filter = format!("^cluster%5C.{cluster}%5C.upstream_rq_(.xx|active|pending_active|time)$");
        let text = self.get(&format!("/stats?format=json&histogram_buckets=detailed&filter={filter}")).await?;
        parse(&text, cluster)
            .map_err(|error| Failure::new(Reason::RouteFailed, format!("envoy's statistics cannot be read: {error}")))
    }
}

/// For people: the address on the socket means nothing to them.
fn why(error: &reqwest::Error) -> String {
    match error.status() {
        Some(status) => format!("the router (envoy) answers a question about itself with {}", status.as_u16()),
        None if error.is_timeout() => {
            format!(
                "the router (envoy) does not answer within {} s; it is started again if it hangs",
                PATIENCE.as_secs()
            )
        }
        None => "the router (envoy) cannot be reached; it is started again if it has ended".into(),
    }
}

fn parse(text: &str, cluster: &str) -> Result<ClusterStats, serde_json::Error> {
    let stats: Stats = serde_json::from_str(text)?;
    let prefix = format!("cluster.{cluster}.upstream_rq_");
    let mut found = ClusterStats::default();
    for stat in stats.stats {
        match stat {
            Stat::Number { name, value } => match name.strip_prefix(&prefix) {
                Some("active" | "pending_active") => found.active += value,
                Some("5xx") => {
                    found.counters.errors += value;
                    found.counters.requests += value;
                }
                Some(class) if class.ends_with("xx") => found.counters.requests += value,
                _ => {}
            },
            Stat::Histograms { histograms } => {
                for histogram in histograms.details.iter().filter(|h| h.name.strip_prefix(&prefix) == Some("time")) {
                    for bucket in &histogram.totals {
                        let bound = ((bucket.lower_bound + bucket.width) * 1000.0).max(0.0);
                        #[expect(
                            clippy::cast_possible_truncation,
                            clippy::cast_sign_loss,
                            reason = "not negative; casts saturate"
                        )]
                        let bound = bound as u64;
                        *found.counters.latencies.entry(bound).or_default() += bucket.count;
                    }
                }
            }
            Stat::Other(_) => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_is_told_without_addresses() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let admin = Admin::new(&socket).unwrap();
        let gone = admin.cluster("team/iris-00001").await.unwrap_err();
        assert_eq!(gone.message, "the router (envoy) cannot be reached; it is started again if it has ended");
        // It takes connections and says nothing, like a stopped process.
        let _silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let silent = admin.cluster("team/iris-00001").await.unwrap_err();
        assert_eq!(silent.message, "the router (envoy) does not answer within 5 s; it is started again if it hangs");
        assert!(!admin.answers().await);
    }

    #[test]
    fn counters_and_histogram_are_read() {
        let text = r#"{"stats":[
            {"name":"cluster.team/iris-00001.upstream_rq_2xx","value":90},
            {"name":"cluster.team/iris-00001.upstream_rq_4xx","value":7},
            {"name":"cluster.team/iris-00001.upstream_rq_5xx","value":3},
            {"name":"cluster.team/iris-00001.upstream_rq_active","value":2},
            {"histograms":{"supported_percentiles":[0,50],"details":[
                {"name":"cluster.team/iris-00001.upstream_rq_time","totals":[
                    {"lower_bound":0,"width":0,"count":60},{"lower_bound":41,"width":1,"count":40}],"intervals":[],"percentiles":[]}]}}]}"#;
        let stats = parse(text, "team/iris-00001").unwrap();
        let latencies = BTreeMap::from([(0, 60), (42_000, 40)]);
        assert_eq!(stats.counters, Counters { requests: 100, errors: 3, latencies });
        assert_eq!(stats.active, 2);
    }
}
