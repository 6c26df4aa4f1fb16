//! One endpoint of a part of a plan.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use lateen_proxy_model::{Balancing, Endpoint, LbPolicy, Part, PlanLevel, Pool, SlowStart};

/// Step of a weighted cursor: the golden ratio of the 64-bit circle spreads its visits most evenly.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Candidates looked at by least request, at most, unless it looks at all.
const MAX_CHOICES: u32 = 16;

/// The priority that a number from anywhere falls on, and whether its healthy endpoints are meant.
pub(crate) fn level(levels: &[PlanLevel], draw: u64) -> Option<(&PlanLevel, bool)> {
    if let [only] = levels
        && only.healthy_load >= 100
    {
        return Some((only, true));
    }
    let draw = u32::try_from(draw % 100).unwrap_or_default() + 1;
    let mut sum = 0;
    for level in levels {
        sum += level.healthy_load;
        if draw <= sum {
            return Some((level, true));
        }
    }
    for level in levels {
        sum += level.degraded_load;
        if draw <= sum {
            return Some((level, false));
        }
    }
    levels.first().map(|level| (level, true))
}

/// The locality that is drawn by weight.
pub(crate) fn part<'p>(pool: &'p Pool, random: &mut Rng) -> Option<&'p Part> {
    match pool.sums.last() {
        Some(total) => {
            let point = onto(random.u64(..), *total);
            let index = pool.sums.partition_point(|sum| *sum <= point);
            pool.parts.get(index)
        }
        None => pool.parts.first(),
    }
}

/// Chooses by policy. `cursor` is the worker's place in the cluster; `warming` is set while weights still grow.
pub(crate) fn pick<'p>(
    (policy, settings): (LbPolicy, &Balancing),
    part: &'p Part,
    warming: Option<(&SlowStart, u64)>,
    cursor: &mut u64,
    random: &mut Rng,
) -> Option<&'p Arc<Endpoint>> {
    if part.endpoints.len() < 2 {
        return part.endpoints.first();
    }
    match policy {
        LbPolicy::LeastRequest { choices } => match warming {
            Some(warming) => {
                let bias = settings.active_request_bias;
                grown(part, warming, random.f64(), |one| busy(one, bias).recip())
            }
            None => least_request(choices, settings, part, random),
        },
        LbPolicy::RoundRobin => match warming {
            Some(warming) => {
                *cursor = cursor.wrapping_add(GOLDEN);
                // The upper half of the bits is exact as a fraction.
                let point = (*cursor >> 32) as f64 / 4_294_967_296.0;
                grown(part, warming, point, |_| 1.0)
            }
            None => in_turn(part, cursor),
        },
        _ => {
            let count = u64::try_from(part.endpoints.len()).ok()?;
            let index = usize::try_from(onto(random.u64(..), count)).ok()?;
            part.endpoints.get(index)
        }
    }
}

/// The endpoint at `point` of the 64-bit circle, on which each has an arc as long as its weight.
fn at(part: &Part, point: u64) -> Option<&Arc<Endpoint>> {
    let index = match part.sums.last() {
        Some(total) => {
            let point = onto(point, *total);
            part.sums.partition_point(|sum| *sum <= point)
        }
        None => {
            let count = u64::try_from(part.endpoints.len()).unwrap_or(u64::MAX);
            usize::try_from(onto(point, count)).unwrap_or_default()
        }
    };
    part.endpoints.get(index)
}

fn least_request<'p>(
    choices: u32,
    settings: &Balancing,
    part: &'p Part,
    random: &mut Rng,
) -> Option<&'p Arc<Endpoint>> {
    let bias = if part.sums.is_empty() {
        1.0
    } else {
        settings.active_request_bias
    };
    let mut best = at(part, random.u64(..))?;
    if settings.full_scan && part.sums.is_empty() {
        // From a random place on, so that ties are spread.
        let start = random.usize(..part.endpoints.len());
        let (before, after) = part.endpoints.split_at_checked(start)?;
        let least = after.iter().chain(before);
        return least.min_by_key(|one| one.active.load(Ordering::Relaxed));
    }
    for _ in 1..choices.clamp(2, MAX_CHOICES) {
        let other = at(part, random.u64(..))?;
        if load(other, best, bias) < load(best, other, bias) {
            best = other;
        }
    }
    Some(best)
}

/// The load of `one` relative to its weight, comparable with that of `other`. Ties keep the draw, so that idle
/// endpoints get their share by weight.
fn load(one: &Endpoint, other: &Endpoint, bias: f64) -> f64 {
    let active = f64::from(one.active.load(Ordering::Relaxed));
    let active = if bias == 1.0 {
        active
    } else if bias == 0.0 {
        0.0
    } else {
        active.powf(bias)
    };
    active * f64::from(other.weight)
}

/// How busy an endpoint is, at least 1.
fn busy(one: &Endpoint, bias: f64) -> f64 {
    let active = f64::from(one.active.load(Ordering::Relaxed)) + 1.0;
    if bias == 1.0 {
        active
    } else {
        active.powf(bias)
    }
}

fn in_turn<'p>(part: &'p Part, cursor: &mut u64) -> Option<&'p Arc<Endpoint>> {
    if part.sums.is_empty() {
        *cursor = cursor.wrapping_add(1);
        let count = u64::try_from(part.endpoints.len()).ok()?;
        let index = usize::try_from(cursor.checked_rem(count)?).ok()?;
        return part.endpoints.get(index);
    }
    *cursor = cursor.wrapping_add(GOLDEN);
    at(part, *cursor)
}

/// The endpoint at `point`, from 0 to 1, by weights that grow with age.
fn grown<'p>(
    part: &'p Part,
    (slow, now): (&SlowStart, u64),
    point: f64,
    factor: impl Fn(&Endpoint) -> f64,
) -> Option<&'p Arc<Endpoint>> {
    let weight = |one: &Arc<Endpoint>| f64::from(one.weight) * age(slow, one, now) * factor(one);
    let total: f64 = part.endpoints.iter().map(weight).sum();
    let mut left = total * point;
    for one in &part.endpoints {
        left -= weight(one);
        if left < 0.0 {
            return Some(one);
        }
    }
    part.endpoints.last()
}

/// The share of its weight that an endpoint of this age has.
fn age(slow: &SlowStart, endpoint: &Endpoint, now: u64) -> f64 {
    let since = endpoint.since.load(Ordering::Relaxed);
    let age = now.saturating_sub(since).max(1);
    let window = crate::millis(slow.window);
    if age >= window {
        return 1.0;
    }
    let grown = age as f64 / window as f64;
    grown.powf(slow.aggression.recip()).max(slow.min_weight)
}

/// Maps the 64-bit circle evenly onto `0..bound`.
fn onto(point: u64, bound: u64) -> u64 {
    let wide = (u128::from(point) * u128::from(bound)) >> 64;
    u64::try_from(wide).unwrap_or_default()
}
