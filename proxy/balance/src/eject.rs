//! Passive health checks: endpoints that fail in a row are left out for a while.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use lateen_proxy_model::{
    Cluster, Detector, Endpoint, InARow, Outcome, OutlierDetection, RateDetector,
};

use crate::millis;

/// Counts the end of a request, and ejects the endpoint when a detector's limit is reached.
pub(crate) fn report(
    cluster: &Cluster,
    detection: &OutlierDetection,
    endpoint: &Endpoint,
    outcome: Outcome,
    now: u64,
) {
    count(detection, endpoint, outcome);
    if outcome == Outcome::Success && endpoint.ejection.made().is_none() {
        return;
    }
    let state = &*endpoint.ejection;
    let due = |detector, counter: &AtomicU32, of: InARow| {
        // The count goes on with every failure, but only its limit is an event.
        if bump(counter) == of.limit && of.limit > 0 {
            counter.store(0, Ordering::Relaxed);
            found(
                (cluster, detection),
                endpoint,
                (detector, of.enforcing),
                now,
            );
        }
    };
    match outcome {
        Outcome::Success => {
            // A plain load first: a store on every request would move the cache line between workers.
            reset(&state.consecutive_5xx);
            reset(&state.consecutive_gateway);
            reset(&state.consecutive_local);
        }
        Outcome::LocalFailure if detection.split_local => due(
            Detector::ConsecutiveLocal,
            &state.consecutive_local,
            detection.consecutive_local,
        ),
        Outcome::ServerError => {
            reset(&state.consecutive_gateway);
            reset(&state.consecutive_local);
            due(
                Detector::Consecutive5xx,
                &state.consecutive_5xx,
                detection.consecutive_5xx,
            );
        }
        Outcome::GatewayError | Outcome::LocalFailure => {
            reset(&state.consecutive_local);
            due(
                Detector::ConsecutiveGateway,
                &state.consecutive_gateway,
                detection.consecutive_gateway,
            );
            due(
                Detector::Consecutive5xx,
                &state.consecutive_5xx,
                detection.consecutive_5xx,
            );
        }
    }
}

/// One failed try in [`lateen_proxy_model::Ejection::local`], whose lower half counts all tries.
const FAILED_TRY: u64 = 1 << 32;

/// For the detectors that look at rates. Failures without an answer have rates of their own where they are told apart.
fn count(detection: &OutlierDetection, endpoint: &Endpoint, outcome: Outcome) {
    let state = &endpoint.ejection;
    let failed = outcome == Outcome::LocalFailure;
    if detection.local_success_rate.is_some() || detection.local_failure_percentage.is_some() {
        let entry = if failed { FAILED_TRY + 1 } else { 1 };
        state.local.fetch_add(entry, Ordering::Relaxed);
    }
    let by_rate = detection.success_rate.is_some() || detection.failure_percentage.is_some();
    if !by_rate || (failed && detection.split_local) {
        return;
    }
    state.requests.fetch_add(1, Ordering::Relaxed);
    if outcome != Outcome::Success {
        state.failures.fetch_add(1, Ordering::Relaxed);
    }
}

/// An endpoint's requests of one interval: how many, and which percentage succeeded.
type Seen<'a> = (&'a Endpoint, u32, f64);

