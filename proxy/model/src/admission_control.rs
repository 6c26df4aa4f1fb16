//! Admission control: requests are refused with a probability that grows as the upstream's answers get worse.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time that one sample stands for.
const GRAIN: Duration = Duration::from_secs(1);

/// The filter.
#[derive(Clone, Debug, PartialEq)]
pub struct AdmissionControl {
    /// It is on.
    pub enabled: bool,
    /// How far back answers count.
    pub window: Duration,
    /// How fast the probability grows; one is linear.
    pub aggression: f64,
    /// Share of successes below which requests are refused, up to one.
    pub success_threshold: f64,
    /// Requests a second below which none is refused.
    pub rps_threshold: u32,
    /// The largest probability of a refusal, up to one.
    pub max_rejection: f64,
    /// Statuses that are successes: from the first to below the second.
    pub http: Vec<(u16, u16)>,
    /// gRPC statuses that are successes, a bit each.
    pub grpc: u32,
}

/// What one worker has seen of late.
#[derive(Debug, Default)]
pub struct AdmissionWindow {
    samples: VecDeque<Sample>,
    total: AdmissionCounts,
}

/// Requests and how many of them went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionCounts {
    /// All.
    pub requests: u64,
    /// Successes.
    pub successes: u64,
}

#[derive(Debug)]
struct Sample {
    begun: Instant,
    counts: AdmissionCounts,
}

impl AdmissionControl {
    /// gRPC statuses that are successes where nothing is said: those that are the caller's own doing.
    pub const GRPC_SUCCESSES: u32 = 0b1_0001_1010_1110_1111;

    /// Whether an HTTP status is a success.
    pub fn http_succeeds(&self, status: u16) -> bool {
        let mut ranges = self.http.iter();
        ranges.any(|(start, end)| (*start..*end).contains(&status))
    }

    /// Whether a gRPC status is a success.
    pub fn grpc_succeeds(&self, code: u32) -> bool {
        code < 32 && self.grpc & (1 << code) != 0
    }
}

impl AdmissionWindow {
    /// Notes how a request ended.
    pub fn record(&mut self, window: Duration, now: Instant, success: bool) {
        self.slide(window, now);
        let Some(newest) = self.samples.back_mut() else {
            return;
        };
        let successes = u64::from(success);
        for counts in [&mut newest.counts, &mut self.total] {
            counts.requests += 1;
            counts.successes += successes;
        }
    }

    /// What the window holds.
    pub fn counts(&mut self, window: Duration, now: Instant) -> AdmissionCounts {
        self.slide(window, now);
        self.total
    }

    /// Requests a second.
    pub fn average_rps(&self, now: Instant) -> u64 {
        let Some(oldest) = self.samples.front() else {
            return 0;
        };
        let seconds = now.saturating_duration_since(oldest.begun).as_secs();
        self.total.requests / seconds.max(1)
    }

    fn slide(&mut self, window: Duration, now: Instant) {
        let age = |sample: &Sample| now.saturating_duration_since(sample.begun);
        while let Some(oldest) = self.samples.pop_front_if(|oldest| age(oldest) >= window) {
            self.total.requests -= oldest.counts.requests;
            self.total.successes -= oldest.counts.successes;
        }
        if self
            .samples
            .back()
            .is_none_or(|newest| age(newest) >= GRAIN)
        {
            self.samples.push_back(Sample {
                begun: now,
                counts: AdmissionCounts::default(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_forgotten() {
        let window = Duration::from_secs(3);
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut seen = AdmissionWindow::default();
        assert_eq!(seen.average_rps(begun), 0);
        for second in 0..3 {
            seen.record(window, at(second), second == 0);
            seen.record(window, at(second), false);
        }
        let all = AdmissionCounts {
            requests: 6,
            successes: 1,
        };
        assert_eq!(seen.counts(window, at(2)), all);
        assert_eq!(seen.average_rps(at(2)), 3);
        let later = AdmissionCounts {
            requests: 4,
            successes: 0,
        };
        assert_eq!(seen.counts(window, at(3)), later);
        assert_eq!(seen.counts(window, at(30)), AdmissionCounts::default());
    }

    #[test]
    fn the_callers_own_mistakes_are_no_failures() {
        let filter = AdmissionControl {
            enabled: true,
            window: GRAIN,
            aggression: 1.0,
            success_threshold: 0.95,
            rps_threshold: 0,
            max_rejection: 0.8,
            http: vec![(100, 400), (404, 405)],
            grpc: AdmissionControl::GRPC_SUCCESSES,
        };
        let failures = (0..17).filter(|code| !filter.grpc_succeeds(*code));
        assert_eq!(failures.collect::<Vec<_>>(), [4, 8, 10, 13, 14, 15]);
        assert!(!filter.grpc_succeeds(40));
        assert!(filter.http_succeeds(404) && filter.http_succeeds(399));
        assert!(!filter.http_succeeds(400) && !filter.http_succeeds(405));
    }
}
