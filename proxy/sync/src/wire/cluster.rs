//! Clusters.

use std::mem::take;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as wire;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    ClusterDiscoveryType, DiscoveryType, DnsLookupFamily, LbConfig,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf::Struct;
use envoy_types::pb::google::protobuf::value::Kind;
use lateen_proxy_model::{
    CircuitBreakers, Cluster, ClusterKind, DnsFamily, LocalityEndpoints, OutlierDetection,
    RateDetector, ServiceInfo, TcpKeepalive,
};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_off, number, port, texts};
use super::context::{Context, Uses};
use super::protocol::{self, Protocol};
use super::{balance, config_source, endpoint, ignored, metadata_exchange, socket};

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
    let protocol = protocol::of_cluster(&at, &mut message)?;
    let (transports, proxy_protocol) = socket::upstream(context, &at, &mut message, protocol.auto)?;
    let found = discovery(context, &at, &name, &mut message)?;
    let balanced = balance::balancing(&at, &mut message)?;
    let facts = facts(message.metadata.take());
    let connect = at.field("connect_timeout");
    let connect_timeout = duration(&connect, message.connect_timeout.take())?;
    let Protocol {
        http,
        idle_timeout,
        max_requests_per_connection,
        codec,
        ..
    } = protocol;
    let cluster = Cluster {
        name,
        kind: found.kind,
        lb: balanced.lb,
        balancing: balanced.balancing,
        panic_threshold: balanced.panic_threshold,
        connect_timeout: connect_timeout.unwrap_or(Duration::from_secs(5)),
        http,
        idle_timeout,
        max_requests_per_connection,
        max_concurrent_streams: codec.http2.max_concurrent_streams,
        codec,
        transports,
        limits: limits(
            &at.field("circuit_breakers"),
            message.circuit_breakers.take(),
        )?,
        outlier: outlier(
            &at.field("outlier_detection"),
            message.outlier_detection.take(),
        )?,
        keepalive: keepalive(&at, &mut message)?,
        bind: bind(
            &at.field("upstream_bind_config"),
            message.upstream_bind_config.take(),
        )?,
        proxy_protocol,
        alpn_override_off: facts.alpn_override_off,
        metadata_exchange: filters(&at.field("filters"), take(&mut message.filters))?,
        service: facts.service,
        shared: Arc::default(),
        plan: Default::default(),
    };
    nothing_left(&at, &message)?;
    Ok(BuiltCluster {
        cluster,
        inline: found.inline,
        eds: found.eds,
        uses: context.take_uses(),
    })
}

struct Discovery {
    kind: ClusterKind,
    inline: Option<Vec<LocalityEndpoints>>,
    eds: Option<(Arc<str>, Option<Duration>)>,
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
            let text = format!("{} is not supported", custom.name);
            return Err(at.field("cluster_type").refuse(text));
        }
    };
    let family = message.dns_lookup_family();
    if matches!(kind, DiscoveryType::StrictDns | DiscoveryType::LogicalDns) {
        let strict = kind == DiscoveryType::StrictDns;
        message.dns_lookup_family = 0;
        return dns(context, at, name, message, (strict, family));
    }
    message.dns_lookup_family = 0;
    message.dns_refresh_rate = None;
    match kind {
        DiscoveryType::Eds => eds(context, at, name, message),
        DiscoveryType::OriginalDst => original_dst(at, message),
        _ => inline(context, at, name, message),
    }
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
    let slot = context.state().endpoints().slot(&from.key(service));
    Ok(Discovery {
        kind: ClusterKind::Endpoints(Arc::clone(&slot)),
        inline: None,
        eds: Some((Arc::clone(slot.name()), from.wait)),
    })
}

fn inline(
    context: &Context<'_>,
    at: &At<'_>,
    name: &str,
    message: &mut wire::Cluster,
) -> Result<Discovery, Refused> {
    let at = at.field("load_assignment");
    let given = message.load_assignment.take().unwrap_or_default();
    let (_, parsed) = endpoint::assignment(&at, given)?;
    Ok(Discovery {
        kind: ClusterKind::Endpoints(context.state().endpoints().slot(name)),
        inline: Some(endpoint::addresses(&at, parsed)?),
        eds: None,
    })
}

