//! Network and HTTP filters that chains are made of.

use std::collections::HashMap;

use envoy_types::pb::envoy::extensions::filters::http::cors::v3::Cors;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3 as grpc_stats;
use envoy_types::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::listener::http_inspector::v3::HttpInspector;
use envoy_types::pb::envoy::extensions::filters::listener::original_dst::v3::OriginalDst;
use envoy_types::pb::envoy::extensions::filters::listener::original_src::v3::OriginalSrc;
use envoy_types::pb::envoy::extensions::filters::listener::proxy_protocol::v3::ProxyProtocol;
use envoy_types::pb::envoy::extensions::filters::listener::tls_inspector::v3::TlsInspector;
use envoy_types::pb::envoy::extensions::filters::network::mongo_proxy::v3::MongoProxy;
use lateen_xds::any::typed_struct;
use lateen_xds::pb::istio::envoy::config::filter::http::alpn::v2alpha1 as alpn;
use lateen_xds::pb::stats::PluginConfig;

use crate::pb::listener::{
    Filter, ListenerFilter, ListenerFilterChainMatchPredicate, filter, listener_filter,
};
use crate::pb::{Any, Struct, hcm};
use crate::wire::{flag_value, list_value, number, pack, struct_of, struct_value, text_value};

/// Which way traffic goes through a chain; decides the details of Istio's filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// From the application to the mesh.
    Outbound,
    /// From the mesh to the application.
    Inbound,
    /// Through a gateway.
    Gateway,
}

/// What of Istio's own filters a chain carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Extras {
    /// The client understands Istio's filters.
    pub(crate) istio: bool,
    /// Metrics go to Prometheus.
    pub(crate) metrics: bool,
}

/// A network filter.
pub(crate) fn network(name: &str, config: Any) -> Filter {
    Filter {
        name: name.into(),
        config_type: Some(filter::ConfigType::TypedConfig(config)),
    }
}

