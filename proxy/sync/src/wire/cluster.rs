//! Clusters.

use std::mem::take;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as wire;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, LbConfig,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::clusters::aggregate::v3::ClusterConfig as AggregateConfig;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use envoy_types::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3::ClusterConfig;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Any, Struct};
use lateen_proxy_model::{
    AddressFamily, Cluster, ClusterKind, ConnectionOptions, HttpProtocol, Interned, LbPolicy,
    LocalityEndpoints, ServiceInfo, TcpKeepalive, TransportMatch,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_off, number, port, texts, unpack};
use super::context::{Context, Uses};
use super::matcher::header_name;
use super::protocol;
use super::{
    balance, breakers, config_source, dns, endpoint, forward_proxy, health_check, ignored,
    metadata_exchange, outlier, socket, subset,
};

/// Names the endpoint of an original-destination cluster, unless another header is named.
const ORIGINAL_DST_HEADER: &str = "x-envoy-original-dst-host";

/// A cluster, and what must happen beside storing it.
pub(crate) struct BuiltCluster {
    pub(crate) cluster: Cluster,
    /// Endpoints given inline.
    pub(crate) inline: Option<Vec<LocalityEndpoints>>,
    /// EDS name, and how long it is waited for (`None` is for ever).
    pub(crate) eds: Option<(Arc<str>, Option<Duration>)>,
    /// What it refers to.
    pub(crate) uses: Uses,
}

/// Builds a cluster.
pub(crate) fn cluster(
    context: &Context<'_>,
    mut message: wire::Cluster,
) -> Result<BuiltCluster, Refused> {
    let at = At::ROOT;
    context.take_uses();
    ignored::cluster(&mut message);
    let name = take(&mut message.name);
    if name.is_empty() {
        return Err(at.field("name").refuse("missing"));
    }
    let name = Arc::clone(context.state().clusters().slot(&name).name());
    let mut found = discovery(context, &at, &name, &mut message)?;
    let mut protocol = protocol::of_cluster(&at, &mut message)?;
    if found.verified {
        protocol.verify_names(&at)?;
    }
    let (transports, proxy_protocol) = socket::upstream(context, &at, &mut message, protocol.auto)?;
    agreed_on(&at, &protocol.http, &transports)?;
    forward_proxy::settle(&mut found.kind, &transports);
    let balanced = balance::balancing(context, &at, &mut message)?;
    let facts = facts(message.metadata.take());
    let connect = at.field("connect_timeout");
    let connect_timeout = duration(&connect, message.connect_timeout.take())?;
    let place = at.field("circuit_breakers");
    let limits = breakers::read(&place, message.circuit_breakers.take())?;
    let mut options = protocol.options;
    connection_options(&at, &mut message, &mut options)?;
    let subsets = subset::read(
        &at.field("lb_subset_config"),
        message.lb_subset_config.take(),
    )?;
    if subsets.is_some() && balanced.lb == LbPolicy::ClusterProvided {
        let place = at.field("lb_subset_config");
        return Err(place.refuse("does not go with CLUSTER_PROVIDED"));
    }
    let checks = at.field("health_checks");
    let cluster = Cluster {
        lb: balanced.lb,
        balancing: balanced.balancing.into(),
        panic_threshold: balanced.panic_threshold,
        connect_timeout: connect_timeout.unwrap_or(Duration::from_secs(5)),
        http: protocol.http,
        idle_timeout: protocol.idle_timeout,
        max_requests_per_connection: protocol.max_requests_per_connection,
        max_concurrent_streams: protocol.codec.http2.max_concurrent_streams,
        codec: protocol.codec.into(),
        transports,
        limits: limits.default.into(),
        high: limits.high.into(),
        max_connections_per_host: limits.per_host,
        health_check: health_check::read(&checks, take(&mut message.health_checks))?,
        remove_healthy: take(&mut message.ignore_health_on_host_removal),
        subsets: subsets.or(balanced.subsets),
        outlier: outlier::read(
            &at.field("outlier_detection"),
            message.outlier_detection.take(),
        )?
        .map(Interned::from),
        keepalive: keepalive(&at, &mut message, &mut options)?.map(Interned::from),
        bind: bind(
            &at.field("upstream_bind_config"),
            message.upstream_bind_config.take(),
            &mut options,
        )?,
        options: options.into(),
        proxy_protocol,
        alpn_override_off: facts.alpn_override_off,
        metadata_exchange: filters(&at.field("filters"), take(&mut message.filters))?,
        service: facts.service,
        ..Cluster::new(name, found.kind)
    };
    nothing_left(&at, &message)?;
    Ok(BuiltCluster {
        cluster,
        inline: found.inline,
        eds: found.eds,
        uses: context.take_uses(),
    })
}

