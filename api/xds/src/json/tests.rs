use envoy_types::pb::envoy::config::bootstrap::v3::Bootstrap;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use serde_json::json;

use super::*;

fn bootstrap() -> Value {
    json!({
        "node": {"id": "sidecar~1.1.1.1~a.b~c", "cluster": "x", "metadata": {"LABELS": {"a": "b"}, "N": 1.5}},
        "static_resources": {
            "listeners": [{
                "name": "l",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 10000}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "in",
                        "codec_type": "HTTP2",
                        "stream_idle_timeout": "0s",
                        "route_config": {"name": "r", "virtual_hosts": [{
                            "name": "v", "domains": ["*"],
                            "routes": [{
                                "match": {"prefix": "/"},
                                "route": {"cluster": "c", "timeout": "1.500s"},
                                "typed_per_filter_config": {"envoy.filters.http.fault": {
                                    "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
                                    "abort": {"http_status": 503, "percentage": {"numerator": 100}}
                                }}
                            }]
                        }]},
                        "http_filters": [
                            {"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig", "disable_host_header_fallback": true}},
                            {"name": "x", "typed_config": {"@type": "type.googleapis.com/nobody.knows.This", "value": "AQID"}},
                            {"name": "ts", "typed_config": {
                                "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
                                "type_url": "type.googleapis.com/io.istio.http.peer_metadata.Config",
                                "value": {"upstream_discovery": [{"istio_headers": {}}]}
                            }},
                            {"name": "envoy.filters.http.router", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}
                        ]
                    }
                }]}]
            }],
            "clusters": [{
                "name": "c", "type": "STRICT_DNS", "connect_timeout": "1s",
                "circuit_breakers": {"thresholds": [{"max_connections": 4_294_967_295_u32}]},
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {"max_concurrent_streams": 100}}
                }}
            }]
        },
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}}
    })
}

#[test]
fn a_bootstrap_survives_both_ways() {
    let codec = Codec::new().unwrap();
    let message: Bootstrap = codec.read_message(&bootstrap()).unwrap();
    assert_eq!(
        message.static_resources.as_ref().unwrap().clusters[0].name,
        "c"
    );
    assert_eq!(
        codec.write_message(&message, Naming::Proto).unwrap(),
        bootstrap()
    );
    let camel = codec.write_message(&message, Naming::Json).unwrap();
    assert_eq!(
        camel["staticResources"]["clusters"][0]["connectTimeout"],
        "1s"
    );
    assert_eq!(codec.read_message::<Bootstrap>(&camel).unwrap(), message);
}

#[test]
fn reading_gives_the_same_bytes_each_time() {
    let codec = Codec::new().unwrap();
    let first = codec
        .read("envoy.config.bootstrap.v3.Bootstrap", &bootstrap())
        .unwrap();
    assert_eq!(
        first,
        any::pack(&codec.read_message::<Bootstrap>(&bootstrap()).unwrap())
    );
}

#[test]
fn errors_name_the_place() {
    let codec = Codec::new().unwrap();
    let error = |value: Value| {
        codec
            .read_message::<Bootstrap>(&value)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(json!({"static_resources": {"clusters": [{"nam": "c"}]}})),
        "unknown field \"nam\" of envoy.config.cluster.v3.Cluster at .static_resources.clusters[0]"
    );
    assert_eq!(
        error(
            json!({"static_resources": {"listeners": [{"listener_filters": [{"typed_config": {"@type": "x/a.B", "c": 1}}]}]}})
        ),
        "unknown message type \"a.B\" at .static_resources.listeners[0].listener_filters[0].typed_config"
    );
    assert!(
        error(json!({"static_resources": {"clusters": [{"type": "NOPE"}]}}))
            .ends_with("at .static_resources.clusters[0].type")
    );
    assert!(
        error(json!({"static_resources": {"clusters": [{"connect_timeout": "x"}]}}))
            .ends_with("at .static_resources.clusters[0].connect_timeout")
    );
    assert!(
        error(json!({"static_resources": {"clusters": [{"type": "EDS", "cluster_type": {}}]}}))
            .contains("excludes it")
    );
    let mut deep = json!({});
    for _ in 0..60 {
        deep = json!({"or_match": {"rules": [deep, {"any_match": true}]}});
    }
    assert!(
        codec
            .read(
                "envoy.config.listener.v3.ListenerFilter",
                &json!({"filter_disabled": deep})
            )
            .is_err()
    );
    assert!(matches!(
        from_json("not.There", &json!({})),
        Err(JsonError::UnknownType { .. })
    ));
}

#[test]
fn any_forms() {
    let codec = Codec::new().unwrap();
    let any = codec
        .read_any(
            &json!({"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "c"}),
        )
        .unwrap();
    assert_eq!(any::unpack::<Cluster>(&any).unwrap().name, "c");
    assert!(any::unpack::<Listener>(&any).is_err());
    let duration = json!({"@type": "type.googleapis.com/google.protobuf.Duration", "value": "3s"});
    assert_eq!(
        codec
            .write(&codec.read_any(&duration).unwrap(), Naming::Json)
            .unwrap(),
        duration
    );
    let unknown = Any {
        type_url: "istio.io/debug".into(),
        value: b"{}".to_vec(),
    };
    assert_eq!(
        codec.write(&unknown, Naming::Json).unwrap(),
        json!({"@type": "istio.io/debug", "value": "e30="})
    );
    let broken = Any {
        type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".into(),
        value: vec![0xff],
    };
    assert!(codec.write(&broken, Naming::Json).is_err());
}
