//! A request's head before anything trusts it: what must not pass is refused, what belongs to one hop or only to the
//! inside of a mesh is taken away, and what this hop has to say is put in (S18, S19).

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Uri, Version};
use hyper::ext::Protocol;
use lateen_proxy_model::{HttpManager, StripPort};

use super::connection::Connection;
use super::exchange::Exchange;
use super::http3::ExtendedConnect;
use super::reply::LocalReply;
use super::{origin, request_id, xfcc};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

static SERVICE_CLUSTER: HeaderName = HeaderName::from_static("x-envoy-downstream-service-cluster");
static SERVICE_NODE: HeaderName = HeaderName::from_static("x-envoy-downstream-service-node");

/// Headers with which only the inside of a mesh may steer a proxy. Nothing is internal by default (S19).
static INTERNAL: [HeaderName; 18] = [
    HeaderName::from_static("x-envoy-internal"),
    HeaderName::from_static("x-envoy-retry-on"),
    HeaderName::from_static("x-envoy-retry-grpc-on"),
    HeaderName::from_static("x-envoy-max-retries"),
    HeaderName::from_static("x-envoy-retriable-status-codes"),
    HeaderName::from_static("x-envoy-retriable-header-names"),
    HeaderName::from_static("x-envoy-upstream-alt-stat-name"),
    HeaderName::from_static("x-envoy-upstream-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-rq-timeout-alt-response"),
    HeaderName::from_static("x-envoy-upstream-stream-duration-ms"),
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-force-trace"),
    HeaderName::from_static("x-envoy-ip-tags"),
    HeaderName::from_static("x-envoy-original-url"),
    HeaderName::from_static("x-envoy-original-path"),
    HeaderName::from_static("x-envoy-hedge-on-per-try-timeout"),
    HeaderName::from_static("x-envoy-attempt-count"),
];

/// The same, of clients at the edge.
static EDGE: [HeaderName; 4] = [
    HeaderName::from_static("x-envoy-original-host"),
    HeaderName::from_static("x-envoy-decorator-operation"),
    HeaderName::from_static("x-envoy-downstream-service-cluster"),
    HeaderName::from_static("x-envoy-downstream-service-node"),
];

/// Refuses what must not pass and brings the target into one form: the URI becomes path and query, the authority goes
/// into `Host` and the exchange.
pub fn check(exchange: &mut Exchange, parts: &mut Parts) -> Result<(), LocalReply> {
    let most = exchange.conn.chain.manager.max_headers_count as usize;
    if exchange.version >= Version::HTTP_2 && parts.headers.len() > most {
        return Err(LocalReply::too_many_headers());
    }
    if let Some(protocol) = parts.extensions.remove::<Protocol>() {
        extended_connect(
            exchange,
            parts,
            HeaderValue::from_str(protocol.as_str()).ok(),
        );
    }
    if let Some(ExtendedConnect(protocol)) = parts.extensions.remove() {
        extended_connect(exchange, parts, Some(protocol));
    }
    let manager = &exchange.conn.chain.manager;
    let authority = authority(parts, manager)?;
    if parts.method == Method::CONNECT {
        if !manager.upgrades.iter().any(|name| &**name == "connect") {
            // No route takes a request without a path.
            return Err(LocalReply::no_route());
        }
    } else {
        let path = parts.uri.path_and_query().cloned();
        parts.uri = path.unwrap_or(PathAndQuery::from_static("/")).into();
    }
    parts.headers.insert(header::HOST, authority.clone());
    exchange.authority = authority;
    Ok(())
}

/// An extended CONNECT (RFC 8441, RFC 9220) goes on as the upgrade that it stands for.
fn extended_connect(exchange: &mut Exchange, parts: &mut Parts, protocol: Option<HeaderValue>) {
    parts.method = Method::GET;
    exchange.method = Method::GET;
    if let Some(name) = protocol {
        let upgrade = HeaderValue::from_static("upgrade");
        parts.headers.insert(header::UPGRADE, name);
        parts.headers.insert(header::CONNECTION, upgrade);
    }
}