/// A protocol can only be agreed on where all endpoints are spoken to with TLS.
fn agreed_on(
    at: &At<'_>,
    http: &HttpProtocol,
    transports: &[TransportMatch],
) -> Result<(), Refused> {
    let clear = transports.is_empty() || transports.iter().any(|one| one.tls.is_none());
    if *http == HttpProtocol::Auto && clear {
        let text = "auto_config needs TLS, by which the protocol is agreed on";
        return Err(at.field("transport_socket").refuse(text));
    }
    Ok(())
}

/// Where endpoints come from, and what is known of them.
pub(super) struct Discovery {
    pub(super) kind: ClusterKind,
    pub(super) inline: Option<Vec<LocalityEndpoints>>,
    pub(super) eds: Option<(Arc<str>, Option<Duration>)>,
    /// Names of endpoints come from requests: the servers' certificates must be verified by them.
    pub(super) verified: bool,
}

fn discovery(
    context: &Context<'_>,
    at: &At<'_>,
    name: &Arc<str>,
    message: &mut wire::Cluster,
) -> Result<Discovery, Refused> {
    let kind = match message.cluster_discovery_type.take() {
        None => DiscoveryType::Static,
        Some(ClusterDiscoveryType::Type(number)) => DiscoveryType::try_from(number)
            .map_err(|_| at.field("type").refuse(format!("unknown type {number}")))?,
        Some(ClusterDiscoveryType::ClusterType(custom)) => {
            let packed = custom.typed_config.unwrap_or_default();
            ignored::look_ups(message);
            if any::holds::<DnsCluster>(&packed) {
                return dns::extension(context, at, name, message, &packed);
            }
            if any::holds::<AggregateConfig>(&packed) {
                return aggregate(context, at, message, &packed);
            }
            if any::holds::<ClusterConfig>(&packed) {
                return forward_proxy::cluster(context, at, message, &packed);
            }
            let text = format!("{} is not supported", custom.name);
            return Err(at.field("cluster_type").refuse(text));
        }
    };
    if matches!(kind, DiscoveryType::StrictDns | DiscoveryType::LogicalDns) {
        return dns::older(context, at, name, message, kind == DiscoveryType::StrictDns);
    }
    ignored::look_ups(message);
    match kind {
        DiscoveryType::Eds => eds(context, at, name, message),
        DiscoveryType::OriginalDst => original_dst(at, message),
        _ => inline(context, at, name, message),
    }
}

/// A cluster made of others.
fn aggregate(
    context: &Context<'_>,
    at: &At<'_>,
    message: &wire::Cluster,
    packed: &Any,
) -> Result<Discovery, Refused> {
    if message.lb_policy() != wire::cluster::LbPolicy::ClusterProvided {
        let text = "an aggregate cluster needs CLUSTER_PROVIDED";
        return Err(at.field("lb_policy").refuse(text));
    }
    let custom = at.field("cluster_type");
    let at = custom.field("typed_config");
    let mut config: AggregateConfig = unpack(&at, packed)?;
    let names = take(&mut config.clusters);
    if names.is_empty() {
        return Err(at.field("clusters").refuse("empty"));
    }
    nothing_left(&at, &config)?;
    let clusters = names.iter().map(|name| context.cluster(name));
    Ok(Discovery {
        kind: ClusterKind::Aggregate {
            clusters: clusters.collect(),
        },
        inline: None,
        eds: None,
        verified: false,
    })
}

