//! What a difference between two snapshots touches.

use std::collections::BTreeSet;
use std::sync::Arc;

use lateen_api::networking::{DestinationRule, LoadBalancerPolicy, VirtualService};
use lateen_controlplane_model::affected::{Affected, Cause, Import, Reach, TypeSet};
use lateen_controlplane_model::destination::{Destination, Row};
use lateen_controlplane_model::endpoint::{Address, Endpoints};
use lateen_controlplane_model::routing::{self, MESH};
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::service::{Resolution, Service};

use crate::claims::HostChange;
use crate::store::Id;

/// A service or its endpoints changed.
pub(crate) fn host(change: &HostChange, affected: &mut Affected) {
    let versions = [&change.old, &change.new];
    let services: Vec<&Arc<Service>> = versions.into_iter().flatten().collect();
    let importers = || Reach::Importers(services.iter().map(|service| import(service)).collect());
    if change.old != change.new {
        let types = TypeSet::CLUSTERS
            .union(TypeSet::ENDPOINTS)
            .union(TypeSet::LISTENERS)
            .union(TypeSet::ROUTES)
            .union(TypeSet::NAMES);
        push(
            affected,
            importers(),
            types.without(TypeSet::ENDPOINTS),
            hosts(&services),
        );
        // Pods behind the service get inbound chains and clusters of its ports.
        let namespaces: BTreeSet<&Arc<str>> =
            services.iter().map(|service| &service.namespace).collect();
        for namespace in namespaces {
            push(
                affected,
                Reach::Namespace(Arc::clone(namespace)),
                TypeSet::CLUSTERS.union(TypeSet::LISTENERS),
                BTreeSet::new(),
            );
        }
        return;
    }
    let mut types = TypeSet::NONE;
    let none = Endpoints::default();
    let before = change.old_endpoints.as_deref().unwrap_or(&none);
    let after = change.new_endpoints.as_deref().unwrap_or(&none);
    let by_name = services.iter().any(|service| {
        matches!(
            service.resolution,
            Resolution::Dns | Resolution::DnsRoundRobin
        )
    });
    if by_name || !before.shapes_cluster_like(after) {
        types = types.union(TypeSet::CLUSTERS);
    }
    if services
        .iter()
        .any(|service| service.resolution == Resolution::OriginalDestination)
    {
        // Each endpoint of a headless service has a listener of its own and names in the table.
        types = types
            .union(TypeSet::LISTENERS)
            .union(TypeSet::ROUTES)
            .union(TypeSet::NAMES);
    }
    push(affected, importers(), types, hosts(&services));
    if services.iter().any(|service| service.selector.is_empty()) {
        let addresses =
            before
                .list
                .iter()
                .chain(&after.list)
                .filter_map(|endpoint| match &endpoint.address {
                    Address::Ip(ip) => Some(*ip),
                    _ => None,
                });
        let types = TypeSet::CLUSTERS.union(TypeSet::LISTENERS);
        push(
            affected,
            Reach::Addresses(addresses.collect()),
            types,
            BTreeSet::new(),
        );
    }
}

/// A VirtualService in effect changed, came or went.
pub(crate) fn route(
    old: Option<&Rule<VirtualService>>,
    new: Option<&Rule<VirtualService>>,
    affected: &mut Affected,
) {
    let rules: Vec<&Rule<VirtualService>> = [old, new].into_iter().flatten().collect();
    let l4 = rules
        .iter()
        .any(|rule| !rule.spec.tcp.is_empty() || !rule.spec.tls.is_empty());
    let types = if l4 {
        TypeSet::ROUTES.union(TypeSet::LISTENERS)
    } else {
        TypeSet::ROUTES
    };
    let imports: Vec<Import> = rules
        .iter()
        .filter(|rule| routing::gateways(&rule.spec).any(|gateway| gateway == MESH))
        .flat_map(|rule| {
            rule.spec.hosts.iter().map(|host| Import {
                namespace: Some(Arc::clone(&rule.namespace)),
                host: host.as_str().into(),
                visible: rule.export_to.clone(),
            })
        })
        .collect();
    if !imports.is_empty() {
        let targets = |rule: Option<&Rule<VirtualService>>| -> BTreeSet<String> {
            rule.into_iter()
                .flat_map(|rule| routing::destination_hosts(&rule.spec))
                .map(str::to_owned)
                .collect()
        };
        if targets(old) != targets(new) {
            push(
                affected,
                Reach::RestrictedImporters(imports.clone()),
                TypeSet::ALL,
                BTreeSet::new(),
            );
        }
        push(affected, Reach::Importers(imports), types, BTreeSet::new());
    }
    if rules
        .iter()
        .any(|rule| routing::gateways(&rule.spec).any(|gateway| gateway != MESH))
    {
        push(affected, Reach::Routers, types, BTreeSet::new());
    }
}

