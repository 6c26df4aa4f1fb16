//! The filter that answers health checks of this proxy itself.

use std::mem::take;

use envoy_types::pb::envoy::extensions::filters::http::health_check::v3 as wire;
use http::HeaderValue;
use lateen_proxy_model::HealthFilter;

use super::at::{At, Refused, nothing_left};
use super::common::flag;
use super::context::Context;
use super::matcher::headers;

/// Reads the filter.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::HealthCheck,
) -> Result<HealthFilter, Refused> {
    let pass_through = message.pass_through_mode.take();
    if pass_through.is_none() {
        return Err(at.field("pass_through_mode").refuse("missing"));
    }
    let pass_through = flag(pass_through, false);
    let map = at.field("cluster_min_healthy_percentages");
    let mut clusters = Vec::new();
    for (name, share) in take(&mut message.cluster_min_healthy_percentages) {
        if !(0.0..=100.0).contains(&share.value) {
            return Err(map.key(&name).refuse("not between 0 and 100"));
        }
        clusters.push((context.cluster(&name), share.value));
    }
    clusters.sort_by(|(one, _), (other, _)| one.name().cmp(other.name()));
    if pass_through && !clusters.is_empty() {
        return Err(map.refuse("only of use where checks end here"));
    }
    let matchers = headers(&at.field("headers"), &take(&mut message.headers))?;
    nothing_left(at, &message)?;
    let own = context.state().own_cluster();
    Ok(HealthFilter {
        pass_through,
        headers: matchers,
        clusters,
        failing: context.state().readiness().failing(),
        own_cluster: HeaderValue::try_from(own).unwrap_or_else(|_| HeaderValue::from_static("")),
    })
}
