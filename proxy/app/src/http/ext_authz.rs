//! External authorisation: reads the body ahead where the service gets it, asks, and does what the answer says.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use http_body::Body;
use lateen_proxy_admit::{
    AuthzAnswer, AuthzChanges, AuthzExtras, HeaderChange, check_request, grpc_answer, http_answer,
    http_request,
};
use lateen_proxy_model::{
    AuthzBody, AuthzOverride, AuthzService, Call, ExtAuthz, FilterOverride, GrpcSettings,
    RequestFacts, grpc_call,
};
use lateen_proxy_relay::http::{
    ChainFilter, ClientBody, Exchange, LocalReply, ReadAhead, path, set_path,
};
use lateen_proxy_telemetry::Flags;

use super::request::view;

/// Where answers are noted.
const NAMESPACE: &str = "envoy.filters.http.ext_authz";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

static FAILURE_ALLOWED: HeaderName = HeaderName::from_static("x-envoy-auth-failure-mode-allowed");

/// What the filter counts.
const OK: usize = 0;
const DENIED: usize = 1;
const ERROR: usize = 2;
const DISABLED: usize = 3;
const FAILURE_MODE_ALLOWED: usize = 4;
const INVALID: usize = 5;

/// What an allowed request takes along.
#[derive(Debug, Default)]
pub(crate) struct Allowed {
    /// Changes of the answer.
    pub(crate) response: Vec<HeaderChange>,
    /// The route is to be chosen anew.
    pub(crate) clear_route: bool,
}

/// Settings in force for a request.
struct Settings<'a> {
    context: &'a [(Box<str>, Box<str>)],
    body: Option<AuthzBody>,
}

/// Asks about a request.
pub(crate) async fn run<C: Call>(
    exchange: &mut Exchange,
    filter: &ChainFilter,
    (parts, body): (&mut Parts, &mut ClientBody),
    (authz, own): (&ExtAuthz, Option<&FilterOverride>),
    calls: &C,
) -> Result<Allowed, LocalReply> {
    let settings = match own {
        Some(FilterOverride::ExtAuthz(AuthzOverride::Disabled)) => return Ok(Allowed::default()),
        Some(FilterOverride::ExtAuthz(AuthzOverride::Check {
            context,
            no_body,
            body,
        })) => Settings {
            context,
            body: body.or(authz.body).filter(|_| !no_body),
        },
        _ => Settings {
            context: &[],
            body: authz.body,
        },
    };
    if !is_asked(exchange, authz) {
        if authz.deny_at_disable {
            return Err(refusal(authz.status_on_error, "ext_authz_error"));
        }
        filter.count(DISABLED);
        return Ok(Allowed::default());
    }
    let sent = sent_along(exchange, parts, body, settings.body).await?;
    let extras = AuthzExtras {
        protocol: protocol(parts.version),
        id: fastrand::u64(..),
        received: body.read().len(),
        body: sent,
        as_bytes: settings.body.is_some_and(|body| body.as_bytes),
        context: settings.context,
    };
    let answer = ask(exchange, parts, authz, &extras, calls).await;
    conclude(exchange, filter, parts, authz, answer)
}

fn is_asked(exchange: &Exchange, authz: &ExtAuthz) -> bool {
    let metadata = authz.enabled_metadata.as_ref();
    authz.enabled.holds(fastrand::u32(..1_000_000))
        && metadata.is_none_or(|condition| condition.matches(exchange.metadata()))
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// The body, or the start of it, with the word whether it is the start only.
async fn sent_along(
    exchange: &mut Exchange,
    parts: &Parts,
    body: &mut ClientBody,
    settings: Option<AuthzBody>,
) -> Result<Option<(Bytes, bool)>, LocalReply> {
    let upgrade = parts.headers.contains_key(header::UPGRADE);
    let Some(settings) = settings.filter(|_| !upgrade && !body.is_end_stream()) else {
        return Ok(None);
    };
    let limit = match settings.partial {
        true => settings.max,
        // One byte more tells a body of this length from a longer one.
        false => settings.max.saturating_add(1),
    };
    let read = body.read_ahead(limit).await;
    let read = read.map_err(|_| LocalReply::bad_request("downstream_remote_disconnect"))?;
    let mut data = body.read();
    if read == ReadAhead::Whole {
        exchange.read_whole(data.len());
    }
    let longer = read == ReadAhead::Limit || data.len() > settings.max;
    if longer && !settings.partial {
        return Err(LocalReply::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Payload Too Large",
            Flags::NONE,
            "request_payload_too_large",
        ));
    }
    data.truncate(settings.max);
    Ok(Some((data, longer)))
}