fn eds(
    context: &Context<'_>,
    at: &At<'_>,
    name: &Arc<str>,
    message: &mut wire::Cluster,
) -> Result<Discovery, Refused> {
    let at = at.field("eds_cluster_config");
    let config = message.eds_cluster_config.take();
    let config = config.ok_or_else(|| at.refuse("missing"))?;
    let from = config_source::reference(context, &at.field("eds_config"), config.eds_config)?;
    let service = if config.service_name.is_empty() {
        &**name
    } else {
        &*config.service_name
    };
    if service.starts_with("xdstp:") {
        return Err(at
            .field("service_name")
            .refuse("xdstp names are not supported"));
    }
    let key = from.key(service);
    let endpoints = context.state().endpoints();
    let slot = match *key == **name {
        true => endpoints.slot_of(name),
        false => endpoints.slot(&key),
    };
    Ok(Discovery {
        kind: ClusterKind::Endpoints(Arc::clone(&slot)),
        inline: None,
        eds: Some((Arc::clone(slot.name()), from.wait)),
        verified: false,
    })
}

fn inline(
    context: &Context<'_>,
    at: &At<'_>,
    name: &Arc<str>,
    message: &mut wire::Cluster,
) -> Result<Discovery, Refused> {
    let at = at.field("load_assignment");
    let given = message.load_assignment.take().unwrap_or_default();
    let (_, parsed) = endpoint::assignment(&at, given)?;
    Ok(Discovery {
        kind: ClusterKind::Endpoints(context.state().endpoints().slot_of(name)),
        inline: Some(endpoint::addresses(&at, parsed)?),
        eds: None,
        verified: false,
    })
}

fn original_dst(at: &At<'_>, message: &mut wire::Cluster) -> Result<Discovery, Refused> {
    let (mut port_override, mut header) = (None, None);
    if let Some(LbConfig::OriginalDstLbConfig(_)) = message.lb_config
        && let Some(LbConfig::OriginalDstLbConfig(mut config)) = message.lb_config.take()
    {
        let at = at.field("original_dst_lb_config");
        if let Some(value) = number(config.upstream_port_override.take()).filter(|one| *one > 0) {
            port_override = Some(port(&at.field("upstream_port_override"), value)?);
        }
        let name = take(&mut config.http_header_name);
        if take(&mut config.use_http_header) {
            let name = if name.is_empty() {
                ORIGINAL_DST_HEADER
            } else {
                &*name
            };
            header = Some(header_name(&at.field("http_header_name"), name)?);
        }
        nothing_left(&at, &config)?;
    }
    Ok(Discovery {
        kind: ClusterKind::OriginalDst {
            port_override,
            header,
        },
        inline: None,
        eds: None,
        verified: false,
    })
}

fn keepalive(
    at: &At<'_>,
    message: &mut wire::Cluster,
    own: &mut ConnectionOptions,
) -> Result<Option<TcpKeepalive>, Refused> {
    use wire::upstream_connection_options::FirstAddressFamilyVersion as First;
    let Some(mut options) = message.upstream_connection_options.take() else {
        return Ok(None);
    };
    let keepalive = options.tcp_keepalive.take();
    if let Some(eyeballs) = options.happy_eyeballs_config.take() {
        let family = match eyeballs.first_address_family_version() {
            First::Default => None,
            First::V4 => Some(AddressFamily::V4),
            First::V6 => Some(AddressFamily::V6),
            First::Pipe | First::Internal => {
                let at = at.field("upstream_connection_options");
                return Err(at.field("happy_eyeballs_config").unsupported());
            }
        };
        let count = number(eyeballs.first_address_family_count).unwrap_or(1);
        own.first_family = (family, count.max(1));
    }
    nothing_left(&at.field("upstream_connection_options"), &options)?;
    let seconds = |value| number(value).map(|value| Duration::from_secs(value.into()));
    Ok(keepalive.map(|one| TcpKeepalive {
        time: seconds(one.keepalive_time),
        interval: seconds(one.keepalive_interval),
        probes: number(one.keepalive_probes),
    }))
}

