//! Local rate limits: token buckets that all workers share, and the filters that take from them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ahash::RandomState;
use http::StatusCode;

use crate::filter_stats::FilterStats;
use crate::mutation::HeaderMutations;
use crate::rate_limit::{Descriptor, FixedEntry, RateLimits, VirtualHostLimits};
use crate::route::Percentage;

/// A token bucket that fills evenly. Its state is one number, the time at which it was last empty, so that taking tokens
/// is one atomic exchange.
#[derive(Debug)]
pub struct TokenBucket {
    size: f64,
    /// Tokens a second.
    rate: f64,
    origin: Instant,
    /// Seconds after the origin, as the bits of a float.
    empty_at: AtomicU64,
}

/// How a bucket is made; each connection may have one of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketSize {
    /// Most tokens.
    pub tokens: u32,
    /// Tokens that come at each interval.
    pub per_fill: u32,
    /// The interval.
    pub interval: Duration,
}

/// The HTTP local rate limit of a filter or route.
#[derive(Debug)]
pub struct LocalRateLimit {
    /// Where its descriptors come from when it has rate limits of its own; otherwise the route's.
    pub limits: Option<RateLimits>,
    /// Which limits of routes it applies.
    pub stage: u32,
    /// Whether those of the virtual host count.
    pub host_limits: VirtualHostLimits,
    /// The buckets; `None` limits nothing.
    pub limiter: Option<Arc<LocalLimiter>>,
    /// Each connection has buckets of its own.
    pub per_connection: bool,
    /// Share of requests that are counted.
    pub enabled: Percentage,
    /// Share of those that are refused when they are over the limit.
    pub enforced: Percentage,
    /// Status of a refusal.
    pub status: StatusCode,
    /// gRPC callers are told RESOURCE_EXHAUSTED in place of UNAVAILABLE.
    pub resource_exhausted: bool,
    /// Changes of requests that are over the limit and let through.
    pub request_headers: HeaderMutations,
    /// Changes of refusals.
    pub response_headers: HeaderMutations,
    /// `x-ratelimit-*` headers are sent.
    pub headers: bool,
    /// `retry-after` is sent with 429.
    pub retry_after: bool,
    /// Counters, by the places of [`LocalRateLimit::COUNTERS`].
    pub stats: FilterStats<5>,
}

/// The network local rate limit: connections taken from a bucket.
#[derive(Debug)]
pub struct LocalConnectionLimit {
    /// The bucket.
    pub bucket: Arc<TokenBucket>,
    /// The limit is applied.
    pub enabled: bool,
    /// Counters, by the places of [`LocalConnectionLimit::COUNTERS`].
    pub stats: FilterStats<1>,
}

/// A default bucket and those of descriptors.
#[derive(Debug)]
pub struct LocalLimiter {
    default: Option<TokenBucket>,
    /// Buckets of fixed descriptors, by a hash of their entries.
    fixed: HashMap<u64, Vec<LocalDescriptor>, RandomState>,
    wildcards: Vec<Wildcard>,
    always_default: bool,
    sizes: LimiterSizes,
}

/// What a [`LocalLimiter`] is made from.
#[derive(Clone, Debug, Default)]
pub struct LimiterSizes {
    /// Requests that no descriptor takes, or all of them.
    pub default: Option<BucketSize>,
    /// Descriptors with their buckets; an empty value stands for any.
    pub descriptors: Vec<DescriptorSize>,
    /// The default bucket is taken from also where a descriptor matches.
    pub always_default: bool,
    /// Values for which a descriptor with an empty value keeps buckets.
    pub dynamic: usize,
}

/// One descriptor of [`LimiterSizes`].
#[derive(Clone, Debug)]
pub struct DescriptorSize {
    /// Entries, in order.
    pub entries: Vec<FixedEntry>,
    /// Its bucket.
    pub size: BucketSize,
    /// It is counted, and refuses nothing.
    pub shadow: bool,
}

