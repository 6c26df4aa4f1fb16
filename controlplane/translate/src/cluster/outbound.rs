//! Clusters of the services that a proxy may call.

use lateen_api::networking::{LocalityLoadBalancerSetting, Subset};
use lateen_api::protocol::Protocol;
use lateen_controlplane_model::affected::cluster_host;
use lateen_controlplane_model::generate::Resource;
use lateen_controlplane_model::service::{Resolution, Service, ServicePort};

use super::protocol::Wanted;
use super::transport::{Target, Transport, transport};
use super::{balance, connect_timeout, kind, pool};
use crate::endpoint;
use crate::filters::tcp_metadata_exchange_config;
use crate::names;
use crate::pb::cluster::cluster::{DiscoveryType, EdsClusterConfig, LbPolicy};
use crate::pb::cluster::{Cluster, Filter};
use crate::pb::core;
use crate::policy::Policy;
use crate::view::View;
use crate::wire::{
    ads, config_path, flag_value, list_value, metadata, millis, number, pack, resource, seconds,
    span, struct_of, struct_value, text_value,
};
use envoy_types::pb::envoy::extensions::network::dns_resolver::cares::v3::CaresDnsResolverConfig;

/// Every outbound cluster of a view: services oldest first, each port with its subsets, then the special ones.
pub(crate) fn outbound_clusters(view: &View) -> Vec<Resource> {
    let mut out = Vec::new();
    for service in &view.scope.services {
        for port in service
            .ports
            .iter()
            .filter(|port| port.protocol != Protocol::Udp)
        {
            out.extend(
                clusters_of(view, service, port)
                    .iter()
                    .map(|cluster| resource(&cluster.name, cluster)),
            );
        }
    }
    out.push(special(&super::black_hole(view)));
    if !view.is_router() {
        out.push(special(&super::passthrough(view)));
    }
    out
}

fn special(cluster: &Cluster) -> Resource {
    resource(&cluster.name, cluster)
}

fn clusters_of(view: &View, service: &Service, port: &ServicePort) -> Vec<Cluster> {
    let none = std::iter::once(None);
    let subsets = view
        .rule(service)
        .into_iter()
        .flat_map(|rule| rule.spec.subsets.iter().map(Some));
    none.chain(subsets)
        .filter_map(|subset| outbound_cluster(view, service, port, subset))
        .collect()
}

/// One cluster; `None` for a DNS service without any name to resolve.
pub(crate) fn outbound_cluster(
    view: &View,
    service: &Service,
    port: &ServicePort,
    subset: Option<&Subset>,
) -> Option<Cluster> {
    let rule = view.rule(service);
    let policy = Policy::new(
        rule.map(|rule| &rule.spec),
        subset,
        port.number,
        view.config(),
    );
    let subset_name = subset.map_or("", |subset| subset.name.as_str());
    let name = names::outbound(port.number, subset_name, &service.host);
    let original_destination = is_original_destination(view, service, &policy);
    let discovery = discovery(view, service, original_destination);
    let wanted = Wanted {
        protocol: port.protocol,
        pool: policy.pool,
        mesh_upgrade: view.config().h2_upgrade_policy,
        auto_sni: false,
        auto_san: false,
    };
    let endpoints = view
        .snapshot
        .endpoints_of(service)
        .map(|endpoints| &**endpoints);
    let target = Target {
        view,
        service,
        endpoints,
        port: port.number,
        subset: subset_name,
        http2: wanted.http2(),
        original_destination,
    };
    let security = transport(&target, &policy);
    let mut cluster = Cluster {
        alt_stat_name: format!("{name};"),
        cluster_discovery_type: kind(discovery),
        connect_timeout: connect_timeout(view),
        metadata: Some(description(
            service,
            subset_name,
            rule.map(|rule| (&*rule.namespace, &*rule.name)),
            &security,
        )),
        filters: upstream_filters(view),
        typed_extension_protocol_options: Wanted {
            auto_sni: security.auto_sni,
            auto_san: security.auto_san,
            ..wanted
        }
        .options(),
        transport_socket: security.socket,
        transport_socket_matches: security.matches,
        outlier_detection: policy
            .outlier
            .filter(|_| !original_destination)
            .map(pool::outlier),
        name,
        ..Default::default()
    };
    pool::apply(&mut cluster, view, policy.pool, policy.retry_budget);
    let weighted =
        endpoint::locality_setting(view, service, policy.load_balancer).is_some_and(is_weighted);
    balance::apply(
        &mut cluster,
        policy.load_balancer,
        policy
            .outlier
            .map_or(0, |outlier| outlier.min_health_percent),
        weighted,
    );
    discover(&mut cluster, view, service, port, subset, discovery)?;
    Some(cluster)
}

fn is_weighted(setting: &LocalityLoadBalancerSetting) -> bool {
    !setting.distribute.is_empty()
}

