//! Endpoint assignments (EDS, and inline in DNS clusters): which endpoints a client uses, where they are, and in which order of
//! preference.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::networking::{LoadBalancerSettings, LocalityLoadBalancerSetting, Subset};
use lateen_controlplane_model::endpoint::{Address, Endpoint, Health};
use lateen_controlplane_model::peer::Mtls;
use lateen_controlplane_model::service::{Distribution, Service, ServicePort, covers};

use crate::locality::{self, Place, Preference};
use crate::pb::core;
use crate::pb::endpoint::lb_endpoint::HostIdentifier;
use crate::pb::endpoint::{
    ClusterLoadAssignment, Endpoint as WireEndpoint, LbEndpoint, LocalityLbEndpoints,
};
use crate::policy::Policy;
use crate::view::View;
use crate::wire::{metadata_of, number, pipe, socket, struct_of, text_value};

/// The assignment of a cluster; without endpoints when none fits.
pub(crate) fn assignment(
    view: &View,
    service: &Service,
    port: &ServicePort,
    subset: Option<&Subset>,
    name: &str,
) -> ClusterLoadAssignment {
    let rule = view.rule(service);
    let policy = Policy::new(
        rule.map(|rule| &rule.spec),
        subset,
        port.number,
        view.config(),
    );
    let none = Vec::new();
    let list = view
        .snapshot
        .endpoints_of(service)
        .map_or(&none, |endpoints| &endpoints.list);
    let fitting = list
        .iter()
        .filter(|endpoint| fits(view, service, port, subset, endpoint));
    let with_outlier = policy.outlier.is_some();
    let preference = locality::preference(view, service, policy.load_balancer, with_outlier);
    let mut groups: BTreeMap<(u32, Arc<str>), Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in fitting {
        let priority = preference.priority(&Place::of(&endpoint.workload));
        groups
            .entry((priority, Arc::clone(&endpoint.workload.locality)))
            .or_default()
            .push(endpoint);
    }
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        endpoints: localities(view, groups, &preference),
        ..Default::default()
    }
}

/// The assignment of a name nobody knows.
pub(crate) fn empty_assignment(name: &str) -> ClusterLoadAssignment {
    ClusterLoadAssignment {
        cluster_name: name.to_owned(),
        ..Default::default()
    }
}

/// The locality preference in effect, unless it is off.
pub(crate) fn locality_setting<'a>(
    view: &'a View,
    service: &Service,
    settings: Option<&'a LoadBalancerSettings>,
) -> Option<&'a LocalityLoadBalancerSetting> {
    let own = settings.and_then(|settings| settings.locality_lb_setting.as_ref());
    if own.is_none() && service.distribution != Distribution::Any {
        return None;
    }
    own.or(view.config().locality_lb_setting.as_ref())
        .filter(|setting| setting.enabled != Some(false))
}

fn fits(
    view: &View,
    service: &Service,
    port: &ServicePort,
    subset: Option<&Subset>,
    endpoint: &Endpoint,
) -> bool {
    let serves = match endpoint.health {
        Health::Healthy => true,
        Health::Unhealthy => service.publish_not_ready,
        Health::Terminating => false,
    };
    let near = !service.node_local
        || view
            .traits
            .node
            .as_ref()
            .is_some_and(|node| *node == endpoint.workload.node);
    serves
        && near
        && endpoint.port_name == port.name
        && subset.is_none_or(|subset| covers(&endpoint.workload.labels, &subset.labels))
}

fn localities(
    view: &View,
    groups: BTreeMap<(u32, Arc<str>), Vec<&Endpoint>>,
    preference: &Preference<'_>,
) -> Vec<LocalityLbEndpoints> {
    let mut priorities: Vec<u32> = groups.keys().map(|(priority, _)| *priority).collect();
    priorities.dedup();
    let mut out = Vec::new();
    for ((priority, place), endpoints) in groups {
        let total: u32 = endpoints
            .iter()
            .map(|endpoint| endpoint.weight.unwrap_or(1))
            .fold(0, u32::saturating_add);
        let Some(weight) = preference.weight(&place, total) else {
            continue;
        };
        let position = priorities
            .iter()
            .position(|known| *known == priority)
            .unwrap_or_default();
        out.push(LocalityLbEndpoints {
            locality: Some(wire_locality(&place)),
            lb_endpoints: endpoints
                .into_iter()
                .map(|endpoint| wire_endpoint(view, endpoint))
                .collect(),
            load_balancing_weight: number(weight.max(1)),
            priority: u32::try_from(position).unwrap_or_default(),
            ..Default::default()
        });
    }
    out
}

fn wire_locality(place: &str) -> core::Locality {
    let mut parts = place.splitn(3, '/').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    core::Locality {
        region: next(),
        zone: next(),
        sub_zone: next(),
    }
}

fn wire_endpoint(view: &View, endpoint: &Endpoint) -> LbEndpoint {
    let address = match &endpoint.address {
        Address::Ip(ip) => socket(&ip.to_string(), endpoint.port),
        Address::Name(name) => socket(name, endpoint.port),
        Address::Pipe(path) => pipe(path),
    };
    // Only endpoints that may serve come here, those that are not ready because their service publishes them so.
    let health = if endpoint.health_known {
        core::HealthStatus::Healthy
    } else {
        core::HealthStatus::Unknown
    };
    LbEndpoint {
        health_status: health as i32,
        load_balancing_weight: number(endpoint.weight.unwrap_or(1).max(1)),
        metadata: Some(endpoint_metadata(view, endpoint)),
        host_identifier: Some(HostIdentifier::Endpoint(WireEndpoint {
            address: Some(address),
            ..Default::default()
        })),
    }
}

fn endpoint_metadata(view: &View, endpoint: &Endpoint) -> core::Metadata {
    let workload = &endpoint.workload;
    let text = format!(
        "{};{};{};{};{}",
        workload.workload,
        workload.namespace,
        workload.canonical_name(),
        workload.canonical_revision().unwrap_or_default(),
        workload.cluster
    );
    let mut parts = vec![("istio", struct_of([("workload", text_value(text))]))];
    let mode = view
        .snapshot
        .peers
        .workload(&workload.namespace, &workload.labels)
        .port(endpoint.port);
    if workload.mtls && mode != Mtls::Disable {
        parts.push((
            "envoy.transport_socket_match",
            struct_of([("tlsMode", text_value("istio"))]),
        ));
    }
    metadata_of(parts)
}