#[derive(Debug)]
struct LocalDescriptor {
    entries: Vec<FixedEntry>,
    bucket: Arc<TokenBucket>,
    shadow: bool,
}

/// The values of a descriptor, and their bucket.
type KnownBucket = (Vec<Box<str>>, Arc<TokenBucket>);

/// A descriptor with an entry that any value satisfies: each set of values has a bucket, the newest are kept.
#[derive(Debug)]
struct Wildcard {
    entries: Vec<FixedEntry>,
    size: BucketSize,
    shadow: bool,
    most: usize,
    known: Mutex<VecDeque<KnownBucket>>,
}

/// What a limiter says of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LocalVerdict {
    /// It may pass.
    pub allowed: bool,
    /// A shadow descriptor would have refused it.
    pub shadowed: bool,
    /// The bucket that speaks for the request, for headers.
    pub bucket: Option<BucketView>,
    /// Whether headers tell of it; `None` leaves that to the filter.
    pub headers: Option<bool>,
}

/// A bucket at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BucketView {
    /// Most tokens.
    pub size: u64,
    /// Tokens left.
    pub remaining: u64,
    /// Seconds until there is a token.
    pub reset: u64,
}

/// A bucket of a matched descriptor.
struct Matched<'a> {
    bucket: Arc<TokenBucket>,
    shadow: bool,
    descriptor: &'a Descriptor<'a>,
}

impl LocalRateLimit {
    /// Names of its counters.
    pub const COUNTERS: [&str; 5] = ["enabled", "enforced", "ok", "rate_limited", "shadow_mode"];
}

impl LocalConnectionLimit {
    /// Names of its counters.
    pub const COUNTERS: [&str; 1] = ["rate_limited"];
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(size: BucketSize, now: Instant) -> Self {
        let tokens = f64::from(size.tokens);
        let interval = size.interval.as_secs_f64().max(f64::MIN_POSITIVE);
        let rate = f64::from(size.per_fill) / interval;
        Self {
            size: tokens,
            rate,
            origin: now,
            empty_at: AtomicU64::new((-tokens / rate).to_bits()),
        }
    }

    /// Takes `tokens` when there are as many.
    pub fn take(&self, tokens: f64, now: Instant) -> bool {
        let now = self.seconds(now);
        let mut bits = self.empty_at.load(Ordering::Relaxed);
        loop {
            let held = self.held(bits, now);
            if held < tokens {
                return false;
            }
            let next = (now - (held - tokens) / self.rate).to_bits();
            match self.empty_at.compare_exchange_weak(
                bits,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(other) => bits = other,
            }
        }
    }

    /// What it holds.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "below 2^32, or a number of seconds"
    )]
    pub fn view(&self, now: Instant) -> BucketView {
        let held = self.held(self.empty_at.load(Ordering::Relaxed), self.seconds(now));
        let wait = match held >= 1.0 {
            true => 0.0,
            false => ((1.0 - held) / self.rate).ceil(),
        };
        BucketView {
            size: self.size as u64,
            remaining: held as u64,
            reset: wait as u64,
        }
    }

    fn seconds(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.origin).as_secs_f64()
    }

    fn held(&self, bits: u64, now: f64) -> f64 {
        let since = (now - f64::from_bits(bits)).max(0.0);
        (since * self.rate).min(self.size)
    }
}

impl LocalLimiter {
    /// Full buckets.
    pub fn new(sizes: LimiterSizes, now: Instant) -> Self {
        let hasher = RandomState::new();
        let mut fixed: HashMap<u64, Vec<LocalDescriptor>, RandomState> =
            HashMap::with_hasher(hasher.clone());
        let mut wildcards = Vec::new();
        for one in &sizes.descriptors {
            if one.entries.iter().any(|entry| entry.value.is_empty()) {
                wildcards.push(Wildcard {
                    entries: one.entries.clone(),
                    size: one.size,
                    shadow: one.shadow,
                    most: sizes.dynamic.max(1),
                    known: Mutex::default(),
                });
                continue;
            }
            let pairs = one.entries.iter().map(|it| (&*it.key, &*it.value));
            let place = hash(&hasher, pairs);
            fixed.entry(place).or_default().push(LocalDescriptor {
                entries: one.entries.clone(),
                bucket: Arc::new(TokenBucket::new(one.size, now)),
                shadow: one.shadow,
            });
        }
        Self {
            default: sizes.default.map(|size| TokenBucket::new(size, now)),
            fixed,
            wildcards,
            always_default: sizes.always_default,
            sizes,
        }
    }

