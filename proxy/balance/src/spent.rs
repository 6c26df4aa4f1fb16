//! Retries that leave out the priorities a request tried.

use std::sync::Arc;

use lateen_proxy_model::{Endpoint, PlanLevel, Pool, TriedPriorities};

use crate::pick;

/// The priority that `draw` falls on when tried ones get nothing; when all were tried, it begins anew.
pub(crate) fn level<'p>(
    levels: &'p [PlanLevel],
    tried: &TriedPriorities,
    draw: u64,
) -> Option<(&'p PlanLevel, bool)> {
    let count = u32::try_from(tried.endpoints.borrow().len()).unwrap_or(u32::MAX);
    let every = tried.every.max(1);
    if count < every {
        return pick::level(levels, draw);
    }
    if count.is_multiple_of(every) {
        note(levels, tried);
        if available(levels, tried.spent.get()) == 0 {
            tried.spent.set(0);
            tried.endpoints.borrow_mut().clear();
        }
    }
    let spent = tried.spent.get();
    match available(levels, spent) {
        0 => pick::level(levels, draw),
        total => drawn(levels, spent, total, draw),
    }
}

fn note(levels: &[PlanLevel], tried: &TriedPriorities) {
    let mut spent = tried.spent.get();
    for id in tried.endpoints.borrow().iter() {
        let place = levels.iter().position(|level| holds(level, *id));
        let bit = place.and_then(|place| u32::try_from(place).ok());
        spent |= bit.and_then(|bit| 1_u128.checked_shl(bit)).unwrap_or(0);
    }
    tried.spent.set(spent);
}

fn holds(level: &PlanLevel, id: u64) -> bool {
    let is = |endpoint: &Arc<Endpoint>| endpoint.id == id;
    let within = |pool: &Pool| pool.parts.iter().any(|part| part.endpoints.iter().any(is));
    let hashed = level.table.as_ref();
    within(&level.healthy)
        || within(&level.degraded)
        || hashed.is_some_and(|table| table.endpoints.iter().any(is))
}

/// The levels that were not tried.
fn fresh(levels: &[PlanLevel], spent: u128) -> impl Iterator<Item = &PlanLevel> {
    let is_fresh = move |place: &(usize, &PlanLevel)| {
        let place = u32::try_from(place.0).unwrap_or(u32::MAX);
        spent.checked_shr(place).unwrap_or(0) & 1 == 0
    };
    levels
        .iter()
        .enumerate()
        .filter(is_fresh)
        .map(|(_, level)| level)
}

/// Percent of requests that they could take, healthy and degraded, at most 100.
fn available(levels: &[PlanLevel], spent: u128) -> u32 {
    let shares = fresh(levels, spent).map(|level| level.healthy_able + level.degraded_able);
    shares.sum::<u32>().min(100)
}

/// Load flows to the first as far as it can take it; what rounding leaves over is shared out anew.
fn drawn(levels: &[PlanLevel], spent: u128, total: u32, draw: u64) -> Option<(&PlanLevel, bool)> {
    let mut left = u32::try_from(draw % 100).unwrap_or_default() + 1;
    let mut load = 100;
    // Each round shares out at least one percent.
    while load > 0 {
        let healthy = fresh(levels, spent).map(|level| (level, true, level.healthy_able));
        let degraded = fresh(levels, spent).map(|level| (level, false, level.degraded_able));
        for (level, is_healthy, share) in healthy.chain(degraded) {
            let part = (share * 100 / total).min(load);
            if left <= part {
                return Some((level, is_healthy));
            }
            left -= part;
            load -= part;
        }
    }
    pick::level(levels, draw)
}