/// Takes away the headers of one hop, and with them those that `Connection` names (RFC 9110, section 7.6.1). An
/// upgrade that is allowed gets its own back later. `Some` is the protocol asked for, in lower case.
pub fn strip_hop(parts: &mut Parts) -> Result<Option<Box<str>>, LocalReply> {
    let upgrade = wanted_upgrade(parts);
    let headers = &mut parts.headers;
    if headers.contains_key(header::CONNECTION) {
        let named = named_headers(headers)?;
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    let mut present = Present::default();
    for name in headers.keys() {
        present.note(name);
    }
    if present.hop {
        for name in [
            &KEEP_ALIVE,
            &PROXY_CONNECTION,
            &HTTP2_SETTINGS,
            &header::TRANSFER_ENCODING,
            &header::UPGRADE,
        ] {
            headers.remove(name);
        }
    }
    if present.te && headers.get(header::TE).is_some_and(|it| it != "trailers") {
        headers.remove(header::TE);
    }
    Ok(upgrade)
}

/// Takes away what only the inside may say, and puts in what this hop knows: client, protocol, certificate, request id.
/// The peer's metadata goes into the exchange.
///
/// # Errors
/// Requests that do not say where they come from, where they must.
pub fn trust(exchange: &mut Exchange, parts: &mut Parts) -> Result<(), LocalReply> {
    let conn = std::rc::Rc::clone(&exchange.conn);
    let manager = &conn.chain.manager;
    let headers = &mut parts.headers;
    exchange.take_peer(headers);
    let edge = manager.use_remote_address;
    let origin = origin::find(&conn, headers)?;
    exchange.remote = origin.remote;
    exchange.internal = origin.internal;
    let edge = edge && !origin.internal;
    if !origin.internal
        && headers
            .keys()
            .any(|name| name.as_str().starts_with("x-envoy-"))
    {
        for name in INTERNAL.iter().chain(EDGE.iter().filter(|_| edge)) {
            headers.remove(name);
        }
    }
    origin::tell(&conn, headers, &origin);
    forwarded_proto(&conn, headers);
    if let Some(referer) = headers.get(header::REFERER)
        && !is_referer(referer.as_bytes())
    {
        headers.remove(header::REFERER);
    }
    if manager.head.add_user_agent {
        name_caller(&conn, headers);
    }
    if let Some(via) = &manager.head.via {
        append_via(headers, via);
    }
    xfcc::apply(&conn, headers);
    if manager.generate_request_id {
        let keep = !edge || manager.preserve_external_request_id;
        let given = headers.get(&REQUEST_ID).filter(|id| !id.is_empty());
        if !keep || given.is_none() {
            headers.insert(&REQUEST_ID, request_id::new());
        } else if edge && manager.request_id.pack_reason {
            // Whether it is traced is for this proxy to say.
            request_id::mark(headers, request_id::Reason::NotTraceable);
        }
    }
    if manager.head.request_id_in_response {
        exchange.request_id = headers.get(&REQUEST_ID).cloned();
    }
    if !manager.proxy_100_continue {
        headers.remove(header::EXPECT);
    }
    if exchange.version >= Version::HTTP_2 {
        join_cookies(headers);
    }
    exchange.keep_request(parts);
    Ok(())
}

/// Whether a value can stand in `Referer`: a URL without user and fragment, or a reference whose first segment has no
/// colon (RFC 9110 section 10.1.3).
fn is_referer(value: &[u8]) -> bool {
    let find = |text: &[u8], wanted: &[u8]| text.iter().position(|byte| wanted.contains(byte));
    let colon = find(value, b":");
    if let Some((scheme, rest)) = colon.and_then(|at| value.split_at_checked(at))
        && let Some(rest) = rest.strip_prefix(b"://")
    {
        let (authority, tail) = rest.split_at(find(rest, b"/?#").unwrap_or(rest.len()));
        let named = !scheme.is_empty() && scheme.iter().all(u8::is_ascii_alphanumeric);
        let hosted = !authority.is_empty() && !authority.contains(&b'@');
        return named && hosted && !tail.contains(&b'#');
    }
    colon.is_none_or(|colon| find(value, b"/").is_some_and(|slash| slash < colon))
}

/// Says which service and node a request comes from: clients that name no program go by the service's name.
fn name_caller(conn: &Connection, headers: &mut HeaderMap) {
    let worker = &conn.chain.worker;
    let Ok(cluster) = HeaderValue::from_str(&worker.service_cluster) else {
        return;
    };
    if headers
        .get(header::USER_AGENT)
        .is_none_or(HeaderValue::is_empty)
    {
        headers.insert(header::USER_AGENT, cluster.clone());
    }
    headers.insert(&SERVICE_CLUSTER, cluster);
    if let Some(node) = HeaderValue::from_str(&worker.node.id).ok()
        && !node.is_empty()
    {
        headers.insert(&SERVICE_NODE, node);
    }
}

/// Adds this proxy to `Via`.
pub(crate) fn append_via(headers: &mut HeaderMap, via: &HeaderValue) {
    let before = headers.get(header::VIA).map(HeaderValue::as_bytes);
    let text = match before.filter(|before| !before.is_empty()) {
        Some(before) => [before, b", ", via.as_bytes()].concat(),
        None => via.as_bytes().to_vec(),
    };
    if let Ok(text) = HeaderValue::from_bytes(&text) {
        headers.insert(header::VIA, text);
    }
}

/// Changes that come before anything else looks at the request; then the form of its host.
pub fn early(exchange: &mut Exchange, parts: &mut Parts) {
    let conn = std::rc::Rc::clone(&exchange.conn);
    let head = &conn.chain.manager.head;
    if !head.early.is_empty() {
        exchange.keep_request(parts);
        let expander = exchange.expander(None);
        for changes in &head.early {
            changes.apply(&mut parts.headers, &expander);
        }
    }
    normal_host(exchange, parts);
}

/// The form of a request's host.
pub fn normal_host(exchange: &mut Exchange, parts: &mut Parts) {
    let conn = std::rc::Rc::clone(&exchange.conn);
    let head = &conn.chain.manager.head;
    if (head.strip_dot || head.strip_port != StripPort::None)
        && let Some(host) = stripped_host(&conn, parts, exchange.authority())
    {
        exchange.set_host(parts, &host);
    }
}

fn stripped_host(conn: &Connection, parts: &Parts, host: &str) -> Option<HeaderValue> {
    let head = &conn.chain.manager.head;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty()
                && port.bytes().all(|byte| byte.is_ascii_digit())
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            (name, Some(port))
        }
        _ => (host, None),
    };
    let bare = match head.strip_dot {
        true => name.strip_suffix('.').unwrap_or(name),
        false => name,
    };
    let called = conn.facts.destination.port();
    let kept = port.filter(|port| match head.strip_port {
        _ if parts.method == Method::CONNECT => true,
        StripPort::None => true,
        StripPort::Matching => port.parse() != Ok(called),
        StripPort::Any => false,
    });
    let text = match kept {
        Some(port) => format!("{bare}:{port}"),
        None => bare.to_owned(),
    };
    (text != host)
        .then(|| HeaderValue::try_from(text).ok())
        .flatten()
}

