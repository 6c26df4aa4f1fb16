//! A request's head before anything trusts it: what must not pass is refused, what belongs to one hop or only to the
//! inside of a mesh is taken away, and what this hop has to say is put in (S18, S19).

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version};
use hyper::ext::Protocol;
use lateen_proxy_model::HttpManager;
use lateen_proxy_telemetry::Flags;

use super::connection::Connection;
use super::exchange::Exchange;
use super::peer::Exchanged;
use super::reply::LocalReply;
use super::{request_id, xfcc};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

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
    if exchange.conn.chain.grpc_web && is_grpc_web(&parts.headers) {
        return Err(LocalReply::new(
            StatusCode::NOT_IMPLEMENTED,
            "gRPC-Web is not supported by this proxy",
            Flags::NONE,
            "grpc_web_not_supported",
        ));
    }
    let most = exchange.conn.chain.manager.max_headers_count as usize;
    if exchange.version >= Version::HTTP_2 && parts.headers.len() > most {
        return Err(LocalReply::too_many_headers());
    }
    if let Some(protocol) = parts.extensions.remove::<Protocol>() {
        upgrade_of_http2(exchange, parts, &protocol);
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

/// An extended CONNECT (RFC 8441) goes on as the upgrade that it stands for.
fn upgrade_of_http2(exchange: &mut Exchange, parts: &mut Parts, protocol: &Protocol) {
    parts.method = Method::GET;
    exchange.method = Method::GET;
    if let Ok(name) = HeaderValue::from_str(protocol.as_str()) {
        let upgrade = HeaderValue::from_static("upgrade");
        parts.headers.insert(header::UPGRADE, name);
        parts.headers.insert(header::CONNECTION, upgrade);
    }
}

fn is_grpc_web(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc-web"))
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
pub fn trust(exchange: &mut Exchange, parts: &mut Parts) {
    let conn = std::rc::Rc::clone(&exchange.conn);
    let manager = &conn.chain.manager;
    let headers = &mut parts.headers;
    if conn.chain.exchange.downstream {
        exchange.exchanged = Exchanged::take(headers);
        exchange.peer = conn.chain.worker.peers.find(&exchange.exchanged);
    }
    let edge = manager.use_remote_address;
    if headers
        .keys()
        .any(|name| name.as_str().starts_with("x-envoy-"))
    {
        for name in INTERNAL.iter().chain(EDGE.iter().filter(|_| edge)) {
            headers.remove(name);
        }
    }
    exchange.remote = forwarded_for(&conn, headers);
    forwarded_proto(&conn, headers);
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
    if !manager.proxy_100_continue {
        headers.remove(header::EXPECT);
    }
    if exchange.version >= Version::HTTP_2 {
        join_cookies(headers);
    }
    exchange.keep_request(parts);
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

/// Appends the client to `x-forwarded-for` at the edge, and gives the address that counts as the client's.
fn forwarded_for(conn: &Connection, headers: &mut HeaderMap) -> SocketAddr {
    let manager = &conn.chain.manager;
    let client = conn.client();
    let hops = manager.xff_trusted_hops as usize;
    if !manager.use_remote_address {
        return nth_from_right(headers, hops).unwrap_or(client);
    }
    let trusted = match hops {
        0 => None,
        hops => nth_from_right(headers, hops - 1),
    };
    append_client(conn, headers);
    let remote = trusted.unwrap_or(client);
    if !headers.contains_key(&EXTERNAL_ADDRESS) || hops == 0 {
        let text = match trusted {
            Some(address) => HeaderValue::from_str(&address.ip().to_string()).ok(),
            None => client_text(conn),
        };
        if let Some(text) = text {
            headers.insert(&EXTERNAL_ADDRESS, text);
        }
    }
    remote
}

fn append_client(conn: &Connection, headers: &mut HeaderMap) {
    let Some(own) = client_text(conn) else {
        return;
    };
    let before = headers
        .get_all(&FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect::<Vec<_>>()
        .join(",");
    let value = match (before.is_empty(), own.to_str()) {
        (false, Ok(own)) => HeaderValue::try_from(format!("{before},{own}")).ok(),
        _ => None,
    };
    headers.insert(&FORWARDED_FOR, value.unwrap_or(own));
}

fn client_text(conn: &Connection) -> Option<HeaderValue> {
    let text = conn
        .client_text
        .get_or_init(|| HeaderValue::try_from(conn.client().ip().to_canonical().to_string()).ok());
    text.clone()
}

fn nth_from_right(headers: &HeaderMap, index: usize) -> Option<SocketAddr> {
    let values = headers.get_all(&FORWARDED_FOR).iter().rev();
    let mut addresses = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','));
    let address: IpAddr = addresses.nth(index)?.trim().parse().ok()?;
    Some(SocketAddr::new(address, 0))
}

fn forwarded_proto(conn: &Connection, headers: &mut HeaderMap) {
    let manager = &conn.chain.manager;
    let overwrite = manager.use_remote_address && manager.xff_trusted_hops == 0;
    if overwrite || !headers.contains_key(&FORWARDED_PROTO) {
        let scheme = if conn.facts.tls { "https" } else { "http" };
        headers.insert(&FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
}

/// The scheme a request came with, for routing.
pub fn scheme(parts: &Parts) -> &'static str {
    match parts.headers.get(&FORWARDED_PROTO) {
        Some(value) if value == "https" => "https",
        _ => "http",
    }
}

/// What a fuzzer calls with a header's value: the client that `x-forwarded-for` names, and what `Connection` takes away.
pub fn fuzz(value: &[u8], hops: usize) -> (Option<SocketAddr>, usize) {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(&FORWARDED_FOR, value.clone());
        headers.insert(header::CONNECTION, value);
    }
    let named = named_headers(&headers).map_or(0, |named| named.len());
    (nth_from_right(&headers, hops), named)
}
