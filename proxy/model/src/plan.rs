//! How requests are shared out among a cluster's endpoints, compiled.
//!
//! A [`Plan`] is made whenever endpoints, their health or the cluster's settings change, so that choosing an endpoint
//! computes shares of nothing and allocates nothing.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};

use crate::cluster::Cluster;
use crate::endpoint::Endpoint;

/// Settings of balancing beside the policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Balancing {
    /// Localities get traffic by their weights.
    pub locality_weighted: bool,
    /// Requests fail in panic, in place of going to any endpoint.
    pub fail_on_panic: bool,
    /// How strongly requests under way count against an endpoint where weights differ; 0 not at all.
    pub active_request_bias: f64,
    /// Least request looks at all endpoints.
    pub full_scan: bool,
    /// New endpoints get less at first.
    pub slow_start: Option<SlowStart>,
    /// Hash tables are made of host names in place of addresses.
    pub hash_hostnames: bool,
}

impl Default for Balancing {
    fn default() -> Self {
        Self {
            locality_weighted: false,
            fail_on_panic: false,
            active_request_bias: 1.0,
            full_scan: false,
            slow_start: None,
            hash_hostnames: false,
        }
    }
}

/// Weights of new endpoints: they grow with `(age ÷ window) ^ (1 ÷ aggression)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// Time until an endpoint has its full weight.
    pub window: Duration,
    /// Above 1 grows faster at first.
    pub aggression: f64,
    /// Least share of its weight, from 0 to 1.
    pub min_weight: f64,
}

/// Makes the plans of clusters whose endpoints or settings changed.
pub trait Prepare: fmt::Debug + Send + Sync {
    /// Makes the plan of `cluster` anew.
    fn prepare(&self, cluster: &Cluster);
}

/// Shares of one moment.
#[derive(Debug)]
pub struct Plan {
    /// By priority.
    pub levels: Box<[PlanLevel]>,
    /// When the first ejection ends that the plan took into account, in milliseconds of the balancer's clock.
    pub expires: u64,
    /// A number that is another one when others are ejected; 0 when nobody is.
    pub ejected: u64,
    /// When the last new endpoint has its full weight, in milliseconds of the balancer's clock; 0 when all have it.
    pub warm: u64,
}

/// Shares of one priority.
#[derive(Debug, Default)]
pub struct PlanLevel {
    /// Percent of requests that healthy endpoints get.
    pub healthy_load: u32,
    /// Percent of requests that degraded endpoints get.
    pub degraded_load: u32,
    /// Too few are healthy: `healthy` and `table` hold all endpoints.
    pub panics: bool,
    /// Healthy endpoints.
    pub healthy: Pool,
    /// Degraded endpoints.
    pub degraded: Pool,
    /// In place of the pools, for policies that hash.
    pub table: Option<HashTable>,
}

/// Endpoints of one state of health, in parts.
#[derive(Debug, Default)]
pub struct Pool {
    /// One part, or a part a locality where localities are weighted.
    pub parts: Box<[Part]>,
    /// Running sums of the parts' weights; empty for a single part.
    pub sums: Box<[u64]>,
}

/// Endpoints among which the policy chooses.
#[derive(Debug, Default)]
pub struct Part {
    /// The endpoints.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// Running sums of their weights; empty when all are equal.
    pub sums: Box<[u64]>,
}

/// Endpoints by hash.
#[derive(Debug)]
pub struct HashTable {
    /// The endpoints.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// Which of them a hash gets.
    pub kind: HashTableKind,
}

/// Forms of a [`HashTable`]; numbers are indices of its endpoints.
#[derive(Debug)]
pub enum HashTableKind {
    /// Ketama: the first point at or after the hash.
    Ring {
        /// Points in ascending order.
        points: Box<[u64]>,
        /// The endpoint of each.
        owners: Box<[u32]>,
    },
    /// Maglev: the entry at the hash modulo the length.
    Maglev(Box<[u32]>),
}

/// Where the newest plan of a cluster is found.
#[derive(Debug, Default)]
pub struct PlanSlot {
    plan: ArcSwapOption<Plan>,
    making: Mutex<()>,
}

impl PlanSlot {
    /// The newest plan; cheap, and held only for a short time.
    pub fn load(&self) -> Guard<Option<Arc<Plan>>> {
        self.plan.load()
    }

    /// Keeps others from making a plan of the same cluster, so that the last one stored knows the newest facts.
    pub fn making(&self) -> MutexGuard<'_, ()> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the plan.
    pub fn store(&self, plan: Arc<Plan>) {
        self.plan.store(Some(plan));
    }
}
