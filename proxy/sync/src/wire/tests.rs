//! Resources as an Istio control plane sends them, and what is refused.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster_pb;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint_pb;
use envoy_types::pb::envoy::config::listener::v3 as listener_pb;
use envoy_types::pb::envoy::config::route::v3 as route_pb;
use lateen_proxy_model::{
    AccessLogRef, ClusterChoice, ClusterKind, DnsFamily, FaultAbort, FilterOverride, Health,
    HttpFilter, HttpProtocol, LbPolicy, ListenerBind, ListenerFilter, NetworkFilter, PathRewrite,
    Percentage, RequireTls, RetryOn, RouteAction, RouteSource, SanKind, SanMatcher, StatsFilter,
    TrafficDirection, Transport,
};
use lateen_proxy_state::State;
use lateen_xds::json::message_from_json;
use prost::{Message, Name};
use serde_json::{Value, json};

use super::at::{At, Refused};
use super::context::{AccessLogFormat, AccessLogSpec, Context, LogOutput};
use super::*;

mod forward;

fn message<M: Message + Name + Default>(value: &Value) -> M {
    message_from_json(value).expect("valid JSON of the message")
}

fn logs(spec: AccessLogSpec) -> Result<AccessLogRef, String> {
    match spec.output {
        LogOutput::File {
            format: AccessLogFormat::Text(text),
            ..
        } if text.contains("%NOPE%") => Err("unknown operator %NOPE%".to_owned()),
        _ => Ok(AccessLogRef(7)),
    }
}

fn build_cluster(state: &Arc<State>, value: &Value) -> Result<cluster::BuiltCluster, Refused> {
    cluster::cluster(&Context::new(state, &logs, false), message(value))
}

fn build_listener(state: &Arc<State>, value: &Value) -> Result<listener::BuiltListener, Refused> {
    listener::listener(&Context::new(state, &logs, false), message(value))
}

fn build_routes(
    state: &Arc<State>,
    value: &Value,
) -> Result<lateen_proxy_model::RouteTable, Refused> {
    let context = Context::new(state, &logs, false);
    let table: route_pb::RouteConfiguration = message(value);
    route_table::route_table(&context, &At::ROOT, table)
}

fn ads() -> Value {
    json!({"ads": {}, "initial_fetch_timeout": "0s", "resource_api_version": "V3"})
}

fn sds(name: &str) -> Value {
    json!({"name": name, "sds_config": {"api_config_source": {"api_type": "GRPC",
        "transport_api_version": "V3", "set_node_on_first_message_only": true,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}]},
        "initial_fetch_timeout": "0s", "resource_api_version": "V3"}})
}

fn outbound_cluster() -> Value {
    json!({
        "name": "outbound|9080||reviews.default.svc.cluster.local",
        "alt_stat_name": "outbound|9080||reviews.default.svc.cluster.local;",
        "type": "EDS",
        "eds_cluster_config": {"eds_config": ads(),
            "service_name": "outbound|9080||reviews.default.svc.cluster.local"},
        "connect_timeout": "10s",
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [{"max_connections": 4294967295u32,
            "max_pending_requests": 4294967295u32, "max_requests": 4294967295u32,
            "max_retries": 4294967295u32, "track_remaining": true}]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0},
            "locality_weighted_lb_config": {}},
        "outlier_detection": {"consecutive_5xx": 3, "enforcing_consecutive_5xx": 100,
            "enforcing_success_rate": 0, "interval": "1s"},
        "metadata": {"filter_metadata": {"istio": {"services": [{"host":
            "reviews.default.svc.cluster.local", "name": "reviews", "namespace": "default"}]}}},
        "transport_socket_matches": [
            {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": {
                "name": "envoy.transport_sockets.tls", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": "outbound_.9080_._.reviews.default.svc.cluster.local",
                "common_tls_context": {
                    "tls_params": {"tls_minimum_protocol_version": "TLSv1_2",
                        "tls_maximum_protocol_version": "TLSv1_3"},
                    "alpn_protocols": ["istio-peer-exchange", "istio"],
                    "tls_certificate_sds_secret_configs": [sds("default")],
                    "combined_validation_context": {
                        "default_validation_context": {"match_subject_alt_names":
                            [{"exact": "spiffe://cluster.local/ns/default/sa/bookinfo-reviews"}]},
                        "validation_context_sds_secret_config": sds("ROOTCA")}}}}},
            {"name": "tlsMode-disabled", "match": {}, "transport_socket": {
                "name": "envoy.transport_sockets.raw_buffer", "typed_config": {"@type":
                "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}],
        "filters": [{"name": "istio.metadata_exchange", "typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
            "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
            "value": {"protocol": "istio-peer-exchange", "enable_discovery": true}}}]
    })
}

