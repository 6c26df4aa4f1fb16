//! Settings of HTTP filters on tables, virtual hosts and routes: faults and cross-origin policies.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::config::route::v3::cors_policy::EnabledSpecifier;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3 as common_fault;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use envoy_types::pb::envoy::extensions::filters::common::fault::v3::fault_rate_limit::LimitType;
use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::BufferPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::CompressorPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::cors::v3 as cors;
use envoy_types::pb::envoy::extensions::filters::http::csrf::v3::CsrfPolicy;
use envoy_types::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::PerRouteConfig as ForwardPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::ExtAuthzPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::ExtProcPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3 as fault;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use envoy_types::pb::envoy::extensions::filters::http::header_mutation::v3::HeaderMutationPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3 as jwt_wire;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3::RateLimitPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::RbacPerRoute;
use envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3::StatefulSessionPerRoute;
use envoy_types::pb::envoy::r#type::v3::FractionalPercent;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use envoy_types::pb::google::protobuf::Any;
use http::{HeaderValue, StatusCode};
use lateen_proxy_model::{
    CorsPolicy, Fault, FaultAbort, FaultRate, FilterOverride, FilterSetting, HeaderShare,
    Overrides, Percentage,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, fraction, number, runtime_fraction, unpack};
use super::context::Context;
use super::matcher::{headers, string};
use super::{
    compression, csrf, ext_authz, ext_proc, forward_proxy, global_rate_limit, jwt,
    local_rate_limit, rbac, sessions,
};

/// Reads the map of filter name to settings of one level. The names are those of the connection manager's filters.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    configs: HashMap<String, Any>,
) -> Result<Overrides, Refused> {
    let mut found = Vec::with_capacity(configs.len());
    for (name, packed) in configs {
        let at = at.key(&name);
        if let Some(setting) = setting(context, &at, packed)? {
            found.push((Arc::from(name), setting));
        }
    }
    Ok(Overrides::new(found))
}

/// The settings of one filter; `None` for settings of an optional filter that is not known.
fn setting(
    context: &Context<'_>,
    at: &At<'_>,
    packed: Any,
) -> Result<Option<FilterSetting>, Refused> {
    let on = |config| {
        Some(FilterSetting {
            disabled: false,
            config,
        })
    };
    if !any::holds::<route::FilterConfig>(&packed) {
        return match config(context, at, &packed)? {
            Some(config) => Ok(on(Some(config))),
            None => Err(unknown(at, &packed)),
        };
    }
    let wrapper: route::FilterConfig = unpack(at, &packed)?;
    if wrapper.disabled {
        return Ok(Some(FilterSetting {
            disabled: true,
            config: None,
        }));
    }
    let place = at.field("config");
    let Some(packed) = wrapper.config else {
        return Err(place.refuse("missing"));
    };
    // Empty settings switch a filter on that is off by itself.
    if packed.type_url.is_empty() {
        return Ok(on(None));
    }
    match config(context, &place, &packed)? {
        Some(config) => Ok(on(Some(config))),
        None if wrapper.is_optional => Ok(None),
        None => Err(unknown(&place, &packed)),
    }
}

fn unknown(at: &At<'_>, packed: &Any) -> Refused {
    let kind = any::full_name(&packed.type_url);
    at.refuse(format!("settings of type {kind} are not supported"))
}

