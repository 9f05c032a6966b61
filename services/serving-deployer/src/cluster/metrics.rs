//! What the ingress gateway counted for a revision: Envoy's own counters of the cluster (`sidecar.istio.io/statsInclusionPrefixes:
//! cluster.outbound` on the gateway's pods shows them), else Istio's standard metrics, from the pods or from a Prometheus.

use std::collections::BTreeMap;

use crate::gate::Counters;

/// A line of a Prometheus text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

/// What was counted for a Service.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Counted {
    pub(super) counters: Counters,
    /// Requests that are being answered; None: not told.
    pub(super) active: Option<u64>,
    /// Whether the Service was among what is counted at all.
    pub(super) known: bool,
}

impl Counted {
    /// With those of another pod.
    pub(super) fn add(&mut self, other: Self) {
        self.counters.requests += other.counters.requests;
        self.counters.errors += other.counters.errors;
        for (bound, count) in other.counters.latencies {
            *self.counters.latencies.entry(bound).or_default() += count;
        }
        self.active = match (self.active, other.active) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_default() + b.unwrap_or_default()),
        };
        self.known |= other.known;
    }
}

/// Reads Prometheus' text format; lines that are none are passed over.
pub(super) fn parse(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (head, rest) = match line.find('{') {
        Some(open) => {
            let (labels, rest) = labels(&line[open + 1..])?;
            ((line[..open].to_owned(), labels), rest)
        }
        None => {
            let (name, rest) = line.split_once(' ')?;
            ((name.to_owned(), BTreeMap::new()), rest)
        }
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: head.0, labels: head.1, value })
}

/// Up to the closing brace.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(end) = rest.strip_prefix('}') {
            return Some((labels, end));
        }
        let (key, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.to_owned(), value);
        rest = &after[end + 1..];
    }
}

/// What the samples say of requests to the host of a Service, e.g. `iris-predictor.team.svc.cluster.local`.
pub(super) fn count(samples: &[Sample], host: &str) -> Counted {
    let envoy = envoy(samples, host);
    if envoy.known { envoy } else { istio(samples, host) }
}

fn envoy(samples: &[Sample], host: &str) -> Counted {
    let cluster = format!("outbound|80||{host}");
    let mut counted = Counted::default();
    let mut cumulative = BTreeMap::new();
    for sample in samples {
        let label = |key: &str| sample.labels.get(key).map(String::as_str);
        let name = label("cluster_name").or_else(|| label("envoy_cluster_name")).unwrap_or_default();
        if name.trim_end_matches(';') != cluster {
            continue;
        }
        let class = label("response_code_class").or_else(|| label("envoy_response_code_class"));
        match (sample.name.as_str(), class) {
            ("envoy_cluster_upstream_rq" | "envoy_cluster_upstream_rq_xx", Some(class)) => {
                counted.known = true;
                counted.counters.requests += whole(sample.value);
                if class.starts_with('5') {
                    counted.counters.errors += whole(sample.value);
                }
            }
            ("envoy_cluster_upstream_rq_active" | "envoy_cluster_upstream_rq_pending_active", _) => {
                counted.known = true;
                counted.active = Some(counted.active.unwrap_or_default() + whole(sample.value));
            }
            ("envoy_cluster_upstream_rq_time_bucket", _) => bucket(&mut cumulative, sample),
            _ => {}
        }
    }
    counted.counters.latencies = buckets(&cumulative);
    counted
}

