//! Rate limits that a service knows, of HTTP filters, routes and connections.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3::ApiVersion;
use envoy_types::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3::rate_limit::XRateLimitHeadersRfcVersion;
use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3::rate_limit_per_route::{
    OverrideOptions, VhRateLimitsOptions,
};
use envoy_types::pb::envoy::extensions::filters::network::ratelimit::v3 as network;
use envoy_types::pb::google::protobuf as wkt;
use http::StatusCode;
use lateen_proxy_model::{
    ConnectionRateLimit, FilterStats, GlobalRateLimit, GlobalRateLimitRoute, GrpcService,
    Percentage, RequestOrigin, VirtualHostLimits,
};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, must_be_off, runtime_fraction};
use super::context::Context;
use super::mutation::mutations;
use super::rate_limit::{Place, rate_limits, stage, status};
use super::service;

/// Time for a call.
const TIMEOUT: Duration = Duration::from_millis(20);
const NAMESPACE: &str = "envoy.filters.http.ratelimit";

/// The HTTP filter.
pub(super) fn http(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::RateLimit,
) -> Result<GlobalRateLimit, Refused> {
    let domain = domain(&at.field("domain"), take(&mut message.domain))?;
    let only = match &*take(&mut message.request_type) {
        "" | "both" => None,
        "internal" => Some(RequestOrigin::Internal),
        "external" => Some(RequestOrigin::External),
        other => {
            let text = format!("{other:?} is none of internal, external and both");
            return Err(at.field("request_type").refuse(text));
        }
    };
    let deny = match take(&mut message.failure_mode_deny) {
        true => Percentage::ALL,
        false => Percentage(0),
    };
    let share = |name: &str, value, default| match value {
        Some(value) => runtime_fraction(&at.field(name), value),
        None => Ok(default),
    };
    let shown = message.enable_x_ratelimit_headers();
    message.enable_x_ratelimit_headers = 0;
    let all = Percentage::ALL;
    let refusal = message.rate_limited_status.take();
    let on_error = message.status_on_error.take();
    let namespace = take(&mut message.metadata_namespace);
    let made = GlobalRateLimit {
        domain,
        stage: stage(&at.field("stage"), take(&mut message.stage))?,
        limits: rate_limits(
            &at.field("rate_limits"),
            take(&mut message.rate_limits),
            Place::GlobalFilter,
        )?,
        only,
        service: limit_service(
            context,
            &at.field("rate_limit_service"),
            message.rate_limit_service.take(),
        )?,
        timeout: timeout(&at.field("timeout"), message.timeout.take())?,
        deny_on_failure: share(
            "failure_mode_deny_percent",
            message.failure_mode_deny_percent.take(),
            deny,
        )?,
        resource_exhausted: take(&mut message.rate_limited_as_resource_exhausted),
        headers: shown == XRateLimitHeadersRfcVersion::DraftVersion03,
        ratelimited: !take(&mut message.disable_x_envoy_ratelimited_header),
        retry_after: take(&mut message.enable_retry_after_header),
        status: status(
            &at.field("rate_limited_status"),
            refusal,
            StatusCode::TOO_MANY_REQUESTS,
        )?,
        status_on_error: status(
            &at.field("status_on_error"),
            on_error,
            StatusCode::INTERNAL_SERVER_ERROR,
        )?,
        response_headers: mutations(
            at,
            (
                "response_headers_to_add",
                take(&mut message.response_headers_to_add),
            ),
            ("", Vec::new()),
        )?,
        enabled: share("filter_enabled", message.filter_enabled.take(), all)?,
        enforced: share("filter_enforced", message.filter_enforced.take(), all)?,
        namespace: match namespace.is_empty() {
            true => NAMESPACE.into(),
            false => namespace.into(),
        },
        stat_prefix: take(&mut message.stat_prefix).into(),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// What a route says of the filter.
pub(super) fn per_route(
    at: &At<'_>,
    mut message: wire::RateLimitPerRoute,
) -> Result<GlobalRateLimitRoute, Refused> {
    let host_limits = match message.vh_rate_limits() {
        VhRateLimitsOptions::Override => VirtualHostLimits::Override,
        VhRateLimitsOptions::Include => VirtualHostLimits::Include,
        VhRateLimitsOptions::Ignore => VirtualHostLimits::Ignore,
    };
    let option = message.override_option();
    must_be_off(
        &at.field("override_option"),
        option != OverrideOptions::Default,
    )?;
    let own = take(&mut message.domain);
    Ok(GlobalRateLimitRoute {
        host_limits,
        limits: rate_limits(
            &at.field("rate_limits"),
            take(&mut message.rate_limits),
            Place::GlobalFilter,
        )?,
        domain: (!own.is_empty()).then(|| own.into()),
    })
}

/// The network filter.
pub(super) fn connections(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: network::RateLimit,
) -> Result<ConnectionRateLimit, Refused> {
    let prefix = take(&mut message.stat_prefix);
    if prefix.is_empty() {
        return Err(at.field("stat_prefix").refuse("missing"));
    }
    let list = at.field("descriptors");
    let mut descriptors = Vec::with_capacity(message.descriptors.len());
    for (index, one) in take(&mut message.descriptors).into_iter().enumerate() {
        let at = list.item(index);
        must_be_off(&at.field("limit"), one.limit.is_some())?;
        must_be_off(&at.field("hits_addend"), one.hits_addend.is_some())?;
        must_be_off(&at.field("is_negative_hits"), one.is_negative_hits)?;
        let mut entries = Vec::with_capacity(one.entries.len());
        for entry in one.entries {
            if entry.value.contains('%') {
                let text = "format operators are not supported";
                return Err(at.field("entries").refuse(text));
            }
            entries.push((entry.key.into(), entry.value.into()));
        }
        descriptors.push(entries);
    }
    if descriptors.is_empty() {
        return Err(list.refuse("missing"));
    }
    let made = ConnectionRateLimit {
        domain: domain(&at.field("domain"), take(&mut message.domain))?,
        descriptors,
        service: limit_service(
            context,
            &at.field("rate_limit_service"),
            message.rate_limit_service.take(),
        )?,
        timeout: timeout(&at.field("timeout"), message.timeout.take())?,
        deny_on_failure: take(&mut message.failure_mode_deny),
        stats: FilterStats::new(
            format!("ratelimit.{prefix}."),
            &ConnectionRateLimit::COUNTERS,
        ),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn domain(at: &At<'_>, text: String) -> Result<Box<str>, Refused> {
    match text.is_empty() {
        true => Err(at.refuse("missing")),
        false => Ok(text.into()),
    }
}

/// Zero is no limit.
fn timeout(at: &At<'_>, value: Option<wkt::Duration>) -> Result<Option<Duration>, Refused> {
    let time = duration(at, value)?.unwrap_or(TIMEOUT);
    Ok(Some(time).filter(|time| !time.is_zero()))
}

fn limit_service(
    context: &Context<'_>,
    at: &At<'_>,
    message: Option<RateLimitServiceConfig>,
) -> Result<GrpcService, Refused> {
    let mut message = message.ok_or_else(|| at.refuse("missing"))?;
    let version = message.transport_api_version();
    if version != ApiVersion::V3 {
        return Err(at
            .field("transport_api_version")
            .refuse("only V3 is supported"));
    }
    message.transport_api_version = 0;
    let service = message.grpc_service.take();
    service::grpc(context, &at.field("grpc_service"), service)
}