/// Settings by their type; `None` when it is not known.
fn config(
    context: &Context<'_>,
    at: &At<'_>,
    packed: &Any,
) -> Result<Option<FilterOverride>, Refused> {
    if any::holds::<fault::HttpFault>(packed) {
        let faults = faults(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Fault(faults.map(Arc::new))));
    }
    if any::holds::<cors::CorsPolicy>(packed) {
        let policy = cors_policy(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Cors(Some(Arc::new(policy)))));
    }
    if any::holds::<CsrfPolicy>(packed) {
        let policy = csrf::policy(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Csrf(Arc::new(policy))));
    }
    if any::holds::<ExtAuthzPerRoute>(packed) {
        let authz = ext_authz::per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::ExtAuthz(authz)));
    }
    if any::holds::<ForwardPerRoute>(packed) {
        let host = forward_proxy::per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::ForwardProxy(host)));
    }
    if any::holds::<ExtProcPerRoute>(packed) {
        let proc = ext_proc::per_route(context, at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::ExtProc(proc)));
    }
    if any::holds::<jwt_wire::PerRouteConfig>(packed) {
        let jwt = jwt::per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Jwt(jwt)));
    }
    if any::holds::<RbacPerRoute>(packed) {
        let rules = rbac::per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Rbac(rules.map(Arc::new))));
    }
    if any::holds::<CompressorPerRoute>(packed) {
        let route = compression::per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Compress(Arc::new(route))));
    }
    if any::holds::<BufferPerRoute>(packed) {
        let most = sessions::buffer_per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Buffer(most)));
    }
    if any::holds::<HeaderMutationPerRoute>(packed) {
        let levels = sessions::mutations_per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Mutate(levels)));
    }
    if any::holds::<StatefulSessionPerRoute>(packed) {
        let session = sessions::session_per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::Session(session)));
    }
    if any::holds::<RateLimitPerRoute>(packed) {
        let route = global_rate_limit::per_route(at, unpack(at, packed)?)?;
        return Ok(Some(FilterOverride::RateLimit(Arc::new(route))));
    }
    if any::holds::<LocalRateLimit>(packed) {
        let limit = local_rate_limit::http(at, unpack(at, packed)?, true)?;
        return Ok(Some(FilterOverride::LocalRateLimit(Arc::new(limit))));
    }
    Ok(None)
}

/// Faults; `None` when nothing is injected.
pub(super) fn faults(at: &At<'_>, mut message: fault::HttpFault) -> Result<Option<Fault>, Refused> {
    // Names of runtime keys and statistics, neither of which there is.
    for text in [
        &mut message.delay_percent_runtime,
        &mut message.abort_percent_runtime,
        &mut message.delay_duration_runtime,
        &mut message.abort_http_status_runtime,
        &mut message.max_active_faults_runtime,
        &mut message.response_rate_limit_percent_runtime,
        &mut message.abort_grpc_status_runtime,
    ] {
        text.clear();
    }
    message.disable_downstream_cluster_stats = false;
    let (delay, delay_by_header) = delay(&at.field("delay"), message.delay.take())?;
    let place = at.field("abort");
    let mut aborts = message.abort.take();
    let body = aborts
        .as_mut()
        .map(|it| take(&mut it.response_body))
        .filter(|body| !body.is_empty());
    let (abort, abort_by_header) = abort(&place, aborts)?;
    let rate = rate(
        &at.field("response_rate_limit"),
        message.response_rate_limit.take(),
    )?;
    let cluster = take(&mut message.upstream_cluster);
    let nodes = take(&mut message.downstream_nodes).into_iter();
    let headers = headers(&at.field("headers"), &take(&mut message.headers))?;
    let max_active = message.max_active_faults.take();
    nothing_left(at, &message)?;
    let by_header = delay_by_header.is_some() || abort_by_header.is_some();
    if delay.is_none() && abort.is_none() && rate.is_none() && !by_header {
        return Ok(None);
    }
    Ok(Some(Fault {
        delay,
        abort,
        headers,
        delay_by_header,
        abort_by_header,
        abort_body: body.map(Into::into),
        rate,
        cluster: (!cluster.is_empty()).then(|| cluster.into()),
        nodes: nodes.map(String::into_boxed_str).collect(),
        max_active: number(max_active),
        active: Arc::default(),
    }))
}

type Delay = Option<(std::time::Duration, Percentage)>;
type Abort = Option<(FaultAbort, Percentage)>;