fn is_original_destination(view: &View, service: &Service, policy: &Policy<'_>) -> bool {
    let wanted = service.resolution == Resolution::OriginalDestination
        || balance::is_passthrough(policy.load_balancer);
    wanted && !view.is_router()
}

fn discovery(view: &View, service: &Service, original_destination: bool) -> DiscoveryType {
    if original_destination {
        return DiscoveryType::OriginalDst;
    }
    match service.resolution {
        Resolution::Static => DiscoveryType::Eds,
        Resolution::OriginalDestination if view.is_router() => DiscoveryType::Eds,
        Resolution::OriginalDestination => DiscoveryType::OriginalDst,
        Resolution::Dns | Resolution::DynamicDns => DiscoveryType::StrictDns,
        Resolution::DnsRoundRobin => DiscoveryType::LogicalDns,
    }
}

/// Sets where endpoints come from; `None` when a name is needed and there is none.
fn discover(
    cluster: &mut Cluster,
    view: &View,
    service: &Service,
    port: &ServicePort,
    subset: Option<&Subset>,
    discovery: DiscoveryType,
) -> Option<()> {
    match discovery {
        DiscoveryType::Eds => {
            cluster.eds_cluster_config = Some(EdsClusterConfig {
                eds_config: Some(ads()),
                service_name: cluster.name.clone(),
            });
        }
        DiscoveryType::OriginalDst => {
            cluster.lb_policy = LbPolicy::ClusterProvided as i32;
            cluster.lb_config = None;
        }
        DiscoveryType::StrictDns | DiscoveryType::LogicalDns => {
            let mut assignment = endpoint::assignment(view, service, port, subset, &cluster.name);
            if discovery == DiscoveryType::LogicalDns {
                // A logical name is one name: the first endpoint of all.
                assignment.endpoints.truncate(1);
                assignment
                    .endpoints
                    .iter_mut()
                    .for_each(|locality| locality.lb_endpoints.truncate(1));
            }
            if assignment
                .endpoints
                .iter()
                .all(|locality| locality.lb_endpoints.is_empty())
            {
                return None;
            }
            cluster.load_assignment = Some(assignment);
            resolve_names(cluster, view);
        }
        DiscoveryType::Static => {}
    }
    Some(())
}

#[allow(deprecated)] // The cluster type that replaces these fields is newer than the proxies in use.
fn resolve_names(cluster: &mut Cluster, view: &View) {
    use crate::pb::cluster::cluster::DnsLookupFamily;
    let family = if view.traits.ipv6 {
        DnsLookupFamily::V6Only
    } else {
        DnsLookupFamily::V4Only
    };
    cluster.dns_lookup_family = family as i32;
    cluster.dns_refresh_rate = view.config().dns_refresh_rate.map_or(seconds(60), span);
    cluster.dns_jitter = millis(100);
    cluster.respect_dns_ttl = true;
    let resolver = CaresDnsResolverConfig {
        udp_max_queries: number(100),
        ..Default::default()
    };
    cluster.typed_dns_resolver_config = Some(core::TypedExtensionConfig {
        name: "envoy.network.dns_resolver.cares".into(),
        typed_config: Some(pack(&resolver)),
    });
}

/// Filters on connections a cluster makes.
pub(super) fn upstream_filters(view: &View) -> Vec<Filter> {
    if !view.traits.istio {
        return Vec::new();
    }
    vec![Filter {
        name: "istio.metadata_exchange".into(),
        typed_config: Some(tcp_metadata_exchange_config()),
        config_discovery: None,
    }]
}

fn description(
    service: &Service,
    subset: &str,
    rule: Option<(&str, &str)>,
    security: &Transport,
) -> core::Metadata {
    let own = struct_of([
        ("host", text_value(&*service.host)),
        ("name", text_value(&*service.name)),
        ("namespace", text_value(&*service.namespace)),
    ]);
    let mut fields = vec![("services", list_value(vec![struct_value(own)]))];
    if let Some((namespace, name)) = rule {
        fields.push((
            "config",
            text_value(config_path("destination-rule", namespace, name)),
        ));
    }
    if !subset.is_empty() {
        fields.push(("subset", text_value(subset)));
    }
    if service.mesh_external {
        fields.push(("external", flag_value(true)));
    }
    if security.user_tls {
        fields.push(("alpn_override", text_value("false")));
    }
    metadata("istio", struct_of(fields))
}

/// The service, port and subset that an outbound cluster's name stands for in this view.
pub(crate) fn assigned<'a>(
    view: &'a View,
    name: &str,
) -> Option<(&'a Service, &'a ServicePort, Option<&'a Subset>)> {
    let parsed: lateen_xds::names::ClusterName = name.parse().ok()?;
    let service = view.scope.service(cluster_host(name)?)?;
    let port = service.port(parsed.port()?)?;
    let subset = match parsed.subset() {
        None => None,
        Some(wanted) => Some(
            view.rule(service)?
                .spec
                .subsets
                .iter()
                .find(|subset| subset.name == wanted)?,
        ),
    };
    Some((service, port, subset))
}
