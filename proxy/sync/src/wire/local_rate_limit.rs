//! Local rate limits of HTTP filters, routes and connections.

use std::collections::HashSet;
use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, VhRateLimitsOptions, XRateLimitHeadersRfcVersion,
};
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::network::local_ratelimit::v3 as network;
use envoy_types::pb::envoy::r#type::v3::TokenBucket as BucketMessage;
use http::StatusCode;
use lateen_proxy_model::{
    BucketSize, DescriptorSize, FilterStats, FixedEntry, LimiterSizes, LocalConnectionLimit,
    LocalLimiter, LocalRateLimit, Percentage, TokenBucket, VirtualHostLimits,
};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_off, number, runtime_fraction};
use super::mutation::mutations;
use super::rate_limit::{Place, rate_limits, stage, status};

/// Shortest time between fills.
const SHORTEST_FILL: Duration = Duration::from_millis(50);
/// Values for which a descriptor with an empty value keeps buckets.
const DYNAMIC: u32 = 20;

/// The settings of a filter or, where `per_route`, of a route.
pub(super) fn http(
    at: &At<'_>,
    mut message: wire::LocalRateLimit,
    per_route: bool,
) -> Result<LocalRateLimit, Refused> {
    let place = at.field("stat_prefix");
    let prefix = take(&mut message.stat_prefix);
    must_be_given(&place, &prefix)?;
    must_be_off(
        &at.field("local_cluster_rate_limit"),
        message.local_cluster_rate_limit.take().is_some(),
    )?;
    let sizes = sizes(at, &mut message)?;
    if per_route && sizes.default.is_none() {
        return Err(at.field("token_bucket").refuse("missing"));
    }
    let shown = message.enable_x_ratelimit_headers();
    message.enable_x_ratelimit_headers = 0;
    let host_limits = match message.vh_rate_limits() {
        VhRateLimitsOptions::Override => VirtualHostLimits::Override,
        VhRateLimitsOptions::Include => VirtualHostLimits::Include,
        VhRateLimitsOptions::Ignore => VirtualHostLimits::Ignore,
    };
    message.vh_rate_limits = 0;
    let limited = sizes.default.is_some() || !sizes.descriptors.is_empty();
    let refusal = message.status.take();
    let made = LocalRateLimit {
        limits: rate_limits(
            &at.field("rate_limits"),
            take(&mut message.rate_limits),
            Place::LocalFilter,
        )?,
        stage: stage(&at.field("stage"), take(&mut message.stage))?,
        host_limits,
        limiter: limited.then(|| Arc::new(LocalLimiter::new(sizes, Instant::now()))),
        per_connection: take(&mut message.local_rate_limit_per_downstream_connection),
        enabled: share(&at.field("filter_enabled"), message.filter_enabled.take())?,
        enforced: share(&at.field("filter_enforced"), message.filter_enforced.take())?,
        status: status(&at.field("status"), refusal, StatusCode::TOO_MANY_REQUESTS)?,
        resource_exhausted: take(&mut message.rate_limited_as_resource_exhausted),
        request_headers: mutations(
            at,
            (
                "request_headers_to_add_when_not_enforced",
                take(&mut message.request_headers_to_add_when_not_enforced),
            ),
            ("", Vec::new()),
        )?,
        response_headers: mutations(
            at,
            (
                "response_headers_to_add",
                take(&mut message.response_headers_to_add),
            ),
            ("", Vec::new()),
        )?,
        headers: shown == XRateLimitHeadersRfcVersion::DraftVersion03,
        retry_after: take(&mut message.enable_retry_after_header),
        stats: FilterStats::new(
            format!("{prefix}.http_local_rate_limit."),
            &LocalRateLimit::COUNTERS,
        ),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// The network filter.
pub(super) fn connections(
    at: &At<'_>,
    mut message: network::LocalRateLimit,
) -> Result<LocalConnectionLimit, Refused> {
    let prefix = take(&mut message.stat_prefix);
    must_be_given(&at.field("stat_prefix"), &prefix)?;
    let place = at.field("token_bucket");
    let size = message.token_bucket.take();
    let size = bucket(&place, size)?.ok_or_else(|| place.refuse("missing"))?;
    let enabled = match message.runtime_enabled.take() {
        None => true,
        Some(value) => flag(value.default_value, true),
    };
    nothing_left(at, &message)?;
    Ok(LocalConnectionLimit {
        bucket: Arc::new(TokenBucket::new(size, Instant::now())),
        enabled,
        stats: FilterStats::new(
            format!("local_rate_limit.{prefix}."),
            &LocalConnectionLimit::COUNTERS,
        ),
    })
}

fn must_be_given(at: &At<'_>, text: &str) -> Result<(), Refused> {
    match text.is_empty() {
        true => Err(at.refuse("missing")),
        false => Ok(()),
    }
}

fn share(
    at: &At<'_>,
    value: Option<core::RuntimeFractionalPercent>,
) -> Result<Percentage, Refused> {
    value.map_or(Ok(Percentage(0)), |value| runtime_fraction(at, value))
}

fn sizes(at: &At<'_>, message: &mut wire::LocalRateLimit) -> Result<LimiterSizes, Refused> {
    let list = at.field("descriptors");
    let mut descriptors = Vec::with_capacity(message.descriptors.len());
    let mut known = HashSet::with_capacity(message.descriptors.len());
    for (index, one) in take(&mut message.descriptors).into_iter().enumerate() {
        let at = list.item(index);
        let read = descriptor(&at, one)?;
        if !known.insert(read.entries.clone()) {
            return Err(at.refuse("the same descriptor again"));
        }
        descriptors.push(read);
    }
    let dynamic = number(message.max_dynamic_descriptors.take()).unwrap_or(DYNAMIC);
    if dynamic == 0 {
        return Err(at.field("max_dynamic_descriptors").refuse("0"));
    }
    Ok(LimiterSizes {
        default: bucket(&at.field("token_bucket"), message.token_bucket.take())?,
        descriptors,
        always_default: flag(message.always_consume_default_token_bucket.take(), true),
        dynamic: dynamic as usize,
    })
}

fn descriptor(at: &At<'_>, message: LocalRateLimitDescriptor) -> Result<DescriptorSize, Refused> {
    let entries: Vec<_> = message
        .entries
        .into_iter()
        .map(|entry| FixedEntry {
            key: entry.key.into(),
            value: entry.value.into(),
        })
        .collect();
    let list = at.field("entries");
    if entries.is_empty() {
        return Err(list.refuse("missing"));
    }
    if let Some(index) = entries.iter().position(|entry| entry.key.is_empty()) {
        return Err(list.item(index).field("key").refuse("missing"));
    }
    let place = at.field("token_bucket");
    let size = bucket(&place, message.token_bucket)?;
    Ok(DescriptorSize {
        entries,
        size: size.ok_or_else(|| place.refuse("missing"))?,
        shadow: message.shadow_mode,
    })
}

fn bucket(at: &At<'_>, message: Option<BucketMessage>) -> Result<Option<BucketSize>, Refused> {
    let Some(message) = message else {
        return Ok(None);
    };
    let place = at.field("fill_interval");
    let interval = duration(&place, message.fill_interval)?;
    let interval = interval.ok_or_else(|| place.refuse("missing"))?;
    if interval < SHORTEST_FILL {
        return Err(place.refuse("shorter than 50ms"));
    }
    let per_fill = number(message.tokens_per_fill).unwrap_or(1);
    if per_fill == 0 {
        return Err(at.field("tokens_per_fill").refuse("0"));
    }
    Ok(Some(BucketSize {
        tokens: message.max_tokens,
        per_fill,
        interval,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::google::protobuf as wkt;

    fn message(seconds: i64, nanos: i32) -> wire::LocalRateLimit {
        wire::LocalRateLimit {
            stat_prefix: "x".into(),
            token_bucket: Some(BucketMessage {
                max_tokens: 1,
                tokens_per_fill: None,
                fill_interval: Some(wkt::Duration { seconds, nanos }),
            }),
            ..wire::LocalRateLimit::default()
        }
    }

    #[test]
    fn defaults_are_envoys() {
        let read = http(&At::ROOT, message(1, 0), true).unwrap();
        assert_eq!(
            (read.enabled, read.enforced),
            (Percentage(0), Percentage(0))
        );
        assert_eq!(read.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(
            read.limiter
                .is_some_and(|limiter| !limiter.has_descriptors())
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let path = |message, per_route| http(&At::ROOT, message, per_route).map_err(|it| it.path);
        let short = path(message(0, 40_000_000), false).unwrap_err();
        assert_eq!(short, "token_bucket.fill_interval");
        let mut none = message(1, 0);
        none.token_bucket = None;
        assert!(path(none.clone(), false).is_ok());
        assert_eq!(path(none, true).unwrap_err(), "token_bucket");
        let mut stage = message(1, 0);
        stage.stage = 11;
        assert_eq!(path(stage, false).unwrap_err(), "stage");
    }
}