    /// The same limits with buckets of their own, full.
    pub fn anew(&self, now: Instant) -> Self {
        Self::new(self.sizes.clone(), now)
    }

    /// Whether it looks at descriptors.
    pub fn has_descriptors(&self) -> bool {
        !self.fixed.is_empty() || !self.wildcards.is_empty()
    }

    /// Takes what a request counts: from the bucket of each descriptor that matches, the slowest first, then from the
    /// default one.
    pub fn judge(&self, descriptors: &[Descriptor<'_>], now: Instant) -> LocalVerdict {
        let mut matched: Vec<Matched<'_>> = descriptors
            .iter()
            .filter_map(|descriptor| self.find(descriptor, now))
            .collect();
        matched.sort_by(|one, other| one.bucket.rate.total_cmp(&other.bucket.rate));
        let mut shadowed = false;
        for one in &matched {
            let tokens = one.descriptor.hits.map_or(1, |hits| hits.hits);
            #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
            let taken = one.bucket.take(tokens as f64, now);
            if !taken && one.shadow {
                shadowed = true;
            } else if !taken {
                return one.verdict(false, shadowed, now);
            }
        }
        let first = matched.first();
        if first.is_none() || self.always_default {
            let taken = self.default.as_ref().is_none_or(|it| it.take(1.0, now));
            if !taken {
                return LocalVerdict {
                    allowed: false,
                    shadowed,
                    bucket: self.default_view(now),
                    headers: None,
                };
            }
        }
        match first {
            Some(first) => first.verdict(true, shadowed, now),
            None => LocalVerdict {
                allowed: true,
                shadowed,
                bucket: self.default_view(now),
                headers: None,
            },
        }
    }

    /// The default bucket; one that never holds a token says nothing of itself.
    fn default_view(&self, now: Instant) -> Option<BucketView> {
        let view = self.default.as_ref().map(|it| it.view(now));
        view.filter(|view| view.size > 0)
    }

    fn find<'a>(&self, descriptor: &'a Descriptor<'a>, now: Instant) -> Option<Matched<'a>> {
        let pairs = descriptor.entries.iter().map(|(key, it)| (*key, &**it));
        let same = self.fixed.get(&hash(self.fixed.hasher(), pairs));
        let fixed = same.into_iter().flatten().find(|known| {
            known.entries.len() == descriptor.entries.len()
                && known
                    .entries
                    .iter()
                    .zip(&descriptor.entries)
                    .all(|(own, (key, value))| *own.key == **key && *own.value == **value)
        });
        if let Some(known) = fixed {
            return Some(Matched {
                bucket: Arc::clone(&known.bucket),
                shadow: known.shadow,
                descriptor,
            });
        }
        let wildcard = self.wildcards.iter().find(|it| it.fits(descriptor))?;
        Some(Matched {
            bucket: wildcard.bucket(descriptor, now),
            shadow: wildcard.shadow,
            descriptor,
        })
    }
}

impl Matched<'_> {
    fn verdict(&self, allowed: bool, shadowed: bool, now: Instant) -> LocalVerdict {
        LocalVerdict {
            allowed,
            shadowed,
            bucket: Some(self.bucket.view(now)),
            headers: self.descriptor.headers,
        }
    }
}

impl Wildcard {
    fn fits(&self, descriptor: &Descriptor<'_>) -> bool {
        self.entries.len() == descriptor.entries.len()
            && self
                .entries
                .iter()
                .zip(&descriptor.entries)
                .all(|(own, (key, value))| {
                    *own.key == **key && (own.value.is_empty() || *own.value == **value)
                })
    }

