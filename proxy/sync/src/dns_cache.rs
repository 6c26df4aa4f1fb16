//! Looks up the names of caches, for as long as somebody uses them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use lateen_proxy_model::{CachedHost, DnsCache, Endpoint, EndpointMetadata, Health, Resolution};
use lateen_proxy_state::State;

use crate::dns::{self, DnsFailure};

/// Why a name has no address, as Envoy words it.
const NO_RECORDS: &str = "cares_norecords:Domain name not found";
const NO_NAME: &str = "cares_failure:Misformatted domain name";
const DENIED: &str = "address_denied";

/// Gives the caches that have no resolver yet one on this runtime.
pub(crate) fn serve(state: &State) {
    for cache in state.dns_caches().all() {
        if !cache.is_idle() {
            continue;
        }
        let runtime = tokio::runtime::Handle::current();
        let weak = Arc::downgrade(&cache);
        cache.attach(move |host| {
            runtime.spawn(follow(Weak::clone(&weak), host));
        });
    }
}

/// Looks a name up again and again, until nobody uses it or the cache is gone.
async fn follow(cache: Weak<DnsCache>, host: Arc<CachedHost>) {
    let mut failures: u32 = 0;
    loop {
        let wait = {
            let Some(cache) = cache.upgrade() else {
                return;
            };
            match Box::pin(look_up(&cache, &host)).await {
                Ok(ttl) => {
                    failures = 0;
                    let dns = &cache.settings.dns;
                    match ttl {
                        Duration::MAX => dns.refresh,
                        ttl => ttl.max(dns.min_refresh),
                    }
                }
                Err(()) => {
                    if !cache.settings.refresh_failed {
                        return cache.remove(&host);
                    }
                    failures = failures.saturating_add(1);
                    dns::wait_after(&cache.settings.dns, failures, false)
                }
            }
        };
        tokio::time::sleep(wait).await;
        if let Some(cache) = cache.upgrade()
            && cache.is_stale(&host)
        {
            return cache.remove(&host);
        }
    }
}

/// One look-up; gives the answer's time to live.
async fn look_up(cache: &DnsCache, host: &CachedHost) -> Result<Duration, ()> {
    let (settings, stats) = (&cache.settings, &cache.stats);
    let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    count(&stats.attempt);
    let asked = dns::addresses_of((&host.host, host.port), &settings.dns);
    let answer = match settings.timeout {
        None => asked.await,
        Some(limit) => match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                count(&stats.timeout);
                Err(DnsFailure("resolve_timeout".into()))
            }
        },
    };
    let before = host.resolution();
    let before = before.as_ref().and_then(|it| it.endpoint.as_ref());
    let (mut addresses, ttl) = match answer {
        Ok(answer) => answer,
        Err(failure) => {
            count(&stats.failure);
            host.resolve(Resolution {
                // What was known goes on to be used.
                endpoint: before.cloned(),
                details: failure.0.into(),
            });
            return Err(());
        }
    };
    count(&stats.success);
    let mut details = NO_RECORDS;
    if addresses.is_empty() && host.host.parse::<IpAddr>().is_ok() {
        details = NO_NAME;
    }
    if let Some(refused) = &settings.refused {
        let all = addresses.len();
        addresses.retain(|address| !refused.holds(address.ip()));
        if addresses.len() < all {
            count(&stats.filtered);
            details = DENIED;
        }
    }
    // An empty answer does not end what was known.
    let endpoint = match addresses.is_empty() {
        true => before.cloned(),
        false => Some(endpoint(host, before, &addresses)),
    };
    let address = |endpoint: &Arc<Endpoint>| endpoint.address;
    if endpoint.as_ref().map(address) != before.map(address) {
        count(&stats.address_changed);
    }
    host.resolve(Resolution {
        endpoint,
        details: details.into(),
    });
    Ok(ttl)
}

/// The endpoint of a name; it keeps its identity, and with it its pools, whatever its address becomes.
fn endpoint(
    host: &CachedHost,
    before: Option<&Arc<Endpoint>>,
    addresses: &[SocketAddr],
) -> Arc<Endpoint> {
    let (first, others) = match addresses.split_first() {
        Some((first, others)) => (*first, others),
        None => (lateen_proxy_model::NO_ADDRESS, addresses),
    };
    let same = |before: &&Arc<Endpoint>| before.address == first && *before.additional == *others;
    if let Some(before) = before.filter(same) {
        return Arc::clone(before);
    }
    let mut made = Endpoint::new(first, 1, Health::Healthy, EndpointMetadata::default());
    made.hostname = Some(host.name().into());
    made.additional = others.into();
    if let Some(before) = before {
        made.id = before.id;
        made.stats.carry(&before.stats);
    }
    Arc::new(made)
}