/// One line of cookies, as HTTP/1 has them (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The path and query as they are now.
pub fn path(parts: &Parts) -> &str {
    parts.uri.path_and_query().map_or("/", PathAndQuery::as_str)
}

/// Puts a new path and query in; a path that cannot be one makes the request a bad one.
pub fn set_path(parts: &mut Parts, path: String) -> Result<(), LocalReply> {
    let path = PathAndQuery::try_from(path)
        .map_err(|_| LocalReply::bad_request("path_normalization_failed"))?;
    parts.uri = Uri::from(path);
    Ok(())
}

/// One authority: of the target where it has one, else of `Host`.
fn authority(parts: &Parts, manager: &HttpManager) -> Result<HeaderValue, LocalReply> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Err(LocalReply::bad_request("multiple_host_headers"));
    }
    let authority = match (parts.uri.authority(), host) {
        (Some(authority), _) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| LocalReply::bad_authority())?
        }
        (None, Some(host)) => host.clone(),
        (None, None) if parts.version < Version::HTTP_11 => (manager.http1.default_host.clone())
            .ok_or_else(|| LocalReply::bad_request("missing_host_header"))?,
        (None, None) => return Err(LocalReply::bad_request("missing_host_header")),
    };
    let valid = |byte: &u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\' | b'"')
    };
    if authority.is_empty() {
        return Err(LocalReply::bad_request("missing_host_header"));
    }
    if !authority.as_bytes().iter().all(valid) {
        return Err(LocalReply::bad_authority());
    }
    Ok(authority)
}

