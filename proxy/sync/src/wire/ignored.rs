//! Every field that is accepted and has no effect, with the reason. All other unsupported fields refuse the resource.

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::compression::brotli::compressor::v3 as brotli;
use envoy_types::pb::envoy::extensions::compression::gzip::compressor::v3 as gzip;
use envoy_types::pb::envoy::extensions::compression::zstd::compressor::v3 as zstd;
use envoy_types::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as forward_proxy;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3 as grpc_stats;
use envoy_types::pb::envoy::extensions::filters::http::router::v3 as router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::mongo_proxy::v3::MongoProxy;
use envoy_types::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as sni_forward_proxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::TunnelingConfig;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;

pub(super) fn cluster(message: &mut cluster::Cluster) {
    // Names and detail of Envoy's own statistics, which this proxy does not have.
    message.alt_stat_name.clear();
    message.stats_matcher = None;
    message.track_cluster_stats = None;
    message.track_timeout_budgets = false;
    // Buffers are bounded by the flow control of each stream.
    message.per_connection_buffer_limit_bytes = None;
    // Original-destination endpoints are forgotten by each worker when it knows too many.
    message.cleanup_interval = None;
    // Whether listeners wait for a cluster is decided by what they refer to.
    message.wait_for_warm_on_init = None;
}

/// Settings of look-ups, for clusters that look nothing up.
#[allow(deprecated, reason = "older clusters use these fields")]
pub(super) fn look_ups(message: &mut cluster::Cluster) {
    message.dns_lookup_family = 0;
    message.dns_refresh_rate = None;
    message.dns_jitter = None;
    message.dns_failure_refresh_rate = None;
    message.respect_dns_ttl = false;
    message.typed_dns_resolver_config = None;
}

pub(super) fn forward_proxy(message: &mut forward_proxy::FilterConfig) {
    // For filters and matchers that read filter state, and set from it; none that is supported does.
    message.save_upstream_address = false;
    message.allow_dynamic_host_from_filter_state = false;
}

pub(super) fn sni_forward_proxy(message: &mut sni_forward_proxy::FilterConfig) {
    // For filters and matchers that read filter state; none that is supported does.
    message.save_upstream_address = false;
}

pub(super) fn tunnel(message: &mut TunnelingConfig) {
    // For filters that read filter state; none that is supported does.
    message.propagate_response_headers = false;
    message.propagate_response_trailers = false;
}

pub(super) fn mongo(message: &mut MongoProxy) {
    // Documents are not read deeper than two levels.
    message.max_bson_depth = None;
}

pub(super) fn health_check(message: &mut core::HealthCheck) {
    // Envoy 1.40 was seen to check the endpoint's own port whatever this says; endpoints have a setting that works.
    message.alt_port = None;
}

pub(super) fn common_lb(message: &mut cluster::cluster::CommonLbConfig) {
    // Updates are applied at once, which is no slower than merging them.
    message.update_merge_window = None;
}

pub(super) fn http2(message: &mut core::Http2ProtocolOptions) {
    // Flood limits beside those that are read: this proxy has its own, always on.
    message.max_outbound_frames = None;
    message.max_outbound_control_frames = None;
    message.max_inbound_window_update_frames_per_data_frame_sent = None;
    message.stream_reset_burst = None;
    message.stream_reset_rate = None;
    // An invalid message ends its stream and not its connection, whatever is said (RFC 9113 section 8.1.1).
    message.stream_error_on_invalid_http_messaging = false;
    message.override_stream_error_on_invalid_http_message = None;
    // Which of Envoy's codecs is used, and whether it compresses what it can.
    message.use_oghttp2_codec = None;
    message.enable_huffman_encoding = None;
}

pub(super) fn http3(message: &mut core::Http3ProtocolOptions) {
    // QUIC of a listener is configured beside its address, in Envoy too.
    message.quic_protocol_options = None;
    // Nothing is ever put into a dynamic table.
    message.disable_qpack = false;
    // Flow control of connections cannot be turned off; their window is the configured one.
    message.disable_connection_flow_control_for_streams = false;
}

