//! Envoy's configuration: a static bootstrap, and the clusters and routes that change, as xDS files.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{ports::Target, service::ServiceName};

/// Name of the listener's statistics, its route configuration and its listener.
pub(super) const MODELS: &str = "models";
/// Larger bodies are not kept for a second try.
const BUFFER: u32 = 4 << 20;
/// At a time, from clients and to a model server.
const MAX_CONNECTIONS: u32 = 20_000;

/// What does not change while it runs.
pub(super) struct Bootstrap<'a> {
    pub(super) listen: SocketAddr,
    pub(super) admin: &'a Path,
    pub(super) xds: &'a Path,
    /// Host and port of the OTLP/gRPC receiver.
    pub(super) otlp: Option<(String, u16)>,
}

fn any(name: &str, mut config: Value) -> Value {
    config["@type"] = format!("type.googleapis.com/{name}").into();
    config
}

fn seconds(duration: Duration) -> String {
    format!("{:.3}s", duration.as_secs_f64())
}

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

impl Bootstrap<'_> {
    /// The bootstrap file.
    pub(super) fn json(&self) -> Value {
        let file = |name: &str| {
            json!({"resource_api_version": "V3", "path_config_source": {
                "path": self.xds.join(name), "watched_directory": {"path": self.xds}}})
        };
        let mut manager = json!({
            "stat_prefix": MODELS,
            "codec_type": "AUTO",
            "strip_any_host_port": true,
            "use_remote_address": true,
            "generate_request_id": self.otlp.is_some(),
            "server_header_transformation": "PASS_THROUGH",
            "normalize_path": true,
            "merge_slashes": true,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "request_headers_timeout": "10s",
            "common_http_protocol_options": {"idle_timeout": "300s", "headers_with_underscores_action": "REJECT_REQUEST"},
            "rds": {"route_config_name": MODELS, "config_source": file("routes.json")},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config":
                any("envoy.extensions.filters.http.router.v3.Router", json!({}))}],
        });
        let mut clusters = Vec::new();
        if let Some((host, port)) = &self.otlp {
            // Envoy 1.40 would overrule the caller with its own percentages, so it decides for everything and leaves the
            // word to the sampler: what the caller samples is traced, and nothing else.
            let ratio = any(
                "envoy.extensions.tracers.opentelemetry.samplers.v3.TraceIdRatioBasedSamplerConfig",
                json!({"sampling_percentage": {"numerator": 0, "denominator": "HUNDRED"}}),
            );
            let sampler = any(
                "envoy.extensions.tracers.opentelemetry.samplers.v3.ParentBasedSamplerConfig",
                json!({"wrapped_sampler": {
                    "name": "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", "typed_config": ratio}}),
            );
            let tracer = any(
                "envoy.config.trace.v3.OpenTelemetryConfig",
                json!({
                    "service_name": "envoy",
                    "grpc_service": {"envoy_grpc": {"cluster_name": "otlp"}, "timeout": "2s"},
                    "sampler": {"name": "envoy.tracers.opentelemetry.samplers.parent_based", "typed_config": sampler},
                }),
            );
            manager["tracing"] = json!({
                "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": tracer},
            });
            clusters.push(json!({
                "name": "otlp", "type": "STRICT_DNS", "connect_timeout": "1s", "dns_lookup_family": "V4_PREFERRED",
                "load_assignment": endpoints("otlp", address(host, *port)),
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
                    any("envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        json!({"explicit_http_config": {"http2_protocol_options": {}}}))},
            }));
        }
        let manager = any("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", manager);
        json!({
            "node": {"id": "kfops", "cluster": "kfops"},
            "admin": {"address": {"pipe": {"path": self.admin, "mode": 0o600}}},
            // Histograms are merged when they are flushed.
            "stats_flush_interval": "0.250s",
            // Each span leaves at once: a killed Envoy must not take the parent of the model's span with it.
            "layered_runtime": {"layers": [
                {"name": "static", "static_layer": {"tracing.opentelemetry.min_flush_spans": 1}}]},
            "dynamic_resources": {"cds_config": file("clusters.json")},
            "static_resources": {
                "clusters": clusters,
                "listeners": [{
                    "name": MODELS,
                    "address": address(&self.listen.ip().to_string(), self.listen.port()),
                    // A port that is taken must be an error, not a port shared with someone else.
                    "enable_reuse_port": false,
                    "per_connection_buffer_limit_bytes": BUFFER,
                    "filter_chains": [{"filters": [{
                        "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
                }],
            },
            "overload_manager": {"resource_monitors": [{
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": any(
                    "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    json!({"max_active_downstream_connections": MAX_CONNECTIONS})),
            }]},
        })
    }
}

fn endpoints(cluster: &str, address: Value) -> Value {
    json!({"cluster_name": cluster, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]})
}

/// The clusters file: one cluster per revision, name -> authority.
pub(super) fn clusters(version: u64, clusters: &BTreeMap<String, String>) -> Value {
    let resources: Vec<Value> = clusters
        .iter()
        .filter_map(|(name, authority)| {
            let (host, port) = authority.rsplit_once(':')?;
            Some(any(
                "envoy.config.cluster.v3.Cluster",
                json!({
                    "name": name, "type": "STATIC", "connect_timeout": "2s",
                    "load_assignment": endpoints(name, address(host, port.parse().ok()?)),
                    "per_connection_buffer_limit_bytes": BUFFER,
                    "circuit_breakers": {"thresholds": [{"max_connections": MAX_CONNECTIONS,
                        "max_pending_requests": MAX_CONNECTIONS, "max_requests": MAX_CONNECTIONS, "max_retries": 1000}]},
                    // Shorter than KServe's own 65 s: a connection is never used at the moment it is closed.
                    "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions":
                        any("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", json!({
                            "common_http_protocol_options": {"idle_timeout": "30s"},
                            "explicit_http_config": {"http_protocol_options": {}}}))},
                }),
            ))
        })
        .collect();
    json!({"version_info": version.to_string(), "resources": resources})
}

