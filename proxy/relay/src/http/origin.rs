//! Where a request comes from: the address that counts as the client's, and what is told of it.

use std::net::{IpAddr, SocketAddr};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::ClientSource;
use lateen_proxy_telemetry::Flags;

use super::connection::Connection;
use super::reply::LocalReply;

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
static INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");

/// Where a request comes from.
pub(crate) struct Origin {
    /// The client, as forwarding headers or the connection say.
    pub(crate) remote: SocketAddr,
    /// It is of the inside.
    pub(crate) internal: bool,
}

/// Finds out where a request comes from.
pub(crate) fn find(conn: &Connection, headers: &HeaderMap) -> Result<Origin, LocalReply> {
    let manager = &conn.chain.manager;
    let client = conn.client();
    let hops = manager.xff_trusted_hops as usize;
    let (remote, may_be_internal) = if manager.use_remote_address {
        let trusted = match hops {
            0 => None,
            hops => nth_from_right(headers, hops - 1),
        };
        let remote = trusted.unwrap_or(client);
        (remote, !headers.contains_key(&FORWARDED_FOR))
    } else if manager.head.client_sources.is_empty() {
        match nth_from_right(headers, hops) {
            Some(address) => (address, is_single(headers)),
            None => (client, false),
        }
    } else {
        from_sources(conn, headers)?.unwrap_or((client, false))
    };
    let ip = remote.ip().to_canonical();
    let internal = may_be_internal && manager.head.internal.iter().any(|net| net.contains(&ip));
    Ok(Origin { remote, internal })
}

/// Tells upstreams where the request comes from.
pub(crate) fn tell(conn: &Connection, headers: &mut HeaderMap, origin: &Origin) {
    let manager = &conn.chain.manager;
    if origin.internal {
        headers.insert(&INTERNAL, HeaderValue::from_static("true"));
    }
    if !manager.use_remote_address {
        return;
    }
    if !manager.head.skip_xff_append {
        append_client(conn, headers);
    }
    let hops = manager.xff_trusted_hops;
    if !origin.internal && (!headers.contains_key(&EXTERNAL_ADDRESS) || hops == 0) {
        let text = match origin.remote == conn.client() {
            false => HeaderValue::from_str(&origin.remote.ip().to_string()).ok(),
            true => client_text(conn),
        };
        if let Some(text) = text {
            headers.insert(&EXTERNAL_ADDRESS, text);
        }
    }
}

/// The address, and whether it may be one of the inside.
fn from_sources(
    conn: &Connection,
    headers: &HeaderMap,
) -> Result<Option<(SocketAddr, bool)>, LocalReply> {
    for source in &conn.chain.manager.head.client_sources {
        match source {
            ClientSource::Header {
                name,
                trusted,
                reject,
            } => {
                let text = headers.get(name).and_then(|it| it.to_str().ok());
                let address = text.and_then(|text| text.trim().parse::<IpAddr>().ok());
                match (address, reject) {
                    (Some(address), _) => {
                        return Ok(Some((SocketAddr::new(address, 0), *trusted)));
                    }
                    (None, Some(status)) => {
                        return Err(LocalReply::new(
                            *status,
                            "",
                            Flags::NONE,
                            "rejecting_because_detection_failed",
                        ));
                    }
                    (None, None) => {}
                }
            }
            ClientSource::Xff { hops, trusted } if trusted.is_empty() => {
                if let Some(address) = nth_from_right(headers, *hops as usize) {
                    return Ok(Some((address, is_single(headers))));
                }
            }
            ClientSource::Xff { trusted, .. } => {
                let is_trusted = |ip: IpAddr| {
                    let ip = ip.to_canonical();
                    trusted.iter().any(|net| net.contains(&ip))
                };
                if !is_trusted(conn.client().ip()) {
                    continue;
                }
                let first_foreign = addresses(headers)
                    .map_while(|text| text.trim().parse::<IpAddr>().ok())
                    .find(|ip| !is_trusted(*ip));
                if let Some(ip) = first_foreign {
                    return Ok(Some((SocketAddr::new(ip, 0), is_single(headers))));
                }
            }
        }
    }
    Ok(None)
}

/// Adds the connection's own address to `x-forwarded-for`.
pub(crate) fn append_client(conn: &Connection, headers: &mut HeaderMap) {
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

/// The addresses of `x-forwarded-for`, the last first.
fn addresses(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(&FORWARDED_FOR).iter().rev();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.rsplit(','))
}

pub(super) fn nth_from_right(headers: &HeaderMap, index: usize) -> Option<SocketAddr> {
    let address: IpAddr = addresses(headers).nth(index)?.trim().parse().ok()?;
    Some(SocketAddr::new(address, 0))
}

fn is_single(headers: &HeaderMap) -> bool {
    addresses(headers).take(2).count() == 1
}