fn bind(
    at: &At<'_>,
    message: Option<core::BindConfig>,
    options: &mut ConnectionOptions,
) -> Result<Option<IpAddr>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    let source = message.source_address.take();
    options.freebind = flag(message.freebind.take(), false);
    let place = at.field("socket_options");
    options.socket = super::socket_option::read(&place, take(&mut message.socket_options))?;
    let list = at.field("extra_source_addresses");
    let extra = take(&mut message.extra_source_addresses);
    for (index, mut one) in extra.into_iter().enumerate() {
        let at = list.item(index);
        let place = at.field("address");
        let address = one.address.take().ok_or_else(|| place.refuse("missing"))?;
        let (ip, _) = source_address(&place, address)?;
        options.extra_bind.push(ip);
        nothing_left(&at, &one)?;
    }
    nothing_left(at, &message)?;
    let Some(source) = source else {
        return Ok(None);
    };
    let (ip, port) = source_address(&at.field("source_address"), source)?;
    options.bind_port = port;
    Ok(Some(ip))
}

fn source_address(at: &At<'_>, address: core::SocketAddress) -> Result<(IpAddr, u16), Refused> {
    let (host, port) = super::common::host_port_of(at, address)?;
    match host.parse() {
        Ok(ip) => Ok((ip, port)),
        Err(_) => Err(at.refuse(format!("{host:?} is no IP address"))),
    }
}

/// Settings of connections that are fields of the cluster itself.
fn connection_options(
    at: &At<'_>,
    message: &mut wire::Cluster,
    options: &mut ConnectionOptions,
) -> Result<(), Refused> {
    options.per_downstream = take(&mut message.connection_pool_per_downstream_connection);
    options.close_on_failure = take(&mut message.close_connections_on_host_health_failure);
    if let Some(mut policy) = message.preconnect_policy.take() {
        let at = at.field("preconnect_policy");
        if let Some(ratio) = policy.per_upstream_preconnect_ratio.take() {
            if !(1.0..=3.0).contains(&ratio.value) {
                let place = at.field("per_upstream_preconnect_ratio");
                return Err(place.refuse("not between 1 and 3"));
            }
            options.preconnect = ratio.value;
        }
        nothing_left(&at, &policy)?;
    }
    Ok(())
}

/// Filters of upstream connections: only metadata exchange is known.
fn filters(at: &At<'_>, filters: Vec<wire::Filter>) -> Result<bool, Refused> {
    let mut exchange = false;
    for (index, filter) in filters.into_iter().enumerate() {
        let at = at.item(index);
        must_be_off(
            &at.field("config_discovery"),
            filter.config_discovery.is_some(),
        )?;
        let packed = filter.typed_config.unwrap_or_default();
        if !metadata_exchange::is_network(&at.field("typed_config"), &packed)? {
            let text = format!("filter {:?} is not supported", filter.name);
            return Err(at.refuse(text));
        }
        exchange = true;
    }
    Ok(exchange)
}

#[derive(Default)]
struct Facts {
    service: ServiceInfo,
    alpn_override_off: bool,
}

/// `filter_metadata.istio` (contract xds.md §12).
fn facts(metadata: Option<core::Metadata>) -> Facts {
    let metadata = metadata.unwrap_or_default();
    let Some(istio) = metadata.filter_metadata.get("istio") else {
        return Facts::default();
    };
    let mut facts = Facts {
        alpn_override_off: texts(istio).any(|pair| pair == ("alpn_override", "false")),
        ..Facts::default()
    };
    if let Some(service) = first_service(istio) {
        for (key, value) in texts(service) {
            match key {
                "host" => facts.service.host = value.into(),
                "name" => facts.service.name = value.into(),
                "namespace" => facts.service.namespace = value.into(),
                _ => {}
            }
        }
    }
    let external = istio.fields.get("external").and_then(|v| v.kind.as_ref());
    facts.service.external = match external {
        Some(Kind::BoolValue(value)) => *value,
        Some(Kind::StringValue(value)) => value == "true",
        _ => false,
    };
    facts
}

fn first_service(istio: &Struct) -> Option<&Struct> {
    let Some(Kind::ListValue(list)) = &istio.fields.get("services")?.kind else {
        return None;
    };
    match &list.values.first()?.kind {
        Some(Kind::StructValue(service)) => Some(service),
        _ => None,
    }
}