#[test]
fn an_outbound_cluster_of_the_mesh_is_understood() {
    let state = State::new();
    let built = build_cluster(&state, &outbound_cluster()).expect("supported");
    let cluster = &built.cluster;
    assert_eq!(cluster.lb, LbPolicy::LeastRequest { choices: 2 });
    assert_eq!(cluster.limits.max_retries, u32::MAX);
    assert_eq!(cluster.panic_threshold, 0);
    assert_eq!(cluster.http, HttpProtocol::Http1);
    assert_eq!(&*cluster.service.name, "reviews");
    assert!(cluster.metadata_exchange && cluster.balancing.locality_weighted);
    let outlier = cluster.outlier.as_ref().expect("outlier detection");
    assert_eq!(
        (
            (
                outlier.consecutive_5xx.limit,
                outlier.consecutive_5xx.enforcing
            ),
            outlier.consecutive_gateway.enforcing
        ),
        ((3, 100), 0)
    );
    assert_eq!(built.eds, Some((Arc::clone(&cluster.name), None)));
    let mesh = endpoint::metadata(Some(&message(&json!({"filter_metadata":
        {"envoy.transport_socket_match": {"tlsMode": "istio"}, "istio": {"workload": "w;ns;cn;;c"}}}))));
    let (index, tls) = cluster.transport(&mesh);
    let tls = tls.expect("mTLS");
    assert_eq!(index, 0);
    assert_eq!(tls.alpn[0], b"istio-peer-exchange");
    assert_eq!(
        tls.sans,
        [SanMatcher::Exact(
            "spiffe://cluster.local/ns/default/sa/bookinfo-reviews".into()
        )]
    );
    assert_eq!(&**tls.identity.as_ref().expect("own").name(), "default");
    assert_eq!(&**tls.trust.as_ref().expect("roots").name(), "ROOTCA");
    assert!(cluster.transport(&Default::default()).1.is_none());
    assert_eq!(
        &*mesh.workload.expect("workload").canonical_revision,
        "latest"
    );
    assert!(built.uses.secrets.is_empty());
}

#[test]
fn an_inbound_cluster_binds_and_follows_the_destination() {
    let state = State::new();
    let built = build_cluster(&state, &json!({
        "name": "inbound|9080||", "alt_stat_name": "inbound|9080||;", "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "10s",
        "cleanup_interval": "9223372035s",
        "upstream_bind_config": {"source_address": {"address": "127.0.0.6", "port_value": 0}},
        "circuit_breakers": {"thresholds": [{"max_connections": 4294967295u32}]},
        "common_lb_config": {},
        "original_dst_lb_config": {"upstream_port_override": 9080},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "use_downstream_protocol_config": {"http_protocol_options": {},
                    "http2_protocol_options": {}},
                "common_http_protocol_options": {"idle_timeout": "300s"}}}}))
    .expect("supported");
    let cluster = built.cluster;
    assert!(matches!(
        cluster.kind,
        ClusterKind::OriginalDst {
            port_override: Some(9080),
            header: None,
        }
    ));
    assert_eq!(cluster.lb, LbPolicy::ClusterProvided);
    assert_eq!(
        cluster.bind.map(|ip| ip.to_string()).as_deref(),
        Some("127.0.0.6")
    );
    assert_eq!(cluster.http, HttpProtocol::Downstream);
    assert_eq!(cluster.idle_timeout, Some(Duration::from_secs(300)));
    assert_eq!(cluster.panic_threshold, 50);
}