/// The cluster of a revision.
pub(super) fn cluster(namespace: &str, revision: &str) -> String {
    format!("{namespace}/{revision}")
}

/// The routes file: each service by path below `/serving/` and by host.
pub(super) fn routes(version: u64, services: &BTreeMap<ServiceName, Vec<Target>>, timeout: Duration) -> Value {
    let mut by_path = Vec::new();
    let mut hosts = Vec::new();
    for (service, targets) in services {
        let ServiceName { namespace, name } = service;
        by_path.extend(service_routes(service, targets, &format!("/serving/{namespace}/{name}/"), timeout));
        hosts.push(json!({
            "name": service.to_string(),
            "domains": [format!("{name}.{namespace}.localhost")],
            "routes": service_routes(service, targets, "/", timeout),
        }));
    }
    by_path.push(answer(json!({"prefix": "/"}), 404, "no such InferenceService"));
    hosts.push(json!({"name": "paths", "domains": ["*"], "routes": by_path}));
    let routes = json!({"name": MODELS, "virtual_hosts": hosts, "validate_clusters": false});
    json!({"version_info": version.to_string(), "resources": [any("envoy.config.route.v3.RouteConfiguration", routes)]})
}

fn service_routes(service: &ServiceName, targets: &[Target], prefix: &str, timeout: Duration) -> Vec<Value> {
    const HEADER: &str = "kfops-revision";
    let cluster = |target: &Target| cluster(&service.namespace, &target.revision);
    let action = |to: Value| {
        let mut action = json!({
            "timeout": seconds(timeout),
            "prefix_rewrite": "/",
            // Only what was never answered by a model, so that none sees a request twice.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset-before-request",
                "num_retries": 5,
                "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.500s"},
            },
        });
        if let (Some(action), Value::Object(to)) = (action.as_object_mut(), to) {
            action.extend(to);
        }
        action
    };
    let mut routes: Vec<Value> = targets
        .iter()
        .map(|target| {
            let pinned = json!([{"name": HEADER, "string_match": {"exact": target.revision}}]);
            json!({"match": {"prefix": prefix, "headers": pinned}, "route": action(json!({"cluster": cluster(target)}))})
        })
        .collect();
    let unknown = json!({"prefix": prefix, "headers": [{"name": HEADER, "present_match": true}]});
    routes.push(answer(unknown, 404, "no such revision"));
    let weighted: Vec<Value> = targets
        .iter()
        .filter(|target| target.weight > 0)
        .map(|target| json!({"name": cluster(target), "weight": target.weight}))
        .collect();
    routes.push(if weighted.is_empty() {
        answer(json!({"prefix": prefix}), 503, "no revision is live")
    } else {
        json!({"match": {"prefix": prefix}, "route": action(json!({"weighted_clusters": {"clusters": weighted}}))})
    });
    routes
}

