//! HTTP filters of a connection manager.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::http::admission_control::v3::AdmissionControl;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::ExternalProcessor;
use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::Buffer;
use envoy_types::pb::envoy::extensions::filters::http::compressor::v3::Compressor;
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::Cors;
use envoy_types::pb::envoy::extensions::filters::http::csrf::v3::CsrfPolicy;
use envoy_types::pb::envoy::extensions::filters::http::decompressor::v3::Decompressor;
use envoy_types::pb::envoy::extensions::filters::http::header_mutation::v3::HeaderMutation;
use envoy_types::pb::envoy::extensions::filters::http::stateful_session::v3::StatefulSession;
use envoy_types::pb::envoy::extensions::filters::http::dynamic_forward_proxy::v3::FilterConfig as ForwardProxy;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::ExtAuthz;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use envoy_types::pb::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig as GrpcStats;
use envoy_types::pb::envoy::extensions::filters::http::grpc_web::v3::GrpcWeb;
use envoy_types::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use envoy_types::pb::envoy::extensions::filters::http::health_check::v3::HealthCheck;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::JwtAuthentication;
use envoy_types::pb::envoy::extensions::filters::http::ratelimit::v3::RateLimit;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use envoy_types::pb::google::protobuf::Any;
use lateen_proxy_model::{FilterEntry, HttpFilter, RouterOptions};
use lateen_xds::any;
use lateen_xds::pb::istio::envoy::config::filter::http::alpn::v2alpha1::FilterConfig as Alpn;
use lateen_xds::pb::istio::envoy::config::filter::http::alpn::v2alpha1::filter_config::Protocol;

use super::at::{At, Refused, nothing_left};
use super::common::{must_be_off, unpack};
use super::context::Context;
use super::{
    admission_control, compression, csrf, ext_authz, ext_proc, extension, forward_proxy,
    global_rate_limit, health_filter, ignored, jwt, local_rate_limit, metadata_exchange,
    per_filter, rbac, sessions, stats,
};

/// The filters before the router, which must come last.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    filters: Vec<wire::HttpFilter>,
) -> Result<(Vec<FilterEntry>, RouterOptions), Refused> {
    let mut found = Vec::with_capacity(filters.len());
    let mut routed = None;
    for (index, filter) in filters.into_iter().enumerate() {
        let at = at.item(index);
        if routed.is_some() {
            return Err(at.refuse("stands behind the router"));
        }
        let packed = match filter.config_type {
            Some(ConfigType::TypedConfig(packed)) => packed,
            Some(ConfigType::ConfigDiscovery(source)) => {
                let place = at.field("config_discovery");
                let slot = extension::place(context, &place, &filter.name, source)?;
                found.push(FilterEntry {
                    name: filter.name.into(),
                    filter: HttpFilter::Discovered(slot),
                    disabled: filter.disabled,
                });
                continue;
            }
            None if filter.name == "envoy.filters.http.router" => any::pack(&Router::default()),
            None => return Err(at.field("typed_config").refuse("missing")),
        };
        let entry = &at;
        let at = at.field("typed_config");
        match one(context, &at, &packed)? {
            Known::Router(options) => {
                must_be_off(&entry.field("disabled"), filter.disabled)?;
                routed = Some(options);
            }
            Known::Filter(kind) => {
                found.push(FilterEntry {
                    name: filter.name.into(),
                    filter: kind,
                    disabled: filter.disabled,
                });
            }
            Known::Other if filter.is_optional => {
                tracing::info!("{at}: optional filter {:?} is left out", filter.name);
            }
            Known::Other => {
                let kind = any::full_name(&packed.type_url);
                let name = filter.name;
                return Err(at.refuse(format!("HTTP filter {name:?} ({kind}) is not supported")));
            }
        }
    }
    match routed {
        Some(options) => Ok((found, options)),
        None => Err(at.refuse("no router")),
    }
}

/// A filter that comes by itself: one that does something in its place of the chain.
pub(super) fn acting(
    context: &Context<'_>,
    at: &At<'_>,
    packed: &Any,
) -> Result<HttpFilter, Refused> {
    match one(context, at, packed)? {
        Known::Filter(filter) if filter.acts() => Ok(filter),
        _ => {
            let kind = any::full_name(&packed.type_url);
            Err(at.refuse(format!("{kind} cannot come by itself")))
        }
    }
}

/// Whether there is a filter with settings of this type; the settings may be malformed.
pub(super) fn knows(context: &Context<'_>, name: &str) -> bool {
    let nothing = Any {
        type_url: name.to_owned(),
        value: Vec::new(),
    };
    !matches!(one(context, &At::ROOT, &nothing), Ok(Known::Other))
}

enum Known {
    Router(RouterOptions),
    Filter(HttpFilter),
    Other,
}