fn dns(
    context: &Context<'_>,
    at: &At<'_>,
    name: &str,
    message: &mut wire::Cluster,
    (strict, family): (bool, DnsLookupFamily),
) -> Result<Discovery, Refused> {
    resolver(&at.field("typed_dns_resolver_config"), message)?;
    let place = at.field("load_assignment");
    let given = message.load_assignment.take();
    let given = given.ok_or_else(|| place.refuse("missing"))?;
    let (_, parsed) = endpoint::assignment(&place, given)?;
    let hosts = endpoint::hosts(parsed);
    if !strict && hosts.len() != 1 {
        return Err(place.refuse("LOGICAL_DNS needs exactly one endpoint"));
    }
    let place = at.field("dns_refresh_rate");
    let refresh = duration(&place, message.dns_refresh_rate.take())?;
    Ok(Discovery {
        kind: ClusterKind::Dns {
            endpoints: context.state().endpoints().slot(name),
            hosts: hosts.into(),
            strict,
            refresh: refresh
                .unwrap_or(Duration::from_secs(5))
                .max(Duration::from_millis(1)),
            family: match family {
                DnsLookupFamily::Auto => DnsFamily::Auto,
                DnsLookupFamily::V4Only => DnsFamily::V4Only,
                DnsLookupFamily::V6Only => DnsFamily::V6Only,
                DnsLookupFamily::V4Preferred => DnsFamily::V4Preferred,
                DnsLookupFamily::All => DnsFamily::All,
            },
        },
        inline: None,
        eds: None,
    })
}

/// Names are looked up by the system's resolver: settings of Envoy's own one are accepted as long as they name no servers.
fn resolver(at: &At<'_>, message: &mut wire::Cluster) -> Result<(), Refused> {
    use envoy_types::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;
    let Some(config) = message.typed_dns_resolver_config.take() else {
        return Ok(());
    };
    let packed = config.typed_config.unwrap_or_default();
    let cares: CaresDnsResolverConfig = super::common::unpack(&at.field("typed_config"), &packed)?;
    must_be_off(
        &at.field("typed_config").field("resolvers"),
        !cares.resolvers.is_empty(),
    )
}

fn original_dst(at: &At<'_>, message: &mut wire::Cluster) -> Result<Discovery, Refused> {
    let mut port_override = None;
    if let Some(LbConfig::OriginalDstLbConfig(_)) = message.lb_config
        && let Some(LbConfig::OriginalDstLbConfig(mut config)) = message.lb_config.take()
    {
        let at = at.field("original_dst_lb_config");
        if let Some(value) = number(config.upstream_port_override.take()).filter(|one| *one > 0) {
            port_override = Some(port(&at.field("upstream_port_override"), value)?);
        }
        nothing_left(&at, &config)?;
    }
    Ok(Discovery {
        kind: ClusterKind::OriginalDst { port_override },
        inline: None,
        eds: None,
    })
}

fn limits(at: &At<'_>, message: Option<wire::CircuitBreakers>) -> Result<CircuitBreakers, Refused> {
    let mut limits = CircuitBreakers {
        max_connections: 1024,
        max_pending: 1024,
        max_requests: 1024,
        max_retries: 3,
    };
    let Some(message) = message else {
        return Ok(limits);
    };
    must_be_off(
        &at.field("per_host_thresholds"),
        !message.per_host_thresholds.is_empty(),
    )?;
    let list = at.field("thresholds");
    for (index, mut one) in message.thresholds.into_iter().enumerate() {
        // Routes of high priority are refused, so limits for them are never reached.
        if one.priority != core::RoutingPriority::Default as i32 {
            continue;
        }
        ignored::thresholds(&mut one);
        let set = |to: &mut u32, value: Option<u32>| *to = value.unwrap_or(*to);
        set(
            &mut limits.max_connections,
            number(one.max_connections.take()),
        );
        set(
            &mut limits.max_pending,
            number(one.max_pending_requests.take()),
        );
        set(&mut limits.max_requests, number(one.max_requests.take()));
        set(&mut limits.max_retries, number(one.max_retries.take()));
        nothing_left(&list.item(index), &one)?;
    }
    Ok(limits)
}