fn delay(
    at: &At<'_>,
    message: Option<common_fault::FaultDelay>,
) -> Result<(Delay, Option<HeaderShare>), Refused> {
    let Some(mut message) = message else {
        return Ok((None, None));
    };
    let share = share(&at.field("percentage"), message.percentage.take())?;
    let made = match message.fault_delay_secifier.take() {
        Some(FaultDelaySecifier::FixedDelay(value)) => {
            let wait = duration(&at.field("fixed_delay"), Some(value))?;
            (wait.map(|wait| (wait, share.share)), None)
        }
        Some(FaultDelaySecifier::HeaderDelay(_)) => (None, Some(share)),
        None => (None, None),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn abort(
    at: &At<'_>,
    message: Option<fault::FaultAbort>,
) -> Result<(Abort, Option<HeaderShare>), Refused> {
    let Some(mut message) = message else {
        return Ok((None, None));
    };
    let share = share(&at.field("percentage"), message.percentage.take())?;
    let fixed = |kind| (Some((kind, share.share)), None);
    let made = match message.error_type.take() {
        Some(ErrorType::HttpStatus(code)) => {
            let status = u16::try_from(code).ok();
            let status = status.and_then(|status| StatusCode::from_u16(status).ok());
            let place = at.field("http_status");
            fixed(FaultAbort::Http(status.ok_or_else(|| {
                place.refuse(format!("{code} is no HTTP status"))
            })?))
        }
        Some(ErrorType::GrpcStatus(code)) => fixed(FaultAbort::Grpc(code)),
        Some(ErrorType::HeaderAbort(_)) => (None, Some(share)),
        None => return Err(at.refuse("no error is given")),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn rate(
    at: &At<'_>,
    message: Option<common_fault::FaultRateLimit>,
) -> Result<Option<(FaultRate, HeaderShare)>, Refused> {
    let Some(message) = message else {
        return Ok(None);
    };
    let share = share(&at.field("percentage"), message.percentage)?;
    match message.limit_type {
        Some(LimitType::FixedLimit(limit)) if limit.limit_kbps > 0 => {
            Ok(Some((FaultRate::Fixed(limit.limit_kbps), share)))
        }
        Some(LimitType::HeaderLimit(_)) => Ok(Some((FaultRate::Header, share))),
        Some(LimitType::FixedLimit(_)) | None => Err(at.refuse("no limit")),
    }
}

/// A share, and what 1 means in a header that makes it smaller.
fn share(at: &At<'_>, message: Option<FractionalPercent>) -> Result<HeaderShare, Refused> {
    let message = message.unwrap_or_default();
    let unit = match message.denominator() {
        DenominatorType::Hundred => 10_000,
        DenominatorType::TenThousand => 100,
        DenominatorType::Million => 1,
    };
    Ok(HeaderShare {
        share: fraction(at, message)?,
        unit,
    })
}

/// A cross-origin policy.
fn cors_policy(at: &At<'_>, mut message: cors::CorsPolicy) -> Result<CorsPolicy, Refused> {
    // Statistics about policies that are switched off.
    message.shadow_enabled = None;
    let place = at.field("filter_enabled");
    let enabled = message
        .filter_enabled
        .take()
        .map(|value| runtime_fraction(&place, value))
        .transpose()?;
    let list = at.field("allow_origin_string_match");
    let origins = take(&mut message.allow_origin_string_match)
        .iter()
        .enumerate()
        .map(|(index, matcher)| string(&list.item(index), matcher))
        .collect::<Result<_, _>>()?;
    let policy = CorsPolicy {
        enabled,
        origins,
        methods: header(&at.field("allow_methods"), take(&mut message.allow_methods))?,
        headers: header(&at.field("allow_headers"), take(&mut message.allow_headers))?,
        expose: header(
            &at.field("expose_headers"),
            take(&mut message.expose_headers),
        )?,
        max_age: header(&at.field("max_age"), take(&mut message.max_age))?,
        credentials: message.allow_credentials.take().map(|it| it.value),
        private_network: message
            .allow_private_network_access
            .take()
            .map(|it| it.value),
        forward_unmatched_preflights: message
            .forward_not_matching_preflights
            .take()
            .map(|it| it.value),
    };
    nothing_left(at, &message)?;
    Ok(policy)
}

/// The same policy in the older field of a route.
pub(super) fn older_cors(at: &At<'_>, message: route::CorsPolicy) -> Result<CorsPolicy, Refused> {
    let filter_enabled = message
        .enabled_specifier
        .map(|EnabledSpecifier::FilterEnabled(value)| value);
    let newer = cors::CorsPolicy {
        allow_origin_string_match: message.allow_origin_string_match,
        allow_methods: message.allow_methods,
        allow_headers: message.allow_headers,
        expose_headers: message.expose_headers,
        max_age: message.max_age,
        allow_credentials: message.allow_credentials,
        filter_enabled,
        shadow_enabled: message.shadow_enabled,
        allow_private_network_access: message.allow_private_network_access,
        forward_not_matching_preflights: message.forward_not_matching_preflights,
    };
    cors_policy(at, newer)
}

fn header(at: &At<'_>, text: String) -> Result<Option<HeaderValue>, Refused> {
    if text.is_empty() {
        return Ok(None);
    }
    HeaderValue::try_from(&text)
        .map(Some)
        .map_err(|_| at.refuse(format!("{text:?} is no header value")))
}
