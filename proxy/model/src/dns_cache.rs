//! Names that requests bring along, looked up once and kept: the caches of dynamic forward proxies.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use arc_swap::ArcSwap;
use ipnet::IpNet;

use crate::cluster::DnsSettings;
use crate::endpoint::Endpoint;
use crate::slot::Slot;

/// Parts of the table, so that a new name copies few others.
const SHARDS: usize = 32;

/// Longest name that can be one (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;

/// Settings of a cache. All who name the same cache must say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsCacheSettings {
    /// Name.
    pub name: Arc<str>,
    /// How names are looked up.
    pub dns: DnsSettings,
    /// A name that nobody used for so long is dropped when it would be looked up again.
    pub host_ttl: Duration,
    /// Most names.
    pub max_hosts: usize,
    /// Names that could not be looked up are tried again; else they are dropped, and the next request tries anew.
    pub refresh_failed: bool,
    /// Most requests that wait for look-ups.
    pub max_pending: u32,
    /// Names that are looked up ahead.
    pub preresolve: Vec<(Box<str>, u16)>,
    /// Longest time of a look-up; `None` leaves it to the resolver.
    pub timeout: Option<Duration>,
    /// Addresses that are left out of answers.
    pub refused: Option<AddressFilter>,
}

/// Addresses by range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressFilter {
    /// The ranges.
    pub ranges: Vec<IpNet>,
    /// All addresses outside of the ranges are meant.
    pub inverted: bool,
}

/// A cache of names, shared by all workers. Reading it takes no lock.
pub struct DnsCache {
    /// Settings.
    pub settings: DnsCacheSettings,
    /// Totals.
    pub stats: DnsCacheStats,
    shards: Box<[ArcSwap<Hosts>]>,
    random: RandomState,
    writing: Mutex<()>,
    hosts: AtomicU64,
    pending: AtomicU32,
    born: Instant,
    resolver: OnceLock<Box<StartLookup>>,
}

/// Totals of a cache.
#[derive(Debug, Default)]
pub struct DnsCacheStats {
    /// Look-ups begun.
    pub attempt: AtomicU64,
    /// Look-ups that gave an answer.
    pub success: AtomicU64,
    /// Look-ups that gave none.
    pub failure: AtomicU64,
    /// Look-ups that took too long.
    pub timeout: AtomicU64,
    /// Names whose address became another.
    pub address_changed: AtomicU64,
    /// Answers of which addresses were left out.
    pub filtered: AtomicU64,
    /// Names added.
    pub added: AtomicU64,
    /// Names dropped.
    pub removed: AtomicU64,
    /// Names refused because there are too many.
    pub overflow: AtomicU64,
    /// Requests refused because too many wait.
    pub pending_overflow: AtomicU64,
}

type Hosts = HashMap<Box<str>, Arc<CachedHost>, RandomState>;
type StartLookup = dyn Fn(Arc<CachedHost>) + Send + Sync;

/// One name of a cache.
#[derive(Debug)]
pub struct CachedHost {
    /// Host name, or an address without brackets.
    pub host: Box<str>,
    /// Port.
    pub port: u16,
    key: Box<str>,
    resolution: Arc<Slot<Resolution>>,
    /// When it was used last, in milliseconds of the cache's life.
    used: AtomicU64,
}

/// What the last look-up of a name gave.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// The endpoint; a failed look-up leaves the one before.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Why there is none.
    pub details: Arc<str>,
}

/// A request that waits for look-ups, counted as long as the value lives.
#[derive(Debug)]
pub struct PendingLookup(Arc<DnsCache>);

/// There are too many names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cache is full")]
pub struct CacheFull;

impl DnsCache {
    /// An empty cache; nothing is looked up until [`DnsCache::attach`].
    pub fn new(settings: DnsCacheSettings) -> Arc<Self> {
        let shards = std::iter::repeat_with(ArcSwap::default).take(SHARDS);
        Arc::new(Self {
            settings,
            stats: DnsCacheStats::default(),
            shards: shards.collect(),
            random: RandomState::new(),
            writing: Mutex::default(),
            hosts: AtomicU64::new(0),
            pending: AtomicU32::new(0),
            born: Instant::now(),
            resolver: OnceLock::new(),
        })
    }

    /// Whether nobody looks its names up yet.
    pub fn is_idle(&self) -> bool {
        self.resolver.get().is_none()
    }

    /// Gives it a resolver, which is called for each new name, and begins with the names that are looked up ahead. Only
    /// the first resolver counts.
    pub fn attach(&self, resolver: impl Fn(Arc<CachedHost>) + Send + Sync + 'static) {
        if self.resolver.set(Box::new(resolver)).is_ok() {
            for (host, port) in &self.settings.preresolve {
                // More names than may be kept are no reason to refuse the configuration.
                let _ = self.load(host, *port);
            }
        }
    }

