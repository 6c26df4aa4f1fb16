//! What one worker keeps for its HTTP connections: counters, caches of the newest configuration, and its own metadata.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use lateen_proxy_model::{
    Cluster, ClusterRef, Endpoint, PeerMetadata, RouteStats, RouteTable, RouteTableRef, Slot,
};
use lateen_proxy_telemetry::{Peer, PeerFields, Recorder, Service};

use super::caller::{Caller, Nobody};
use super::counters::ClusterCounters;
use super::overload::Shedding;
use super::peer::{OwnMetadata, PeerCache};
use super::route_counters::RouteCounters;
use super::trace::Node;

/// Entries of a cache; beyond that it starts anew.
const CACHE: usize = 16 * 1024;

/// One worker's state. Caches hold what [`lateen_proxy_model::Slot`]s held last, so that a request counts references
/// on this thread only.
pub struct Worker {
    /// Counts requests.
    pub recorder: Recorder,
    /// What this proxy tells its peers; `None` tells nothing.
    pub own: Option<OwnMetadata>,
    /// The service cluster that this proxy belongs to, for rate limits.
    pub service_cluster: Arc<str>,
    /// How overloaded the process is, where somebody looks.
    pub overload: Option<Shedding>,
    /// Calls collectors of spans and logs.
    caller: RefCell<Rc<dyn Caller>>,
    /// Who this proxy is, for spans and logs.
    pub node: Node,
    pub(crate) peers: PeerCache,
    /// Finds clusters that requests name.
    find_cluster: Box<FindCluster>,
    named: RefCell<HashMap<Box<str>, ClusterRef>>,
    nobody: ClusterRef,
    tables: RefCell<HashMap<u64, Rc<KnownTable>, Hasher>>,
    clusters: RefCell<HashMap<u64, Rc<KnownCluster>, Hasher>>,
    endpoints: RefCell<HashMap<u64, Arc<Peer>, Hasher>>,
    routes: RefCell<HashMap<u64, Rc<RouteCounters>, Hasher>>,
}

/// Finds the slot of a cluster by its name.
type FindCluster = dyn Fn(&str) -> Option<ClusterRef>;

type Hasher = std::hash::BuildHasherDefault<IdHasher>;

/// A route table, counted on this thread only.
#[derive(Debug)]
pub struct KnownTable(Arc<RouteTable>);

impl KnownTable {
    pub(crate) fn new(table: Arc<RouteTable>) -> Self {
        Self(table)
    }
}

impl std::ops::Deref for KnownTable {
    type Target = RouteTable;

    fn deref(&self) -> &RouteTable {
        &self.0
    }
}

/// A cluster with what telemetry needs of it.
#[derive(Debug)]
pub struct KnownCluster {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Its service.
    pub service: Arc<Service>,
    pub(crate) counters: Option<ClusterCounters>,
}