#[test]
fn a_dns_cluster_keeps_its_hosts() {
    let state = State::new();
    let built = build_cluster(&state, &json!({
        "name": "outbound|443||x", "type": "STRICT_DNS", "dns_refresh_rate": "60s",
        "respect_dns_ttl": true, "dns_jitter": "0.100s", "dns_lookup_family": "V4_ONLY",
        "typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
            "udp_max_queries": 100}},
        "load_assignment": {"cluster_name": "outbound|443||x", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": {"socket_address": {"address": "x.example", "port_value": 443}}},
             "load_balancing_weight": 3}]}]}}))
    .expect("supported");
    let ClusterKind::Dns {
        hosts, strict, dns, ..
    } = built.cluster.kind
    else {
        panic!("no DNS cluster");
    };
    assert!(strict && dns.refresh == Duration::from_secs(60) && dns.family == DnsFamily::V4Only);
    assert!(dns.respect_ttl && dns.jitter == Duration::from_millis(100));
    assert_eq!(
        (&*hosts[0].host, hosts[0].port, hosts[0].weight),
        ("x.example", 443, 3)
    );
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn what_a_cluster_may_not_say_is_named() {
    let state = State::new();
    for (change, path) in [
        (
            json!({"lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}),
            "lb_policy",
        ),
        (
            json!({"lb_policy": "RANDOM", "maglev_lb_config": {}}),
            "lb_config",
        ),
        (
            json!({"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": 100}}),
            "maglev_lb_config.table_size",
        ),
        (
            json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": 9, "maximum_ring_size": 8}}),
            "ring_hash_lb_config.minimum_ring_size",
        ),
        (
            json!({"lb_policy": "RING_HASH", "ring_hash_lb_config": {"hash_function": "MURMUR_HASH_2"}}),
            "ring_hash_lb_config.hash_function",
        ),
        (
            json!({"common_lb_config": {"consistent_hashing_lb_config": {"hash_balance_factor": 50}}}),
            "common_lb_config.consistent_hashing_lb_config.hash_balance_factor",
        ),
        (
            json!({"health_checks": [{"timeout": "1s"}]}),
            "health_checks[0].interval",
        ),
        (
            json!({"health_checks": [{"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1,
            "http_health_check": {"path": "/", "send": {"text": "xx"}, "method": "POST"}}]}),
            "health_checks[0].http_health_check.send.text",
        ),
        (
            json!({"health_checks": [{"timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1,
            "custom_health_check": {"name": "redis"}}]}),
            "health_checks[0].custom_health_check",
        ),
        (
            json!({"common_lb_config": {"zone_aware_lb_config": {"routing_enabled": {"value": 200}}}}),
            "common_lb_config.zone_aware_lb_config.routing_enabled",
        ),
        (
            json!({"lb_subset_config": {"subset_selectors": [{"keys": ["a"], "fallback_policy": "KEYS_SUBSET", "fallback_keys_subset": ["b"]}]}}),
            "lb_subset_config.subset_selectors[0].fallback_keys_subset",
        ),
        (
            json!({"outlier_detection": {"enforcing_consecutive_5xx": 101}}),
            "outlier_detection.enforcing_consecutive_5xx",
        ),
        (
            json!({"transport_socket": {"name": "x", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"key_log": {"path": "/x"}}}}}),
            "transport_socket.typed_config.common_tls_context.key_log",
        ),
        (
            json!({"transport_socket": {"name": "x", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"tls_params": {"tls_maximum_protocol_version": "TLSv1_2",
                "cipher_suites": ["ECDHE-RSA-AES256-SHA"]}}}}}),
            "transport_socket.typed_config.common_tls_context.tls_params.cipher_suites",
        ),
        (
            json!({"eds_cluster_config": {"eds_config": {"path": "/x"}}}),
            "eds_cluster_config.eds_config",
        ),
        (
            json!({"filters": [{"name": "other", "typed_config": {"@type":
            "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"}}]}),
            "filters[0]",
        ),
        (
            json!({"circuit_breakers": {"thresholds": [{"retry_budget": {"budget_percent": {"value": 101}}}]}}),
            "circuit_breakers.thresholds[0].retry_budget.budget_percent",
        ),
    ] {
        let mut value = outbound_cluster();
        for (key, field) in change.as_object().expect("object") {
            value[key] = field.clone();
        }
        let refused = build_cluster(&state, &value).err().unwrap();
        assert_eq!(refused.path, path, "{refused}");
    }
}