    /// A place among the requests that may wait; `None` when all are taken.
    pub fn enter(self: &Arc<Self>) -> Option<PendingLookup> {
        let most = self.settings.max_pending;
        let next = |now: u32| (now < most).then(|| now + 1);
        let entered = self
            .pending
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        if entered.is_err() {
            self.stats.pending_overflow.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(PendingLookup(Arc::clone(self)))
    }

    /// A name that is in the cache.
    pub fn known(&self, host: &str, port: u16) -> Option<Arc<CachedHost>> {
        let mut buffer = Key::default();
        let key = buffer.write(host, port)?;
        let found = self.shard(key)?.load().get(key).cloned()?;
        found.used.store(self.now(), Ordering::Relaxed);
        Some(found)
    }

    /// A name, which is looked up when it is new; a name that cannot be one resolves to nothing and is not kept.
    ///
    /// # Errors
    /// When there are too many names.
    pub fn load(&self, host: &str, port: u16) -> Result<Arc<CachedHost>, CacheFull> {
        if let Some(known) = self.known(host, port) {
            return Ok(known);
        }
        let mut buffer = Key::default();
        let Some(key) = buffer.write(host, port) else {
            return Ok(Arc::new(CachedHost::impossible()));
        };
        let made = {
            let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let shard = self.shard(key).ok_or(CacheFull)?;
            let hosts = shard.load_full();
            if let Some(known) = hosts.get(key) {
                return Ok(Arc::clone(known));
            }
            if self.hosts() >= self.settings.max_hosts as u64 {
                self.stats.overflow.fetch_add(1, Ordering::Relaxed);
                return Err(CacheFull);
            }
            let made = Arc::new(CachedHost::new(host, port, key, self.now()));
            let mut more = Hosts::clone(&hosts);
            more.insert(key.into(), Arc::clone(&made));
            shard.store(Arc::new(more));
            self.hosts.fetch_add(1, Ordering::Relaxed);
            self.stats.added.fetch_add(1, Ordering::Relaxed);
            made
        };
        if let Some(resolver) = self.resolver.get() {
            resolver(Arc::clone(&made));
        }
        Ok(made)
    }

    /// Drops a name.
    pub fn remove(&self, host: &CachedHost) {
        let _one_writer = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(shard) = self.shard(&host.key) else {
            return;
        };
        let mut fewer = Hosts::clone(&shard.load());
        if fewer.remove(&host.key).is_some() {
            shard.store(Arc::new(fewer));
            self.hosts.fetch_sub(1, Ordering::Relaxed);
            self.stats.removed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether nobody used a name for longer than it may stay.
    pub fn is_stale(&self, host: &CachedHost) -> bool {
        let idle = self.now().saturating_sub(host.used.load(Ordering::Relaxed));
        u128::from(idle) > self.settings.host_ttl.as_millis()
    }

    /// How many names there are.
    pub fn hosts(&self) -> u64 {
        self.hosts.load(Ordering::Relaxed)
    }

    /// How many requests may wait still.
    pub fn pending_left(&self) -> u32 {
        let now = self.pending.load(Ordering::Relaxed);
        self.settings.max_pending.saturating_sub(now)
    }

    /// The endpoints known now.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        let hosts = self.shards.iter().flat_map(|shard| {
            let hosts = shard.load_full();
            hosts.values().cloned().collect::<Vec<_>>()
        });
        hosts.filter_map(|host| host.endpoint()).collect()
    }

    /// Whether an endpoint still stands for its name.
    pub fn has(&self, endpoint: &Endpoint) -> bool {
        let Some(key) = &endpoint.hostname else {
            return false;
        };
        let known = self
            .shard(key)
            .and_then(|it| it.load().get(&**key).cloned());
        let known = known.and_then(|known| known.endpoint());
        known.is_some_and(|known| known.id == endpoint.id)
    }

    fn shard(&self, key: &str) -> Option<&ArcSwap<Hosts>> {
        let place = self.random.hash_one(key) as usize % SHARDS;
        self.shards.get(place)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for DnsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsCache")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl AddressFilter {
    /// Whether an address is meant.
    pub fn holds(&self, address: IpAddr) -> bool {
        let inside = self.ranges.iter().any(|range| range.contains(&address));
        inside != self.inverted
    }
}

impl Drop for PendingLookup {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CachedHost {
    fn new(host: &str, port: u16, key: &str, now: u64) -> Self {
        Self {
            host: host.to_ascii_lowercase().into(),
            port,
            key: key.into(),
            resolution: Slot::new(key),
            used: AtomicU64::new(now),
        }
    }