/// Looks at the rates of the interval that ends, and starts the next one.
pub(crate) fn rates(cluster: &Cluster, detection: &OutlierDetection, now: u64) {
    let set = cluster.endpoints().and_then(|slot| slot.load_full());
    let Some(set) = set else {
        return;
    };
    let rate = |all: u32, failed: u32| {
        let failed = failed.min(all);
        100.0 * f64::from(all - failed) / f64::from(all.max(1))
    };
    let (mut answers, mut tries): (Vec<Seen<'_>>, Vec<Seen<'_>>) = (Vec::new(), Vec::new());
    for endpoint in set.iter() {
        let Some(state) = endpoint.ejection.made() else {
            answers.push((endpoint, 0, 100.0));
            tries.push((endpoint, 0, 100.0));
            continue;
        };
        let requests = state.requests.swap(0, Ordering::Relaxed);
        let failures = state.failures.swap(0, Ordering::Relaxed);
        let local = state.local.swap(0, Ordering::Relaxed);
        if endpoint.is_out(now) {
            continue;
        }
        answers.push((endpoint, requests, rate(requests, failures)));
        let all = u32::try_from(local % FAILED_TRY).unwrap_or(u32::MAX);
        let failed = u32::try_from(local / FAILED_TRY).unwrap_or(u32::MAX);
        tries.push((endpoint, all, rate(all, failed)));
    }
    let all = set.len();
    let look = |seen: &[Seen<'_>], detector, of: Option<RateDetector>| {
        if let Some(of) = of.filter(|one| all >= one.min_hosts as usize) {
            by_rates((cluster, detection), seen, (detector, of), now);
        }
    };
    look(&answers, Detector::SuccessRate, detection.success_rate);
    let failure = detection.failure_percentage;
    look(&answers, Detector::FailurePercentage, failure);
    let local = detection.local_success_rate;
    look(&tries, Detector::LocalSuccessRate, local);
    let local = detection.local_failure_percentage;
    look(&tries, Detector::LocalFailurePercentage, local);
}

fn by_rates(
    of: (&Cluster, &OutlierDetection),
    seen: &[Seen<'_>],
    (detector, settings): (Detector, RateDetector),
    now: u64,
) {
    let enough = |one: &&Seen<'_>| one.1 >= settings.volume;
    let rates: Vec<f64> = seen.iter().filter(enough).map(|one| one.2).collect();
    if rates.is_empty() || rates.len() < settings.min_hosts as usize {
        return;
    }
    let by_deviation = matches!(detector, Detector::SuccessRate | Detector::LocalSuccessRate);
    let least = lowest(&rates, settings.bound);
    for (endpoint, _, rate) in seen.iter().filter(enough) {
        let bad = if by_deviation {
            *rate < least
        } else {
            100.0 - rate >= f64::from(settings.bound)
        };
        if bad {
            found(of, endpoint, (detector, settings.enforcing), now);
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

fn reset(counter: &AtomicU32) {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
}

fn bump(counter: &AtomicU32) -> u32 {
    counter.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}

/// An endpoint is found failing: it is ejected, unless it is out already, chance spares it or too many are out.
fn found(
    (cluster, detection): (&Cluster, &OutlierDetection),
    endpoint: &Endpoint,
    (detector, enforcing): (Detector, u32),
    now: u64,
) {
    let state = &endpoint.ejection;
    let before = state.until.load(Ordering::Relaxed);
    if before > now {
        return;
    }
    let stats = cluster.shared.outlier();
    let bump = |counters: &[AtomicU64]| {
        if let Some(counter) = counters.get(detector as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    bump(&stats.detected);
    if !room(cluster, detection, now) {
        stats.overflow.fetch_add(1, Ordering::Relaxed);
        return;
    }
    if fastrand::u32(..100) >= enforcing {
        return;
    }
    if eject(detection, endpoint, before, now) {
        bump(&stats.enforced);
        if !cluster.lb.is_hashed() {
            crate::plan::prepare(cluster, now);
        }
    }
}

fn eject(detection: &OutlierDetection, endpoint: &Endpoint, before: u64, now: u64) -> bool {
    let state = &endpoint.ejection;
    let count = quiet(detection, state.count.load(Ordering::Relaxed), before, now) + 1;
    let base = millis(detection.base_ejection_time);
    let jitter = match millis(detection.jitter) {
        0 => 0,
        most => fastrand::u64(..=most),
    };
    let time = base
        .saturating_mul(u64::from(count))
        .min(millis(detection.max_ejection_time).max(base));
    let until = now.saturating_add(time.max(1)).saturating_add(jitter);
    let change = state
        .until
        .compare_exchange(before, until, Ordering::Relaxed, Ordering::Relaxed);
    if change.is_ok() {
        state.count.store(count, Ordering::Relaxed);
        state.consecutive_5xx.store(0, Ordering::Relaxed);
        state.consecutive_gateway.store(0, Ordering::Relaxed);
        state.consecutive_local.store(0, Ordering::Relaxed);
    }
    change.is_ok()
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
        out += u64::from(endpoint.is_out(now));
    }
    (detection.always_eject_one && out == 1)
        || out * 100 <= all * u64::from(detection.max_ejection_percent)
}