#[test]
fn policies_are_read_from_both_places() {
    let state = State::new();
    let build = |change: Value| {
        let mut value = json!({"name": "c", "type": "STATIC"});
        for (key, field) in change.as_object().expect("object") {
            value[key] = field.clone();
        }
        build_cluster(&state, &value).expect("supported").cluster
    };
    let extension = |name: &str, mut config: Value| {
        let package = "type.googleapis.com/envoy.extensions.load_balancing_policies";
        config["@type"] = format!("{package}.{name}").into();
        json!({"policies": [{"typed_extension_config": {"name": "x", "typed_config": config}}]})
    };
    let max = 8 * 1024 * 1024;
    for (change, lb) in [
        (
            json!({"lb_policy": "MAGLEV"}),
            LbPolicy::Maglev { size: 65_537 },
        ),
        (
            json!({"lb_policy": "RING_HASH"}),
            LbPolicy::RingHash { min: 1024, max },
        ),
        (
            json!({"load_balancing_policy": extension("ring_hash.v3.RingHash",
                json!({"minimum_ring_size": 7, "maximum_ring_size": 9}))}),
            LbPolicy::RingHash { min: 7, max: 9 },
        ),
        (
            json!({"load_balancing_policy": extension("maglev.v3.Maglev", json!({"table_size": 101}))}),
            LbPolicy::Maglev { size: 101 },
        ),
        (
            json!({"load_balancing_policy": extension("random.v3.Random", json!({}))}),
            LbPolicy::Random,
        ),
    ] {
        assert_eq!(build(change).lb, lb);
    }
    let inner = extension(
        "least_request.v3.LeastRequest",
        json!({"choice_count": 3, "active_request_bias": {"default_value": 0.5, "runtime_key": "k"},
            "slow_start_config": {"slow_start_window": "60s"}}),
    );
    let outer = extension(
        "wrr_locality.v3.WrrLocality",
        json!({"endpoint_picking_policy": inner}),
    );
    let built = build(json!({"load_balancing_policy": outer}));
    assert_eq!(built.lb, LbPolicy::LeastRequest { choices: 3 });
    assert!(built.balancing.locality_weighted);
    assert_eq!(built.balancing.active_request_bias, 0.5);
    let slow = built.balancing.slow_start.expect("slow start");
    assert_eq!(
        (slow.window.as_secs(), slow.aggression, slow.min_weight),
        (60, 1.0, 0.1)
    );
}

#[test]
fn endpoints_carry_locality_health_and_metadata() {
    let assignment: endpoint_pb::ClusterLoadAssignment = message(&json!({
        "cluster_name": "c", "endpoints": [
            {"locality": {"region": "r", "zone": "a"}, "load_balancing_weight": 90, "lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "10.0.0.1", "port_value": 80}}},
                 "health_status": "HEALTHY", "load_balancing_weight": 1},
                {"endpoint": {"address": {"socket_address": {"address": "10.0.0.2", "port_value": 80}}},
                 "health_status": "DRAINING", "load_balancing_weight": 1}]},
            {"locality": {"region": "r", "zone": "b"}, "load_balancing_weight": 10, "lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "10.0.0.3", "port_value": 80}}},
                 "load_balancing_weight": 1}]}]}));
    let (name, parsed) = endpoint::assignment(&At::ROOT, assignment).expect("supported");
    let plain = endpoint::addresses(&At::ROOT, parsed).expect("addresses");
    assert_eq!((&*name, &*plain[0].locality.zone), ("c", "a"));
    assert_eq!(plain[0].endpoints[1].health, Health::Draining);
    assert_eq!(plain[1].endpoints[0].weight, 1);
    assert_eq!((plain[0].weight, plain[1].weight), (90, 10));
    let bad: endpoint_pb::ClusterLoadAssignment = message(&json!({"cluster_name": "c",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": "/x"}}}}]}]}));
    let refused = endpoint::assignment(&At::ROOT, bad).err().unwrap();
    assert_eq!(
        refused.path,
        "endpoints[0].lb_endpoints[0].endpoint.address.pipe"
    );
}

fn manager(routes: Value) -> Value {
    let mut value = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound_0.0.0.0_9080;",
        "http_filters": [
            {"name": "istio.metadata_exchange", "typed_config": {
                "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                "type_url": "type.googleapis.com/io.istio.http.peer_metadata.Config",
                "value": {"upstream_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}],
                    "upstream_propagation": [{"istio_headers": {"skip_external_clusters": true}}]}}},
            {"name": "envoy.filters.http.grpc_web", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}},
            {"name": "envoy.filters.http.grpc_stats", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig",
                "emit_filter_state": true, "stats_for_all_methods": false}},
            {"name": "istio.alpn", "typed_config": {
                "@type": "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
                "alpn_override": [{"alpn_override": ["istio-http/1.0", "istio", "http/1.0"]},
                    {"upstream_protocol": "HTTP2", "alpn_override": ["istio-h2", "istio", "h2"]}]}},
            {"name": "envoy.filters.http.fault", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"}},
            {"name": "envoy.filters.http.cors", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"}},
            {"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig"}},
            {"name": "envoy.filters.http.router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "tracing": {"client_sampling": {"value": 100}, "random_sampling": {"value": 1}},
        "use_remote_address": false, "stream_idle_timeout": "0s", "normalize_path": true,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED", "proxy_100_continue": true,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "server_name": "istio-envoy", "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
        "request_id_extension": {"typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
            "use_request_id_for_trace_sampling": true}},
        "access_log": [{"name": "envoy.access_loggers.file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/dev/stdout", "log_format": {"text_format_source": {"inline_string": "%PROTOCOL%\n"}}}}]
    });
    for (key, field) in routes.as_object().expect("object") {
        value[key] = field.clone();
    }
    value
}