fn istio(samples: &[Sample], host: &str) -> Counted {
    let mut parts = host.split('.');
    let (service, namespace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let mut counted = Counted::default();
    let mut cumulative = BTreeMap::new();
    for sample in samples {
        let is = |key: &str, text: &str| sample.labels.get(key).is_none_or(|value| value == text);
        let named = sample.labels.get("destination_service_name").is_some_and(|name| name == service);
        if !named || !is("destination_service_namespace", namespace) || !is("reporter", "source") {
            continue;
        }
        match sample.name.as_str() {
            "istio_requests_total" => {
                counted.known = true;
                counted.counters.requests += whole(sample.value);
                let code = sample.labels.get("response_code").map_or("", String::as_str);
                // 0: there was no answer.
                if code.starts_with('5') || code == "0" {
                    counted.counters.errors += whole(sample.value);
                }
            }
            "istio_request_duration_milliseconds_bucket" => bucket(&mut cumulative, sample),
            _ => {}
        }
    }
    counted.counters.latencies = buckets(&cumulative);
    counted
}

/// Adds a bucket of a histogram in milliseconds, by its bound in microseconds.
fn bucket(cumulative: &mut BTreeMap<u64, u64>, sample: &Sample) {
    let bound = match sample.labels.get("le").map(String::as_str) {
        Some("+Inf") => u64::MAX,
        Some(bound) => match bound.parse::<f64>() {
            Ok(bound) => whole(bound * 1000.0),
            Err(_) => return,
        },
        None => return,
    };
    *cumulative.entry(bound).or_default() += whole(sample.value);
}

/// Each bucket on its own.
fn buckets(cumulative: &BTreeMap<u64, u64>) -> BTreeMap<u64, u64> {
    let mut below = 0;
    let mut single = BTreeMap::new();
    // What is beyond all bounds is taken for twice the last one.
    let last = cumulative.keys().filter(|bound| **bound != u64::MAX).max().copied().unwrap_or_default();
    for (bound, count) in cumulative {
        let bound = if *bound == u64::MAX { last * 2 } else { *bound };
        if *count > below {
            single.insert(bound, count - below);
        }
        below = below.max(*count);
    }
    single
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative; casts saturate")]
fn whole(value: f64) -> u64 {
    value.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "iris-predictor.team.svc.cluster.local";

    #[test]
    fn envoys_counters_of_the_cluster_are_read() {
        let text = r#"
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{response_code_class="2xx",cluster_name="outbound|80||iris-predictor.team.svc.cluster.local;"} 90
envoy_cluster_upstream_rq{response_code_class="5xx",cluster_name="outbound|80||iris-predictor.team.svc.cluster.local;"} 3
envoy_cluster_upstream_rq{response_code="200",cluster_name="outbound|80||iris-predictor.team.svc.cluster.local;"} 90
envoy_cluster_upstream_rq{response_code_class="2xx",cluster_name="outbound|80||iris-00002-predictor.team.svc.cluster.local;"} 7
envoy_cluster_upstream_rq_active{cluster_name="outbound|80||iris-predictor.team.svc.cluster.local;"} 2
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|80||iris-predictor.team.svc.cluster.local;",le="0.5"} 0
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|80||iris-predictor.team.svc.cluster.local;",le="5"} 60
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|80||iris-predictor.team.svc.cluster.local;",le="10"} 90
envoy_cluster_upstream_rq_time_bucket{cluster_name="outbound|80||iris-predictor.team.svc.cluster.local;",le="+Inf"} 93
"#;
        let counted = count(&parse(text), HOST);
        let latencies = BTreeMap::from([(5_000, 60), (10_000, 30), (20_000, 3)]);
        assert_eq!(counted.counters, Counters { requests: 93, errors: 3, latencies });
        assert_eq!((counted.active, counted.known), (Some(2), true));
        assert!(!count(&parse(text), "iris-predictor.other.svc.cluster.local").known);
    }

    #[test]
    fn istios_metrics_are_read_where_envoy_has_none() {
        let labels =
            r#"reporter="source",destination_service_name="iris-predictor",destination_service_namespace="team""#;
        let text = format!(
            "istio_requests_total{{{labels},response_code=\"200\"}} 40\n\
             istio_requests_total{{{labels},response_code=\"0\"}} 1\n\
             istio_requests_total{{{labels},response_code=\"503\"}} 1\n\
             istio_request_duration_milliseconds_bucket{{{labels},le=\"5\"}} 42\n\
             istio_requests_total{{reporter=\"source\",destination_service_name=\"other\"}} 9\n"
        );
        let counted = count(&parse(&text), HOST);
        let latencies = BTreeMap::from([(5_000, 42)]);
        assert_eq!(counted.counters, Counters { requests: 42, errors: 2, latencies });
        assert_eq!(counted.active, None);
    }

    #[test]
    fn counts_of_several_pods_are_added() {
        let text = format!(
            "envoy_cluster_upstream_rq_xx{{envoy_response_code_class=\"2\",envoy_cluster_name=\"outbound|80||{HOST}\"}} 5"
        );
        let mut all = Counted::default();
        all.add(count(&parse(&text), HOST));
        all.add(count(&parse(&text), HOST));
        assert_eq!(all.counters.requests, 10);
    }

    #[test]
    fn labels_may_hold_anything() {
        let samples = parse("a{x=\"1,}\\\"\\\\2\",y=\"\"} 3 1700000000\nb 4\nbroken{x=\"1\nnot a number{} x\n");
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[0].labels["x"], "1,}\"\\2");
        assert_eq!((samples[0].value, samples[1].value), (3.0, 4.0));
    }
}
