//! How requests are shared out among a cluster's endpoints, compiled.
//!
//! A [`Plan`] is made whenever endpoints, their health or the cluster's settings change, so that choosing an endpoint
//! computes shares of nothing and allocates nothing.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};

use crate::cluster::{Cluster, ClusterRef};
use crate::endpoint::{Endpoint, EndpointSet, Locality};
use crate::subset::SubsetCriteria;

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
    /// Requests under way that a hashed endpoint may have, in percent of the mean of all.
    pub hash_balance: Option<u32>,
    /// Endpoints that were never checked do not count for panic.
    pub ignore_unchecked: bool,
    /// Requests stay in their zone as far as it can take them.
    pub zone: Option<Arc<ZoneAware>>,
    /// Weights follow the load that endpoints report.
    pub reported: Option<Arc<ReportedWeights>>,
    /// The request may name the endpoint.
    pub named: Option<Arc<NamedEndpoint>>,
}

/// Zone-aware routing.
#[derive(Clone, Debug)]
pub struct ZoneAware {
    /// Where this proxy runs.
    pub locality: Locality,
    /// The cluster of proxies like this one, which says how many callers each zone has.
    pub local: ClusterRef,
    /// Percent of requests it applies to.
    pub enabled: f64,
    /// Healthy endpoints that are needed.
    pub min_cluster_size: u64,
    /// All requests stay in the zone when it has this many healthy endpoints.
    pub force_local_min: Option<u32>,
    /// Zones count by the weights of their endpoints.
    pub by_weight: bool,
}

impl PartialEq for ZoneAware {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.local, &other.local)
            && self.locality == other.locality
            && self.enabled == other.enabled
            && self.min_cluster_size == other.min_cluster_size
            && self.force_local_min == other.force_local_min
            && self.by_weight == other.by_weight
    }
}

/// Weights from load reports (ORCA).
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedWeights {
    /// An endpoint's reports count after this time.
    pub blackout: Duration,
    /// Reports that are older do not count.
    pub expiration: Duration,
    /// Time between updates of weights.
    pub update: Duration,
    /// How much errors weigh.
    pub error_penalty: f64,
    /// Metrics that are used as utilisation when there is no application utilisation; the largest counts.
    pub metrics: Box<[Box<str>]>,
}

/// The endpoint that a request names.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedEndpoint {
    /// Headers that may hold `address:port`, several by comma; the first that is there counts.
    pub headers: Box<[http::HeaderName]>,
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
            hash_balance: None,
            ignore_unchecked: false,
            zone: None,
            reported: None,
            named: None,
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

    /// Ends an ejection, if there is one, as the endpoint was found well otherwise.
    fn uneject(&self, _cluster: &Cluster, _endpoint: &Endpoint) {}
}

/// Shares of one moment.
#[derive(Debug, Default)]
pub struct Plan {
    /// By priority.
    pub levels: Box<[PlanLevel]>,
    /// When the first ejection ends that the plan took into account, in milliseconds of the balancer's clock.
    pub expires: u64,
    /// A number that is another one when others are ejected; 0 when nobody is.
    pub ejected: u64,
    /// When the last new endpoint has its full weight, in milliseconds of the balancer's clock; 0 when all have it.
    pub warm: u64,
    /// Shares within subsets, where there are any.
    pub subsets: Option<Box<SubsetPlans>>,
    /// The callers by zone that were taken into account.
    pub local: Option<Arc<EndpointSet>>,
    /// Endpoints by address, made when the first request names one.
    pub by_address: OnceLock<Box<HashMap<std::net::SocketAddr, Arc<Endpoint>>>>,
}

/// Shares within subsets.
#[derive(Debug, Default)]
pub struct SubsetPlans {
    /// By hash of the criteria.
    pub by_hash: HashMap<u64, Vec<SubsetPlan>>,
    /// The default subset.
    pub default: Option<Box<[PlanLevel]>>,
}

/// Shares within one subset.
#[derive(Debug)]
pub struct SubsetPlan {
    /// What names it.
    pub criteria: SubsetCriteria,
    /// By priority.
    pub levels: Box<[PlanLevel]>,
}

impl SubsetPlans {
    /// The subset of these criteria.
    pub fn find(&self, criteria: &SubsetCriteria) -> Option<&[PlanLevel]> {
        let same = self.by_hash.get(&criteria.hash())?;
        let one = same.iter().find(|one| one.criteria == *criteria)?;
        Some(&one.levels)
    }
}

/// Shares of one priority.
#[derive(Debug, Default)]
pub struct PlanLevel {
    /// Percent of requests that healthy endpoints get.
    pub healthy_load: u32,
    /// Percent of requests that degraded endpoints get.
    pub degraded_load: u32,
    /// How far healthy endpoints could take all requests, in percent.
    pub healthy_able: u32,
    /// The same of degraded ones.
    pub degraded_able: u32,
    /// Too few are healthy: `healthy` and `table` hold all endpoints.
    pub panics: bool,
    /// Healthy endpoints.
    pub healthy: Pool,
    /// Degraded endpoints.
    pub degraded: Pool,
    /// In place of the pools, for policies that hash.
    pub table: Option<Box<HashTable>>,
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
    /// Their shares of the whole, where the load of each is bounded.
    pub shares: Box<[f64]>,
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
