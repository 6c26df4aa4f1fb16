//! Admission control: how likely a refusal is.

use lateen_proxy_model::{AdmissionControl, AdmissionCounts};

/// The probability is drawn to this many places.
const ACCURACY: f64 = 10_000.0;

/// Whether a request is refused, after what was seen of late. `random` is even over all numbers.
pub fn is_refused(filter: &AdmissionControl, seen: AdmissionCounts, random: u64) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "below ten thousand")]
    let draw = (random % 10_000) as f64;
    ACCURACY * probability(filter, seen) > draw
}

fn probability(filter: &AdmissionControl, seen: AdmissionCounts) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a probability")]
    let (requests, successes) = (seen.requests as f64, seen.successes as f64);
    let excess = (requests - successes / filter.success_threshold).max(0.0);
    let share = (excess / (requests + 1.0)).powf(1.0 / filter.aggression);
    share.min(filter.max_rejection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn refusals_grow_with_failures() {
        let mut filter = AdmissionControl {
            enabled: true,
            window: Duration::from_secs(30),
            aggression: 1.0,
            success_threshold: 0.5,
            rps_threshold: 0,
            max_rejection: 0.8,
            http: Vec::new(),
            grpc: 0,
        };
        let seen = |requests, successes| AdmissionCounts {
            requests,
            successes,
        };
        assert!(!is_refused(&filter, seen(0, 0), 0));
        assert!(!is_refused(&filter, seen(100, 50), 0));
        assert!((probability(&filter, seen(99, 25)) - 0.49).abs() < 1e-9);
        assert!(is_refused(&filter, seen(99, 25), 4_899));
        assert!(!is_refused(&filter, seen(99, 25), 4_900));
        assert!((probability(&filter, seen(999, 0)) - 0.8).abs() < 1e-9);
        filter.aggression = 2.0;
        assert!((probability(&filter, seen(99, 25)) - 0.7).abs() < 1e-9);
    }
}
