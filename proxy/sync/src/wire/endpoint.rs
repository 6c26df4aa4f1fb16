//! Endpoints.

use std::collections::BTreeMap;
use std::mem::take;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as wire;
use envoy_types::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use lateen_proxy_model::{
    DnsHost, Endpoint, EndpointCheck, EndpointMetadata, Health, Interned, Locality,
    LocalityEndpoints, PeerMetadata,
};

use super::at::{At, Refused, nothing_left};
use super::common::{host_port, number, socket_address, texts};
use super::{health_check, ignored, subset};

/// Highest priority of a locality, as in Envoy.
const MAX_PRIORITY: u32 = 127;
/// The share of health at which traffic overflows to the next priority; the balancer's own.
const OVERPROVISIONING: u32 = 140;

/// One endpoint before its host is known to be an address.
struct Parsed {
    host: String,
    port: u16,
    hostname: String,
    weight: u32,
    health: Health,
    metadata: Interned<EndpointMetadata>,
    additional: Arc<[SocketAddr]>,
    check: Option<Arc<EndpointCheck>>,
}

/// One locality of [`Parsed`] endpoints.
pub(crate) struct ParsedLocality {
    locality: Interned<Locality>,
    priority: u32,
    weight: u32,
    endpoints: Vec<Parsed>,
}

/// Reads an assignment; its name comes first.
pub(crate) fn assignment(
    at: &At<'_>,
    mut message: wire::ClusterLoadAssignment,
) -> Result<(String, Vec<ParsedLocality>), Refused> {
    ignored::load_assignment(&mut message);
    let name = take(&mut message.cluster_name);
    let localities = take(&mut message.endpoints);
    if let Some(mut policy) = message.policy.take() {
        let at = at.field("policy");
        let factor = number(policy.overprovisioning_factor.take());
        if factor.is_some_and(|factor| factor != OVERPROVISIONING) {
            return Err(at
                .field("overprovisioning_factor")
                .refuse(format!("only {OVERPROVISIONING} is supported")));
        }
        nothing_left(&at, &policy)?;
    }
    nothing_left(at, &message)?;
    let place = at.field("endpoints");
    let parsed = localities
        .into_iter()
        .enumerate()
        .map(|(index, value)| locality(&place.item(index), value))
        .collect::<Result<_, _>>()?;
    Ok((name, parsed))
}

/// Localities whose hosts are addresses.
pub(crate) fn addresses(
    at: &At<'_>,
    parsed: Vec<ParsedLocality>,
) -> Result<Vec<LocalityEndpoints>, Refused> {
    let mut done = Vec::with_capacity(parsed.len());
    for one in parsed {
        let endpoints = one
            .endpoints
            .into_iter()
            .map(|endpoint| with_address(at, endpoint))
            .collect::<Result<_, _>>()?;
        done.push(LocalityEndpoints {
            locality: one.locality,
            priority: one.priority,
            weight: one.weight,
            endpoints,
        });
    }
    Ok(done)
}

/// Hosts to look up.
pub(crate) fn hosts(parsed: Vec<ParsedLocality>) -> Vec<DnsHost> {
    parsed
        .into_iter()
        .flat_map(|one| {
            let (locality, priority, weight) = (one.locality, one.priority, one.weight);
            one.endpoints.into_iter().map(move |endpoint| DnsHost {
                host: endpoint.host.into(),
                port: endpoint.port,
                weight: endpoint.weight,
                metadata: endpoint.metadata,
                hostname: (!endpoint.hostname.is_empty()).then(|| endpoint.hostname.into()),
                check: endpoint.check,
                locality: locality.clone(),
                priority,
                locality_weight: weight,
            })
        })
        .collect()
}

fn with_address(at: &At<'_>, endpoint: Parsed) -> Result<Arc<Endpoint>, Refused> {
    let ip: IpAddr = endpoint.host.parse().map_err(|_| {
        let host = &endpoint.host;
        at.field("endpoints")
            .refuse(format!("{host:?} is no IP address"))
    })?;
    let address = SocketAddr::new(ip, endpoint.port);
    let mut made = Endpoint::new(address, endpoint.weight, endpoint.health, endpoint.metadata);
    made.hostname = (!endpoint.hostname.is_empty()).then(|| endpoint.hostname.into());
    made.additional = endpoint.additional;
    made.check = endpoint.check;
    Ok(Arc::new(made))
}

