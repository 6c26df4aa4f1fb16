//! Cluster to endpoint: policies, health, priority and passive health checks.
//!
//! [`Balancer`] is one worker's state: cursors, draws and the endpoints of clusters that follow the original
//! destination. What workers must agree on (requests under way, ejections) are atomics on the endpoints.

mod eject;
mod level;
mod pick;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ahash::RandomState;
use lateen_proxy_model::{
    Balance, Choice, Cluster, ClusterKind, ClusterRef, Endpoint, EndpointMetadata, EndpointSet,
    Health, LbPolicy, Outcome,
};

use pick::Candidates;

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
        let endpoints = cluster.endpoints()?.load();
        let set: &EndpointSet = endpoints.as_deref()?;
        let now = cluster.outlier.map(|_| (self.clock)());
        let candidates = level::candidates(set, cluster, now, &mut state.random)?;
        let mut last = None;
        for _ in 0..=choice.selection_attempts {
            let endpoint = state.pick(slot.id(), cluster, &candidates)?;
            if !choice.tried.contains(&endpoint.id) {
                return Some(endpoint);
            }
            last = Some(endpoint);
        }
        last
    }

    fn report(&self, cluster: &Cluster, endpoint: &Endpoint, outcome: Outcome) {
        if let Some(detection) = &cluster.outlier {
            eject::report(cluster, detection, endpoint, outcome, (self.clock)());
        }
    }
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

    fn pick(
        &mut self,
        slot: u64,
        cluster: &Cluster,
        candidates: &Candidates<'_>,
    ) -> Option<Arc<Endpoint>> {
        let random = &mut self.random;
        let mut unused = 0;
        let cursor = match cluster.lb {
            LbPolicy::RoundRobin => self.cursors.entry(slot).or_insert_with(|| random.u64(..)),
            _ => &mut unused,
        };
        pick::pick(cluster.lb, candidates, cursor, random).cloned()
    }
}

#[cfg(test)]
mod tests;