/// A listener filter.
pub(crate) fn listener_filter(name: &str, config: Any) -> ListenerFilter {
    ListenerFilter {
        name: name.into(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        filter_disabled: None,
    }
}

/// Looks at the ClientHello for SNI and ALPN.
pub(crate) fn tls_inspector(disabled: Option<ListenerFilterChainMatchPredicate>) -> ListenerFilter {
    let config = TlsInspector {
        initial_read_buffer_size: number(512),
        ..Default::default()
    };
    ListenerFilter {
        filter_disabled: disabled,
        ..listener_filter("envoy.filters.listener.tls_inspector", pack(&config))
    }
}

/// Looks at the first bytes for HTTP.
pub(crate) fn http_inspector(
    disabled: Option<ListenerFilterChainMatchPredicate>,
) -> ListenerFilter {
    ListenerFilter {
        filter_disabled: disabled,
        ..listener_filter(
            "envoy.filters.listener.http_inspector",
            pack(&HttpInspector {}),
        )
    }
}

/// Restores the address a redirected connection was made to.
pub(crate) fn original_dst() -> ListenerFilter {
    listener_filter("envoy.filters.listener.original_dst", pack(&OriginalDst {}))
}

/// Keeps the client's address towards the application (TPROXY).
pub(crate) fn original_src() -> ListenerFilter {
    let config = OriginalSrc {
        mark: 1337,
        ..Default::default()
    };
    listener_filter("envoy.filters.listener.original_src", pack(&config))
}

/// Reads the PROXY protocol header of a load balancer.
pub(crate) fn proxy_protocol() -> ListenerFilter {
    listener_filter(
        "envoy.filters.listener.proxy_protocol",
        pack(&ProxyProtocol::default()),
    )
}

/// Network filter that exchanges peer metadata over mTLS.
pub(crate) fn tcp_metadata_exchange() -> Filter {
    network("istio.metadata_exchange", tcp_metadata_exchange_config())
}

/// The same as an upstream filter of a cluster.
pub(crate) fn tcp_metadata_exchange_config() -> Any {
    let fields = struct_of([
        ("protocol", text_value("istio-peer-exchange")),
        ("enable_discovery", flag_value(true)),
    ]);
    typed_struct(
        "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
        fields,
    )
}

fn stats_config(direction: Direction) -> Any {
    let disable_host_header_fallback = direction != Direction::Outbound;
    pack(&PluginConfig {
        disable_host_header_fallback,
        ..Default::default()
    })
}

/// Network filters before the TCP proxy: metrics where they are on.
pub(crate) fn tcp_stats(extras: Extras, direction: Direction) -> Option<Filter> {
    (extras.istio && extras.metrics).then(|| network("istio.stats", stats_config(direction)))
}

/// Decodes MongoDB's protocol for its statistics.
pub(crate) fn mongo(stat_prefix: &str) -> Filter {
    let config = MongoProxy {
        stat_prefix: stat_prefix.into(),
        ..Default::default()
    };
    network("envoy.filters.network.mongo_proxy", pack(&config))
}

/// The HTTP filters of a chain, in order.
pub(crate) fn http_filters(
    extras: Extras,
    direction: Direction,
    grpc_web: bool,
) -> Vec<hcm::HttpFilter> {
    let mut filters = Vec::with_capacity(8);
    if extras.istio {
        filters.push(http(
            "istio.metadata_exchange",
            http_metadata_exchange(direction),
        ));
    }
    if grpc_web {
        filters.push(http("envoy.filters.http.grpc_web", pack(&GrpcWeb {})));
    }
    filters.push(http(
        "envoy.filters.http.grpc_stats",
        pack(&grpc_stats_config()),
    ));
    if extras.istio && direction != Direction::Inbound {
        filters.push(http("istio.alpn", pack(&alpn_config())));
    }
    filters.push(http(
        "envoy.filters.http.fault",
        pack(&HttpFault::default()),
    ));
    filters.push(http("envoy.filters.http.cors", pack(&Cors {})));
    if extras.istio && extras.metrics {
        filters.push(http("istio.stats", stats_config(direction)));
    }
    filters.push(http("envoy.filters.http.router", pack(&Router::default())));
    filters
}

fn http(name: &str, config: Any) -> hcm::HttpFilter {
    hcm::HttpFilter {
        name: name.into(),
        config_type: Some(hcm::http_filter::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn grpc_stats_config() -> grpc_stats::FilterConfig {
    grpc_stats::FilterConfig {
        emit_filter_state: true,
        per_method_stat_specifier: Some(
            grpc_stats::filter_config::PerMethodStatSpecifier::StatsForAllMethods(
                crate::pb::BoolValue { value: false },
            ),
        ),
        ..Default::default()
    }
}

fn http_metadata_exchange(direction: Direction) -> Any {
    let empty = || {
        struct_value(Struct {
            fields: HashMap::new(),
        })
    };
    let headers = || struct_value(struct_of([("istio_headers", empty())]));
    let discovery = struct_value(struct_of([("workload_discovery", empty())]));
    let (discover, propagate) = match direction {
        Direction::Inbound => ("downstream_discovery", "downstream_propagation"),
        Direction::Outbound | Direction::Gateway => ("upstream_discovery", "upstream_propagation"),
    };
    let fields = struct_of([
        (discover, list_value(vec![headers(), discovery])),
        (propagate, list_value(vec![headers()])),
    ]);
    typed_struct(
        "type.googleapis.com/io.istio.http.peer_metadata.Config",
        fields,
    )
}

fn alpn_config() -> alpn::FilterConfig {
    use alpn::filter_config::{AlpnOverride, Protocol};
    let entry = |protocol: Protocol, list: [&str; 3]| AlpnOverride {
        upstream_protocol: protocol as i32,
        alpn_override: list.map(String::from).to_vec(),
    };
    alpn::FilterConfig {
        alpn_override: vec![
            entry(Protocol::Http10, ["istio-http/1.0", "istio", "http/1.0"]),
            entry(Protocol::Http11, ["istio-http/1.1", "istio", "http/1.1"]),
            entry(Protocol::Http2, ["istio-h2", "istio", "h2"]),
        ],
    }
}
