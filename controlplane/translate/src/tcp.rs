//! TCP proxies: where the bytes of a chain go.

use envoy_types::pb::envoy::r#type::v3::{HashPolicy, hash_policy};
use lateen_api::networking::{HashKey, LoadBalancerPolicy};
use lateen_api::protocol::Protocol;

use crate::access_log;
use crate::filters::{self, Direction};
use crate::pb::listener::Filter;
use crate::pb::tcp_proxy::TcpProxy;
use crate::pb::tcp_proxy::tcp_proxy::{
    ClusterSpecifier, TunnelingConfig, WeightedCluster, weighted_cluster,
};
use crate::policy::Policy;
use crate::view::View;
use crate::wire::{pack, span};

/// Where bytes go.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// One cluster.
    Cluster(String),
    /// Several with weights; the name says whose.
    Weighted(String, Vec<(String, u32)>),
}

impl Target {
    /// The name statistics go by.
    pub(crate) fn stat_prefix(&self) -> &str {
        match self {
            Self::Cluster(name) | Self::Weighted(name, _) => name,
        }
    }
}

/// The network filters of a TCP chain.
pub(crate) fn filters(
    view: &View,
    direction: Direction,
    protocol: Protocol,
    target: &Target,
    policy: &Policy<'_>,
) -> Vec<Filter> {
    let mut out = Vec::with_capacity(4);
    if direction == Direction::Inbound && view.traits.istio {
        out.push(filters::tcp_metadata_exchange());
    }
    out.extend(filters::tcp_stats(view.extras(), direction));
    if protocol == Protocol::Mongo {
        out.push(filters::mongo(target.stat_prefix()));
    }
    out.push(proxy(view, target, policy));
    out
}

/// The TCP proxy alone.
pub(crate) fn proxy(view: &View, target: &Target, policy: &Policy<'_>) -> Filter {
    let specifier = match target {
        Target::Cluster(name) => ClusterSpecifier::Cluster(name.clone()),
        Target::Weighted(_, clusters) => {
            let weight = |(name, weight): &(String, u32)| weighted_cluster::ClusterWeight {
                name: name.clone(),
                weight: *weight,
                metadata_match: None,
            };
            ClusterSpecifier::WeightedClusters(WeightedCluster {
                clusters: clusters.iter().map(weight).collect(),
            })
        }
    };
    let tcp = policy.pool.and_then(|pool| pool.tcp.as_ref());
    let config = TcpProxy {
        stat_prefix: target.stat_prefix().to_owned(),
        access_log: access_log::logs(view.config()),
        idle_timeout: tcp
            .and_then(|tcp| tcp.idle_timeout)
            .and_then(span)
            .or_else(|| view.idle_timeout()),
        hash_policy: source_hash(policy).into_iter().collect(),
        tunneling_config: policy.tunnel.map(|tunnel| TunnelingConfig {
            hostname: format!("{}:{}", tunnel.target_host, tunnel.target_port),
            use_post: tunnel.protocol == "POST",
            ..Default::default()
        }),
        cluster_specifier: Some(specifier),
        ..Default::default()
    };
    filters::network("envoy.filters.network.tcp_proxy", pack(&config))
}

fn source_hash(policy: &Policy<'_>) -> Option<HashPolicy> {
    let Some(LoadBalancerPolicy::ConsistentHash(hash)) = policy.load_balancer?.lb_policy.as_ref()
    else {
        return None;
    };
    let Some(HashKey::UseSourceIp(true)) = hash.hash_key else {
        return None;
    };
    Some(HashPolicy {
        policy_specifier: Some(hash_policy::PolicySpecifier::SourceIp(
            hash_policy::SourceIp {},
        )),
    })
}
