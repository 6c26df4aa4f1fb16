//! Authentication by JSON Web Tokens: keys of servers are fetched here, the rest is for `admit`.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{HOST, ORIGIN, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, header};
use lateen_proxy_admit::{JwtEffects, JwtStatus, authenticate, has_token, own_headers};
use lateen_proxy_model::{
    Call, FilterOverride, Jwks, JwtFilter, JwtKeys, JwtOverride, JwtRequirement, RemoteJwks,
};
use lateen_proxy_relay::http::{ChainFilter, Exchange, LocalReply, set_path};
use lateen_proxy_route::holds;
use lateen_proxy_telemetry::Flags;

use super::request::view;

/// Where what was in tokens is noted.
const NAMESPACE: &str = "envoy.filters.http.jwt_authn";
/// Bytes of a request's URI that a refusal names.
const MAX_URI: usize = 256;

/// What the filter counts.
const ALLOWED: usize = 0;
const DENIED: usize = 1;
const BYPASSED: usize = 2;
const FETCHED: usize = 3;
const NOT_FETCHED: usize = 4;

/// Examines the tokens of a request. Whether the route is to be chosen anew.
pub(crate) async fn run<C>(
    exchange: &mut Exchange,
    filter: &ChainFilter,
    parts: &mut Parts,
    (jwt, own): (&JwtFilter, Option<&FilterOverride>),
    calls: &C,
) -> Result<bool, LocalReply>
where
    C: Call + Clone + 'static,
{
    for name in own_headers(jwt) {
        parts.headers.remove(name);
    }
    if jwt.bypass_cors_preflight && is_preflight(parts) {
        filter.count(BYPASSED);
        return Ok(false);
    }
    let requirement = match own {
        Some(FilterOverride::Jwt(JwtOverride::Disabled)) => return Ok(false),
        Some(FilterOverride::Jwt(JwtOverride::Named(name))) => {
            let named = jwt.named(name);
            Some(named.ok_or_else(|| {
                filter.count(DENIED);
                unknown_name(jwt, name)
            })?)
        }
        _ => required(exchange, parts, jwt),
    };
    let Some(requirement) = requirement else {
        filter.count(ALLOWED);
        return Ok(false);
    };
    let keys = keys(exchange, filter, parts, (jwt, requirement), calls).await;
    let uri = original_uri(exchange, parts);
    let (status, effects) = {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let keys = |place: usize| keys.get(place).cloned().flatten();
        authenticate(jwt, requirement, &view(exchange, parts), &keys, now)
    };
    let clear_route = effects.clear_route;
    apply(exchange, parts, effects)?;
    if status == JwtStatus::Ok {
        filter.count(ALLOWED);
        return Ok(clear_route);
    }
    filter.count(DENIED);
    Err(refusal(jwt, status, &uri))
}

/// What the first rule that matches needs.
fn required<'f>(
    exchange: &Exchange,
    parts: &Parts,
    jwt: &'f JwtFilter,
) -> Option<&'f JwtRequirement> {
    let request = view(exchange, parts);
    let mut rules = jwt.rules.iter();
    let rule = rules.find(|rule| holds(&rule.matches, &request, fastrand::u64(..)))?;
    rule.requirement.as_ref()
}

fn is_preflight(parts: &Parts) -> bool {
    let filled = |name| parts.headers.get(name).is_some_and(|it| !it.is_empty());
    parts.method == Method::OPTIONS
        && filled(ORIGIN)
        && filled(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The keys of each provider whose token the request may carry.
async fn keys<C>(
    exchange: &Exchange,
    filter: &ChainFilter,
    parts: &Parts,
    (jwt, requirement): (&JwtFilter, &JwtRequirement),
    calls: &C,
) -> Vec<Option<Arc<Jwks>>>
where
    C: Call + Clone + 'static,
{
    let mut found = Vec::with_capacity(jwt.providers.len());
    for (place, provider) in jwt.providers.iter().enumerate() {
        let needed = requirement.asks_for(place) && has_token(provider, &view(exchange, parts));
        found.push(match &provider.keys {
            JwtKeys::Local(keys) => Some(Arc::clone(keys)),
            JwtKeys::Remote(remote) if needed => match remote.current(Instant::now()) {
                Some(keys) => Some(keys),
                None => {
                    let keys = fetch(calls, remote).await;
                    filter.count(if keys.is_some() { FETCHED } else { NOT_FETCHED });
                    keys
                }
            },
            JwtKeys::Remote(_) => None,
        });
    }
    found
}

/// Keys from their server. Without an answer there are none, and every token is refused (S6).
async fn fetch<C: Call>(calls: &C, remote: &RemoteJwks) -> Option<Arc<Jwks>> {
    for _ in 0..=remote.retries {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = remote.path.clone();
        request.headers_mut().insert(HOST, remote.host.clone());
        let answer = calls.call(&remote.cluster, request, remote.timeout).await;
        let text = match answer {
            Ok(answer) if answer.status == StatusCode::OK => answer.body,
            Ok(answer) => {
                tracing::warn!(status = %answer.status, cluster = %remote.cluster.name(), "no keys");
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, cluster = %remote.cluster.name(), "no keys");
                continue;
            }
        };
        match std::str::from_utf8(&text).map(Jwks::parse) {
            Ok(Ok(keys)) => {
                let keys = Arc::new(keys);
                remote.keep(Arc::clone(&keys), Instant::now());
                return Some(keys);
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, cluster = %remote.cluster.name(), "unusable keys");
                return None;
            }
            Err(_) => return None,
        }
    }
    None
}