#[derive(Default)]
struct Present {
    hop: bool,
    te: bool,
}

impl Present {
    fn note(&mut self, name: &HeaderName) {
        match name.as_str() {
            "keep-alive" | "proxy-connection" | "http2-settings" | "transfer-encoding"
            | "upgrade" => self.hop = true,
            "te" => self.te = true,
            _ => {}
        }
    }
}

/// The protocol of an upgrade; `h2c` is no upgrade here, such a request goes on as it is.
fn wanted_upgrade(parts: &Parts) -> Option<Box<str>> {
    if parts.method == Method::CONNECT {
        return Some("connect".into());
    }
    let upgrade = parts.headers.get(header::UPGRADE)?.to_str().ok()?;
    let asked = parts
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"));
    let name = upgrade.trim().to_ascii_lowercase();
    (asked && name != "h2c").then(|| name.into())
}

/// Headers named by `Connection`. Naming those that say who the client is would hide it: refused, as Envoy does.
fn named_headers(headers: &HeaderMap) -> Result<Vec<HeaderName>, LocalReply> {
    let mut named = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let Ok(value) = value.to_str() else {
            return Err(LocalReply::bad_request("connection_header_invalid"));
        };
        for token in value.split(',').map(str::trim) {
            if token.is_empty()
                || token.eq_ignore_ascii_case("close")
                || token.eq_ignore_ascii_case("keep-alive")
                || token.eq_ignore_ascii_case("upgrade")
                || token.eq_ignore_ascii_case("te")
            {
                continue;
            }
            let Ok(name) = HeaderName::try_from(token) else {
                return Err(LocalReply::bad_request("connection_header_invalid"));
            };
            if [&FORWARDED_FOR, &FORWARDED_PROTO, &FORWARDED_HOST].contains(&&name)
                || matches!(
                    name,
                    header::HOST | header::CONTENT_LENGTH | header::AUTHORIZATION
                )
            {
                return Err(LocalReply::bad_request("connection_header_rejected"));
            }
            named.push(name);
        }
    }
    Ok(named)
}

fn forwarded_proto(conn: &Connection, headers: &mut HeaderMap) {
    let manager = &conn.chain.manager;
    if manager.head.append_port {
        let port = conn.facts.destination.port();
        headers
            .entry(&FORWARDED_PORT)
            .or_insert_with(|| HeaderValue::from(port));
    }
    if let Some(scheme) = manager.head.scheme {
        headers.insert(&FORWARDED_PROTO, HeaderValue::from_static(scheme));
        return;
    }
    let overwrite = manager.use_remote_address && manager.xff_trusted_hops == 0;
    if overwrite || !headers.contains_key(&FORWARDED_PROTO) {
        let scheme = if conn.facts.tls { "https" } else { "http" };
        headers.insert(&FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
}

/// The scheme of a request: the one it came with, or the one a redirect asked for.
pub fn scheme(exchange: &Exchange, parts: &Parts) -> &'static str {
    let asked = exchange.anew.as_ref().and_then(|anew| anew.scheme);
    asked.unwrap_or_else(|| forwarded_scheme(exchange, parts))
}

/// The scheme a request came with.
pub fn forwarded_scheme(exchange: &Exchange, parts: &Parts) -> &'static str {
    if let Some(scheme) = exchange.conn.chain.manager.head.scheme {
        return scheme;
    }
    match parts.headers.get(&FORWARDED_PROTO) {
        Some(value) if value == "https" => "https",
        _ => "http",
    }
}

/// What a fuzzer calls with a header's value: the client that `x-forwarded-for` names, and what `Connection` takes away.
pub fn fuzz(value: &[u8], hops: usize) -> (Option<std::net::SocketAddr>, usize) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(&FORWARDED_FOR, value.clone());
        headers.insert(header::CONNECTION, value);
    }
    let named = named_headers(&headers).map_or(0, |named| named.len());
    (origin::nth_from_right(&headers, hops), named)
}
