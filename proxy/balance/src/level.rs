//! Which priority serves a request, and who is a candidate in it.

use std::borrow::Cow;
use std::sync::Arc;

use fastrand::Rng;
use lateen_proxy_model::{Cluster, Endpoint, EndpointSet, Level};

use crate::pick::Candidates;

/// A priority counts as whole while `100 / 1.4` percent of it are healthy. Envoy's overprovisioning factor.
const OVERPROVISION_PERCENT: usize = 140;

/// The candidates of the priority that is drawn. `now` is set when endpoints may be ejected.
pub(crate) fn candidates<'a>(
    set: &'a EndpointSet,
    cluster: &Cluster,
    now: Option<u64>,
    random: &mut Rng,
) -> Option<Candidates<'a>> {
    if let (None, [level], [facts]) = (now, &set.eligible[..], &set.levels[..])
        && !level.is_empty()
        && !panics(level.len(), facts.total, cluster.panic_threshold)
    {
        return Some(Candidates::whole(level, &facts.weights));
    }
    let alive: Vec<Alive<'a>> = set
        .eligible
        .iter()
        .zip(&set.levels)
        .map(|(level, facts)| Alive::of(level, facts, now))
        .collect();
    if panics_in_all(&alive, cluster.panic_threshold) {
        let all: Vec<Arc<Endpoint>> = set.iter().cloned().collect();
        return (!all.is_empty()).then(|| Candidates::of(Cow::Owned(all)));
    }
    match draw(&alive, random) {
        Some(level) => level.candidates(),
        None => degraded(set, now),
    }
}

/// One priority without its ejected endpoints.
struct Alive<'a> {
    endpoints: Cow<'a, [Arc<Endpoint>]>,
    facts: &'a Level,
}

impl<'a> Alive<'a> {
    fn of(level: &'a [Arc<Endpoint>], facts: &'a Level, now: Option<u64>) -> Self {
        let out = |endpoint: &Arc<Endpoint>| now.is_some_and(|now| endpoint.ejection.is_out(now));
        let endpoints = if level.iter().any(out) {
            Cow::Owned(
                level
                    .iter()
                    .filter(|endpoint| !out(endpoint))
                    .cloned()
                    .collect(),
            )
        } else {
            Cow::Borrowed(level)
        };
        Self { endpoints, facts }
    }

    /// Health in percent, with the overprovisioning, at most 100.
    fn availability(&self) -> usize {
        let healthy = self.endpoints.len().saturating_mul(OVERPROVISION_PERCENT);
        healthy
            .checked_div(self.facts.total)
            .unwrap_or_default()
            .min(100)
    }

    fn candidates(&self) -> Option<Candidates<'a>> {
        match &self.endpoints {
            Cow::Borrowed(level) => Some(Candidates::whole(level, &self.facts.weights)),
            Cow::Owned(left) => {
                (!left.is_empty()).then(|| Candidates::of(Cow::Owned(left.clone())))
            }
        }
    }
}

/// Load flows to a priority as far as it is available, the rest to the next one.
fn draw<'b, 'a>(levels: &'b [Alive<'a>], random: &mut Rng) -> Option<&'b Alive<'a>> {
    let total: usize = levels.iter().map(Alive::availability).sum();
    if total == 0 {
        // Fewer than one percent may still be somebody.
        return levels.iter().find(|level| !level.endpoints.is_empty());
    }
    let mut left = random.usize(..total.min(100));
    for level in levels {
        let share = level.availability();
        if left < share {
            return Some(level);
        }
        left -= share;
    }
    None
}

fn degraded<'a>(set: &EndpointSet, now: Option<u64>) -> Option<Candidates<'a>> {
    set.levels.iter().find_map(|facts| {
        let left: Vec<_> = facts
            .degraded
            .iter()
            .filter(|endpoint| !now.is_some_and(|now| endpoint.ejection.is_out(now)))
            .cloned()
            .collect();
        (!left.is_empty()).then(|| Candidates::of(Cow::Owned(left)))
    })
}

fn panics(healthy: usize, total: usize, threshold: u32) -> bool {
    threshold > 0 && healthy.saturating_mul(100) < total.saturating_mul(threshold as usize)
}

fn panics_in_all(levels: &[Alive<'_>], threshold: u32) -> bool {
    threshold > 0
        && levels
            .iter()
            .all(|level| panics(level.endpoints.len(), level.facts.total, threshold))
}
