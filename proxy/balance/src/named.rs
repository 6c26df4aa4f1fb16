//! Endpoints that the request itself names by a header.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use lateen_proxy_model::{Choice, DnsCache, Endpoint, NamedEndpoint, host_and_port};

/// Endpoints that one request may name.
const MOST: usize = 16;

/// The first endpoint named that is usable and was not tried.
pub(crate) fn find(
    named: &NamedEndpoint,
    by_address: &HashMap<SocketAddr, Arc<Endpoint>>,
    choice: &Choice<'_>,
) -> Option<Arc<Endpoint>> {
    let headers = choice.headers?;
    let text = named.headers.iter().find_map(|name| headers.get(name))?;
    let addresses = text.to_str().ok()?.split(',').take(MOST);
    let mut addresses = addresses.filter_map(|one| one.trim().parse::<SocketAddr>().ok());
    addresses.find_map(|address| {
        let endpoint = by_address.get(&address)?;
        (!choice.tried.contains(&endpoint.id)).then(|| Arc::clone(endpoint))
    })
}

/// The address in a header in place of the connection's destination.
pub(crate) fn original(headers: &HeaderMap, name: &HeaderName) -> Option<SocketAddr> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The request's host, or the server name of a connection, as it was looked up. `port` is that of hosts without one.
pub(crate) fn looked_up(cache: &DnsCache, port: u16, choice: &Choice<'_>) -> Option<Arc<Endpoint>> {
    let (host, own) = match (choice.headers, choice.server_name) {
        (Some(headers), _) => host_and_port(headers.get(header::HOST)?.to_str().ok()?)?,
        (None, named) => named?,
    };
    cache.known(host, own.unwrap_or(port))?.endpoint()
}
