//! From single checks to the health of an endpoint: thresholds, and the first check that decides alone.

use lateen_proxy_model::{ActiveHealth, Endpoint, HealthCheck};

/// What one check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is well.
    Well {
        /// And says that it is degraded.
        degraded: bool,
    },
    /// It answers otherwise than it should.
    Refused {
        /// Such an answer counts towards the threshold only.
        retriable: bool,
        /// It asks not to be used at once.
        excluded: bool,
    },
    /// It is another service.
    WrongService,
    /// There is no connection, or it broke.
    Network,
    /// No answer in time.
    TimedOut,
}

/// What follows from a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The check succeeded.
    pub(super) well: bool,
    /// Health changed, or would after more checks like this one.
    pub(super) edge: bool,
    /// Health changed.
    pub(super) changed: bool,
    /// It was the first check.
    pub(super) first: bool,
    /// The endpoint became degraded, or is no more.
    pub(super) degraded: Option<bool>,
    /// As event logs name the failure.
    pub(super) failure: &'static str,
    /// The endpoint is out, or is no more.
    pub(super) turned: Option<bool>,
}

/// Checks in a row of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Judge {
    well: u32,
    sick: u32,
    later: bool,
}

impl Judge {
    pub(super) fn take(
        &mut self,
        check: &HealthCheck,
        endpoint: &Endpoint,
        finding: Finding,
    ) -> Verdict {
        let first = !std::mem::replace(&mut self.later, true);
        let mut verdict = match finding {
            Finding::Well { degraded } => self.succeed(check, endpoint, degraded, first),
            other => self.fail(check, endpoint, other),
        };
        verdict.first = first;
        verdict.changed |= endpoint.found.clear(ActiveHealth::PENDING);
        verdict
    }

    fn succeed(
        &mut self,
        check: &HealthCheck,
        endpoint: &Endpoint,
        degraded: bool,
        first: bool,
    ) -> Verdict {
        let found = &endpoint.found;
        let mut verdict = Verdict {
            well: true,
            ..Verdict::default()
        };
        self.sick = 0;
        if found.has(ActiveHealth::FAILED) {
            self.well = self.well.saturating_add(1);
            verdict.edge = true;
            if first || self.well >= check.healthy_threshold {
                let all = ActiveHealth::FAILED | ActiveHealth::EXCLUDED | ActiveHealth::TIMED_OUT;
                verdict.changed = found.clear(all);
                verdict.turned = Some(false);
            }
        }
        let changed = match degraded {
            true => found.set(ActiveHealth::DEGRADED),
            false => found.clear(ActiveHealth::DEGRADED),
        };
        if changed {
            verdict.changed = true;
            verdict.edge = true;
            verdict.degraded = Some(degraded);
        }
        verdict
    }

    fn fail(&mut self, check: &HealthCheck, endpoint: &Endpoint, finding: Finding) -> Verdict {
        let found = &endpoint.found;
        let (at_once, failure) = match finding {
            Finding::Refused { retriable, .. } => (!retriable, "ACTIVE"),
            Finding::TimedOut => (false, "NETWORK_TIMEOUT"),
            Finding::Network => (false, "NETWORK"),
            Finding::WrongService | Finding::Well { .. } => (true, "ACTIVE"),
        };
        let mut verdict = Verdict {
            failure,
            ..Verdict::default()
        };
        self.well = 0;
        if !found.has(ActiveHealth::FAILED) {
            self.sick = self.sick.saturating_add(1);
            verdict.edge = true;
            if at_once || self.sick >= check.unhealthy_threshold {
                verdict.changed = found.set(ActiveHealth::FAILED);
                verdict.turned = Some(true);
            }
        }
        if let Finding::Refused { excluded: true, .. } = finding {
            verdict.changed |= found.set(ActiveHealth::EXCLUDED);
        }
        match finding {
            Finding::TimedOut => found.set(ActiveHealth::TIMED_OUT),
            _ => found.clear(ActiveHealth::TIMED_OUT),
        };
        verdict
    }
}
