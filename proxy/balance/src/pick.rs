//! One endpoint of a priority's candidates.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fastrand::Rng;
use lateen_proxy_model::{Endpoint, LbPolicy};

/// Step of a weighted cursor: the golden ratio of the 64-bit circle spreads its visits most evenly.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Candidates looked at by least request, at most.
const MAX_CHOICES: u32 = 16;

/// Endpoints that may be chosen, with running sums of their weights where these differ.
#[derive(Debug)]
pub(crate) struct Candidates<'a> {
    endpoints: Cow<'a, [Arc<Endpoint>]>,
    weights: Cow<'a, [u64]>,
}

impl<'a> Candidates<'a> {
    /// A whole priority, with the sums that were made when the endpoints arrived.
    pub(crate) fn whole(endpoints: &'a [Arc<Endpoint>], weights: &'a [u64]) -> Self {
        Self {
            endpoints: Cow::Borrowed(endpoints),
            weights: Cow::Borrowed(weights),
        }
    }

    /// What is left of a priority.
    pub(crate) fn of(endpoints: Cow<'a, [Arc<Endpoint>]>) -> Self {
        let mut sum = 0u64;
        let weights = endpoints
            .iter()
            .map(|endpoint| {
                sum += u64::from(endpoint.weight);
                sum
            })
            .collect();
        Self {
            endpoints,
            weights: Cow::Owned(weights),
        }
    }

    /// The endpoint at `point` of the 64-bit circle, on which each has an arc as long as its weight.
    fn at(&self, point: u64) -> Option<&Arc<Endpoint>> {
        let index = match self.weights.last() {
            Some(total) => {
                let point = onto(point, *total);
                self.weights.partition_point(|sum| *sum <= point)
            }
            None => {
                let count = u64::try_from(self.endpoints.len()).unwrap_or(u64::MAX);
                usize::try_from(onto(point, count)).unwrap_or_default()
            }
        };
        self.endpoints.get(index)
    }
}

/// Chooses by policy. `cursor` is the worker's place in the cluster.
pub(crate) fn pick<'c>(
    policy: LbPolicy,
    candidates: &'c Candidates<'_>,
    cursor: &mut u64,
    random: &mut Rng,
) -> Option<&'c Arc<Endpoint>> {
    match policy {
        _ if candidates.endpoints.len() < 2 => candidates.endpoints.first(),
        LbPolicy::LeastRequest { choices } => least_request(choices, candidates, random),
        LbPolicy::RoundRobin => in_turn(candidates, cursor),
        LbPolicy::Random | LbPolicy::ClusterProvided => candidates.at(random.u64(..)),
    }
}

fn least_request<'c>(
    choices: u32,
    candidates: &'c Candidates<'_>,
    random: &mut Rng,
) -> Option<&'c Arc<Endpoint>> {
    let mut best = candidates.at(random.u64(..))?;
    for _ in 1..choices.clamp(2, MAX_CHOICES) {
        let other = candidates.at(random.u64(..))?;
        if load(other, best) < load(best, other) {
            best = other;
        }
    }
    Some(best)
}

/// The load of `one` relative to its weight, comparable with that of `other`. Ties keep the draw, so that idle
/// endpoints get their share by weight.
fn load(one: &Endpoint, other: &Endpoint) -> u64 {
    u64::from(one.active.load(Ordering::Relaxed)) * u64::from(other.weight)
}

fn in_turn<'c>(candidates: &'c Candidates<'_>, cursor: &mut u64) -> Option<&'c Arc<Endpoint>> {
    if candidates.weights.is_empty() {
        *cursor = cursor.wrapping_add(1);
        let count = u64::try_from(candidates.endpoints.len()).ok()?;
        let index = usize::try_from(cursor.checked_rem(count)?).ok()?;
        return candidates.endpoints.get(index);
    }
    *cursor = cursor.wrapping_add(GOLDEN);
    candidates.at(*cursor)
}

/// Maps the 64-bit circle evenly onto `0..bound`.
fn onto(point: u64, bound: u64) -> u64 {
    let wide = (u128::from(point) * u128::from(bound)) >> 64;
    u64::try_from(wide).unwrap_or_default()
}
