//! Weights by the load that endpoints report (ORCA), for client-side weighted round robin.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lateen_proxy_model::{Cluster, Endpoint, LoadReport, ReportedWeights};

use crate::millis;

/// A weight of one, in the numbers that parts are made of.
const ONE: f64 = 1_000_000.0;

/// Takes a report over.
pub(crate) fn take(settings: &ReportedWeights, endpoint: &Endpoint, report: &LoadReport, now: u64) {
    let Some(weight) = weight(settings, report) else {
        return;
    };
    let stats = &endpoint.stats;
    stats.reported_weight.store(weight.to_bits(), Relaxed);
    stats.reported_at.store(now.max(1), Relaxed);
    let _ = stats
        .reported_since
        .compare_exchange(0, now.max(1), Relaxed, Relaxed);
}

/// Requests a second by utilisation, where errors count as load.
fn weight(settings: &ReportedWeights, report: &LoadReport) -> Option<f64> {
    let named = |name: &str| {
        let found = report.metrics.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| *value)
    };
    let by_name = settings.metrics.iter().filter_map(|name| named(name));
    let by_name = by_name.fold(0.0, f64::max);
    let mut load = if report.application > 0.0 {
        report.application
    } else if by_name > 0.0 {
        by_name
    } else {
        report.cpu
    };
    if report.rps <= 0.0 || load <= 0.0 {
        return None;
    }
    if report.eps > 0.0 && settings.error_penalty > 0.0 {
        load += report.eps / report.rps * settings.error_penalty;
    }
    Some(report.rps / load).filter(|weight| weight.is_finite() && *weight > 0.0)
}

/// Whether weights are to be worked out anew; expired ones are dropped.
pub(crate) fn is_due(cluster: &Cluster, now: u64) -> bool {
    let Some(settings) = &cluster.balancing.reported else {
        return false;
    };
    let last = cluster.shared.reweighed.load(Relaxed);
    if now < last.saturating_add(millis(settings.update)) {
        return false;
    }
    cluster.shared.reweighed.store(now, Relaxed);
    let set = cluster.endpoints().and_then(|slot| slot.load_full());
    let endpoints = set.iter().flat_map(|set| set.iter());
    for stats in endpoints.filter_map(|endpoint| endpoint.stats.made()) {
        let at = stats.reported_at.load(Relaxed);
        let since = stats.reported_since.load(Relaxed);
        if at > 0 && now > at.saturating_add(millis(settings.expiration)) {
            stats.reported_at.store(0, Relaxed);
            stats.reported_since.store(0, Relaxed);
            stats.reported_weight.store(0, Relaxed);
        }
        let settled = since > 0 && now >= since.saturating_add(millis(settings.blackout));
        let weight = f64::from_bits(stats.reported_weight.load(Relaxed));
        let used = if settled {
            (weight * ONE).min(1e15) as u64
        } else {
            0
        };
        stats.used_weight.store(used, Relaxed);
    }
    true
}

/// The weights of endpoints; one without reports gets the median.
pub(crate) fn weights(endpoints: &[Arc<Endpoint>]) -> Vec<u64> {
    let used: Vec<u64> = endpoints
        .iter()
        .map(|one| {
            let stats = one.stats.made();
            stats.map_or(0, |stats| stats.used_weight.load(Relaxed))
        })
        .collect();
    let mut known: Vec<u64> = used.iter().copied().filter(|one| *one > 0).collect();
    known.sort_unstable();
    let middle = known.len() / 2;
    let median = match known.len() {
        0 => 1,
        even if even % 2 == 0 => {
            let below = known.get(middle.saturating_sub(1)).copied().unwrap_or(1);
            let above = known.get(middle).copied().unwrap_or(1);
            (below + above) / 2
        }
        _ => known.get(middle).copied().unwrap_or(1),
    };
    let of = |weight: u64| if weight > 0 { weight } else { median.max(1) };
    used.into_iter().map(of).collect()
}
