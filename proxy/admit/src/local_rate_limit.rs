//! Local rate limits: whether the buckets have a token for a request, and what the answer says of it.

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use lateen_proxy_model::{BucketView, CounterTable, Descriptor, LocalLimiter, LocalRateLimit};

static LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

const ENABLED: usize = 0;
const ENFORCED: usize = 1;
const OK: usize = 2;
const RATE_LIMITED: usize = 3;
const SHADOW: usize = 4;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LocalLimit {
    /// The filter is off for it.
    Off,
    /// It passes; answers tell of the bucket when headers are on.
    Pass(Option<BucketView>),
    /// It is over the limit and passes, with the filter's header changes.
    NotEnforced(Option<BucketView>),
    /// It is refused by this bucket, which answers tell of when `shown`.
    Refused {
        /// The bucket.
        bucket: Option<BucketView>,
        /// Headers are on.
        shown: bool,
    },
}

/// Judges a request. `draw` gives even draws of `0..1_000_000`, `descriptors` are made only when they are asked for, and
/// `limiter` is the connection's own where each has one.
pub fn local_rate_limit<'a>(
    config: &LocalRateLimit,
    limiter: &LocalLimiter,
    descriptors: impl FnOnce() -> Vec<Descriptor<'a>>,
    (mut draw, now): (impl FnMut() -> u32, Instant),
    counters: &dyn CounterTable,
) -> LocalLimit {
    if !config.enabled.holds(draw()) {
        return LocalLimit::Off;
    }
    let count = |place| config.stats.inc(place, counters);
    count(ENABLED);
    let descriptors = match limiter.has_descriptors() {
        true => descriptors(),
        false => Vec::new(),
    };
    let verdict = limiter.judge(&descriptors, now);
    let bucket = verdict.bucket;
    if verdict.shadowed {
        count(SHADOW);
    }
    let shown = bucket.filter(|_| verdict.headers.unwrap_or(config.headers));
    if verdict.allowed {
        count(OK);
        return LocalLimit::Pass(shown);
    }
    count(RATE_LIMITED);
    if !config.enforced.holds(draw()) {
        return LocalLimit::NotEnforced(shown);
    }
    count(ENFORCED);
    LocalLimit::Refused {
        bucket,
        shown: shown.is_some(),
    }
}

/// Adds the `x-ratelimit-*` headers.
pub fn rate_limit_headers(bucket: &BucketView, headers: &mut HeaderMap) {
    headers.insert(&LIMIT, HeaderValue::from(bucket.size));
    headers.insert(&REMAINING, HeaderValue::from(bucket.remaining));
    headers.insert(&RESET, HeaderValue::from(bucket.reset));
}

/// Adds `retry-after` to a refusal, where the filter sends it and its header rules did not.
pub fn retry_after(config: &LocalRateLimit, bucket: Option<&BucketView>, headers: &mut HeaderMap) {
    if !config.retry_after || config.status != StatusCode::TOO_MANY_REQUESTS {
        return;
    }
    if let Some(bucket) = bucket {
        headers
            .entry(header::RETRY_AFTER)
            .or_insert_with(|| HeaderValue::from(bucket.reset.max(1)));
    }
}
