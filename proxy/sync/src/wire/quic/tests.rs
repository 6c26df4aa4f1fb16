use std::sync::Arc;
use std::time::Duration;

use lateen_proxy_model::{AccessLogRef, CodecType, Listener, NetworkFilter};
use lateen_proxy_state::State;
use lateen_xds::json::message_from_json;
use serde_json::{Value, json};

use super::super::at::Refused;
use super::super::context::Context;
use super::super::listener;

fn build(value: &Value) -> Result<Listener, Refused> {
    let state: Arc<State> = State::new();
    let context = Context::new(&state, &|_| Ok(AccessLogRef(0)), false);
    let message = message_from_json(value).expect("valid JSON of a listener");
    listener::listener(&context, message).map(|built| built.listener)
}

fn quic_listener() -> Value {
    json!({
        "name": "quic",
        "address": {"socket_address": {"protocol": "UDP", "address": "127.0.0.1", "port_value": 443}},
        "udp_listener_config": {"quic_options": {}},
        "filter_chains": [{
            "transport_socket": {"name": "envoy.transport_sockets.quic", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
                "downstream_tls_context": {"common_tls_context": {"tls_certificate_sds_secret_configs":
                    [{"name": "kubernetes://a", "sds_config": {"ads": {}}}]}}}},
            "filters": [{"name": "http", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "quic", "codec_type": "HTTP3",
                "route_config": {"name": "r", "virtual_hosts": []},
                "http_filters": [{"name": "router", "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]
    })
}

fn tls(value: &mut Value) -> &mut Value {
    &mut value["filter_chains"][0]["transport_socket"]["typed_config"]
}

#[test]
fn a_listener_of_quic_is_read() {
    let mut value = quic_listener();
    let plain = build(&value).expect("supported");
    let quic = plain.socket.quic.as_ref().expect("QUIC");
    assert!(quic.enabled);
    assert_eq!(
        (quic.max_streams, quic.idle_timeout),
        (100, Duration::from_secs(300))
    );
    let chain = plain.chains.all().next().expect("a chain");
    let NetworkFilter::Http(manager) = &chain.filter else {
        panic!("no HTTP chain");
    };
    assert_eq!(manager.codec, CodecType::Http3);
    assert!(
        chain
            .tls
            .as_ref()
            .expect("TLS")
            .quic
            .expect("QUIC")
            .early_data
    );
    value["udp_listener_config"]["quic_options"] = json!({
        "enabled": {"default_value": false, "runtime_key": "k"},
        "idle_timeout": "7s", "crypto_handshake_timeout": "1s",
        "quic_protocol_options": {"max_concurrent_streams": 5, "initial_stream_window_size": 1,
            "initial_connection_window_size": 131072, "max_packet_length": 1400,
            "connection_keepalive": {"max_interval": "9s"}},
        "send_disable_active_migration": true, "packets_to_read_to_connection_count_ratio": 8});
    let tuned = build(&value).expect("supported");
    let quic = tuned.socket.quic.as_ref().expect("QUIC");
    assert!(!quic.enabled && quic.no_migration);
    assert_eq!(
        (quic.max_streams, quic.stream_window, quic.connection_window),
        (5, 16_384, 131_072)
    );
    assert_eq!(quic.idle_timeout, Duration::from_secs(7));
    assert_eq!(quic.handshake_timeout, Duration::from_secs(5));
    assert_eq!(
        (quic.keepalive, quic.max_packet),
        (Some(Duration::from_secs(9)), Some(1400))
    );
    assert!(plain.socket.binds_as(&tuned.socket), "the socket may stay");
}

#[test]
fn nothing_is_resumed_where_clients_are_verified() {
    let mut value = quic_listener();
    tls(&mut value)["downstream_tls_context"]["common_tls_context"]["validation_context_sds_secret_config"] =
        json!({"name": "ROOTCA", "sds_config": {"ads": {}}});
    let early = |value: &Value| {
        let listener = build(value).expect("supported");
        let chain = listener.chains.all().next().expect("a chain");
        let tls = chain.tls.as_ref().expect("TLS");
        (tls.resumption.sessions, tls.quic.expect("QUIC").early_data)
    };
    assert_eq!(early(&value), (false, false));
    tls(&mut value)["enable_early_data"] = json!(true);
    assert_eq!(early(&value), (false, false), "without sessions");
    tls(&mut value)["enable_resumption"] = json!(true);
    assert_eq!(early(&value), (true, true));
}

#[test]
fn what_does_not_fit_is_named() {
    let change = |pointer: &str, to: Value| {
        let mut value = quic_listener();
        *value.pointer_mut(pointer).expect("a place") = to;
        build(&value).expect_err("refused").path
    };
    let options = "/udp_listener_config/quic_options";
    let manager = "/filter_chains/0/filters/0/typed_config/codec_type";
    for (pointer, to, path) in [
        (
            "/udp_listener_config",
            json!({}),
            "udp_listener_config.quic_options",
        ),
        (
            "/address/socket_address/protocol",
            json!("TCP"),
            "udp_listener_config",
        ),
        (
            options,
            json!({"quic_protocol_options": {"max_concurrent_streams": 0}}),
            "udp_listener_config.quic_options.quic_protocol_options.max_concurrent_streams",
        ),
        (
            options,
            json!({"quic_protocol_options": {"max_packet_length": 100}}),
            "udp_listener_config.quic_options.quic_protocol_options.max_packet_length",
        ),
        (
            options,
            json!({"server_preferred_address_config": {"name": "x"}}),
            "udp_listener_config.quic_options.server_preferred_address_config",
        ),
        (manager, json!("AUTO"), "filter_chains[0].filters"),
        (
            "/filter_chains/0/transport_socket",
            json!(null),
            "filter_chains[0].transport_socket",
        ),
    ] {
        assert_eq!(change(pointer, to), path);
    }
    let mut value = quic_listener();
    value["listener_filters"] = json!([{"name": "tls", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}]);
    assert_eq!(build(&value).expect_err("refused").path, "listener_filters");
    let mut value = quic_listener();
    value["additional_addresses"] =
        json!([{"address": {"socket_address": {"address": "127.0.0.2", "port_value": 443}}}]);
    assert_eq!(
        build(&value).expect_err("refused").path,
        "additional_addresses"
    );
}