    /// A name that no server can know.
    fn impossible() -> Self {
        let host = Self::new("", 0, "", 0);
        host.resolve(Resolution {
            endpoint: None,
            details: "cares_failure:Misformatted domain name".into(),
        });
        host
    }

    /// Host and port in one text, in lower case.
    pub fn name(&self) -> &str {
        &self.key
    }

    /// What the last look-up gave; `None` while the first is under way.
    pub fn resolution(&self) -> Option<Arc<Resolution>> {
        self.resolution.load_full()
    }

    /// Resolves when the first look-up is over.
    pub async fn resolved(&self) {
        self.resolution.known().await;
    }

    /// Stores what a look-up gave.
    pub fn resolve(&self, resolution: Resolution) {
        self.resolution.store(Some(Arc::new(resolution)));
    }

    /// The endpoint, when there is one.
    pub fn endpoint(&self) -> Option<Arc<Endpoint>> {
        self.resolution.load().as_ref()?.endpoint.clone()
    }
}

/// `host:port` in lower case, written without allocation.
struct Key([u8; MAX_NAME + 6]);

impl Default for Key {
    fn default() -> Self {
        Self([0; MAX_NAME + 6])
    }
}

impl Key {
    /// `None` for a name that cannot be one.
    fn write(&mut self, host: &str, port: u16) -> Option<&str> {
        if host.is_empty() || host.len() > MAX_NAME {
            return None;
        }
        let (name, rest) = self.0.split_at_mut_checked(host.len())?;
        name.copy_from_slice(host.as_bytes());
        name.make_ascii_lowercase();
        let mut rest = rest;
        let room = rest.len();
        std::io::Write::write_fmt(&mut rest, format_args!(":{port}")).ok()?;
        let length = host.len() + room - rest.len();
        std::str::from_utf8(self.0.get(..length)?).ok()
    }
}

/// Host and port of an authority; addresses of IPv6 lose their brackets. `None` where it is neither.
pub fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match port.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => port.is_empty().then_some((host, None)),
        };
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Some((authority, None));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(max_hosts: usize, max_pending: u32) -> Arc<DnsCache> {
        DnsCache::new(DnsCacheSettings {
            name: "c".into(),
            dns: DnsSettings::default(),
            host_ttl: Duration::from_secs(300),
            max_hosts,
            refresh_failed: true,
            max_pending,
            preresolve: vec![("ahead".into(), 80)],
            timeout: None,
            refused: None,
        })
    }

    #[test]
    fn names_are_looked_up_once_and_not_beyond_the_limit() {
        let cache = cache(3, 1);
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let asks = Arc::clone(&asked);
        cache.attach(move |host| {
            asks.lock()
                .unwrap()
                .push(format!("{}:{}", host.host, host.port))
        });
        assert!(cache.load("A.test", 80).is_ok() && cache.load("a.TEST", 80).is_ok());
        assert!(cache.load("a.test", 81).is_ok());
        assert!(matches!(cache.load("b.test", 80), Err(CacheFull)));
        assert_eq!(
            *asked.lock().unwrap(),
            ["ahead:80", "a.test:80", "a.test:81"]
        );
        let first = cache.known("a.test", 80).expect("known");
        cache.remove(&first);
        assert!(cache.known("a.test", 80).is_none() && cache.hosts() == 2);
        assert!(cache.load("b.test", 80).is_ok());
        assert_eq!(cache.stats.overflow.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_cannot_be_a_name_is_not_kept() {
        let cache = cache(10, 1);
        let long = "a".repeat(MAX_NAME + 1);
        for name in ["", &long] {
            let host = cache.load(name, 80).expect("nothing is full");
            assert!(host.resolution().is_some_and(|it| it.endpoint.is_none()));
        }
        assert!(cache.load(&long[1..], 65535).is_ok());
        assert_eq!(cache.hosts(), 1);
    }

    #[test]
    fn places_to_wait_come_back() {
        let cache = cache(1, 1);
        let first = cache.enter();
        assert!(first.is_some() && cache.enter().is_none());
        drop(first);
        assert!(cache.enter().is_some());
    }

    #[test]
    fn authorities_fall_into_host_and_port() {
        for (text, parts) in [
            ("a", Some(("a", None))),
            ("a:1", Some(("a", Some(1)))),
            ("1.2.3.4:80", Some(("1.2.3.4", Some(80)))),
            ("[::1]:80", Some(("::1", Some(80)))),
            ("[::1]", Some(("::1", None))),
            ("::1", Some(("::1", None))),
            ("[a]:80", None),
            ("[::1]a", None),
            ("a:99999", None),
            ("a:", None),
        ] {
            assert_eq!(host_and_port(text), parts, "{text}");
        }
    }
}