/// Slots and endpoints are numbered by this process: their ids spread well enough when multiplied.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0.rotate_left(8) ^ u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker that knows nothing yet.
    pub fn new(recorder: Recorder, own: Option<OwnMetadata>) -> Self {
        Self {
            recorder,
            own,
            service_cluster: "".into(),
            overload: None,
            caller: RefCell::new(Rc::new(Nobody)),
            node: Node::default(),
            peers: PeerCache::default(),
            find_cluster: Box::new(|_| None),
            named: RefCell::default(),
            nobody: Slot::new(""),
            tables: RefCell::default(),
            clusters: RefCell::default(),
            endpoints: RefCell::default(),
            routes: RefCell::default(),
        }
    }

    /// Gives a way to collectors.
    pub fn reach(&self, caller: Rc<dyn Caller>) {
        self.caller.replace(caller);
    }

    /// The way to collectors.
    pub(crate) fn caller(&self) -> Rc<dyn Caller> {
        Rc::clone(&self.caller.borrow())
    }

    /// Finds clusters by name for requests that name one.
    #[must_use]
    pub fn finding(mut self, find: impl Fn(&str) -> Option<ClusterRef> + 'static) -> Self {
        self.find_cluster = Box::new(find);
        self
    }

    /// The slot of a cluster that a request names; an empty one when there is none. Only names of clusters are kept, so
    /// that requests cannot fill the memory with others.
    pub fn named_cluster(&self, name: &str) -> ClusterRef {
        if let Some(slot) = self.named.borrow().get(name) {
            return Arc::clone(slot);
        }
        let Some(slot) = (self.find_cluster)(name) else {
            return Arc::clone(&self.nobody);
        };
        let mut named = self.named.borrow_mut();
        if named.len() >= CACHE {
            named.clear();
        }
        named.insert(name.into(), Arc::clone(&slot));
        slot
    }

    /// The newest route table of a slot; `None` while it is unknown.
    pub fn table(&self, slot: &RouteTableRef) -> Option<Rc<KnownTable>> {
        let newest = slot.load();
        let newest = newest.as_ref()?;
        let mut known = self.tables.borrow_mut();
        if let Some(table) = known.get(&slot.id())
            && Arc::ptr_eq(&table.0, newest)
        {
            return Some(Rc::clone(table));
        }
        if known.len() >= CACHE {
            known.clear();
        }
        let table = self.met(newest);
        known.insert(slot.id(), Rc::clone(&table));
        Some(table)
    }

    /// A table that was not known before: what it counts is there from now on.
    pub(crate) fn met(&self, table: &Arc<RouteTable>) -> Rc<KnownTable> {
        for stats in &table.counted {
            self.route(stats);
        }
        Rc::new(KnownTable::new(Arc::clone(table)))
    }

    /// The newest value of a cluster's slot; `None` when there is no such cluster.
    pub fn cluster(&self, slot: &ClusterRef) -> Option<Rc<KnownCluster>> {
        let newest = slot.load();
        let newest = newest.as_ref()?;
        let mut known = self.clusters.borrow_mut();
        if let Some(cluster) = known.get(&slot.id())
            && Arc::ptr_eq(&cluster.cluster, newest)
        {
            return Some(Rc::clone(cluster));
        }
        if known.len() >= CACHE {
            known.clear();
        }
        let cluster = Rc::new(KnownCluster {
            cluster: Arc::clone(newest),
            service: service(newest),
            counters: ClusterCounters::resolve(self.recorder.stats(), &newest.name),
        });
        known.insert(slot.id(), Rc::clone(&cluster));
        Some(cluster)
    }

    /// The counters of a route that is counted by itself.
    pub(crate) fn route(&self, stats: &RouteStats) -> Rc<RouteCounters> {
        let mut known = self.routes.borrow_mut();
        if let Some(counters) = known.get(&stats.id()) {
            return Rc::clone(counters);
        }
        if known.len() >= CACHE {
            known.clear();
        }
        let counters = Rc::new(RouteCounters::resolve(self.recorder.stats(), stats));
        known.insert(stats.id(), Rc::clone(&counters));
        counters
    }

    /// The peer that an endpoint's own metadata names.
    pub(crate) fn endpoint_peer(&self, endpoint: &Endpoint) -> Option<Arc<Peer>> {
        let metadata = endpoint.metadata.workload.as_ref()?;
        let mut known = self.endpoints.borrow_mut();
        if let Some(peer) = known.get(&endpoint.id) {
            return Some(Arc::clone(peer));
        }
        if known.len() >= CACHE {
            known.clear();
        }
        let peer = Arc::new(Peer::new(fields(metadata)));
        known.insert(endpoint.id, Arc::clone(&peer));
        Some(peer)
    }
}

/// The service of a cluster as telemetry names it: clusters without one go by their own name.
fn service(cluster: &Cluster) -> Arc<Service> {
    let info = &cluster.service;
    let name = match (&*info.name, &*cluster.name) {
        ("", name @ ("PassthroughCluster" | "BlackHoleCluster" | "InboundPassthroughCluster")) => {
            Arc::from(name)
        }
        _ => Arc::clone(&info.name),
    };
    Arc::new(Service {
        host: Arc::clone(&info.host),
        name,
        namespace: Arc::clone(&info.namespace),
    })
}

fn fields(metadata: &PeerMetadata) -> PeerFields {
    PeerFields {
        workload: metadata.workload.to_string(),
        namespace: metadata.namespace.to_string(),
        canonical_name: metadata.canonical_service.to_string(),
        canonical_revision: metadata.canonical_revision.to_string(),
        app: metadata.app.to_string(),
        version: metadata.version.to_string(),
        cluster: metadata.cluster.to_string(),
    }
}
