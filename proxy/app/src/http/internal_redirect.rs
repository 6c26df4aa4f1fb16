//! Redirects of upstreams that are followed here: the request begins anew at the place that the redirect names.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, HeaderName, LOCATION};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use lateen_proxy_model::{InternalRedirect, RedirectTarget, RequestFacts, RouteAction, RouteTable};
use lateen_proxy_relay::http::{ClientBody, Exchange, scheme};
use lateen_proxy_route::{Chosen, Found, choose_cluster};

use super::request::find_route;

static ORIGINAL_URL: HeaderName = HeaderName::from_static("x-envoy-original-url");

/// What a request remembers of the redirects it was led through.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// How many there were.
    pub(super) count: u32,
    /// Names of routes, and of those that their redirects led to.
    seen: Vec<(Arc<str>, Arc<str>)>,
}

/// Where a redirect leads.
pub(super) struct Led {
    /// Head and body of the request that begins anew.
    pub(super) request: (Parts, ClientBody),
    /// Its scheme is https.
    pub(super) https: bool,
}

/// A redirect's place.
struct Place {
    https: bool,
    host: HeaderValue,
    path: PathAndQuery,
}

/// Names of counters of redirects that are passed on.
mod passed {
    pub(super) const BAD_LOCATION: &str = "passthrough_internal_redirect_bad_location";
    pub(super) const UNSAFE_SCHEME: &str = "passthrough_internal_redirect_unsafe_scheme";
    pub(super) const TOO_MANY: &str = "passthrough_internal_redirect_too_many_redirects";
    pub(super) const NO_ROUTE: &str = "passthrough_internal_redirect_no_route";
    pub(super) const PREDICATE: &str = "passthrough_internal_redirect_predicate";
}

impl Trail {
    /// The request that a redirect leads to; `None` when the client gets the redirect.
    pub(super) fn follow<B>(
        &mut self,
        exchange: &mut Exchange,
        (policy, route): (&InternalRedirect, &Arc<str>),
        (table, random): (&RouteTable, u64),
        response: &Response<B>,
    ) -> Option<Box<Led>> {
        let led = self.led(exchange, (policy, route), (table, random), response);
        exchange.count_redirect(led.as_ref().err().copied().flatten(), led.is_ok());
        led.ok()
    }

    fn led<B>(
        &mut self,
        exchange: &mut Exchange,
        (policy, route): (&InternalRedirect, &Arc<str>),
        (table, random): (&RouteTable, u64),
        response: &Response<B>,
    ) -> Result<Box<Led>, Option<&'static str>> {
        let location = location(response.headers()).ok_or(None)?;
        let (mut parts, mut body) = exchange.again().ok_or(None)?;
        let place = Place::read(&location).ok_or(Some(passed::BAD_LOCATION))?;
        // What came without TLS came by http, whatever a proxy before says.
        let https = exchange.tls() && scheme(exchange, &parts) == "https";
        let before = if https { "https" } else { "http" };
        if !policy.cross_scheme && place.https != https {
            return Err(Some(passed::UNSAFE_SCHEME));
        }
        if self.count >= policy.max {
            return Err(Some(passed::TOO_MANY));
        }
        let original = original_url(before, &parts);
        for name in &policy.copied {
            copy(name, response.headers(), &mut parts.headers);
        }
        parts.headers.insert(HOST, place.host.clone());
        parts.uri = place.path.into();
        let authority = exchange.authority().to_owned();
        exchange.set_host(&mut parts, &place.host);
        exchange.leave_route();
        let found = find_route(exchange, table, &parts, random);
        show_target(exchange, &found, &parts, random);
        if let Ok(authority) = HeaderValue::try_from(authority) {
            exchange.set_host(&mut parts, &authority);
            parts.headers.insert(HOST, place.host);
        }
        let target = target_name(&found).ok_or(Some(passed::NO_ROUTE))?;
        for rule in &policy.targets {
            if !self.allows(rule, (route, &target), (https, place.https)) {
                return Err(Some(passed::PREDICATE));
            }
        }
        let kept = matches!(parts.method, Method::GET | Method::HEAD);
        if response.status() == StatusCode::SEE_OTHER && !kept {
            parts.method = Method::GET;
            parts.headers.remove(CONTENT_LENGTH);
            body.replace_by_nothing();
        }
        self.count += 1;
        if let Some(url) = original {
            parts.headers.insert(&ORIGINAL_URL, url);
        }
        Ok(Box::new(Led {
            request: (parts, body),
            https: place.https,
        }))
    }

    fn allows(
        &mut self,
        rule: &RedirectTarget,
        (route, target): (&Arc<str>, &Arc<str>),
        (https, to_https): (bool, bool),
    ) -> bool {
        match rule {
            RedirectTarget::SafeScheme => https || !to_https,
            RedirectTarget::Listed(names) => names.iter().any(|name| **name == **target),
            RedirectTarget::Fresh => {
                let way = (Arc::clone(route), Arc::clone(target));
                let fresh = !self.seen.contains(&way);
                if fresh {
                    self.seen.push(way);
                }
                fresh
            }
        }
    }
}

/// `Location`; two are one of both.
fn location(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(LOCATION).iter();
    let mut text = all.next()?.to_str().ok()?.to_owned();
    for more in all {
        text = format!("{text},{}", more.to_str().ok()?);
    }
    Some(text)
}

/// Logs show where the redirect leads.
fn show_target(exchange: &mut Exchange, found: &Found<'_>, parts: &Parts, random: u64) {
    let slot = match found.route.map(|route| &route.action) {
        Some(RouteAction::Forward(forward)) => match choose_cluster(&forward.cluster, random) {
            Some((Chosen::Slot(slot), _)) => Some(Arc::clone(slot)),
            Some((Chosen::Header(name), _)) => {
                let value = parts.headers.get(name).and_then(|it| it.to_str().ok());
                let worker = &exchange.connection().chain.worker;
                Some(worker.named_cluster(value.unwrap_or_default()))
            }
            None => None,
        },
        _ => None,
    };
    exchange.show_target(slot.as_ref());
}

impl Place {
    /// An absolute URL, without its fragment.
    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(letter) {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end)?;
        let host = match authority.rsplit_once('@') {
            Some((_, host)) => host,
            None => authority,
        };
        let uri: http::uri::Authority = host.parse().ok()?;
        if uri.host().is_empty() {
            return None;
        }
        let path = path.split('#').next().unwrap_or_default();
        let path = match path {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        Some(Self {
            https: !scheme.eq_ignore_ascii_case("http"),
            host: HeaderValue::from_str(host).ok()?,
            path: PathAndQuery::try_from(path).ok()?,
        })
    }
}

/// The name of the route that a redirect leads to, be it that the request would be sent to https first.
fn target_name(found: &Found<'_>) -> Option<Arc<str>> {
    match found.route {
        Some(route) => Some(Arc::clone(&route.name)),
        None => found.to_https.then(|| Arc::from("")),
    }
}

fn original_url(scheme: &str, parts: &Parts) -> Option<HeaderValue> {
    let host = parts.headers.get(HOST)?.to_str().ok()?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    HeaderValue::try_from(format!("{scheme}://{host}{path}")).ok()
}

/// The request's headers of this name become those of the answer.
fn copy(name: &HeaderName, from: &HeaderMap, to: &mut HeaderMap) {
    to.remove(name);
    for value in from.get_all(name) {
        to.append(name.clone(), value.clone());
    }
}
