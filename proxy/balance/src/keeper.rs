//! What is done beside the path of requests: plans after changes, and the ends of ejections.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use lateen_proxy_model::{Cluster, Endpoint, Plan, Prepare};

use crate::{eject, millis, plan, reported, zone};

/// Makes plans, with the clock of the process's balancers.
#[derive(Clone, Copy, Debug)]
pub struct Keeper {
    origin: Instant,
}

impl Keeper {
    /// `origin` must be the one of the balancers.
    pub fn new(origin: Instant) -> Self {
        Self { origin }
    }

    /// Whether a cluster must be looked after: its endpoints may be ejected or weighed, or its callers may change.
    pub fn watches(cluster: &Cluster) -> bool {
        let balancing = &cluster.balancing;
        cluster.outlier.is_some() || balancing.reported.is_some() || balancing.zone.is_some()
    }

    /// Looks after clusters that [`Keeper::watches`]; to be called every second or so.
    pub fn sweep(&self, clusters: &[Arc<Cluster>]) {
        let now = self.now();
        for cluster in clusters {
            sweep(cluster, now);
        }
    }

    fn now(&self) -> u64 {
        millis(self.origin.elapsed())
    }
}

impl Prepare for Keeper {
    fn prepare(&self, cluster: &Cluster) {
        if plan::is_wanted(cluster) {
            plan::prepare(cluster, self.now());
        }
    }

    fn uneject(&self, cluster: &Cluster, endpoint: &Endpoint) {
        let now = self.now();
        if endpoint.is_out(now) {
            endpoint.ejection.until.store(now, Ordering::Relaxed);
            plan::prepare(cluster, now);
        }
    }
}

/// Brings the plan of a cluster up to date with what was ejected and came back.
pub(crate) fn sweep(cluster: &Cluster, now: u64) {
    if let Some(detection) = &cluster.outlier {
        let last = cluster.shared.swept.load(Ordering::Relaxed);
        if now >= last.saturating_add(millis(detection.interval)) {
            cluster.shared.swept.store(now, Ordering::Relaxed);
            eject::rates(cluster, detection, now);
        }
    }
    let reweighed = reported::is_due(cluster, now);
    let known = cluster.plan.load();
    let stale = known
        .as_deref()
        .is_none_or(|plan| is_stale(cluster, plan, now));
    if reweighed || stale {
        plan::prepare(cluster, now);
    }
}

fn is_stale(cluster: &Cluster, plan: &Plan, now: u64) -> bool {
    let set = cluster.endpoints().and_then(|slot| slot.load_full());
    let local = cluster.balancing.zone.as_ref();
    let local = local.and_then(|zone| zone::callers(zone));
    let same = match (&local, &plan.local) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    };
    !same || set.is_some_and(|set| plan::ejections(&set, now) != (plan.expires, plan.ejected))
}
