//! Clusters whose endpoints are looked up, and the resolvers that do it.

use std::mem::take;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as wire;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::clusters::common::dns::v3::DnsLookupFamily as Family;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::DnsCluster;
use envoy_types::pb::envoy::extensions::clusters::dns::v3::dns_cluster::RefreshRate;
use envoy_types::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
use envoy_types::pb::envoy::extensions::network::dns_resolver::getaddrinfo::v3::GetAddrInfoDnsResolverConfig;
use envoy_types::pb::google::protobuf::Any;
use lateen_proxy_model::{ClusterKind, DnsFamily, DnsSettings};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::cluster::Discovery;
use super::common::{duration, must_be_off, socket_address, unpack};
use super::context::Context;
use super::endpoint;

/// Least time between look-ups.
const LEAST: Duration = Duration::from_millis(1);
const DEFAULT: Duration = Duration::from_secs(5);

/// A cluster of host names by its older fields. `strict`: every address is an endpoint.
#[allow(deprecated, reason = "older clusters use these fields")]
pub(super) fn older(
    context: &Context<'_>,
    at: &At<'_>,
    name: &Arc<str>,
    message: &mut wire::Cluster,
    strict: bool,
) -> Result<Discovery, Refused> {
    let settings = older_settings(at, message)?;
    let one_endpoint = !strict;
    hosts(context, at, name, message, (settings, one_endpoint))
}

/// The settings of look-ups in a cluster's older fields, which are taken out of it.
#[allow(deprecated, reason = "older clusters use these fields")]
fn older_settings(at: &At<'_>, message: &mut wire::Cluster) -> Result<DnsSettings, Refused> {
    use wire::cluster::DnsLookupFamily as Older;
    let family = match message.dns_lookup_family() {
        Older::Auto => DnsFamily::Auto,
        Older::V4Only => DnsFamily::V4Only,
        Older::V6Only => DnsFamily::V6Only,
        Older::V4Preferred => DnsFamily::V4Preferred,
        Older::All => DnsFamily::All,
    };
    message.dns_lookup_family = 0;
    let failure = message.dns_failure_refresh_rate.take();
    let failure = failure.map(|rate| RefreshRate {
        base_interval: rate.base_interval,
        max_interval: rate.max_interval,
    });
    let mut servers = Vec::new();
    let list = at.field("dns_resolvers");
    for (index, one) in take(&mut message.dns_resolvers).into_iter().enumerate() {
        servers.push(socket_address(&list.item(index), Some(one))?);
    }
    let place = at.field("dns_resolution_config");
    if let Some(config) = message.dns_resolution_config.take() {
        let list = place.field("resolvers");
        for (index, one) in config.resolvers.into_iter().enumerate() {
            servers.push(socket_address(&list.item(index), Some(one))?);
        }
        let options = config.dns_resolver_options.unwrap_or_default();
        must_be_off(
            &place
                .field("dns_resolver_options")
                .field("use_tcp_for_dns_lookups"),
            options.use_tcp_for_dns_lookups,
        )?;
    }
    let place = at.field("typed_dns_resolver_config");
    if let Some(config) = message.typed_dns_resolver_config.take() {
        servers = resolver(&place, &config)?;
    }
    let place = at.field("use_tcp_for_dns_lookups");
    must_be_off(&place, take(&mut message.use_tcp_for_dns_lookups))?;
    times(
        at,
        Times {
            refresh: duration(
                &at.field("dns_refresh_rate"),
                message.dns_refresh_rate.take(),
            )?,
            min_refresh: None,
            jitter: duration(&at.field("dns_jitter"), message.dns_jitter.take())?,
            failure,
            respect_ttl: take(&mut message.respect_dns_ttl),
        },
        (family, servers),
    )
}

/// A cluster of `envoy.extensions.clusters.dns.v3.DnsCluster`.
pub(super) fn extension(
    context: &Context<'_>,
    at: &At<'_>,
    name: &Arc<str>,
    message: &mut wire::Cluster,
    packed: &Any,
) -> Result<Discovery, Refused> {
    let custom = at.field("cluster_type");
    let place = custom.field("typed_config");
    let mut config: DnsCluster = unpack(&place, packed)?;
    let one_endpoint = take(&mut config.all_addresses_in_single_endpoint);
    let settings = of_message(&place, config)?;
    hosts(context, at, name, message, (settings, one_endpoint))
}

/// The settings of look-ups in the newer message.
pub(super) fn of_message(at: &At<'_>, mut config: DnsCluster) -> Result<DnsSettings, Refused> {
    let family = family(config.dns_lookup_family());
    config.dns_lookup_family = 0;
    let servers = match config.typed_dns_resolver_config.take() {
        Some(one) => resolver(&at.field("typed_dns_resolver_config"), &one)?,
        None => Vec::new(),
    };
    let given = Times {
        refresh: duration(
            &at.field("dns_refresh_rate"),
            config.dns_refresh_rate.take(),
        )?,
        min_refresh: duration(
            &at.field("dns_min_refresh_rate"),
            config.dns_min_refresh_rate.take(),
        )?,
        jitter: duration(&at.field("dns_jitter"), config.dns_jitter.take())?,
        failure: config.dns_failure_refresh_rate.take(),
        respect_ttl: take(&mut config.respect_dns_ttl),
    };
    nothing_left(at, &config)?;
    times(at, given, (family, servers))
}