/// Keeps the keys of servers fresh for providers that ask for it, as long as the filter is in use.
pub(crate) fn keep_ahead<C>(jwt: &Arc<JwtFilter>, calls: &C)
where
    C: Call + Clone + 'static,
{
    for provider in &jwt.providers {
        let JwtKeys::Remote(remote) = &provider.keys else {
            continue;
        };
        let Some(again) = remote.ahead else {
            continue;
        };
        let Some(turn) = remote.turn() else {
            continue;
        };
        let (calls, filter) = (calls.clone(), Arc::downgrade(jwt));
        tokio::task::spawn_local(async move {
            while filter.strong_count() > 0 {
                let remote = turn.remote();
                let wait = match fetch(&calls, remote).await {
                    // Before they stop being good, so that no request waits.
                    Some(_) => remote.cache.mul_f32(0.9),
                    None => again,
                };
                tokio::time::sleep(wait).await;
            }
        });
    }
}

fn apply(
    exchange: &mut Exchange,
    parts: &mut Parts,
    effects: JwtEffects,
) -> Result<(), LocalReply> {
    for (name, value) in effects.headers {
        match value.map(HeaderValue::try_from) {
            Some(Ok(value)) => {
                parts.headers.insert(name, value);
            }
            // A claim that cannot be a header's value is left out.
            Some(Err(_)) | None => {
                parts.headers.remove(name);
            }
        }
    }
    exchange.note(NAMESPACE, effects.metadata);
    for name in effects.query {
        let path = lateen_proxy_relay::http::path(parts);
        if let Some((path, query)) = path.split_once('?') {
            let kept = query.split('&').filter(|pair| {
                let key = pair.split_once('=').map_or(*pair, |(key, _)| key);
                key != &*name
            });
            let kept: Vec<_> = kept.collect();
            let path = match kept.is_empty() {
                true => path.to_owned(),
                false => format!("{path}?{}", kept.join("&")),
            };
            set_path(parts, path)?;
        }
    }
    Ok(())
}

fn original_uri(exchange: &Exchange, parts: &Parts) -> String {
    let request = view(exchange, parts);
    let path: String = request.path.chars().take(MAX_URI).collect();
    format!("{}://{}{path}", request.scheme, request.authority)
}

fn refusal(jwt: &JwtFilter, status: JwtStatus, uri: &str) -> LocalReply {
    let code = match status {
        JwtStatus::Audience => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    let body = if jwt.strip_failure_response {
        ""
    } else {
        status.text()
    };
    let mut reply = LocalReply::new(code, body, Flags::NONE, status.details());
    if jwt.strip_failure_response {
        return reply;
    }
    let mut challenge = format!("Bearer realm=\"{uri}\"");
    if status != JwtStatus::Missed {
        challenge.push_str(", error=\"invalid_token\"");
    }
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        reply.headers.insert(WWW_AUTHENTICATE, challenge);
    }
    reply
}

/// A route asks for a requirement that the filter does not know.
fn unknown_name(jwt: &JwtFilter, name: &str) -> LocalReply {
    let known: Vec<&str> = jwt.named.iter().map(|(known, _)| &**known).collect();
    let text = format!(
        "Wrong requirement_name: {name}. It should be one of [{}]",
        known.join(",")
    );
    let details = format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"));
    let mut reply = LocalReply::new(StatusCode::FORBIDDEN, "", Flags::NONE, details);
    if !jwt.strip_failure_response {
        reply.body = format!("Failed JWT authentication: {text}").into();
    }
    reply
}
