//! TCP proxying.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::UpstreamConnectMode;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, TunnelingConfig,
};
use envoy_types::pb::envoy::r#type::v3::HashPolicy;
use envoy_types::pb::envoy::r#type::v3::hash_policy::PolicySpecifier;
use http::uri::PathAndQuery;
use lateen_proxy_model::{
    ClusterChoice, HeaderMutations, LogMoments, NamedCluster, SubsetRef, TcpProxy, TcpTunnel,
    WeightedCluster, WeightedDraw,
};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, limit, number};

use super::context::Context;
use super::{access_log, ignored, mutation, subset, template};

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
    if attempts == 0 {
        return Err(at
            .field("max_connect_attempts")
            .refuse("must be at least 1"));
    }
    let place = at.field("max_downstream_connection_duration");
    let max_duration = duration(&place, message.max_downstream_connection_duration.take())?;
    if max_duration.is_some_and(|life| life < Duration::from_millis(1)) {
        return Err(place.refuse("must be at least a millisecond"));
    }
    let jitter = message
        .max_downstream_connection_duration_jitter_percentage
        .take();
    let place = at.field("max_downstream_connection_duration_jitter_percentage");
    let jitter = jitter.map_or(0.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&jitter) {
        return Err(place.refuse("not between 0 and 100"));
    }
    // Connections of a chain that drains end within the drain time in either mode.
    message.check_drain_close = None;
    let made = TcpProxy {
        stat_prefix: take(&mut message.stat_prefix).into(),
        cluster: cluster(context, at, specifier, subset.as_ref())?,
        idle_timeout,
        max_duration,
        max_duration_jitter: jitter,
        max_connect_attempts: attempts,
        backoff: backoff(&at.field("backoff_options"), message.backoff_options.take())?,
        log_moments: log_moments(at, &mut message)?,
        access_log: access_log::read(
            context,
            &at.field("access_log"),
            take(&mut message.access_log),
        )?,
        subset,
        hash_source: hash(&at.field("hash_policy"), take(&mut message.hash_policy))?,
        early_data: early_data(at, &mut message)?,
        tunnel: tunnel(
            &at.field("tunneling_config"),
            message.tunneling_config.take(),
        )?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// Connections wait for bytes of the client where that is asked for; a handshake is over before in any case.
fn early_data(at: &At<'_>, message: &mut wire::TcpProxy) -> Result<Option<usize>, Refused> {
    let mode = message.upstream_connect_mode();
    message.upstream_connect_mode = 0;
    let most = number(message.max_early_data_bytes.take());
    if most.is_none() && mode != UpstreamConnectMode::Immediate {
        return Err(at.field("max_early_data_bytes").refuse("missing"));
    }
    Ok(match mode {
        UpstreamConnectMode::OnDownstreamData => most.map(|most| most as usize),
        UpstreamConnectMode::Immediate | UpstreamConnectMode::OnDownstreamTlsHandshake => None,
    })
}

fn tunnel(
    at: &At<'_>,
    message: Option<TunnelingConfig>,
) -> Result<Option<Box<TcpTunnel>>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    ignored::tunnel(&mut message);
    let host = take(&mut message.hostname);
    if host.is_empty() {
        return Err(at.field("hostname").refuse("missing"));
    }
    let path = take(&mut message.post_path);
    let place = at.field("post_path");
    let post = match (take(&mut message.use_post), &*path) {
        (false, "") => None,
        (false, _) => return Err(place.refuse("needs use_post")),
        (true, "") => Some(PathAndQuery::from_static("/")),
        (true, path) => Some(path.parse().map_err(|_| place.refuse("no path"))?),
    };
    let headers = mutation::mutations(
        at,
        ("headers_to_add", take(&mut message.headers_to_add)),
        ("headers_to_remove", Vec::new()),
    )?;
    let host = template::text(&at.field("hostname"), &host)?;
    nothing_left(at, &message)?;
    Ok(Some(Box::new(TcpTunnel {
        host,
        post,
        headers,
    })))
}

/// Envoy's longest wait is ten times the shortest.
fn backoff(
    at: &At<'_>,
    message: Option<core::BackoffStrategy>,
) -> Result<Option<(Duration, Duration)>, Refused> {
    let Some(message) = message else {
        return Ok(None);
    };
    let place = at.field("base_interval");
    let base = duration(&place, message.base_interval)?;
    let base = base
        .filter(|base| !base.is_zero())
        .ok_or_else(|| place.refuse("must be above 0"))?;
    let place = at.field("max_interval");
    let longest = duration(&place, message.max_interval)?.unwrap_or(base.saturating_mul(10));
    if longest < base {
        return Err(place.refuse("below base_interval"));
    }
    Ok(Some((base, longest)))
}

fn log_moments(at: &At<'_>, message: &mut wire::TcpProxy) -> Result<LogMoments, Refused> {
    #[allow(deprecated, reason = "older configurations use them")]
    let older = (
        message.access_log_flush_interval.take(),
        take(&mut message.flush_access_log_on_connected),
    );
    let at = at.field("access_log_options");
    let options = message.access_log_options.take();
    let given = options.is_some();
    let options = options.unwrap_or_default();
    let (interval, connected) = if given {
        (
            options.access_log_flush_interval,
            options.flush_access_log_on_connected,
        )
    } else {
        older
    };
    Ok(LogMoments {
        start: options.flush_access_log_on_start,
        connected,
        interval: limit(&at.field("access_log_flush_interval"), interval, None)?,
    })
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
            cluster: NamedCluster::Fixed(context.cluster(&one.name)),
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
    Ok(ClusterChoice::Weighted {
        clusters,
        total,
        draw: WeightedDraw::Random,
    })
}
