//! The endpoint of clusters that forward to whatever host a request names.

use std::borrow::Cow;

use http::{HeaderMap, header};
use lateen_proxy_model::{Cluster, ClusterKind, Resolution, host_and_port};

/// Waits until the request's host is looked up, where no filter has seen to it: a route may have changed the host since.
/// Gives the details of a failure.
pub(super) async fn look_up(
    cluster: &Cluster,
    headers: &HeaderMap,
) -> Result<(), Cow<'static, str>> {
    let ClusterKind::Forward { cache, port } = &cluster.kind else {
        return Ok(());
    };
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let (host, own) = host.and_then(host_and_port).unwrap_or(("", None));
    let port = own.unwrap_or(*port);
    let known = match cache
        .known(host, port)
        .filter(|it| it.resolution().is_some())
    {
        Some(known) => known,
        None => {
            let pending = cache.enter();
            let _pending = pending.ok_or("dns_cache_pending_requests_overflow")?;
            let loaded = cache.load(host, port).map_err(|_| "dns_cache_overflow")?;
            loaded.resolved().await;
            loaded
        }
    };
    match known.resolution() {
        Some(known) if known.endpoint.is_none() => Err(failure(&known)),
        _ => Ok(()),
    }
}

/// The details of an answer made because a name has no address.
pub fn failure(resolution: &Resolution) -> Cow<'static, str> {
    let details = format!("dns_resolution_failure{{{}}}", resolution.details);
    details.replace(char::is_whitespace, "_").into()
}