/// Addresses that are used.
pub(super) fn family(family: Family) -> DnsFamily {
    match family {
        Family::Unspecified | Family::Auto => DnsFamily::Auto,
        Family::V4Only => DnsFamily::V4Only,
        Family::V6Only => DnsFamily::V6Only,
        Family::V4Preferred => DnsFamily::V4Preferred,
        Family::All => DnsFamily::All,
    }
}

/// Times of look-ups as they are given.
struct Times {
    refresh: Option<Duration>,
    min_refresh: Option<Duration>,
    jitter: Option<Duration>,
    failure: Option<RefreshRate>,
    respect_ttl: bool,
}

fn times(
    at: &At<'_>,
    given: Times,
    (family, servers): (DnsFamily, Vec<SocketAddr>),
) -> Result<DnsSettings, Refused> {
    let place = at.field("dns_failure_refresh_rate");
    let failure = given.failure.map(|rate| wire::cluster::RefreshRate {
        base_interval: rate.base_interval,
        max_interval: rate.max_interval,
    });
    Ok(DnsSettings {
        refresh: given.refresh.unwrap_or(DEFAULT).max(LEAST),
        jitter: given.jitter.unwrap_or_default(),
        failure: self::failure(&place, failure)?,
        respect_ttl: given.respect_ttl,
        min_refresh: given.min_refresh.unwrap_or(LEAST).max(LEAST),
        family,
        servers: servers.into(),
        one_endpoint: false,
    })
}

/// Waits after failed look-ups: the first, and the longest.
pub(super) fn failure(
    place: &At<'_>,
    rate: Option<wire::cluster::RefreshRate>,
) -> Result<Option<(Duration, Duration)>, Refused> {
    let failure = rate.map(|rate| {
        let base = duration(&place.field("base_interval"), rate.base_interval)?;
        let base = base.ok_or_else(|| place.field("base_interval").refuse("missing"))?;
        let most = duration(&place.field("max_interval"), rate.max_interval)?;
        let most = most.unwrap_or_else(|| base.saturating_mul(10));
        if most < base {
            return Err(place.field("max_interval").refuse("below base_interval"));
        }
        Ok((base.max(LEAST), most.max(LEAST)))
    });
    failure.transpose()
}

fn hosts(
    context: &Context<'_>,
    at: &At<'_>,
    name: &Arc<str>,
    message: &mut wire::Cluster,
    (settings, one_endpoint): (DnsSettings, bool),
) -> Result<Discovery, Refused> {
    let place = at.field("load_assignment");
    let given = message.load_assignment.take();
    let given = given.ok_or_else(|| place.refuse("missing"))?;
    let (_, parsed) = endpoint::assignment(&place, given)?;
    let hosts = endpoint::hosts(parsed);
    if one_endpoint && hosts.len() != 1 {
        return Err(place.refuse("LOGICAL_DNS needs exactly one endpoint"));
    }
    Ok(Discovery {
        kind: ClusterKind::Dns {
            endpoints: context.state().endpoints().slot_of(name),
            hosts: hosts.into(),
            strict: !one_endpoint,
            dns: Arc::new(DnsSettings {
                one_endpoint,
                ..settings
            }),
        },
        inline: None,
        eds: None,
        verified: false,
    })
}

/// The servers that a resolver asks; empty is the system's resolver.
pub(super) fn resolver(
    at: &At<'_>,
    config: &core::TypedExtensionConfig,
) -> Result<Vec<SocketAddr>, Refused> {
    let at = at.field("typed_config");
    let packed = config.typed_config.clone().unwrap_or_default();
    if any::holds::<GetAddrInfoDnsResolverConfig>(&packed) {
        let mut config: GetAddrInfoDnsResolverConfig = unpack(&at, &packed)?;
        // How often the system's resolver tries, and how many threads wait for it, is its own and the runtime's matter.
        config.num_retries = None;
        config.num_resolver_threads = None;
        nothing_left(&at, &config)?;
        return Ok(Vec::new());
    }
    if !any::holds::<CaresDnsResolverConfig>(&packed) {
        let name = any::full_name(&packed.type_url);
        return Err(at.refuse(format!("resolver {name} is not supported")));
    }
    let mut config: CaresDnsResolverConfig = unpack(&at, &packed)?;
    let list = at.field("resolvers");
    let resolvers = take(&mut config.resolvers).into_iter().enumerate();
    let servers = resolvers.map(|(index, one)| socket_address(&list.item(index), Some(one)));
    let servers = servers.collect::<Result<_, _>>()?;
    // Which local interfaces have addresses is the system's knowledge; so is how a look-up is tried again.
    config.filter_unroutable_families = false;
    config.udp_max_queries = None;
    config.query_timeout_seconds = None;
    config.query_tries = None;
    config.rotate_nameservers = false;
    config.edns0_max_payload_size = None;
    config.use_resolvers_as_fallback = false;
    if let Some(options) = config.dns_resolver_options.take() {
        let place = at.field("dns_resolver_options");
        let tcp = options.use_tcp_for_dns_lookups;
        must_be_off(&place.field("use_tcp_for_dns_lookups"), tcp)?;
    }
    nothing_left(&at, &config)?;
    Ok(servers)
}