async fn ask<C: Call>(
    exchange: &Exchange,
    parts: &Parts,
    authz: &ExtAuthz,
    extras: &AuthzExtras<'_>,
    calls: &C,
) -> AuthzAnswer {
    match &authz.service {
        AuthzService::Grpc(service) => {
            let question = check_request(authz, &view(exchange, parts), extras);
            let settings = GrpcSettings {
                timeout: authz.timeout,
                authority: service.authority.as_ref(),
                metadata: &service.metadata,
            };
            match grpc_call(calls, &service.cluster, CHECK, &question, settings).await {
                Ok(answer) => grpc_answer(authz, answer),
                Err(error) => {
                    tracing::debug!(%error, "no authorisation");
                    AuthzAnswer::Error
                }
            }
        }
        AuthzService::Http(service) => {
            let question = http_request(authz, service, &view(exchange, parts), extras);
            let Some(question) = question else {
                return AuthzAnswer::Error;
            };
            match calls.call(&service.cluster, question, authz.timeout).await {
                Ok(answer) => http_answer(authz, service, answer),
                Err(error) => {
                    tracing::debug!(%error, "no authorisation");
                    AuthzAnswer::Error
                }
            }
        }
    }
}

fn conclude(
    exchange: &mut Exchange,
    filter: &ChainFilter,
    parts: &mut Parts,
    authz: &ExtAuthz,
    answer: AuthzAnswer,
) -> Result<Allowed, LocalReply> {
    match answer {
        AuthzAnswer::Allowed(changes) => {
            filter.count(OK);
            let mut changes = *changes;
            exchange.note(NAMESPACE, std::mem::take(&mut changes.metadata));
            let touched = change(exchange, parts, &changes)?;
            Ok(Allowed {
                response: changes.response,
                clear_route: authz.clear_route && touched,
            })
        }
        AuthzAnswer::Denied {
            status,
            headers,
            body,
            metadata,
        } => {
            filter.count(DENIED);
            exchange.note(NAMESPACE, metadata);
            let mut reply = refusal(status, "ext_authz_denied");
            reply.headers = headers;
            reply.body = body;
            Err(reply)
        }
        AuthzAnswer::Error => {
            filter.count(ERROR);
            if !authz.failure_mode_allow {
                return Err(refusal(authz.status_on_error, "ext_authz_error"));
            }
            filter.count(FAILURE_MODE_ALLOWED);
            if authz.failure_mode_header {
                let yes = HeaderValue::from_static("true");
                parts.headers.insert(&FAILURE_ALLOWED, yes);
            }
            Ok(Allowed::default())
        }
        AuthzAnswer::Invalid => {
            filter.count(INVALID);
            let mut reply = refusal(StatusCode::INTERNAL_SERVER_ERROR, "ext_authz_invalid");
            reply.flags = Flags::NONE;
            Err(reply)
        }
    }
}

fn refusal(status: StatusCode, details: &'static str) -> LocalReply {
    LocalReply::new(status, "", Flags::UNAUTHORIZED_EXTERNAL, details)
}

/// Changes the request. Whether anything that a route may depend on was changed.
fn change(
    exchange: &mut Exchange,
    parts: &mut Parts,
    changes: &AuthzChanges,
) -> Result<bool, LocalReply> {
    for one in &changes.headers {
        one.apply(&mut parts.headers);
    }
    if let Some(host) = parts.headers.get(header::HOST).cloned()
        && host.as_bytes() != exchange.authority().as_bytes()
    {
        exchange.set_host(parts, &host);
    }
    if !changes.query_set.is_empty() || !changes.query_remove.is_empty() {
        let changed = changed_query(path(parts), changes);
        set_path(parts, changed)?;
    }
    Ok(!changes.headers.is_empty()
        || !changes.query_set.is_empty()
        || !changes.query_remove.is_empty())
}

/// The path with its parameters changed: those to remove are taken out, those to set take the place of the first of
/// their name, or the last place.
fn changed_query(path: &str, changes: &AuthzChanges) -> String {
    let (plain, query) = path.split_once('?').unwrap_or((path, ""));
    let mut set: Vec<(&str, Option<&str>)> = changes
        .query_set
        .iter()
        .map(|(name, value)| (&**name, Some(&**value)))
        .collect();
    let mut pairs: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        if changes.query_remove.iter().any(|removed| removed == name) {
            continue;
        }
        match set.iter_mut().find(|(known, _)| *known == name) {
            None => pairs.push(pair.to_owned()),
            Some((_, value)) => pairs.extend(value.take().map(|value| format!("{name}={value}"))),
        }
    }
    let rest = set
        .iter()
        .filter_map(|(name, value)| Some((name, (*value)?)));
    pairs.extend(rest.map(|(name, value)| format!("{name}={value}")));
    match pairs.is_empty() {
        true => plain.to_owned(),
        false => format!("{plain}?{}", pairs.join("&")),
    }
}

/// Changes of an answer that the service asked for.
pub(crate) fn finish(changes: &[HeaderChange], headers: &mut HeaderMap) {
    for change in changes {
        change.apply(headers);
    }
}
