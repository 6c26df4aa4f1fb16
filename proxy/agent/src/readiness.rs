//! When the proxy counts as ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use lateen_proxy_state::{ResourceKind, State};
use lateen_proxy_telemetry::{Gauge, Stats};

/// Ready once clusters and listeners were applied at least once (from the control plane or from the copy on disk) and the
/// workers listen. It stays so: a later rejection leaves the last good configuration in place.
#[derive(Debug)]
pub struct Readiness {
    state: Arc<State>,
    workers_started: Gauge,
    latched: AtomicBool,
    failed: AtomicBool,
}

impl Readiness {
    /// Watches the state, and the gauge `listener_manager.workers_started` which the workers raise.
    #[must_use]
    pub fn new(state: Arc<State>, stats: &Stats) -> Arc<Self> {
        Arc::new(Self {
            state,
            workers_started: stats.gauge("listener_manager.workers_started"),
            latched: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        })
    }

    /// What is watched.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Not ready from now on, whatever else holds (`healthcheck/fail`, or the pod's end); `false` undoes it.
    pub fn fail(&self, fail: bool) {
        self.failed.store(fail, Relaxed);
        let checks = self.state.readiness().failing();
        checks.store(fail, Relaxed);
    }

    /// `Err` says in a sentence what is missing.
    ///
    /// # Errors
    /// While the proxy is not ready.
    pub fn check(&self) -> Result<(), String> {
        if self.failed.load(Relaxed) {
            return Err("health check is set to fail".to_owned());
        }
        if self.latched.load(Relaxed) {
            return Ok(());
        }
        let facts = self.state.readiness().facts();
        if !(facts.clusters && facts.listeners) {
            return Err(self.not_configured());
        }
        if self.workers_started.value() == 0 {
            return Err("workers have not yet started".to_owned());
        }
        self.latched.store(true, Relaxed);
        Ok(())
    }

    fn not_configured(&self) -> String {
        let cds = self.state.readiness().counts(ResourceKind::Cluster);
        let lds = self.state.readiness().counts(ResourceKind::Listener);
        let what = if cds.rejected > 0 || lds.rejected > 0 {
            "config received from XDS server, but was rejected"
        } else if cds.success == 0 && lds.success == 0 {
            "config not received from XDS server (is Istiod running?)"
        } else {
            "config not fully received from XDS server"
        };
        format!(
            "{what}: cds updates: {} successful, {} rejected; lds updates: {} successful, {} rejected",
            cds.success, cds.rejected, lds.success, lds.rejected
        )
    }
}

#[cfg(test)]
mod tests {
    use lateen_proxy_state::{ResourceKind, State};
    use lateen_proxy_telemetry::Stats;

    use super::Readiness;

    #[test]
    fn ready_needs_both_types_and_workers_and_stays() {
        let (state, stats) = (State::new(), Stats::default());
        let readiness = Readiness::new(state.clone(), &stats);
        assert!(
            readiness
                .check()
                .expect_err("nothing yet")
                .contains("not received")
        );
        state.readiness().applied(ResourceKind::Cluster);
        state.readiness().count(ResourceKind::Cluster, true);
        assert!(
            readiness
                .check()
                .expect_err("no listeners")
                .contains("not fully received")
        );
        state.readiness().count(ResourceKind::Listener, false);
        assert!(
            readiness
                .check()
                .expect_err("rejected")
                .contains("lds updates: 0 successful, 1 rejected")
        );
        state.readiness().applied(ResourceKind::Listener);
        assert!(
            readiness
                .check()
                .expect_err("no workers")
                .contains("workers")
        );
        stats.gauge("listener_manager.workers_started").set(2);
        assert_eq!(readiness.check(), Ok(()));
        stats.gauge("listener_manager.workers_started").set(0);
        assert_eq!(readiness.check(), Ok(()));
        readiness.fail(true);
        assert!(readiness.check().is_err());
    }
}
