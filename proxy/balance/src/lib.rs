//! Cluster to endpoint: policies, health, priority and passive health checks.
//!
//! [`Balancer`] is one worker's state: cursors, draws and the endpoints of clusters that follow the original
//! destination. What workers must agree on (requests under way, ejections) are atomics on the endpoints. Shares of
//! priorities, localities and endpoints are worked out when they change, by [`Keeper`], and kept at the cluster.

mod aggregate;
mod bounded;
mod eject;
mod keeper;
mod named;
mod pick;
mod plan;
mod reported;
mod spent;
mod subset;
mod table;
mod zone;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use lateen_proxy_model::{
    Balance, Choice, Cluster, ClusterKind, ClusterRef, Endpoint, EndpointMetadata, Health,
    LbPolicy, LoadReport, Outcome, Plan, PlanLevel, TriedPriorities,
};

pub use keeper::Keeper;
pub use plan::health as endpoint_health;

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
        if let ClusterKind::OriginalDst {
            port_override,
            header,
        } = &cluster.kind
        {
            let mut address = match header {
                Some(name) => named::original(choice.headers?, name)?,
                None => choice.original_dst?,
            };
            if let Some(port) = port_override {
                address.set_port(*port);
            }
            return Some(self.state.borrow_mut().original(slot.id(), address));
        }
        if let ClusterKind::Forward { cache, port } = &cluster.kind {
            return named::looked_up(cache, *port, choice);
        }
        if let ClusterKind::Aggregate { .. } = &cluster.kind {
            return None;
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
        let by_address = || {
            let made = || Box::new(plan::by_address(cluster, (self.clock)()));
            plan.by_address.get_or_init(made)
        };
        if let Some(session) = &choice.session {
            match by_address().get(&session.address) {
                Some(endpoint) => return Some(Arc::clone(endpoint)),
                None if session.strict => return None,
                None => {}
            }
        }
        if let Some(named) = &cluster.balancing.named
            && let Some(endpoint) = named::find(named, by_address(), choice)
        {
            return Some(endpoint);
        }
        let (levels, name) = match &plan.subsets {
            None => (&*plan.levels, 0),
            Some(plans) => subset::find(cluster, plan, plans, choice.subset)?,
        };
        let mut state = self.state.borrow_mut();
        let mut last = None;
        let hash = choice.hash.filter(|_| cluster.lb.is_hashed());
        let drawn = hash.unwrap_or_else(|| state.random.u64(..));
        let of = (cluster, levels, plan.warm, slot.id() ^ name);
        for attempt in 0..=choice.selection_attempts {
            let endpoint = self.pick(of, (drawn, attempt, choice.priorities), &mut state)?;
            let avoided = choice.avoid.iter().any(|labels| labels.all_of(endpoint));
            if !avoided && !choice.tried.contains(&endpoint.id) {
                return Some(Arc::clone(endpoint));
            }
            last = Some(endpoint);
        }
        last.cloned()
    }

    fn member(&self, cluster: &Cluster) -> Option<(ClusterRef, Arc<Cluster>)> {
        let draw = self.state.borrow_mut().random.u32(..100);
        aggregate::member(cluster, draw, (self.clock)())
    }

    fn report(&self, cluster: &Cluster, endpoint: &Endpoint, outcome: Outcome) {
        if let Some(detection) = &cluster.outlier {
            eject::report(cluster, detection, endpoint, outcome, (self.clock)());
        }
    }

    fn failed(&self, cluster: &Cluster) {
        plan::prepare(cluster, (self.clock)());
    }

    fn load(&self, cluster: &Cluster, endpoint: &Endpoint, report: &LoadReport) {
        if let Some(settings) = &cluster.balancing.reported {
            reported::take(settings, endpoint, report, (self.clock)());
        }
    }
}

impl Balancer {
    fn pick<'p>(
        &self,
        (cluster, levels, warm, cursor): (&Cluster, &'p [PlanLevel], u64, u64),
        (drawn, attempt, tried): (u64, u32, Option<&TriedPriorities>),
        state: &mut State,
    ) -> Option<&'p Arc<Endpoint>> {
        // A hash decides the priority too; other policies draw it for each attempt.
        let hashed = cluster.lb.is_hashed();
        let draw = if hashed || attempt == 0 {
            drawn
        } else {
            state.random.u64(..)
        };
        let (level, healthy) = match tried {
            None => pick::level(levels, draw),
            Some(tried) => spent::level(levels, tried, draw),
        }?;
        if level.panics && cluster.balancing.fail_on_panic {
            return None;
        }
        if hashed {
            let table = level.table.as_ref()?;
            return match cluster.balancing.hash_balance {
                Some(factor) => bounded::pick(table, factor, drawn, attempt),
                None => table::pick(table, drawn, attempt),
            };
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
                let place = state.cursors.entry(cursor);
                place.or_insert_with(|| random.u64(..))
            }
            _ => &mut unused,
        };
        let warming = cluster.balancing.slow_start.as_ref();
        let warming = warming.map(|slow| (slow, (self.clock)()));
        let warming = warming.filter(|(_, now)| warm > *now);
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