#[expect(clippy::too_many_lines, reason = "a filter a line")]
fn one(context: &Context<'_>, at: &At<'_>, packed: &Any) -> Result<Known, Refused> {
    if any::holds::<Router>(packed) {
        let mut router: Router = unpack(at, packed)?;
        ignored::router(&mut router);
        context
            .child_spans
            .set(std::mem::take(&mut router.start_child_span));
        let options = RouterOptions {
            quiet: std::mem::take(&mut router.suppress_envoy_headers),
            respect_expected: std::mem::take(&mut router.respect_expected_rq_timeout),
        };
        nothing_left(at, &router)?;
        return Ok(Known::Router(options));
    }
    if any::holds::<HttpFault>(packed) {
        let fault = per_filter::faults(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Fault(fault.map(Arc::new))));
    }
    if any::holds::<HealthCheck>(packed) {
        let filter = health_filter::read(context, at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::HealthCheck(Arc::new(filter))));
    }
    if any::holds::<Cors>(packed) {
        return Ok(Known::Filter(HttpFilter::Cors));
    }
    if any::holds::<CsrfPolicy>(packed) {
        let policy = csrf::policy(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Csrf(Arc::new(policy))));
    }
    if any::holds::<AdmissionControl>(packed) {
        let control = admission_control::read(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::AdmissionControl(Arc::new(
            control,
        ))));
    }
    if any::holds::<ExternalProcessor>(packed) {
        let proc = ext_proc::read(context, at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::ExtProc(Arc::new(proc))));
    }
    if any::holds::<Rbac>(packed) {
        let rbac = rbac::http(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Rbac(Arc::new(rbac))));
    }
    if any::holds::<RateLimit>(packed) {
        let limit = global_rate_limit::http(context, at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::RateLimit(Arc::new(limit))));
    }
    if any::holds::<LocalRateLimit>(packed) {
        let limit = local_rate_limit::http(at, unpack(at, packed)?, false)?;
        return Ok(Known::Filter(HttpFilter::LocalRateLimit(Arc::new(limit))));
    }
    if any::holds::<JwtAuthentication>(packed) {
        let jwt = jwt::read(context, at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Jwt(Arc::new(jwt))));
    }
    if any::holds::<ExtAuthz>(packed) {
        let authz = ext_authz::read(context, at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::ExtAuthz(Arc::new(authz))));
    }
    if any::holds::<GrpcStats>(packed) {
        let mut config: GrpcStats = unpack(at, packed)?;
        ignored::grpc_stats(&mut config);
        nothing_left(at, &config)?;
        return Ok(Known::Filter(HttpFilter::GrpcStats));
    }
    if any::holds::<GrpcWeb>(packed) {
        return Ok(Known::Filter(HttpFilter::GrpcWeb));
    }
    if any::holds::<Compressor>(packed) {
        let filter = compression::compressor(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Compress(Arc::new(filter))));
    }
    if any::holds::<Decompressor>(packed) {
        let filter = compression::decompressor(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Decompress(Arc::new(filter))));
    }
    if any::holds::<Buffer>(packed) {
        let most = sessions::buffer(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Buffer(most)));
    }
    if any::holds::<HeaderMutation>(packed) {
        let filter = sessions::mutations(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Mutate(Arc::new(filter))));
    }
    if any::holds::<StatefulSession>(packed) {
        let filter = sessions::session(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::Session(Arc::new(filter))));
    }
    if any::holds::<ForwardProxy>(packed) {
        let filter = forward_proxy::http(context, at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::ForwardProxy(Arc::new(filter))));
    }
    if any::holds::<Alpn>(packed) {
        alpn(at, unpack(at, packed)?)?;
        return Ok(Known::Filter(HttpFilter::IstioAlpn));
    }
    if let Some(stats) = stats::filter(at, packed)? {
        return Ok(Known::Filter(HttpFilter::Stats(stats)));
    }
    Ok(metadata_exchange::http(at, packed)?.map_or(Known::Other, Known::Filter))
}

/// The overrides must be Istio's own (contract xds.md §7), which are what the filter does.
fn alpn(at: &At<'_>, message: Alpn) -> Result<(), Refused> {
    let list = at.field("alpn_override");
    for (index, entry) in message.alpn_override.into_iter().enumerate() {
        let wanted = match entry.upstream_protocol() {
            Protocol::Http10 => ["istio-http/1.0", "istio", "http/1.0"],
            Protocol::Http11 => ["istio-http/1.1", "istio", "http/1.1"],
            Protocol::Http2 => ["istio-h2", "istio", "h2"],
        };
        if entry.alpn_override != wanted {
            let text = format!("only {} is supported here", wanted.join(", "));
            return Err(list.item(index).field("alpn_override").refuse(text));
        }
    }
    Ok(())
}
