//! The dynamic forward proxy: its caches, its cluster and its filters.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as wire;
use envoy_types::pb::envoy::config::cluster::v3::cluster::DnsLookupFamily as Older;
use envoy_types::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3::ClusterConfig;
use envoy_types::pb::envoy::extensions::clusters::dynamic_forward_proxy::v3::cluster_config::ClusterImplementationSpecifier;
use envoy_types::pb::envoy::extensions::common::dynamic_forward_proxy::v3::DnsCacheConfig;
use envoy_types::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3 as http_filter;
use envoy_types::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::filter_config::ImplementationSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::per_route_config::HostRewriteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3 as sni;
use envoy_types::pb::envoy::extensions::filters::network::sni_dynamic_forward_proxy::v3::filter_config::PortSpecifier;
use envoy_types::pb::envoy::r#type::matcher::v3::AddressMatcher;
use envoy_types::pb::google::protobuf::Any;
use http::HeaderValue;
use lateen_proxy_model::{
    AddressFilter, ClusterKind, DnsCache, DnsCacheSettings, DnsFamily, DnsSettings, ForwardHost,
    ForwardProxy, SniForwardProxy, TransportMatch,
};

use super::at::{At, Refused, nothing_left};
use super::cluster::Discovery;
use super::common::{duration, host_port_of, must_be_off, number, port, socket_address, unpack};
use super::context::Context;
use super::matcher::header_name;
use super::{dns, ignored};

const REFRESH: Duration = Duration::from_secs(60);
const MIN_REFRESH: Duration = Duration::from_secs(5);
const HOST_TTL: Duration = Duration::from_secs(300);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HOSTS: u32 = 1024;
const MAX_PENDING: u32 = 1024;
/// Port of hosts that name none, in clear and with TLS.
const PORTS: (u16, u16) = (80, 443);

/// The cluster; what it says of verification is checked when the whole cluster is known.
pub(super) fn cluster(
    context: &Context<'_>,
    at: &At<'_>,
    message: &wire::Cluster,
    packed: &Any,
) -> Result<Discovery, Refused> {
    use wire::cluster::LbPolicy;
    if message.lb_policy() != LbPolicy::ClusterProvided {
        let text = "a dynamic forward proxy needs CLUSTER_PROVIDED";
        return Err(at.field("lb_policy").refuse(text));
    }
    let custom = at.field("cluster_type");
    let at = custom.field("typed_config");
    let mut config: ClusterConfig = unpack(&at, packed)?;
    let insecure = take(&mut config.allow_insecure_cluster_options);
    must_be_off(
        &at.field("allow_coalesced_connections"),
        take(&mut config.allow_coalesced_connections),
    )?;
    let given = match config.cluster_implementation_specifier.take() {
        Some(ClusterImplementationSpecifier::DnsCacheConfig(given)) => given,
        Some(ClusterImplementationSpecifier::SubClustersConfig(_)) => {
            return Err(at.field("sub_clusters_config").unsupported());
        }
        None => return Err(at.field("dns_cache_config").refuse("missing")),
    };
    nothing_left(&at, &config)?;
    Ok(Discovery {
        kind: ClusterKind::Forward {
            cache: cache(context, &at.field("dns_cache_config"), given)?,
            port: PORTS.0,
        },
        inline: None,
        eds: None,
        verified: !insecure,
    })
}

/// The port of hosts that name none, now that it is known whether upstreams are spoken to with TLS.
pub(super) fn settle(kind: &mut ClusterKind, transports: &[TransportMatch]) {
    let tls = transports.first().is_some_and(|first| first.tls.is_some());
    if let ClusterKind::Forward { port, .. } = kind
        && tls
    {
        *port = PORTS.1;
    }
}