fn answer(matching: Value, status: u16, text: &str) -> Value {
    json!({"match": matching, "direct_response": {"status": status, "body": {"inline_string": format!("{text}\n")}}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes_of(targets: &[(&str, u32)]) -> Vec<Value> {
        let service = ServiceName { namespace: "team".into(), name: "iris".into() };
        let target = |(revision, weight): &(&str, u32)| Target {
            revision: (*revision).into(),
            authority: "127.0.0.1:1".into(),
            weight: *weight,
        };
        let targets = targets.iter().map(target).collect();
        let config = routes(1, &BTreeMap::from([(service, targets)]), Duration::from_secs(60));
        let hosts = config["resources"][0]["virtual_hosts"].as_array().unwrap();
        assert_eq!(hosts[0]["domains"][0], "iris.team.localhost");
        hosts[1]["routes"].as_array().unwrap().clone()
    }

    #[test]
    fn a_pinned_request_is_matched_before_the_weights() {
        let routes = routes_of(&[("iris-00001", 90), ("iris-00002", 10)]);
        assert_eq!(routes[1]["match"]["headers"][0]["string_match"]["exact"], "iris-00002");
        assert_eq!(routes[1]["route"]["cluster"], "team/iris-00002");
        assert_eq!(routes[2]["direct_response"]["status"], 404, "no such revision");
        let weights = &routes[3]["route"]["weighted_clusters"]["clusters"];
        assert_eq!(
            weights,
            &json!([{"name": "team/iris-00001", "weight": 90}, {"name": "team/iris-00002", "weight": 10}])
        );
        assert_eq!(routes[4]["direct_response"]["status"], 404, "no such service");
    }

    #[test]
    fn without_a_share_a_revision_is_reached_by_its_header_only() {
        let routes = routes_of(&[("iris-00001", 0)]);
        assert_eq!(routes[0]["route"]["cluster"], "team/iris-00001");
        assert_eq!(routes[2]["direct_response"]["status"], 503);
    }

    #[test]
    fn nothing_listens_beyond_what_was_asked_for() {
        let (admin, xds) = (Path::new("/s/admin.sock"), Path::new("/s/xds"));
        let listen = "127.0.0.1:8081".parse().unwrap();
        let plain = Bootstrap { listen, admin, xds, otlp: None }.json();
        assert_eq!(plain["admin"]["address"]["pipe"]["path"], "/s/admin.sock");
        assert_eq!(plain["static_resources"]["listeners"].as_array().unwrap().len(), 1);
        assert!(!plain.to_string().contains("0.0.0.0"));
        assert!(!plain.to_string().contains("OpenTelemetryConfig"));
        let traced = Bootstrap { listen, admin, xds, otlp: Some(("127.0.0.1".into(), 4317)) }.json();
        assert!(traced.to_string().contains("OpenTelemetryConfig"));
    }
}
