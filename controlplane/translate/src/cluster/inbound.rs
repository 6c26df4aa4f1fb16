//! Clusters that lead to the application beside the proxy.

use std::net::IpAddr;

use lateen_api::mesh::{InboundTrafficPolicyMode, MeshH2UpgradePolicy};
use lateen_controlplane_model::generate::Resource;
use lateen_controlplane_model::proxy::Proxy;

use super::protocol::Wanted;
use super::{inbound_source, kind, original_destination, pool, protocol};
use crate::names;
use crate::own::{OwnPort, own_ports};
use crate::pb::cluster::Cluster;
use crate::pb::cluster::cluster::{DiscoveryType, LbPolicy};
use crate::pb::endpoint::lb_endpoint::HostIdentifier;
use crate::pb::endpoint::{ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints};
use crate::pb::{Duration, core};
use crate::policy::Policy;
use crate::view::View;
use crate::wire::{
    config_path, list_value, metadata, pipe, resource, seconds, socket, struct_of, struct_value,
    text_value,
};

/// Longest time that Envoy takes: idle hosts of original destinations are never cleaned up.
const NEVER: Duration = Duration {
    seconds: 9_223_372_035,
    nanos: 0,
};

/// The inbound clusters of a proxy, and the one for ports nobody declares.
pub(crate) fn inbound_clusters(view: &View, proxy: &Proxy) -> Vec<Resource> {
    if view.is_router() {
        return Vec::new();
    }
    let mut out: Vec<Resource> = own_ports(view, proxy)
        .iter()
        .map(|port| inbound_cluster(view, proxy, port))
        .map(|cluster| resource(&cluster.name, &cluster))
        .collect();
    let passthrough = Cluster {
        name: names::inbound_passthrough().into(),
        alt_stat_name: format!("{};", names::passthrough()),
        upstream_bind_config: Some(inbound_source(view)),
        typed_extension_protocol_options: protocol::of_client(seconds(300)),
        ..original_destination(view)
    };
    out.push(resource(&passthrough.name, &passthrough));
    out
}

/// Ports with a mode of their own that no service declares.
pub(crate) fn passthrough_ports(view: &View, proxy: &Proxy, own: &[OwnPort<'_>]) -> Vec<u16> {
    let modes = view
        .snapshot
        .peers
        .workload(&proxy.namespace, &proxy.labels);
    modes
        .ports
        .keys()
        .copied()
        .filter(|port| !own.iter().any(|own| own.port == *port))
        .collect()
}

fn inbound_cluster(view: &View, proxy: &Proxy, port: &OwnPort<'_>) -> Cluster {
    let name = names::inbound(port.port);
    let first = port.services.first();
    let rule = first.and_then(|(service, _)| view.rule(service));
    let number = first.map_or(port.port, |(_, port)| port.number);
    let policy = Policy::new(rule.map(|rule| &rule.spec), None, number, view.config());
    let pool = port.sidecar_pool(view).or(policy.pool);
    let wanted = Wanted {
        protocol: port.protocol,
        pool,
        mesh_upgrade: MeshH2UpgradePolicy::DoNotUpgrade,
        auto_sni: false,
        auto_san: false,
    };
    let mut cluster = Cluster {
        alt_stat_name: format!("{name};"),
        cleanup_interval: Some(NEVER),
        upstream_bind_config: Some(inbound_source(view)),
        typed_extension_protocol_options: wanted.options(),
        metadata: description(port, rule.map(|rule| (&*rule.namespace, &*rule.name))),
        name,
        ..original_destination(view)
    };
    pool::apply(&mut cluster, view, pool, None);
    fixed(&mut cluster, view, proxy, port);
    cluster
}

/// Some ports lead to a fixed address: where the Sidecar says so, or everywhere under the LOCALHOST policy.
fn fixed(cluster: &mut Cluster, view: &View, proxy: &Proxy, port: &OwnPort<'_>) {
    let localhost = view
        .config()
        .inbound_traffic_policy
        .as_ref()
        .is_some_and(|p| p.mode == InboundTrafficPolicyMode::Localhost);
    let stated = port
        .ingress
        .map(|ingress| ingress.default_endpoint.as_str())
        .filter(|endpoint| !endpoint.is_empty());
    let address = match stated {
        Some(stated) => match fixed_address(stated, view, proxy) {
            Some((address, local)) => {
                if local {
                    cluster.upstream_bind_config = None;
                }
                address
            }
            None => return,
        },
        None if localhost => socket(view.loopback(), port.port),
        None => return,
    };
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Default::default()
        })),
        ..Default::default()
    };
    cluster.cluster_discovery_type = kind(DiscoveryType::Static);
    cluster.cleanup_interval = None;
    cluster.lb_policy = LbPolicy::RoundRobin as i32;
    cluster.load_assignment = Some(ClusterLoadAssignment {
        cluster_name: cluster.name.clone(),
        endpoints: vec![LocalityLbEndpoints {
            lb_endpoints: vec![endpoint],
            ..Default::default()
        }],
        ..Default::default()
    });
}

/// `127.0.0.1:p`, `0.0.0.0:p` (the pod's own address) or `unix:///path`; true when no source address must be chosen.
fn fixed_address(text: &str, view: &View, proxy: &Proxy) -> Option<(core::Address, bool)> {
    if let Some(path) = text.strip_prefix("unix://") {
        return Some((pipe(path), true));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let ip: IpAddr = host.trim_matches(|c| c == '[' || c == ']').parse().ok()?;
    if ip.is_loopback() {
        return Some((socket(view.loopback(), port), true));
    }
    let own = if ip.is_unspecified() {
        *proxy.addresses.first()?
    } else {
        ip
    };
    Some((socket(&own.to_string(), port), false))
}

fn description(port: &OwnPort<'_>, rule: Option<(&str, &str)>) -> Option<core::Metadata> {
    let services = port.services.iter().map(|(service, _)| {
        struct_value(struct_of([
            ("host", text_value(&*service.host)),
            ("name", text_value(&*service.name)),
            ("namespace", text_value(&*service.namespace)),
        ]))
    });
    let services: Vec<_> = services.collect();
    let mut fields = Vec::new();
    if !services.is_empty() {
        fields.push(("services", list_value(services)));
    }
    if let Some((namespace, name)) = rule {
        fields.push((
            "config",
            text_value(config_path("destination-rule", namespace, name)),
        ));
    }
    (!fields.is_empty()).then(|| metadata("istio", struct_of(fields)))
}
