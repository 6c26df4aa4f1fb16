//! TCP proxying.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use envoy_types::pb::envoy::r#type::v3::HashPolicy;
use envoy_types::pb::envoy::r#type::v3::hash_policy::PolicySpecifier;
use lateen_proxy_model::{ClusterChoice, HeaderMutations, SubsetRef, TcpProxy, WeightedCluster};

use super::at::{At, Refused, nothing_left};
use super::common::{limit, number};
use super::context::Context;
use super::{access_log, subset};

const IDLE: Duration = Duration::from_secs(3600);

/// Builds a TCP proxy.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::TcpProxy,
) -> Result<TcpProxy, Refused> {
    let place = at.field("idle_timeout");
    let idle_timeout = limit(&place, message.idle_timeout.take(), Some(IDLE))?;
    let attempts = number(message.max_connect_attempts.take()).unwrap_or(1);
    let subset = subset::criteria(message.metadata_match.take());
    let specifier = message.cluster_specifier.take();
    let made = TcpProxy {
        stat_prefix: take(&mut message.stat_prefix).into(),
        cluster: cluster(context, at, specifier, subset.as_ref())?,
        idle_timeout,
        max_connect_attempts: attempts.max(1),
        access_log: access_log::read(
            context,
            &at.field("access_log"),
            take(&mut message.access_log),
        )?,
        subset,
        hash_source: hash(&at.field("hash_policy"), take(&mut message.hash_policy))?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// Whether connections are hashed: by the client's address, as that is all that is supported.
fn hash(at: &At<'_>, policies: Vec<HashPolicy>) -> Result<bool, Refused> {
    for (index, one) in policies.iter().enumerate() {
        match one.policy_specifier {
            Some(PolicySpecifier::SourceIp(_)) => {}
            Some(PolicySpecifier::FilterState(_)) => {
                return Err(at.item(index).field("filter_state").unsupported());
            }
            None => return Err(at.item(index).refuse("empty")),
        }
    }
    Ok(!policies.is_empty())
}

fn cluster(
    context: &Context<'_>,
    at: &At<'_>,
    specifier: Option<ClusterSpecifier>,
    subset: Option<&SubsetRef>,
) -> Result<ClusterChoice, Refused> {
    let weighted = match specifier {
        Some(ClusterSpecifier::Cluster(name)) => {
            return Ok(ClusterChoice::One(context.cluster(&name)));
        }
        Some(ClusterSpecifier::WeightedClusters(weighted)) => weighted,
        None => return Err(at.field("cluster").refuse("missing")),
    };
    let at = at.field("weighted_clusters");
    let list = at.field("clusters");
    let mut total: u32 = 0;
    let mut clusters = Vec::with_capacity(weighted.clusters.len());
    for (index, one) in weighted.clusters.into_iter().enumerate() {
        let at = list.item(index);
        total = total
            .checked_add(one.weight)
            .ok_or_else(|| at.field("weight").refuse("the sum of weights is too large"))?;
        clusters.push(WeightedCluster {
            cluster: context.cluster(&one.name),
            weight: one.weight,
            subset: subset::merged(subset, subset::criteria(one.metadata_match)),
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::default(),
            host_rewrite: None,
            overrides: None,
        });
    }
    if total == 0 {
        return Err(list.refuse("the sum of weights must be above 0"));
    }
    Ok(ClusterChoice::Weighted { clusters, total })
}
