//! External authorisation.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::ext_authz::Services;
use envoy_types::pb::envoy::extensions::filters::http::ext_authz::v3::ext_authz_per_route::Override;
use envoy_types::pb::envoy::r#type::matcher::v3::ListStringMatcher;
use http::header::{HeaderName, HeaderValue};
use http::{StatusCode, Uri};
use lateen_proxy_model::{
    AuthzBody, AuthzHttp, AuthzOverride, AuthzService, ExtAuthz, Percentage, StringMatcher,
};

use super::at::{At, Refused, nothing_left};
use super::common::{flag, runtime_fraction};
use super::context::Context;
use super::matcher::{header_name, string};
use super::{jwt, metadata_matcher, service};

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_millis(200);
/// Largest part of a body that is read for a question.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// The filter.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::ExtAuthz,
) -> Result<ExtAuthz, Refused> {
    // v3 is the only version there is.
    message.transport_api_version = 0;
    // Counters of clusters by what the service answered, which this proxy does not have.
    message.charge_cluster_response_stats = None;
    let body = message.with_request_body.take();
    let place = at.field("with_request_body");
    let body = body.map(|body| buffer(&place, body)).transpose()?;
    let status_on_error = match message.status_on_error.take() {
        None => StatusCode::FORBIDDEN,
        Some(status) => {
            let code = u16::try_from(status.code).ok();
            let code = code.and_then(|code| StatusCode::from_u16(code).ok());
            code.ok_or_else(|| at.field("status_on_error").refuse("no HTTP status"))?
        }
    };
    let place = at.field("filter_enabled");
    let enabled = message.filter_enabled.take();
    let enabled = enabled.map(|share| runtime_fraction(&place, share));
    let place = at.field("filter_enabled_metadata");
    let enabled_metadata = message.filter_enabled_metadata.take();
    let enabled_metadata =
        enabled_metadata.map(|matcher| metadata_matcher::metadata(&place, &matcher));
    let deny = message
        .deny_at_disable
        .take()
        .and_then(|it| it.default_value);
    let allowed = message.allowed_headers.take();
    let disallowed = message.disallowed_headers.take();
    let service = message.services.take();
    let (service, timeout, older) = services(context, at, service)?;
    let names = take(&mut message.metadata_context_namespaces);
    let of_route = take(&mut message.route_metadata_context_namespaces);
    let made = ExtAuthz {
        route_namespaces: of_route.into_iter().map(Into::into).collect(),
        raw_headers: take(&mut message.encode_raw_headers),
        service,
        timeout,
        failure_mode_allow: take(&mut message.failure_mode_allow),
        failure_mode_header: take(&mut message.failure_mode_allow_header_add),
        body,
        clear_route: take(&mut message.clear_route_cache),
        status_on_error,
        validate_mutations: take(&mut message.validate_mutations),
        metadata_namespaces: names.into_iter().map(Into::into).collect(),
        enabled: enabled.transpose()?.unwrap_or(Percentage::ALL),
        enabled_metadata: enabled_metadata.transpose()?,
        deny_at_disable: deny.is_some_and(|flag| flag.value),
        peer_certificate: take(&mut message.include_peer_certificate),
        tls_session: take(&mut message.include_tls_session),
        takes_metadata: flag(message.enable_dynamic_metadata_ingestion.take(), true),
        allowed_headers: match list(&at.field("allowed_headers"), allowed)? {
            Some(list) => Some(list),
            None => older,
        },
        disallowed_headers: list(&at.field("disallowed_headers"), disallowed)?.unwrap_or_default(),
        stat_prefix: take(&mut message.stat_prefix).into(),
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// Settings of a route.
pub(super) fn per_route(
    at: &At<'_>,
    message: wire::ExtAuthzPerRoute,
) -> Result<AuthzOverride, Refused> {
    match message.r#override {
        Some(Override::Disabled(true)) => Ok(AuthzOverride::Disabled),
        Some(Override::Disabled(false)) => Err(at.field("disabled").refuse("must be true")),
        Some(Override::CheckSettings(mut settings)) => {
            let at = at.field("check_settings");
            let context = take(&mut settings.context_extensions).into_iter();
            let mut context: Vec<(Box<str>, Box<str>)> = context
                .map(|(name, text)| (name.into(), text.into()))
                .collect();
            context.sort();
            let body = settings.with_request_body.take();
            let place = at.field("with_request_body");
            let made = AuthzOverride::Check {
                context,
                no_body: take(&mut settings.disable_request_body_buffering),
                body: body.map(|body| buffer(&place, body)).transpose()?,
            };
            nothing_left(&at, &settings)?;
            Ok(made)
        }
        None => Err(at.refuse("empty")),
    }
}

fn buffer(at: &At<'_>, message: wire::BufferSettings) -> Result<AuthzBody, Refused> {
    let max = message.max_request_bytes as usize;
    if max == 0 || max > MAX_BODY {
        let text = format!("must be between 1 and {MAX_BODY}");
        return Err(at.field("max_request_bytes").refuse(text));
    }
    Ok(AuthzBody {
        max,
        partial: message.allow_partial_message,
        as_bytes: message.pack_as_bytes,
    })
}

fn list(
    at: &At<'_>,
    message: Option<ListStringMatcher>,
) -> Result<Option<Vec<StringMatcher>>, Refused> {
    let Some(message) = message else {
        return Ok(None);
    };
    let place = at.field("patterns");
    let patterns = message.patterns.iter().enumerate();
    let patterns = patterns.map(|(index, one)| string(&place.item(index), one));
    patterns.collect::<Result<_, _>>().map(Some)
}

type Service = (AuthzService, Option<Duration>, Option<Vec<StringMatcher>>);

/// The service, its time, and the headers that the older field of an HTTP server allows.
fn services(
    context: &Context<'_>,
    at: &At<'_>,
    service: Option<Services>,
) -> Result<Service, Refused> {
    match service {
        Some(Services::GrpcService(service)) => {
            let service = service::grpc(context, &at.field("grpc_service"), Some(service))?;
            let timeout = service.timeout.or(Some(TIMEOUT));
            Ok((AuthzService::Grpc(service), timeout, None))
        }
        Some(Services::HttpService(service)) => http(context, &at.field("http_service"), service),
        None => Err(at.refuse("no service: grpc_service or http_service")),
    }
}

#[allow(deprecated, reason = "control planes still send the older field")]
fn http(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::HttpService,
) -> Result<Service, Refused> {
    let place = at.field("server_uri");
    let uri = message.server_uri.take();
    let server = jwt::server(context, &place, uri.ok_or_else(|| place.refuse("missing"))?)?;
    let path_override = match take(&mut message.path_override) {
        text if text.is_empty() => None,
        text => {
            let path: Result<Uri, _> = text.parse();
            Some(path.map_err(|_| at.field("path_override").refuse("no path"))?)
        }
    };
    let mut request = message.authorization_request.take().unwrap_or_default();
    let mut response = message.authorization_response.take().unwrap_or_default();
    let place = at.field("authorization_request");
    let headers_to_add = literals(
        &place.field("headers_to_add"),
        take(&mut request.headers_to_add),
    )?;
    let older = list(
        &place.field("allowed_headers"),
        request.allowed_headers.take(),
    )?;
    nothing_left(&place, &request)?;
    let place = at.field("authorization_response");
    let read = |name, message| list(&place.field(name), message);
    let made = AuthzHttp {
        cluster: server.cluster,
        path_prefix: take(&mut message.path_prefix).into(),
        path_override,
        headers_to_add,
        upstream_headers: read(
            "allowed_upstream_headers",
            response.allowed_upstream_headers.take(),
        )?
        .unwrap_or_default(),
        upstream_headers_to_append: read(
            "allowed_upstream_headers_to_append",
            response.allowed_upstream_headers_to_append.take(),
        )?
        .unwrap_or_default(),
        client_headers: read(
            "allowed_client_headers",
            response.allowed_client_headers.take(),
        )?,
        client_headers_on_success: read(
            "allowed_client_headers_on_success",
            response.allowed_client_headers_on_success.take(),
        )?
        .unwrap_or_default(),
        metadata_headers: read(
            "dynamic_metadata_from_headers",
            response.dynamic_metadata_from_headers.take(),
        )?
        .unwrap_or_default(),
    };
    nothing_left(&place, &response)?;
    nothing_left(at, &message)?;
    let service = AuthzService::Http(Box::new(made));
    Ok((service, server.timeout, Some(older.unwrap_or_default())))
}

/// Headers with values that are literals.
fn literals(
    at: &At<'_>,
    headers: Vec<core::HeaderValue>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Refused> {
    let headers = headers.into_iter().enumerate();
    headers
        .map(|(index, header)| {
            let at = at.item(index);
            let name = header_name(&at.field("key"), &header.key)?;
            let place = at.field("value");
            if header.value.contains('%') {
                return Err(place.refuse("format operators are not supported here"));
            }
            let value = match header.raw_value.is_empty() {
                true => HeaderValue::try_from(header.value),
                false => HeaderValue::from_bytes(&header.raw_value),
            };
            let value = value.map_err(|_| place.refuse("no header value"))?;
            Ok((name, value))
        })
        .collect()
}