pub(super) fn udp_listener(message: &mut listener::UdpListenerConfig) {
    // How packets are written, and read together, is the QUIC library's choice.
    message.udp_packet_packet_writer_config = None;
    if let Some(socket) = &mut message.downstream_socket_config {
        socket.prefer_gro = None;
    }
    message
        .downstream_socket_config
        .take_if(|socket| *socket == core::UdpSocketConfig::default());
}

pub(super) fn quic_listener(message: &mut listener::QuicProtocolOptions) {
    // Packets of one turn are bounded by time.
    message.packets_to_read_to_connection_count_ratio = None;
    // Which of Envoy's own parts does the handshake, and how it makes ids of connections.
    message.crypto_stream_config = None;
    message.proof_source_config = None;
    message.connection_id_generator_config = None;
}

pub(super) fn quic(message: &mut core::QuicProtocolOptions) {
    // What clients do.
    message.num_timeouts_to_trigger_port_migration = None;
    message.connection_options.clear();
    message.client_connection_options.clear();
    message.client_packet_writer = None;
    message.connection_migration = None;
}

pub(super) fn http1(message: &mut core::Http1ProtocolOptions) {
    // The parser is this proxy's own.
    message.use_balsa_parser = None;
    // Absolute targets are accepted; turning them off is refused.
    message.allow_absolute_url.take_if(|on| on.value);
}

pub(super) fn load_assignment(message: &mut endpoint::ClusterLoadAssignment) {
    // Endpoints that others may refer to by name; a reference is refused.
    message.named_endpoints.clear();
}

pub(super) fn endpoint(message: &mut endpoint::Endpoint) {
    // A name for Envoy's statistics.
    message.observability_name.clear();
}

pub(super) fn locality(message: &mut endpoint::LocalityLbEndpoints) {
    // For filters that read it; none is supported.
    message.metadata = None;
}

pub(super) fn route_table(message: &mut route::RouteConfiguration) {
    // Routes to clusters that do not exist yet are accepted always; they answer when the cluster comes.
    message.validate_clusters = None;
    // For filters that read it; none is supported.
    message.metadata = None;
}

pub(super) fn virtual_host(message: &mut route::VirtualHost) {
    // For filters that read it; none is supported.
    message.metadata = None;
}

pub(super) fn listener(message: &mut listener::Listener) {
    // Statistics.
    message.stat_prefix.clear();
    message.stats_matcher = None;
    // For filters that read it, and for people.
    message.metadata = None;
    // Buffers are bounded by the flow control of each stream.
    message.per_connection_buffer_limit_bytes = None;
    // The kernel spreads connections over the workers' sockets.
    message.connection_balance_config = None;
}

pub(super) fn filter_chain(message: &mut listener::FilterChain) {
    // For filters that read it, and for people.
    message.metadata = None;
}

pub(super) fn connection_manager(message: &mut hcm::HttpConnectionManager) {
    // Phases of closing: the drain of this proxy covers them.
    message.drain_timeout = None;
    message.drain_timeout_jitter = None;
}

pub(super) fn router(message: &mut router::Router) {
    // Statistics.
    message.dynamic_stats = None;
    message.suppress_grpc_request_failure_code_stats = false;
}

pub(super) fn gzip(message: &mut gzip::Gzip) {
    // Memory of the library, and what it tries first: the result can be read all the same.
    message.memory_level = None;
    message.compression_strategy = 0;
    message.chunk_size = None;
}

pub(super) fn brotli(message: &mut brotli::Brotli) {
    // Memory of the library.
    message.chunk_size = None;
}

pub(super) fn zstd(message: &mut zstd::Zstd) {
    // What the library tries first, and its memory: the result can be read all the same.
    message.strategy = 0;
    message.chunk_size = None;
}

pub(super) fn grpc_stats(message: &mut grpc_stats::FilterConfig) {
    // How Envoy's own gRPC statistics are named and what they hold; Istio's metrics need the message counts alone.
    message.emit_filter_state = false;
    message.enable_upstream_stats = false;
    message.replace_dots_in_grpc_service_name = false;
    message.per_method_stat_specifier = None;
}

pub(super) fn client_tls(message: &mut tls::UpstreamTlsContext) {
    // Only asked of RSA key exchange, which this proxy does not speak.
    message.enforce_rsa_key_usage = None;
    // Sizes of a cache of sessions.
    message.max_session_keys = None;
}
