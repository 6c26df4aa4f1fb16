//! Passive health checks: endpoints that fail in a row are left out for a while.

use std::sync::atomic::Ordering;

use lateen_proxy_model::{Cluster, Endpoint, Outcome, OutlierDetection};

use crate::millis;

/// Counts the end of a request, and ejects the endpoint when a detector's limit is reached.
pub(crate) fn report(
    cluster: &Cluster,
    detection: &OutlierDetection,
    endpoint: &Endpoint,
    outcome: Outcome,
    now: u64,
) {
    let state = &endpoint.ejection;
    if detection.success_rate.is_some() || detection.failure_percentage.is_some() {
        count(detection, endpoint, outcome);
    }
    let in_a_row = match outcome {
        Outcome::Success => {
            // A plain load first: a store on every request would move the cache line between workers.
            for counter in [
                &state.consecutive_5xx,
                &state.consecutive_gateway,
                &state.consecutive_local,
            ] {
                reset(counter);
            }
            return;
        }
        Outcome::LocalFailure if detection.split_local => {
            let limit = detection.consecutive_local_failures;
            if bump(&state.consecutive_local) >= limit && limit > 0 {
                eject(cluster, detection, endpoint, now);
            }
            return;
        }
        Outcome::ServerError => {
            state.consecutive_gateway.store(0, Ordering::Relaxed);
            (bump(&state.consecutive_5xx), 0)
        }
        Outcome::GatewayError | Outcome::LocalFailure => (
            bump(&state.consecutive_5xx),
            bump(&state.consecutive_gateway),
        ),
    };
    // There was an answer, or nobody asks.
    reset(&state.consecutive_local);
    let reached = |count: u32, limit: u32| limit > 0 && count >= limit;
    if reached(in_a_row.0, detection.consecutive_5xx)
        || reached(in_a_row.1, detection.consecutive_gateway_errors)
    {
        eject(cluster, detection, endpoint, now);
    }
}

/// For the detectors that look at rates. Failures without an answer have rates of their own where they are told apart.
fn count(detection: &OutlierDetection, endpoint: &Endpoint, outcome: Outcome) {
    if outcome == Outcome::LocalFailure && detection.split_local {
        return;
    }
    let state = &endpoint.ejection;
    state.requests.fetch_add(1, Ordering::Relaxed);
    if outcome != Outcome::Success {
        state.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks at the rates of the interval that ends, and starts the next one.
pub(crate) fn rates(cluster: &Cluster, detection: &OutlierDetection, now: u64) {
    let set = cluster.endpoints().and_then(|slot| slot.load_full());
    let Some(set) = set else {
        return;
    };
    let seen: Vec<(&Endpoint, u32, f64)> = set
        .iter()
        .map(|endpoint| {
            let state = &endpoint.ejection;
            let requests = state.requests.swap(0, Ordering::Relaxed);
            let failures = state.failures.swap(0, Ordering::Relaxed).min(requests);
            let rate = 100.0 * f64::from(requests - failures) / f64::from(requests.max(1));
            (&**endpoint, requests, rate)
        })
        .filter(|(endpoint, ..)| !endpoint.ejection.is_out(now))
        .collect();
    let all = set.iter().count();
    for (detector, by_deviation) in [
        (detection.success_rate, true),
        (detection.failure_percentage, false),
    ] {
        let Some(detector) = detector.filter(|one| all >= one.min_hosts as usize) else {
            continue;
        };
        let enough = |one: &&(&Endpoint, u32, f64)| one.1 >= detector.volume;
        let rates: Vec<f64> = seen.iter().filter(enough).map(|one| one.2).collect();
        if rates.is_empty() || rates.len() < detector.min_hosts as usize {
            continue;
        }
        let is_bad = |rate: f64| {
            if by_deviation {
                rate < lowest(&rates, detector.bound)
            } else {
                100.0 - rate >= f64::from(detector.bound)
            }
        };
        for (endpoint, _, rate) in seen.iter().filter(enough) {
            if is_bad(*rate) && fastrand::u32(..100) < detector.enforcing {
                eject(cluster, detection, endpoint, now);
            }
        }
    }
}

/// The mean of the rates less the standard deviation times `factor` thousandths.
fn lowest(rates: &[f64], factor: u32) -> f64 {
    let count = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / count;
    let squares = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
    mean - (squares / count).sqrt() * f64::from(factor) / 1000.0
}

fn reset(counter: &std::sync::atomic::AtomicU32) {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
}

fn bump(counter: &std::sync::atomic::AtomicU32) -> u32 {
    counter.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}

fn eject(cluster: &Cluster, detection: &OutlierDetection, endpoint: &Endpoint, now: u64) {
    let state = &endpoint.ejection;
    let before = state.until.load(Ordering::Relaxed);
    if before > now || !room(cluster, detection, now) {
        return;
    }
    let count = quiet(detection, state.count.load(Ordering::Relaxed), before, now) + 1;
    let base = millis(detection.base_ejection_time);
    let time = base
        .saturating_mul(u64::from(count))
        .min(millis(detection.max_ejection_time).max(base));
    let until = now.saturating_add(time.max(1));
    if state
        .until
        .compare_exchange(before, until, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
    {
        state.count.store(count, Ordering::Relaxed);
        state.consecutive_5xx.store(0, Ordering::Relaxed);
        state.consecutive_gateway.store(0, Ordering::Relaxed);
        state.consecutive_local.store(0, Ordering::Relaxed);
        if !cluster.lb.is_hashed() {
            crate::plan::prepare(cluster, now);
        }
    }
}

/// Ejections so far, less one for each interval passed since the last one ended.
fn quiet(detection: &OutlierDetection, count: u32, until: u64, now: u64) -> u32 {
    let passed = now
        .saturating_sub(until)
        .checked_div(millis(detection.interval))
        .unwrap_or_default();
    count.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX))
}

/// Whether one more endpoint may go without passing the limit.
fn room(cluster: &Cluster, detection: &OutlierDetection, now: u64) -> bool {
    let Some(slot) = cluster.endpoints() else {
        return false;
    };
    let set = slot.load();
    let Some(set) = set.as_deref() else {
        return false;
    };
    let (mut out, mut all) = (1u64, 0u64);
    for endpoint in set.iter() {
        all += 1;
        out += u64::from(endpoint.ejection.is_out(now));
    }
    (detection.always_eject_one && out == 1)
        || out * 100 <= all * u64::from(detection.max_ejection_percent)
}