fn outlier(
    at: &At<'_>,
    message: Option<wire::OutlierDetection>,
) -> Result<Option<OutlierDetection>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    let enforced = |field: &str, value: Option<u32>, default: u32| match value.unwrap_or(default) {
        0 => Ok(false),
        100 => Ok(true),
        _ => Err(at.field(field).refuse("only 0 and 100 are supported")),
    };
    let on_5xx = number(message.enforcing_consecutive_5xx.take());
    let on_5xx = enforced("enforcing_consecutive_5xx", on_5xx, 100)?;
    let on_gateway = number(message.enforcing_consecutive_gateway_failure.take());
    let on_gateway = enforced("enforcing_consecutive_gateway_failure", on_gateway, 0)?;
    let (success_rate, failure_percentage) = rate_detectors(&mut message);
    // Zero, the default, turns the detector off; another value stays and is refused.
    let local = &mut message.enforcing_failure_percentage_local_origin;
    local.take_if(|value| value.value == 0);
    unused_detectors(&mut message);
    let split_local = take(&mut message.split_external_local_origin_errors);
    let on_local = number(message.enforcing_consecutive_local_origin_failure.take());
    let on_local = enforced("enforcing_consecutive_local_origin_failure", on_local, 100)?;
    let by_rate = number(message.enforcing_local_origin_success_rate.take());
    if split_local && by_rate != Some(0) {
        return Err(at
            .field("enforcing_local_origin_success_rate")
            .refuse("ejection by success rate is not supported; set it to 0"));
    }
    let time = |field: &str, value, default| {
        duration(&at.field(field), value).map(|value| value.unwrap_or(Duration::from_secs(default)))
    };
    let detection = OutlierDetection {
        consecutive_5xx: threshold(on_5xx, number(message.consecutive_5xx.take())),
        consecutive_gateway_errors: threshold(
            on_gateway,
            number(message.consecutive_gateway_failure.take()),
        ),
        split_local,
        consecutive_local_failures: threshold(
            on_local,
            number(message.consecutive_local_origin_failure.take()),
        ),
        success_rate,
        failure_percentage,
        interval: time("interval", message.interval.take(), 10)?,
        base_ejection_time: time("base_ejection_time", message.base_ejection_time.take(), 30)?,
        max_ejection_time: time("max_ejection_time", message.max_ejection_time.take(), 300)?,
        max_ejection_percent: number(message.max_ejection_percent.take()).unwrap_or(10),
        always_eject_one: flag(message.always_eject_one_host.take(), false),
    };
    nothing_left(at, &message)?;
    Ok(Some(detection))
}

/// The detectors of success rate and of failure percentage, unless they are off.
fn rate_detectors(
    message: &mut wire::OutlierDetection,
) -> (Option<RateDetector>, Option<RateDetector>) {
    let of = |value: Option<_>, default| number(value).unwrap_or(default);
    let success = RateDetector {
        min_hosts: of(message.success_rate_minimum_hosts.take(), 5),
        volume: of(message.success_rate_request_volume.take(), 100),
        bound: of(message.success_rate_stdev_factor.take(), 1900),
        enforcing: of(message.enforcing_success_rate.take(), 100),
    };
    let failure = RateDetector {
        min_hosts: of(message.failure_percentage_minimum_hosts.take(), 5),
        volume: of(message.failure_percentage_request_volume.take(), 50),
        bound: of(message.failure_percentage_threshold.take(), 85),
        enforcing: of(message.enforcing_failure_percentage.take(), 0),
    };
    let on = |one: RateDetector| Some(one).filter(|one| one.enforcing > 0);
    (on(success), on(failure))
}

/// Settings of errors of local origin mean nothing as long as those are not split from the others.
fn unused_detectors(message: &mut wire::OutlierDetection) {
    if !message.split_external_local_origin_errors {
        message.consecutive_local_origin_failure = None;
        message.enforcing_consecutive_local_origin_failure = None;
        message.enforcing_local_origin_success_rate = None;
    }
}

fn threshold(on: bool, value: Option<u32>) -> u32 {
    if on { value.unwrap_or(5) } else { 0 }
}

fn keepalive(at: &At<'_>, message: &mut wire::Cluster) -> Result<Option<TcpKeepalive>, Refused> {
    let Some(mut options) = message.upstream_connection_options.take() else {
        return Ok(None);
    };
    let keepalive = options.tcp_keepalive.take();
    nothing_left(&at.field("upstream_connection_options"), &options)?;
    let seconds = |value| number(value).map(|value| Duration::from_secs(value.into()));
    Ok(keepalive.map(|one| TcpKeepalive {
        time: seconds(one.keepalive_time),
        interval: seconds(one.keepalive_interval),
        probes: number(one.keepalive_probes),
    }))
}

fn bind(at: &At<'_>, message: Option<core::BindConfig>) -> Result<Option<IpAddr>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    let place = at.field("source_address");
    let Some(source) = message.source_address.take() else {
        nothing_left(at, &message)?;
        return Ok(None);
    };
    must_be_off(&at.field("freebind"), flag(message.freebind.take(), false))?;
    nothing_left(at, &message)?;
    let (host, port) = super::common::host_port_of(&place, source)?;
    if port != 0 {
        return Err(place.field("port_value").refuse("only 0 is supported"));
    }
    host.parse()
        .map(Some)
        .map_err(|_| place.refuse(format!("{host:?} is no IP address")))
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
