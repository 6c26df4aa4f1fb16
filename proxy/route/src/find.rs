//! Route of a request.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HeaderName};
use lateen_proxy_model::{
    CorsPolicy, Overrides, PathMatcher, RequestView, RequireTls, Route, RouteAction, RouteMatch,
    RouteTable, TlsCondition, VirtualHost,
};

use crate::decide::choose_cluster;
use crate::host::find_host;

static INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
static NOTHING: Overrides = Overrides::NONE;

/// What a request meets in a route table, before it is admitted.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The table looked in.
    pub table: &'a RouteTable,
    /// The virtual host, when one serves the request's host.
    pub host: Option<&'a Arc<VirtualHost>>,
    /// The first route whose conditions hold; none when the request is sent to https.
    pub route: Option<&'a Arc<Route>>,
    /// The virtual host asks for https and the request came without.
    pub to_https: bool,
}

impl<'a> Found<'a> {
    /// What the route says of the filters of the chain. `random` is the draw that [`find`] got: it chose among weighted
    /// clusters too.
    pub fn overrides(&self, random: u64) -> &'a Overrides {
        let Some(route) = self.route else {
            return &NOTHING;
        };
        if let RouteAction::Forward(forward) = &route.action
            && let Some((_, Some(candidate))) = choose_cluster(&forward.cluster, random)
            && let Some(overrides) = &candidate.overrides
        {
            return overrides;
        }
        &route.overrides
    }

    /// The cross-origin policy of the route's older field.
    pub fn cors(&self) -> Option<&'a CorsPolicy> {
        self.route.and_then(|route| route.cors.as_deref())
    }
}

/// Finds virtual host and route. `tls`: the request came over TLS. `random` is one even draw a request, to be given to
/// [`decide`](crate::decide) again.
pub fn find<'a>(
    table: &'a RouteTable,
    request: &RequestView<'_>,
    tls: bool,
    random: u64,
) -> Found<'a> {
    let host = find_host(table, request.authority);
    let to_https = !tls
        && host.is_some_and(|host| match host.require_tls {
            RequireTls::None => false,
            RequireTls::All => true,
            RequireTls::External => request.headers.get(&INTERNAL).is_none_or(|it| it != "true"),
        });
    let path = match (table.ignore_path_parameters, path_only(request.path)) {
        (true, path) if path.contains(';') => Cow::Owned(without_parameters(path)),
        (_, path) => Cow::Borrowed(path),
    };
    let route = host.filter(|_| !to_https).and_then(|host| {
        host.routes
            .iter()
            .find(|route| holds_on(&route.matches, request, &path, random))
    });
    Found {
        table,
        host,
        route,
        to_https,
    }
}

/// Whether a request meets the condition of a route, which filters have too.
pub fn holds(condition: &RouteMatch, request: &RequestView<'_>, random: u64) -> bool {
    holds_on(condition, request, path_only(request.path), random)
}

fn holds_on(condition: &RouteMatch, request: &RequestView<'_>, path: &str, random: u64) -> bool {
    let on_path = match (&condition.path, request.method) {
        (PathMatcher::Connect, method) => method == "CONNECT",
        (_, "CONNECT") => false,
        (matcher, _) => matcher.matches(path),
    };
    on_path
        && condition.headers.iter().all(|it| it.matches(request))
        && condition.query.iter().all(|it| it.matches(request.path))
        && (condition.cookies.is_empty()
            || condition
                .cookies
                .iter()
                .all(|it| it.matches(request.headers)))
        && (!condition.grpc || is_grpc(request))
        && condition.tls.is_none_or(|tls| on_tls(tls, request))
        && condition
            .metadata
            .iter()
            .all(|it| it.matches(request.facts.metadata()))
        && condition
            .fraction
            .is_none_or(|share| share.holds(scaled(high_bits(random), 1_000_000)))
}

/// Certificates that were not verified are not kept, so that one that is there is verified.
fn on_tls(condition: TlsCondition, request: &RequestView<'_>) -> bool {
    let there = request.facts.peer().is_some();
    let fits = |wanted: Option<bool>| wanted.is_none_or(|wanted| wanted == there);
    fits(condition.presented) && fits(condition.validated)
}

/// The path without what follows a `;` in each segment.
fn without_parameters(path: &str) -> String {
    let bare = |segment: &str| segment.split(';').next().unwrap_or(segment).to_owned();
    path.split('/').map(bare).collect::<Vec<_>>().join("/")
}

/// The path without its query.
pub(crate) fn path_only(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Whether the request is gRPC by its content type.
pub(crate) fn is_grpc(request: &RequestView<'_>) -> bool {
    let kind = request
        .headers
        .get(CONTENT_TYPE)
        .map_or(&[][..], |value| value.as_bytes());
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// An even draw of 32 bits onto `0..bound`.
pub(crate) fn scaled(draw: u32, bound: u32) -> u32 {
    let wide = (u64::from(draw) * u64::from(bound)) >> 32;
    u32::try_from(wide).unwrap_or_default()
}

/// The half of a draw that fractions use.
pub(crate) fn high_bits(random: u64) -> u32 {
    u32::try_from(random >> 32).unwrap_or_default()
}

/// The half of a draw that weights use, so that the two choices are independent.
pub(crate) fn low_bits(random: u64) -> u32 {
    u32::try_from(random & u64::from(u32::MAX)).unwrap_or_default()
}
