//! Passive health checks: which endpoints are left out, and what was counted.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Passive health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// 5xx answers in a row.
    pub consecutive_5xx: InARow,
    /// 502, 503, 504 or connection failures in a row.
    pub consecutive_gateway: InARow,
    /// Failures without an answer count in a row of their own, and not as gateway errors.
    pub split_local: bool,
    /// Failures without an answer in a row, where they are told apart.
    pub consecutive_local: InARow,
    /// Ejects endpoints whose success rate is far below the mean; `bound` is the distance in thousandths of the standard
    /// deviation.
    pub success_rate: Option<RateDetector>,
    /// Ejects endpoints of whose requests at least `bound` percent fail.
    pub failure_percentage: Option<RateDetector>,
    /// The same for tries that got no answer, where they are told apart.
    pub local_success_rate: Option<RateDetector>,
    /// The same as `failure_percentage` for tries that got no answer, where they are told apart.
    pub local_failure_percentage: Option<RateDetector>,
    /// Time between sweeps.
    pub interval: Duration,
    /// Ejection time of the first ejection; grows with each.
    pub base_ejection_time: Duration,
    /// Longest ejection, unless the base time is longer.
    pub max_ejection_time: Duration,
    /// Most that is added to an ejection.
    pub jitter: Duration,
    /// Most of the cluster's endpoints that may be ejected, in percent.
    pub max_ejection_percent: u32,
    /// One endpoint may be ejected whatever the percentage.
    pub always_eject_one: bool,
    /// A successful active health check ends an ejection.
    pub uneject_by_check: bool,
}

/// A detector of failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InARow {
    /// Failures that eject; 0 turns the detector off.
    pub limit: u32,
    /// Percent of due ejections that are made.
    pub enforcing: u32,
}

/// A detector that looks at the requests of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateDetector {
    /// Endpoints with enough requests that it takes.
    pub min_hosts: u32,
    /// Requests of an endpoint that are enough.
    pub volume: u32,
    /// Where ejection begins.
    pub bound: u32,
    /// Percent of due ejections that are made.
    pub enforcing: u32,
}

/// `cluster.<name>.outlier_detection.*`, by detector.
#[derive(Debug, Default)]
pub struct OutlierStats {
    /// Ejections made, by detector.
    pub enforced: [AtomicU64; Detector::ALL.len()],
    /// Ejections found due, made or not, by detector.
    pub detected: [AtomicU64; Detector::ALL.len()],
    /// Ejections that the limit of ejected endpoints stopped.
    pub overflow: AtomicU64,
}

/// What finds an endpoint failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detector {
    /// 5xx answers in a row.
    Consecutive5xx,
    /// Gateway errors in a row.
    ConsecutiveGateway,
    /// Tries without answer in a row.
    ConsecutiveLocal,
    /// Success rate.
    SuccessRate,
    /// Failure percentage.
    FailurePercentage,
    /// Success rate of tries.
    LocalSuccessRate,
    /// Failure percentage of tries.
    LocalFailurePercentage,
}

impl Detector {
    /// Every detector, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Consecutive5xx,
        Self::ConsecutiveGateway,
        Self::ConsecutiveLocal,
        Self::SuccessRate,
        Self::FailurePercentage,
        Self::LocalSuccessRate,
        Self::LocalFailurePercentage,
    ];

    /// As statistics name it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGateway => "consecutive_gateway_failure",
            Self::ConsecutiveLocal => "consecutive_local_origin_failure",
            Self::SuccessRate => "success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::LocalSuccessRate => "local_origin_success_rate",
            Self::LocalFailurePercentage => "local_origin_failure_percentage",
        }
    }
}
