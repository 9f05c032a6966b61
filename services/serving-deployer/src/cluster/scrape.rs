//! Asks the ingress gateway's pods, or a Prometheus, for what was counted.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;
use kfops_core::{Failure, Reason};
use kube::{Api, Client, api::ListParams};
use serde_json::Value;

use super::{
    metrics::{Counted, Sample, count, parse},
    settings::MetricsSettings,
};

/// The gateway's pods are looked for that seldom.
const PODS_FOR: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Name and address of pods, and when they were found.
type Found = (Instant, Vec<(String, String)>);

/// Asks.
pub(super) struct Scraper {
    client: Client,
    settings: MetricsSettings,
    http: reqwest::Client,
    pods: Mutex<Option<Found>>,
}

fn failed(text: impl Into<String>) -> Failure {
    Failure::new(Reason::RouteFailed, text)
}

impl Scraper {
    pub(super) fn new(client: Client, settings: MetricsSettings) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build().map_err(Failure::internal)?;
        Ok(Self { client, settings, http, pods: Mutex::default() })
    }

    /// Name and address of the gateway's running pods; none with a Prometheus.
    pub(super) async fn pods(&self) -> Result<Vec<(String, String)>, Failure> {
        if self.settings.prometheus.is_some() {
            return Ok(Vec::new());
        }
        if let Some((at, pods)) = &*self.pods.lock().unwrap_or_else(PoisonError::into_inner)
            && at.elapsed() < PODS_FOR
        {
            return Ok(pods.clone());
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        let found = api.list(&ListParams::default().labels(&self.settings.selector)).await;
        let found = found.map_err(|error| kfops_kube::failure(&error, "pods of the ingress gateway"))?;
        let running = found.items.into_iter().filter(super::pods::is_ready);
        let pods: Vec<_> = running.filter_map(|pod| Some((pod.metadata.name?, pod.status?.pod_ip?))).collect();
        *self.pods.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), pods.clone()));
        Ok(pods)
    }

    /// What was counted for a Service since some moment in the past.
    pub(super) async fn count(&self, host: &str) -> Result<Counted, Failure> {
        if let Some(prometheus) = &self.settings.prometheus {
            return Ok(count(&self.query(prometheus, host).await?, host));
        }
        let pods = self.pods().await?;
        if pods.is_empty() {
            return Err(failed(format!("no pod `{}` is ready in {}", self.settings.selector, self.settings.namespace))
                .action("look at the ingress gateway, or at kserve.metrics"));
        }
        let mut all = Counted::default();
        for (name, address) in pods {
            let text = self.scrape(&name, &address, host).await?;
            all.add(count(&parse(&text), host));
        }
        Ok(all)
    }

    async fn scrape(&self, pod: &str, address: &str, host: &str) -> Result<String, Failure> {
        let filter = host.split('.').next().unwrap_or_default();
        let (port, namespace) = (self.settings.port, &self.settings.namespace);
        let path = format!("/stats/prometheus?filter={filter}");
        if self.settings.by_api_server {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
            let request = http::Request::get(path).body(Vec::new()).map_err(Failure::internal)?;
            let answer = self.client.request_text(request).await;
            return answer.map_err(|error| failed(format!("metrics of {namespace}/{pod}: {error}")));
        }
        let authority = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let error = |error: reqwest::Error| failed(format!("metrics of {namespace}/{pod}: {error}"));
        let answer = self.http.get(format!("http://{authority}:{port}{path}")).send().await.map_err(error)?;
        answer.error_for_status().map_err(error)?.text().await.map_err(error)
    }

    /// The same series, summed over the gateway's pods by Prometheus.
    async fn query(&self, prometheus: &str, host: &str) -> Result<Vec<Sample>, Failure> {
        let mut parts = host.split('.');
        let (service, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let of = format!(
            r#"reporter="source",destination_service_name="{service}",destination_service_namespace="{namespace}""#
        );
        let mut samples = Vec::new();
        for (name, by) in
            [("istio_requests_total", "response_code"), ("istio_request_duration_milliseconds_bucket", "le")]
        {
            let error = |error: reqwest::Error| failed(format!("{prometheus}: {error}"));
            let query = format!("sum by ({by}) ({name}{{{of}}})");
            let url = reqwest::Url::parse_with_params(&format!("{prometheus}/api/v1/query"), [("query", query)])
                .map_err(|error| failed(format!("{prometheus}: {error}")))?;
            let answer = self.http.get(url).send().await.map_err(error)?.error_for_status().map_err(error)?;
            samples.extend(vector(&answer.json().await.map_err(error)?, name, service));
        }
        Ok(samples)
    }
}

/// The samples of an instant vector, as if they came from a pod.
fn vector(answer: &Value, name: &str, service: &str) -> Vec<Sample> {
    let results = answer.pointer("/data/result").and_then(Value::as_array).into_iter().flatten();
    results
        .filter_map(|result| {
            let value = result.pointer("/value/1")?.as_str()?.parse().ok()?;
            let metric = result.get("metric").and_then(Value::as_object).into_iter().flatten();
            let mut labels: std::collections::BTreeMap<String, String> =
                metric.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
            labels.insert("destination_service_name".into(), service.to_owned());
            Some(Sample { name: name.to_owned(), labels, value })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn prometheus_answers_are_counted_like_those_of_pods() {
        let answer = json!({"status": "success", "data": {"resultType": "vector", "result": [
            {"metric": {"response_code": "200"}, "value": [1.0, "40"]},
            {"metric": {"response_code": "500"}, "value": [1.0, "2"]}]}});
        let samples = vector(&answer, "istio_requests_total", "iris-predictor");
        let counted = count(&samples, "iris-predictor.team.svc.cluster.local");
        assert_eq!((counted.counters.requests, counted.counters.errors), (42, 2));
        assert!(vector(&json!({}), "x", "y").is_empty());
    }
}