/// The DestinationRules of a namespace changed.
pub(crate) fn destinations(before: &Arc<Row>, after: &Arc<Row>, affected: &mut Affected) {
    let mut changed: Vec<&Arc<Destination>> = Vec::new();
    let missing = |row: &Row, rule: &Arc<Destination>| !row.rules().any(|other| other == rule);
    changed.extend(before.rules().filter(|rule| missing(after, rule)));
    changed.extend(after.rules().filter(|rule| missing(before, rule)));
    if changed.is_empty() {
        return;
    }
    let hashes = changed.iter().any(|rule| uses_hash(&rule.rule.spec));
    let mut types = TypeSet::CLUSTERS.union(TypeSet::ENDPOINTS);
    if hashes {
        types = types.union(TypeSet::ROUTES).union(TypeSet::LISTENERS);
    }
    if changed.iter().any(|rule| shapes_listeners(&rule.rule.spec)) {
        types = types.union(TypeSet::LISTENERS);
    }
    let imports = changed
        .iter()
        .map(|rule| Import {
            namespace: None,
            host: rule.rule.spec.host.as_str().into(),
            visible: rule.rule.export_to.clone(),
        })
        .collect();
    push(affected, Reach::Importers(imports), types, BTreeSet::new());
    // A rule for the workload's own service shapes its inbound clusters.
    for rule in changed {
        push(
            affected,
            Reach::Namespace(Arc::clone(&rule.rule.namespace)),
            TypeSet::CLUSTERS,
            BTreeSet::new(),
        );
    }
}

/// Gateways changed.
pub(crate) fn gateways(affected: &mut Affected) {
    let types = TypeSet::CLUSTERS
        .union(TypeSet::LISTENERS)
        .union(TypeSet::ROUTES)
        .union(TypeSet::SECRETS);
    push(affected, Reach::Routers, types, BTreeSet::new());
}

/// Sidecar resources changed.
pub(crate) fn sidecars(changed: &BTreeSet<Id>, root: &str, affected: &mut Affected) {
    by_namespace(changed, root, TypeSet::ALL, affected);
}

/// PeerAuthentication changed: inbound chains of the workloads, and how everybody connects to them.
pub(crate) fn peers(changed: &BTreeSet<Id>, root: &str, affected: &mut Affected) {
    by_namespace(changed, root, TypeSet::LISTENERS, affected);
    push(
        affected,
        Reach::All,
        TypeSet::CLUSTERS.union(TypeSet::ENDPOINTS),
        BTreeSet::new(),
    );
}

/// A Secret changed; only proxies of its namespace may have it.
pub(crate) fn secret(namespace: &Arc<str>, affected: &mut Affected) {
    push(
        affected,
        Reach::Namespace(Arc::clone(namespace)),
        TypeSet::SECRETS,
        BTreeSet::new(),
    );
}

fn by_namespace(changed: &BTreeSet<Id>, root: &str, types: TypeSet, affected: &mut Affected) {
    for (namespace, _) in changed {
        let reach = if **namespace == *root {
            Reach::All
        } else {
            Reach::Namespace(Arc::clone(namespace))
        };
        push(affected, reach, types, BTreeSet::new());
    }
}

fn import(service: &Arc<Service>) -> Import {
    Import {
        namespace: Some(Arc::clone(&service.namespace)),
        host: Arc::clone(&service.host),
        visible: service.export_to.clone(),
    }
}

fn hosts(services: &[&Arc<Service>]) -> BTreeSet<Arc<str>> {
    services
        .iter()
        .map(|service| Arc::clone(&service.host))
        .collect()
}

fn push(affected: &mut Affected, reach: Reach, types: TypeSet, endpoints: BTreeSet<Arc<str>>) {
    affected.merge(&Affected {
        causes: vec![Cause {
            reach,
            types,
            endpoints,
        }],
    });
}

fn policies(
    spec: &DestinationRule,
) -> impl Iterator<Item = &lateen_api::networking::TrafficPolicy> {
    spec.traffic_policy.iter().chain(
        spec.subsets
            .iter()
            .filter_map(|subset| subset.traffic_policy.as_ref()),
    )
}

fn uses_hash(spec: &DestinationRule) -> bool {
    policies(spec).any(|policy| {
        let ports = policy
            .port_level_settings
            .iter()
            .filter_map(|settings| settings.load_balancer.as_ref());
        policy.load_balancer.iter().chain(ports).any(|settings| {
            matches!(
                settings.lb_policy,
                Some(LoadBalancerPolicy::ConsistentHash(_))
            )
        })
    })
}

/// Tunnels and idle times of TCP connections are set on listeners.
fn shapes_listeners(spec: &DestinationRule) -> bool {
    policies(spec).any(|policy| {
        let pools = policy
            .port_level_settings
            .iter()
            .filter_map(|settings| settings.connection_pool.as_ref());
        policy.tunnel.is_some()
            || policy.connection_pool.iter().chain(pools).any(|pool| {
                pool.tcp
                    .as_ref()
                    .is_some_and(|tcp| tcp.idle_timeout.is_some())
            })
    })
}