    /// The bucket of these values. Values come from outside: the ones asked about longest ago are forgotten.
    fn bucket(&self, descriptor: &Descriptor<'_>, now: Instant) -> Arc<TokenBucket> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let values = || descriptor.entries.iter().map(|(_, value)| &**value);
        let place = known
            .iter()
            .position(|(own, _)| own.iter().map(|value| &**value).eq(values()));
        let found = place.and_then(|place| known.remove(place));
        let (own, bucket) = found.unwrap_or_else(|| {
            let own = values().map(Into::into).collect();
            (own, Arc::new(TokenBucket::new(self.size, now)))
        });
        known.push_back((own, Arc::clone(&bucket)));
        if known.len() > self.most {
            known.pop_front();
        }
        bucket
    }
}

fn hash<'a>(hasher: &RandomState, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    use std::hash::{BuildHasher, Hash, Hasher};
    let mut state = hasher.build_hasher();
    pairs.for_each(|pair| pair.hash(&mut state));
    state.finish()
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn size(tokens: u32, per_fill: u32, seconds: u64) -> BucketSize {
        BucketSize {
            tokens,
            per_fill,
            interval: Duration::from_secs(seconds),
        }
    }

    fn descriptor<'a>(key: &'a str, value: &'a str) -> Descriptor<'a> {
        Descriptor {
            entries: vec![(key, Cow::Borrowed(value))],
            ..Descriptor::default()
        }
    }

    fn entries(key: &str, value: &str) -> Vec<FixedEntry> {
        vec![FixedEntry {
            key: key.into(),
            value: value.into(),
        }]
    }

    #[test]
    fn a_bucket_fills_evenly_up_to_its_size() {
        let now = Instant::now();
        let bucket = TokenBucket::new(size(2, 2, 20), now);
        assert!(bucket.take(1.0, now) && bucket.take(1.0, now) && !bucket.take(1.0, now));
        assert_eq!(bucket.view(now).reset, 10);
        let later = now + Duration::from_secs(11);
        assert!(bucket.take(1.0, later) && !bucket.take(1.0, later));
        let much_later = now + Duration::from_secs(1000);
        assert_eq!(bucket.view(much_later).remaining, 2);
        let empty = TokenBucket::new(size(0, 1, 1), now);
        assert!(!empty.take(1.0, much_later));
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let now = Instant::now();
        let bucket = TokenBucket::new(size(1000, 1, 1_000_000), now);
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..500).filter(|_| bucket.take(1.0, now)).count()))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).sum()
        });
        assert_eq!(taken, 1000);
    }

    #[test]
    fn descriptors_have_buckets_of_their_own() {
        let now = Instant::now();
        let sizes = LimiterSizes {
            default: Some(size(1, 1, 100)),
            descriptors: vec![
                DescriptorSize {
                    entries: entries("a", "b"),
                    size: size(2, 1, 100),
                    shadow: false,
                },
                DescriptorSize {
                    entries: entries("s", "s"),
                    size: size(0, 1, 100),
                    shadow: true,
                },
                DescriptorSize {
                    entries: entries("w", ""),
                    size: size(1, 1, 100),
                    shadow: false,
                },
            ],
            always_default: false,
            dynamic: 2,
        };
        let limiter = LocalLimiter::new(sizes, now);
        let judge = |key, value| limiter.judge(&[descriptor(key, value)], now);
        assert!(judge("a", "b").allowed && judge("a", "b").allowed && !judge("a", "b").allowed);
        let shadow = judge("s", "s");
        assert!(shadow.allowed && shadow.shadowed);
        assert!(judge("w", "1").allowed && !judge("w", "1").allowed && judge("w", "2").allowed);
        // A third value pushes the first out.
        assert!(judge("w", "3").allowed && judge("w", "1").allowed);
        assert!(judge("x", "y").allowed && !judge("x", "y").allowed);
        assert!(limiter.anew(now).judge(&[], now).allowed);
    }
}
