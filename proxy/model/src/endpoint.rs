//! Endpoints of a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::health_check::{ActiveHealth, EndpointCheck};
use crate::interned::{Interned, OnUse};
use crate::peer::PeerMetadata;
use crate::slot::Slot;
use crate::subset::LabelValue;

/// The slot of a cluster's endpoints.
pub type EndpointsRef = Arc<Slot<EndpointSet>>;

/// Whether an endpoint may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// May be chosen.
    Healthy,
    /// Only chosen when nothing healthy is left.
    Degraded,
    /// Not chosen.
    Unhealthy,
    /// Ends soon: not chosen for new requests.
    Draining,
}

/// Where an endpoint runs. Empty text is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Sub-zone.
    pub sub_zone: Arc<str>,
}

/// What EDS says of an endpoint beside its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointMetadata {
    /// `envoy.transport_socket_match`: text values that choose the transport socket, such as `tlsMode: istio`.
    pub transport: BTreeMap<Box<str>, Box<str>>,
    /// `istio.workload` taken apart: the peer when it says nothing itself.
    pub workload: Option<Arc<PeerMetadata>>,
    /// `envoy.lb`: values for subset selection.
    pub labels: BTreeMap<Box<str>, LabelValue>,
}

/// One endpoint. The same value is kept over updates that do not change it, so its counters survive.
#[derive(Debug)]
pub struct Endpoint {
    /// A number that no other endpoint of this process has: the key of per-worker pools.
    pub id: u64,
    /// Where it listens.
    pub address: SocketAddr,
    /// Share of traffic relative to its siblings, at least 1.
    pub weight: u32,
    /// Health as EDS gives it.
    pub health: Health,
    /// Metadata.
    pub metadata: Interned<EndpointMetadata>,
    /// Host name, where the address came from one.
    pub hostname: Option<Arc<str>>,
    /// Other addresses of it, tried after the first.
    pub additional: Arc<[SocketAddr]>,
    /// What it says of active health checks.
    pub check: Option<Arc<EndpointCheck>>,
    /// Requests or connections under way from all workers, for least request.
    pub active: AtomicU32,
    /// Totals of all workers.
    pub stats: OnUse<EndpointStats>,
    /// What active health checks found.
    pub found: ActiveHealth,
    /// What passive health checks found.
    pub ejection: OnUse<Ejection>,
    /// When it was first seen, in milliseconds of the balancer's clock; 0 when it was not yet. For slow start.
    pub since: AtomicU64,
}

/// Totals of one endpoint, as the admin page shows them.
#[derive(Debug, Default)]
pub struct EndpointStats {
    /// Connections open.
    pub cx_active: AtomicU32,
    /// Connections that could not be made.
    pub cx_connect_fail: AtomicU64,
    /// Connections begun.
    pub cx_total: AtomicU64,
    /// Requests that wait for a connection.
    pub rq_pending: AtomicU32,
    /// Requests that failed: a 5xx or no answer.
    pub rq_error: AtomicU64,
    /// Requests answered below 500.
    pub rq_success: AtomicU64,
    /// Requests that took too long.
    pub rq_timeout: AtomicU64,
    /// Requests sent.
    pub rq_total: AtomicU64,
    /// Weight by its own load reports, as the bits of a float; 0 while there is none.
    pub reported_weight: AtomicU64,
    /// The weight by load reports that is in use, in millionths; 0 while there is none.
    pub used_weight: AtomicU64,
    /// When load reports began, in milliseconds of the balancer's clock.
    pub reported_since: AtomicU64,
    /// When the last load report came.
    pub reported_at: AtomicU64,
}

impl EndpointStats {
    /// Takes over the totals of the same endpoint before it was described anew.
    pub fn carry(&self, before: &Self) {
        let copy = |to: &AtomicU64, from: &AtomicU64| {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        };
        copy(&self.cx_connect_fail, &before.cx_connect_fail);
        copy(&self.cx_total, &before.cx_total);
        copy(&self.rq_error, &before.rq_error);
        copy(&self.rq_success, &before.rq_success);
        copy(&self.rq_timeout, &before.rq_timeout);
        copy(&self.rq_total, &before.rq_total);
        copy(&self.reported_weight, &before.reported_weight);
        copy(&self.used_weight, &before.used_weight);
        copy(&self.reported_since, &before.reported_since);
        copy(&self.reported_at, &before.reported_at);
    }
}

/// Passive health of one endpoint, shared by all workers. Times are milliseconds of the balancer's clock.
#[derive(Debug, Default)]
pub struct Ejection {
    /// 5xx answers in a row.
    pub consecutive_5xx: AtomicU32,
    /// Gateway errors in a row.
    pub consecutive_gateway: AtomicU32,
    /// Failures without an answer in a row, where they are told apart.
    pub consecutive_local: AtomicU32,
    /// Tries without an answer since the last sweep, where they are told apart: failed ones in the upper half.
    pub local: AtomicU64,
    /// Answers and failures since the last sweep, where rates are looked at.
    pub requests: AtomicU32,
    /// How many of `requests` failed.
    pub failures: AtomicU32,
    /// The endpoint is out until this time; 0 when it never was.
    pub until: AtomicU64,
    /// Ejections so far, less the quiet times since.
    pub count: AtomicU32,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Endpoint {
    /// A new endpoint without traffic.
    pub fn new(
        address: SocketAddr,
        weight: u32,
        health: Health,
        metadata: impl Into<Interned<EndpointMetadata>>,
    ) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            address,
            weight: weight.max(1),
            health,
            metadata: metadata.into(),
            hostname: None,
            additional: Arc::default(),
            check: None,
            active: AtomicU32::new(0),
            stats: OnUse::default(),
            found: ActiveHealth::default(),
            ejection: OnUse::default(),
            since: AtomicU64::new(0),
        }
    }

    /// Whether passive health checks have it out at `now`.
    pub fn is_out(&self, now: u64) -> bool {
        self.out_until() > now
    }

    /// Until when passive health checks have it out; 0 when they never had.
    pub fn out_until(&self) -> u64 {
        let ejection = self.ejection.made();
        ejection.map_or(0, |ejection| ejection.until.load(Ordering::Relaxed))
    }

    /// Whether `other` describes the same endpoint in the same state, so that `self` can be kept.
    pub fn same_as(&self, other: &Self) -> bool {
        self.address == other.address
            && self.weight == other.weight
            && self.health == other.health
            && self.hostname == other.hostname
            && self.additional == other.additional
            && self.check == other.check
            && self.metadata == other.metadata
    }
}

/// The endpoints of one locality at one priority.
#[derive(Clone, Debug)]
pub struct LocalityEndpoints {
    /// Where they run.
    pub locality: Interned<Locality>,
    /// 0 is preferred.
    pub priority: u32,
    /// Weight of the locality; 0 when localities are not weighted.
    pub weight: u32,
    /// The endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// All endpoints of a cluster.
#[derive(Clone, Debug, Default)]
pub struct EndpointSet {
    /// By locality, in the order given.
    pub localities: Vec<LocalityEndpoints>,
}

impl EndpointSet {
    /// The set of these localities.
    pub fn new(localities: Vec<LocalityEndpoints>) -> Self {
        Self { localities }
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        let endpoints = self.localities.iter().map(|one| one.endpoints.len());
        endpoints.sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.localities.iter().all(|one| one.endpoints.is_empty())
    }

    /// Every endpoint, eligible or not.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.localities
            .iter()
            .flat_map(|locality| &locality.endpoints)
    }
}