/// The HTTP filter.
pub(super) fn http(
    context: &Context<'_>,
    at: &At<'_>,
    mut config: http_filter::FilterConfig,
) -> Result<ForwardProxy, Refused> {
    ignored::forward_proxy(&mut config);
    let given = match config.implementation_specifier.take() {
        Some(ImplementationSpecifier::DnsCacheConfig(given)) => given,
        Some(ImplementationSpecifier::SubClusterConfig(_)) => {
            return Err(at.field("sub_cluster_config").unsupported());
        }
        None => return Err(at.field("dns_cache_config").refuse("missing")),
    };
    nothing_left(at, &config)?;
    let cache = cache(context, &at.field("dns_cache_config"), given)?;
    Ok(ForwardProxy { cache })
}

/// What a route says of the host.
pub(super) fn per_route(
    at: &At<'_>,
    mut config: http_filter::PerRouteConfig,
) -> Result<ForwardHost, Refused> {
    let specifier = config.host_rewrite_specifier.take();
    nothing_left(at, &config)?;
    Ok(match specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) if !host.is_empty() => {
            let value = HeaderValue::try_from(&host);
            let refused = |_| at.field("host_rewrite_literal").refuse("no header value");
            ForwardHost::Literal(value.map_err(refused)?)
        }
        Some(HostRewriteSpecifier::HostRewriteHeader(name)) if !name.is_empty() => {
            ForwardHost::Header(header_name(&at.field("host_rewrite_header"), &name)?)
        }
        _ => ForwardHost::Unchanged,
    })
}

/// The network filter.
pub(super) fn by_server_name(
    context: &Context<'_>,
    at: &At<'_>,
    mut config: sni::FilterConfig,
) -> Result<SniForwardProxy, Refused> {
    ignored::sni_forward_proxy(&mut config);
    let place = at.field("dns_cache_config");
    let given = config.dns_cache_config.take();
    let given = given.ok_or_else(|| place.refuse("missing"))?;
    let port = match config.port_specifier.take() {
        Some(PortSpecifier::PortValue(value)) => port(&at.field("port_value"), value)?,
        None => PORTS.1,
    };
    nothing_left(at, &config)?;
    Ok(SniForwardProxy {
        cache: cache(context, &place, given)?,
        port,
    })
}

/// The cache of these settings, shared with all who name the same one.
fn cache(
    context: &Context<'_>,
    at: &At<'_>,
    message: DnsCacheConfig,
) -> Result<Arc<DnsCache>, Refused> {
    let settings = settings(at, message)?;
    let joined = context.state().dns_caches().join(settings);
    joined.map_err(|error| at.field("name").refuse(error.to_string()))
}