fn http_listener(manager: &Value) -> Value {
    json!({
        "name": "0.0.0.0_9080", "bind_to_port": false, "traffic_direction": "OUTBOUND",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 9080}},
        "listener_filters": [
            {"name": "envoy.filters.listener.http_inspector", "typed_config": {"@type":
                "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"},
             "filter_disabled": {"or_match": {"rules": [
                {"destination_port_range": {"start": 15006, "end": 15007}},
                {"destination_port_range": {"start": 0, "end": 1}}]}}}],
        "listener_filters_timeout": "0s", "continue_on_listener_filters_timeout": true,
        "default_filter_chain": {"name": "PassthroughFilterChain", "filter_chain_match": {},
            "filters": [
            {"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig",
                "disable_host_header_fallback": true}},
            {"name": "envoy.filters.network.tcp_proxy", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                "stat_prefix": "PassthroughCluster", "cluster": "PassthroughCluster"}}]},
        "filter_chains": [{
            "filter_chain_match": {"transport_protocol": "raw_buffer",
                "application_protocols": ["http/1.1", "h2c"]},
            "transport_socket_connect_timeout": "15s",
            "filters": [{"name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager}]}]
    })
}

#[test]
fn an_outbound_listener_of_the_mesh_is_understood() {
    let state = State::new();
    let rds = json!({"rds": {"config_source": ads(), "route_config_name": "9080"}});
    let built = build_listener(&state, &http_listener(&manager(rds))).expect("supported");
    let listener = &built.listener;
    assert_eq!(listener.bind, ListenerBind::HandOver);
    assert_eq!(listener.direction, TrafficDirection::Outbound);
    let http = listener
        .filters
        .entries
        .iter()
        .find(|entry| matches!(entry.filter, ListenerFilter::HttpInspector));
    let off = http.expect("inspector").disabled.as_ref().expect("ports");
    assert!(off.holds(15006) && off.holds(0) && !off.holds(9080));
    assert!(listener.filters.timeout.is_none() && listener.filters.continue_on_timeout);
    let (condition, chain) = &listener.chains.chains()[0];
    assert_eq!(condition.transport, Some(Transport::RawBuffer));
    let NetworkFilter::Http(manager) = &chain.filter else {
        panic!("no HTTP chain");
    };
    assert!(matches!(&manager.routes, RouteSource::Rds(slot) if &**slot.name() == "9080"));
    assert!(matches!(
        manager.filters[0].filter,
        HttpFilter::PeerMetadata {
            downstream: false,
            upstream: true,
            skip_external: true
        }
    ));
    assert_eq!(manager.filters.len(), 7);
    assert_eq!(manager.stream_idle_timeout, None);
    assert_eq!(manager.access_log, [AccessLogRef(7)]);
    assert_eq!(manager.server_name.as_ref().expect("name"), "istio-envoy");
    assert!(manager.paths.normalize && !manager.reject_fragment && manager.xfcc.uri);
    let default = listener.chains.default_chain().expect("default chain");
    assert_eq!(
        default.stats,
        Some(StatsFilter {
            host_header_fallback: false,
            ..StatsFilter::default()
        })
    );
    let names: Vec<_> = built.uses.routes.iter().map(|name| &**name).collect();
    assert_eq!(names, ["9080"]);
    assert!(built.uses.clusters.contains("PassthroughCluster"));
}

#[test]
fn a_mutual_tls_chain_is_understood() {
    let state = State::new();
    let mut value = http_listener(&manager(json!({"route_config": {"name": "inbound|9080||",
        "validate_clusters": false, "virtual_hosts": [{"name": "inbound|http|9080", "domains": ["*"],
        "routes": [{"name": "default", "match": {"prefix": "/"}, "decorator": {"operation": "x"},
            "route": {"cluster": "inbound|9080||", "timeout": "0s", "max_stream_duration":
                {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"}}}]}]}})));
    value["filter_chains"][0]["transport_socket"] = json!({"name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": {"alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "cipher_suites": [
                    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
                    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
                    "AES256-GCM-SHA384", "AES128-GCM-SHA256"]},
                "tls_certificate_sds_secret_configs": [sds("default")],
                "combined_validation_context": {"default_validation_context": {
                    "match_typed_subject_alt_names": [{"san_type": "URI",
                        "matcher": {"prefix": "spiffe://cluster.local/"}}]},
                    "validation_context_sds_secret_config": sds("ROOTCA")}}}});
    let built = build_listener(&state, &value).expect("supported");
    let chain = &built.listener.chains.chains()[0].1;
    let tls = chain.tls.as_ref().expect("TLS");
    assert!(tls.require_client_certificate && tls.trust.is_some());
    assert_eq!(
        tls.sans,
        [SanMatcher::Typed(
            SanKind::Uri,
            Box::new(SanMatcher::Prefix("spiffe://cluster.local/".into()))
        )]
    );
    let NetworkFilter::Http(manager) = &chain.filter else {
        panic!("no HTTP chain");
    };
    let RouteSource::Inline(table) = &manager.routes else {
        panic!("no inline routes");
    };
    let RouteAction::Forward(forward) = &table.hosts[0].routes[0].action else {
        panic!("no forwarding route");
    };
    assert_eq!((forward.timeout, forward.grpc_timeout_max), (None, None));
    let stream = forward.grpc_stream.expect("any grpc-timeout");
    assert_eq!(stream.max, Duration::ZERO);
}

#[test]
fn what_a_listener_may_not_say_is_named() {
    let state = State::new();
    let rds = json!({"rds": {"config_source": ads(), "route_config_name": "9080"}});
    let place = "filter_chains[0].filters[0].typed_config";
    let rbac = json!({"name": "rbac", "typed_config": {"@type":
        "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"}});
    for (change, path) in [
        (
            json!({"tracing": {"provider": {"name": "zipkin"}}}),
            format!("{place}.tracing.provider.typed_config"),
        ),
        (
            json!({"tracing": {"custom_tags": [{"tag": "a", "value": "%PROTOCOL%"}]}}),
            format!("{place}.tracing.custom_tags[0].value"),
        ),
        (
            json!({"tracing": {"provider": {"name": "z", "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                "collector_cluster": "z", "collector_endpoint": "/", "collector_endpoint_version": "HTTP_PROTO"}}}}),
            format!("{place}.tracing.provider.typed_config.collector_endpoint_version"),
        ),
        (
            json!({"access_log": [{"name": "l", "filter": {"extension_filter": {"name": "c", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": "nope == 1"}}}, "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": "/x"}}]}),
            format!("{place}.access_log[0].filter.extension_filter.typed_config.expression"),
        ),
        (
            json!({"http_filters": [{"name": "istio.stats", "typed_config": {
                "@type": "type.googleapis.com/stats.PluginConfig", "metrics": [{"name": "nope"}]}}]}),
            format!("{place}.http_filters[0].typed_config.metrics[0].name"),
        ),
        (
            json!({"http_filters": [rbac]}),
            format!("{place}.http_filters[0].typed_config"),
        ),
        (json!({"http_filters": []}), format!("{place}.http_filters")),
        (
            json!({"append_local_overload": true}),
            format!("{place}.append_local_overload"),
        ),
        (
            json!({"codec_type": "HTTP3"}),
            "filter_chains[0].filters".to_owned(),
        ),
        (
            json!({"access_log": [{"name": "l", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": "/x", "log_format": {"text_format_source": {"inline_string": "%NOPE%"}}}}]}),
            format!("{place}.access_log[0].typed_config"),
        ),
    ] {
        let mut manager = manager(rds.clone());
        for (key, field) in change.as_object().expect("object") {
            manager[key] = field.clone();
        }
        let refused = build_listener(&state, &http_listener(&manager))
            .err()
            .unwrap();
        assert_eq!(refused.path, path, "{refused}");
    }
    let mut listener = http_listener(&manager(rds));
    listener["tcp_fast_open_queue_length"] = json!(3);
    let refused = build_listener(&state, &listener).err().unwrap();
    assert_eq!(refused.path, "tcp_fast_open_queue_length");
}

fn one_route(route: Value) -> Value {
    json!({"name": "r", "virtual_hosts": [{"name": "h", "domains": ["*"],
        "hedge_policy": {"hedge_on_per_try_timeout": true},
        "routes": [{"match": {"prefix": "/"}, "route": route}]}]})
}

fn forward_of(route: Value) -> lateen_proxy_model::RouteForward {
    let table = build_routes(&State::new(), &one_route(route)).expect("supported");
    let route = Arc::clone(&table.hosts[0].routes[0]);
    drop(table);
    match Arc::into_inner(route).expect("only one").action {
        RouteAction::Forward(forward) => *forward,
        _ => panic!("no forwarding route"),
    }
}

#[test]
fn redirects_are_followed_by_either_field() {
    let older = forward_of(json!({"cluster": "a",
        "internal_redirect_action": "HANDLE_INTERNAL_REDIRECT", "max_internal_redirects": 3}));
    let older = older.internal_redirect.expect("a policy");
    assert!(older.max == 3 && older.takes(http::StatusCode::FOUND));
    let config = "type.googleapis.com/envoy.extensions.internal_redirect";
    let newer = forward_of(json!({"cluster": "a", "internal_redirect_policy": {
        "redirect_response_codes": [303, 305], "response_headers_to_copy": ["x-a"],
        "predicates": [
            {"name": "p", "typed_config": {"@type": format!("{config}.previous_routes.v3.PreviousRoutesConfig")}},
            {"name": "l", "typed_config": {"@type": format!("{config}.allow_listed_routes.v3.AllowListedRoutesConfig"),
                "allowed_route_names": ["b"]}},
            {"name": "s", "typed_config": {"@type": format!("{config}.safe_cross_scheme.v3.SafeCrossSchemeConfig")}}]}}));
    let newer = newer.internal_redirect.expect("a policy");
    assert_eq!(newer.max, 1);
    assert_eq!(*newer.statuses, [http::StatusCode::SEE_OTHER]);
    assert_eq!(newer.targets.len(), 3);
    let passed = forward_of(json!({"cluster": "a",
        "internal_redirect_action": "PASS_THROUGH_INTERNAL_REDIRECT"}));
    assert!(passed.internal_redirect.is_none());
}

#[test]
fn retries_choose_other_endpoints_and_priorities() {
    let host = "type.googleapis.com/envoy.extensions.retry.host";
    let route = forward_of(json!({"cluster": "a", "retry_policy": {"retry_on": "5xx",
        "retry_priority": {"name": "p", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 2}},
        "retry_host_predicate": [
            {"name": "c", "typed_config": {"@type": format!("{host}.omit_canary_hosts.v3.OmitCanaryHostsPredicate")}},
            {"name": "m", "typed_config": {"@type": format!("{host}.omit_host_metadata.v3.OmitHostMetadataConfig"),
                "metadata_match": {"filter_metadata": {"envoy.lb": {"a": "b"}}}}}]}}));
    assert!(route.hedge, "as the virtual host says");
    let retry = route.retry.expect("retries");
    assert!(!retry.avoid_previous_hosts && retry.avoid_labels.len() == 2);
    assert_eq!(retry.avoid_priorities, Some(2));
    let own = forward_of(json!({"cluster": "a", "hedge_policy": {"initial_requests": 2}}));
    assert!(!own.hedge, "as the route says");
}

fn reviews_routes() -> Value {
    json!({
        "name": "9080", "validate_clusters": false, "ignore_port_in_host_matching": true,
        "max_direct_response_body_size_bytes": 1048576,
        "virtual_hosts": [
            {"name": "reviews.default.svc.cluster.local:9080", "include_request_attempt_count": true,
             "domains": ["reviews.default.svc.cluster.local", "reviews", "Reviews.default", "10.96.0.9"],
             "routes": [
                {"name": "jason", "match": {"prefix": "/", "case_sensitive": true, "headers": [
                    {"name": "end-user", "string_match": {"exact": "jason"}}]},
                 "metadata": {"filter_metadata": {"istio": {"config": "/apis/x"}}},
                 "route": {"cluster": "outbound|9080|v2|reviews", "timeout": "0s",
                    "max_grpc_timeout": "0s", "retry_policy": {
                    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
                    "num_retries": 2, "host_selection_retry_max_attempts": "5",
                    "retry_host_predicate": [{"name": "envoy.retry_host_predicates.previous_hosts",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}]}},
                 "typed_per_filter_config": {"envoy.filters.http.fault": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
                    "delay": {"fixed_delay": "7s", "percentage": {"numerator": 1000000, "denominator": "MILLION"}},
                    "abort": {"http_status": 500, "percentage": {"numerator": 50}}}}},
                {"match": {"path": "/old"}, "redirect": {"path_redirect": "/new", "response_code": "FOUND"}},
                {"match": {"safe_regex": {"regex": "/r/.*"}}, "direct_response":
                    {"status": 503, "body": {"inline_string": "no"}}},
                {"match": {"prefix": "/"}, "route": {"timeout": "3s", "prefix_rewrite": "/v1/",
                    "weighted_clusters": {"clusters": [
                        {"name": "a", "weight": 80}, {"name": "b", "weight": 20}]}},
                 "request_headers_to_add": [{"header": {"key": "x-a", "value": "1"},
                    "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]}]},
            {"name": "tls", "domains": ["*.secure.example"], "require_tls": "ALL",
             "routes": []},
            {"name": "allow_any", "domains": ["*"], "routes": [{"name": "allow_any",
                "match": {"prefix": "/"}, "route": {"cluster": "PassthroughCluster", "timeout": "0s"}}]}]
    })
}

#[test]
fn routes_of_the_mesh_are_understood() {
    let state = State::new();
    let table = build_routes(&state, &reviews_routes()).expect("supported");
    assert!(table.ignore_port && table.exact.contains_key("reviews.default"));
    assert_eq!(table.any, Some(2));
    assert_eq!(table.suffix.ending("a.secure.example"), Some(1));
    assert_eq!(table.hosts[1].require_tls, RequireTls::All);
    let routes = &table.hosts[0].routes;
    let RouteAction::Forward(first) = &routes[0].action else {
        panic!("no forwarding route");
    };
    let retry = first.retry.as_ref().expect("retries");
    assert!(retry.on.has(RetryOn::GRPC_UNAVAILABLE) && !retry.on.has(RetryOn::FIVE_XX));
    assert!(retry.avoid_previous_hosts && retry.host_selection_attempts == 5 && retry.retries == 2);
    let setting = routes[0].overrides.find("envoy.filters.http.fault");
    let Some(FilterOverride::Fault(Some(fault))) = setting.and_then(|it| it.config.as_ref()) else {
        panic!("no fault");
    };
    assert_eq!(fault.delay, Some((Duration::from_secs(7), Percentage::ALL)));
    assert_eq!(
        fault.abort,
        Some((
            FaultAbort::Http(http::StatusCode::INTERNAL_SERVER_ERROR),
            Percentage(500_000)
        ))
    );
    assert!(
        matches!(&routes[1].action, RouteAction::Redirect(to) if to.path.as_deref() == Some("/new"))
    );
    assert!(matches!(&routes[2].action, RouteAction::Direct(answer) if &answer.body[..] == b"no"));
    let RouteAction::Forward(last) = &routes[3].action else {
        panic!("no forwarding route");
    };
    assert!(matches!(
        &last.cluster,
        ClusterChoice::Weighted { total: 100, .. }
    ));
    assert!(matches!(&last.path_rewrite, Some(PathRewrite::Prefix(to)) if &**to == "/v1/"));
    assert!(!routes[3].request_headers.is_empty());
}

#[test]
fn what_a_route_may_not_say_is_named() {
    let state = State::new();
    let place = "virtual_hosts[0].routes[0]";
    for (pointer, value, path) in [
        (
            "/virtual_hosts/0/routes/0/route/retry_policy/retry_on",
            json!("nope"),
            format!("{place}.route.retry_policy.retry_on"),
        ),
        (
            "/virtual_hosts/0/routes/0/match/filter_state",
            json!([{"key": "a"}]),
            format!("{place}.match.filter_state"),
        ),
        (
            "/virtual_hosts/0/routes/2/match/safe_regex/regex",
            json!("\\C"),
            "virtual_hosts[0].routes[2].match.safe_regex.regex".to_owned(),
        ),
        (
            "/virtual_hosts/0/rate_limits",
            json!([{"stage": 1}]),
            "virtual_hosts[0].rate_limits[0].actions".to_owned(),
        ),
        (
            "/virtual_hosts/2/domains",
            json!(["reviews"]),
            "virtual_hosts[2].domains[0]".to_owned(),
        ),
        (
            "/virtual_hosts/0/routes/0/typed_per_filter_config",
            json!({"f": {"@type":
            "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}),
            format!("{place}.typed_per_filter_config[\"f\"]"),
        ),
        (
            "/virtual_hosts/0/routes/3/request_headers_to_add/0/header/value",
            json!("%NO_SUCH_THING%"),
            "virtual_hosts[0].routes[3].request_headers_to_add[0].header.value".to_owned(),
        ),
    ] {
        let mut table = reviews_routes();
        let (parent, key) = pointer.rsplit_once('/').expect("pointer");
        table.pointer_mut(parent).expect("parent")[key] = value;
        if let Some(item) = key
            .parse::<usize>()
            .ok()
            .and_then(|_| table.pointer(pointer))
        {
            assert!(!item.is_null());
        }
        let refused = build_routes(&state, &table).unwrap_err();
        assert_eq!(refused.path, path, "{refused}");
    }
}

#[test]
fn hostile_depth_and_bytes_do_not_panic() {
    let state = State::new();
    let context = Context::new(&state, &logs, false);
    for bytes in [&[0xff; 40][..], &[0x0a, 0x7f], &[]] {
        let _ = cluster_pb::Cluster::decode(bytes).map(|one| cluster::cluster(&context, one));
        let _ = listener_pb::Listener::decode(bytes).map(|one| listener::listener(&context, one));
    }
}