fn locality(
    at: &At<'_>,
    mut message: wire::LocalityLbEndpoints,
) -> Result<ParsedLocality, Refused> {
    ignored::locality(&mut message);
    let priority = take(&mut message.priority);
    if priority > MAX_PRIORITY {
        return Err(at.field("priority").refuse(format!("above {MAX_PRIORITY}")));
    }
    let weight = number(message.load_balancing_weight.take()).unwrap_or(0);
    let place = message.locality.take().unwrap_or_default();
    let endpoints = take(&mut message.lb_endpoints);
    nothing_left(at, &message)?;
    let list = at.field("lb_endpoints");
    Ok(ParsedLocality {
        locality: Locality {
            region: place.region.into(),
            zone: place.zone.into(),
            sub_zone: place.sub_zone.into(),
        }
        .into(),
        priority,
        weight,
        endpoints: endpoints
            .into_iter()
            .enumerate()
            .map(|(index, value)| endpoint(&list.item(index), value))
            .collect::<Result<_, _>>()?,
    })
}

fn endpoint(at: &At<'_>, message: wire::LbEndpoint) -> Result<Parsed, Refused> {
    let health = match message.health_status() {
        core::HealthStatus::Unknown | core::HealthStatus::Healthy => Health::Healthy,
        core::HealthStatus::Unhealthy | core::HealthStatus::Timeout => Health::Unhealthy,
        core::HealthStatus::Draining => Health::Draining,
        core::HealthStatus::Degraded => Health::Degraded,
    };
    let mut inner = match message.host_identifier {
        Some(HostIdentifier::Endpoint(inner)) => inner,
        Some(HostIdentifier::EndpointName(_)) => {
            return Err(at.field("endpoint_name").unsupported());
        }
        None => return Err(at.field("endpoint").refuse("missing")),
    };
    let at = at.field("endpoint");
    ignored::endpoint(&mut inner);
    let hostname = take(&mut inner.hostname);
    let (host, port) = host_port(&at.field("address"), inner.address.take())?;
    let place = at.field("health_check_config");
    let check = health_check::endpoint(&place, inner.health_check_config.take())?;
    let list = at.field("additional_addresses");
    let more = take(&mut inner.additional_addresses)
        .into_iter()
        .enumerate();
    let more = more.map(|(index, one)| socket_address(&list.item(index), one.address));
    let additional = more.collect::<Result<_, _>>()?;
    nothing_left(&at, &inner)?;
    Ok(Parsed {
        additional,
        check,
        host,
        port,
        hostname,
        weight: number(message.load_balancing_weight).unwrap_or(1),
        health,
        metadata: metadata(message.metadata.as_ref()).into(),
    })
}

/// The metadata that the proxy reads; other namespaces are for filters.
pub(crate) fn metadata(message: Option<&core::Metadata>) -> EndpointMetadata {
    let Some(message) = message else {
        return EndpointMetadata::default();
    };
    let map = |namespace: &str| -> BTreeMap<Box<str>, Box<str>> {
        message
            .filter_metadata
            .get(namespace)
            .into_iter()
            .flat_map(texts)
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    };
    let workload = message.filter_metadata.get("istio").and_then(|fields| {
        let (_, text) = texts(fields).find(|(key, _)| *key == "workload")?;
        Some(Arc::new(workload(text)))
    });
    EndpointMetadata {
        transport: map("envoy.transport_socket_match"),
        workload,
        labels: message
            .filter_metadata
            .get("envoy.lb")
            .map(subset::labels)
            .unwrap_or_default(),
    }
}

/// `workload;namespace;canonical name;canonical revision;cluster` (contract xds.md §12).
fn workload(text: &str) -> PeerMetadata {
    let mut parts = text.split(';');
    let mut next = || -> Arc<str> { parts.next().unwrap_or_default().into() };
    let mut peer = PeerMetadata {
        workload: next(),
        namespace: next(),
        canonical_service: next(),
        canonical_revision: next(),
        cluster: next(),
        ..PeerMetadata::default()
    };
    if peer.canonical_revision.is_empty() {
        peer.canonical_revision = "latest".into();
    }
    peer
}
