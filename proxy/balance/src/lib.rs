//! Cluster to endpoint: policies, health, priority and passive health checks.
//!
//! [`Balancer`] is one worker's state: cursors, draws and the endpoints of clusters that follow the original
//! destination. What workers must agree on (requests under way, ejections) are atomics on the endpoints. Shares of
//! priorities, localities and endpoints are worked out when they change, by [`Keeper`], and kept at the cluster.

mod eject;
mod keeper;
mod pick;
mod plan;
mod table;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use lateen_proxy_model::{
    Balance, Choice, Cluster, ClusterKind, ClusterRef, Endpoint, EndpointMetadata, Health,
    LbPolicy, Outcome, Plan,
};

pub use keeper::Keeper;

/// Destinations remembered by one worker; beyond that the memory starts anew.
const ORIGINAL_DESTINATIONS: usize = 4096;

/// Milliseconds of a steady clock.
pub type Clock = Box<dyn Fn() -> u64>;

/// One worker's balancer.
pub struct Balancer {
    state: RefCell<State>,
    clock: Clock,
}

struct State {
    random: fastrand::Rng,
    cursors: HashMap<u64, u64, RandomState>,
    originals: HashMap<(u64, SocketAddr), Arc<Endpoint>, RandomState>,
}

impl Balancer {
    /// A balancer whose draws follow from `seed` and whose time is `clock`, in milliseconds.
    pub fn new(seed: u64, clock: Clock) -> Self {
        Self {
            state: RefCell::new(State {
                random: fastrand::Rng::with_seed(seed),
                cursors: HashMap::default(),
                originals: HashMap::default(),
            }),
            clock,
        }
    }

    /// A balancer with draws of its own and the process's clock. `origin` must be the same for all workers.
    pub fn system(origin: Instant) -> Self {
        Self::new(
            fastrand::u64(..),
            Box::new(move || u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Balance for Balancer {
    fn choose(
        &self,
        slot: &ClusterRef,
        cluster: &Cluster,
        choice: &Choice<'_>,
    ) -> Option<Arc<Endpoint>> {
        let mut state = self.state.borrow_mut();
        if let ClusterKind::OriginalDst { port_override } = &cluster.kind {
            let mut address = choice.original_dst?;
            if let Some(port) = port_override {
                address.set_port(*port);
            }
            return Some(state.original(slot.id(), address));
        }
        let known = cluster.plan.load();
        let made;
        let plan: &Plan = match known.as_deref() {
            Some(plan) => plan,
            // Only before anybody prepared the cluster: `state` does so before it stores one.
            None => {
                made = plan::prepare(cluster, (self.clock)());
                &made
            }
        };
        let mut last = None;
        let hash = choice.hash.filter(|_| cluster.lb.is_hashed());
        let drawn = hash.unwrap_or_else(|| state.random.u64(..));
        for attempt in 0..=choice.selection_attempts {
            let endpoint = self.pick((slot, cluster), plan, (drawn, attempt), &mut state)?;
            if !choice.tried.contains(&endpoint.id) {
                return Some(Arc::clone(endpoint));
            }
            last = Some(endpoint);
        }
        last.cloned()
    }

    fn report(&self, cluster: &Cluster, endpoint: &Endpoint, outcome: Outcome) {
        if let Some(detection) = &cluster.outlier {
            eject::report(cluster, detection, endpoint, outcome, (self.clock)());
        }
    }
}

impl Balancer {
    fn pick<'p>(
        &self,
        (slot, cluster): (&ClusterRef, &Cluster),
        plan: &'p Plan,
        (drawn, attempt): (u64, u32),
        state: &mut State,
    ) -> Option<&'p Arc<Endpoint>> {
        // A hash decides the priority too; other policies draw it for each attempt.
        let hashed = cluster.lb.is_hashed();
        let draw = if hashed || attempt == 0 {
            drawn
        } else {
            state.random.u64(..)
        };
        let (level, healthy) = pick::level(plan, draw)?;
        if level.panics && cluster.balancing.fail_on_panic {
            return None;
        }
        if hashed {
            return table::pick(level.table.as_ref()?, drawn, attempt);
        }
        let pool = if healthy || level.panics {
            &level.healthy
        } else {
            &level.degraded
        };
        let random = &mut state.random;
        let part = pick::part(pool, random)?;
        let mut unused = 0;
        let cursor = match cluster.lb {
            LbPolicy::RoundRobin => {
                let place = state.cursors.entry(slot.id());
                place.or_insert_with(|| random.u64(..))
            }
            _ => &mut unused,
        };
        let warming = cluster.balancing.slow_start.as_ref();
        let warming = warming.map(|slow| (slow, (self.clock)()));
        let warming = warming.filter(|(_, now)| plan.warm > *now);
        pick::pick(
            (cluster.lb, &cluster.balancing),
            part,
            warming,
            cursor,
            random,
        )
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl State {
    fn original(&mut self, cluster: u64, address: SocketAddr) -> Arc<Endpoint> {
        if let Some(known) = self.originals.get(&(cluster, address)) {
            return Arc::clone(known);
        }
        if self.originals.len() >= ORIGINAL_DESTINATIONS {
            self.originals.clear();
        }
        let made = Arc::new(Endpoint::new(
            address,
            1,
            Health::Healthy,
            EndpointMetadata::default(),
        ));
        self.originals.insert((cluster, address), Arc::clone(&made));
        made
    }
}

#[cfg(test)]
mod tests;