#[allow(deprecated, reason = "older configurations use these fields")]
fn settings(at: &At<'_>, mut message: DnsCacheConfig) -> Result<DnsCacheSettings, Refused> {
    let name = take(&mut message.name);
    if name.is_empty() {
        return Err(at.field("name").refuse("missing"));
    }
    let at_least = |field: &str, value: Option<Duration>, least: Duration| match value {
        Some(value) if value < least => Err(at.field(field).refuse("too short")),
        value => Ok(value),
    };
    let refresh = duration(
        &at.field("dns_refresh_rate"),
        message.dns_refresh_rate.take(),
    )?;
    let refresh = at_least("dns_refresh_rate", refresh, Duration::from_millis(1))?;
    let place = at.field("dns_min_refresh_rate");
    let min = duration(&place, message.dns_min_refresh_rate.take())?;
    let min = at_least("dns_min_refresh_rate", min, Duration::from_secs(1))?;
    let ttl = duration(&at.field("host_ttl"), message.host_ttl.take())?;
    let ttl = at_least("host_ttl", ttl, Duration::from_nanos(1))?;
    let max_hosts = number(message.max_hosts.take()).unwrap_or(MAX_HOSTS);
    if max_hosts == 0 {
        return Err(at.field("max_hosts").refuse("must be at least 1"));
    }
    let place = at.field("dns_query_timeout");
    let timeout = duration(&place, message.dns_query_timeout.take())?.unwrap_or(TIMEOUT);
    let breaker = message.dns_cache_circuit_breaker.take().unwrap_or_default();
    let mut preresolve = Vec::new();
    let list = at.field("preresolve_hostnames");
    for (index, one) in take(&mut message.preresolve_hostnames)
        .into_iter()
        .enumerate()
    {
        let (host, port) = host_port_of(&list.item(index), one)?;
        preresolve.push((host.into(), port));
    }
    let failure = dns::failure(
        &at.field("dns_failure_refresh_rate"),
        message.dns_failure_refresh_rate.take(),
    )?;
    let family = match message.dns_lookup_family() {
        Older::Auto => DnsFamily::Auto,
        Older::V4Only => DnsFamily::V4Only,
        Older::V6Only => DnsFamily::V6Only,
        Older::V4Preferred => DnsFamily::V4Preferred,
        Older::All => DnsFamily::All,
    };
    message.dns_lookup_family = 0;
    let servers = servers(at, &mut message)?;
    let refused = message.resolved_address_filter.take();
    let refused = refused.map(|it| filter(&at.field("resolved_address_filter"), it));
    let made = DnsCacheSettings {
        name: name.into(),
        dns: DnsSettings {
            refresh: refresh.unwrap_or(REFRESH),
            failure,
            respect_ttl: true,
            min_refresh: min.unwrap_or(MIN_REFRESH),
            family,
            servers,
            ..DnsSettings::default()
        },
        host_ttl: ttl.unwrap_or(HOST_TTL),
        max_hosts: max_hosts as usize,
        refresh_failed: !take(&mut message.disable_dns_refresh_on_failure),
        max_pending: number(breaker.max_pending_requests).unwrap_or(MAX_PENDING),
        preresolve,
        timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        refused: refused.transpose()?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

#[allow(deprecated, reason = "older configurations use these fields")]
fn servers(
    at: &At<'_>,
    message: &mut DnsCacheConfig,
) -> Result<Arc<[std::net::SocketAddr]>, Refused> {
    must_be_off(
        &at.field("use_tcp_for_dns_lookups"),
        take(&mut message.use_tcp_for_dns_lookups),
    )?;
    let place = at.field("dns_resolution_config");
    let older = message.dns_resolution_config.take();
    if let Some(config) = message.typed_dns_resolver_config.take() {
        return Ok(dns::resolver(&at.field("typed_dns_resolver_config"), &config)?.into());
    }
    let Some(config) = older else {
        return Ok(Arc::default());
    };
    let list = place.field("resolvers");
    let servers = config.resolvers.into_iter().enumerate();
    let servers = servers.map(|(index, one)| socket_address(&list.item(index), Some(one)));
    let options = config.dns_resolver_options.unwrap_or_default();
    let place = place.field("dns_resolver_options");
    must_be_off(
        &place.field("use_tcp_for_dns_lookups"),
        options.use_tcp_for_dns_lookups,
    )?;
    servers.collect()
}

fn filter(at: &At<'_>, mut message: AddressMatcher) -> Result<AddressFilter, Refused> {
    let list = at.field("ranges");
    let mut ranges = Vec::new();
    for (index, range) in take(&mut message.ranges).into_iter().enumerate() {
        let at = list.item(index);
        let ip = range.address_prefix.parse();
        let ip = ip.map_err(|_| at.field("address_prefix").refuse("no IP address"))?;
        let length = number(
            range
                .prefix_len
                .map(|it| envoy_types::pb::google::protobuf::UInt32Value { value: it.value }),
        );
        let length = u8::try_from(length.unwrap_or(0)).ok();
        let net = length.and_then(|length| ipnet::IpNet::new(ip, length).ok());
        ranges.push(net.ok_or_else(|| at.field("prefix_len").refuse("too long"))?);
    }
    let inverted = take(&mut message.invert_match);
    nothing_left(at, &message)?;
    Ok(AddressFilter { ranges, inverted })
}
