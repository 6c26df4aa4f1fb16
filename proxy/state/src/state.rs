//! Everything the proxy knows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::{ArcSwap, Guard};
use lateen_proxy_model::{
    Cluster, ClusterRef, EndpointSet, HttpFilter, Listener, Locality, LocalityEndpoints, Prepare,
    RouteTable,
};
use tokio::sync::{Notify, watch};

use crate::dns_caches::DnsCaches;
use crate::endpoints::{keep_healthy, merge, without_left};
use crate::listeners::{ListenerSet, ListenerWatch};
use crate::lock;
use crate::ready::Readiness;
use crate::resources::Resources;
use crate::runtime::Runtime;
use crate::secrets::SecretStore;
use crate::table::Table;

/// Clusters, endpoints, routes, listeners, secrets, and the resources they came from. Share it in an `Arc`.
#[derive(Debug)]
pub struct State {
    /// Clusters by name.
    clusters: Table<Cluster>,
    endpoints: Table<EndpointSet>,
    routes: Table<RouteTable>,
    secrets: SecretStore,
    extensions: Table<HttpFilter>,
    dns_caches: DnsCaches,
    own_cluster: OnceLock<Box<str>>,
    listeners: ArcSwap<ListenerSet>,
    listener_changes: watch::Sender<Arc<ListenerSet>>,
    writing: Mutex<()>,
    resources: Resources,
    readiness: Readiness,
    prepare: Option<Arc<dyn Prepare>>,
    runtime: OnceLock<Runtime>,
    /// Clusters whose endpoints have another name, by that name.
    borrowers: Mutex<BTreeMap<Arc<str>, Vec<Arc<str>>>>,
    /// Where this proxy runs, and the cluster of proxies like it.
    local: OnceLock<(Locality, ClusterRef)>,
    /// Told when clusters or endpoints change.
    changed: Notify,
    /// Told when endpoints were checked that others wait for.
    checked: Arc<Notify>,
}

impl Default for State {
    fn default() -> Self {
        let none = Arc::new(ListenerSet::default());
        Self {
            clusters: Table::default(),
            endpoints: Table::default(),
            routes: Table::default(),
            secrets: SecretStore::default(),
            extensions: Table::default(),
            dns_caches: DnsCaches::default(),
            own_cluster: OnceLock::new(),
            listeners: ArcSwap::new(Arc::clone(&none)),
            listener_changes: watch::Sender::new(none),
            writing: Mutex::default(),
            resources: Resources::default(),
            readiness: Readiness::default(),
            prepare: None,
            runtime: OnceLock::new(),
            borrowers: Mutex::default(),
            local: OnceLock::new(),
            changed: Notify::new(),
            checked: Arc::default(),
        }
    }
}

impl State {
    /// An empty state.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// An empty state that has the plans of clusters made when they or their endpoints change.
    pub fn preparing(prepare: Arc<dyn Prepare>) -> Arc<Self> {
        Arc::new(Self {
            prepare: Some(prepare),
            ..Self::default()
        })
    }

    /// Clusters by name.
    pub fn clusters(&self) -> &Table<Cluster> {
        &self.clusters
    }

    /// Endpoint sets by EDS service name; inline ones by cluster name.
    pub fn endpoints(&self) -> &Table<EndpointSet> {
        &self.endpoints
    }

    /// Route tables by RDS name.
    pub fn routes(&self) -> &Table<RouteTable> {
        &self.routes
    }

    /// HTTP filters that come by themselves, by what they are known by.
    pub fn extensions(&self) -> &Table<HttpFilter> {
        &self.extensions
    }

    /// Caches of names that requests bring along.
    pub fn dns_caches(&self) -> &DnsCaches {
        &self.dns_caches
    }

    /// The cluster that this proxy says it is of; empty where it says none.
    pub fn own_cluster(&self) -> &str {
        self.own_cluster.get().map_or("", |name| name)
    }

    /// Says which cluster this proxy is of; the first word counts.
    pub fn set_own_cluster(&self, name: &str) {
        let _ = self.own_cluster.set(name.into());
    }

    /// Secrets by name.
    pub fn secrets(&self) -> &SecretStore {
        &self.secrets
    }

    /// Resources as they came.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Readiness facts and update counters.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Runtime keys.
    pub fn runtime(&self) -> &Runtime {
        self.runtime.get_or_init(Runtime::default)
    }

    /// Sets the runtime keys, before the first resource; later calls change nothing.
    pub fn set_runtime(&self, runtime: Runtime) {
        let _ = self.runtime.set(runtime);
    }

    /// The listeners now; cheap, and held only for a short time.
    pub fn listeners(&self) -> Guard<Arc<ListenerSet>> {
        self.listeners.load()
    }

    /// Follows the listeners.
    pub fn watch_listeners(&self) -> ListenerWatch {
        ListenerWatch::new(self.listener_changes.subscribe())
    }

    /// Says where this proxy runs and which cluster its like are; once.
    pub fn set_local(&self, locality: Locality, cluster: &str) {
        // Only a bootstrap says so, and there is one.
        let _ = self.local.set((locality, self.clusters.slot(cluster)));
    }

    /// Where this proxy runs, and the cluster of proxies like it.
    pub fn local(&self) -> Option<&(Locality, ClusterRef)> {
        self.local.get()
    }

    /// Told when clusters or endpoints change, for health checkers.
    pub fn changed(&self) -> &Notify {
        &self.changed
    }

    /// To be told when endpoints got their first check.
    pub fn checked(&self) -> &Arc<Notify> {
        &self.checked
    }

    /// Whether no endpoint of a cluster waits for its first check.
    pub fn is_checked(&self, cluster: &str) -> bool {
        let Some(cluster) = self.clusters.value(cluster) else {
            return true;
        };
        let set = cluster.endpoints().and_then(|slot| slot.load_full());
        let pending = |set: Arc<EndpointSet>| {
            let mut endpoints = set.iter();
            endpoints.any(|one| one.found.has(lateen_proxy_model::ActiveHealth::PENDING))
        };
        cluster.health_check.is_none() || !set.is_some_and(pending)
    }

    /// Drops endpoints that discovery gave up and that fail their checks now.
    pub fn drop_left(&self, cluster: &Cluster) {
        let Some(slot) = cluster.endpoints() else {
            return;
        };
        if let Some(fewer) = slot.load().as_deref().and_then(without_left) {
            slot.store(Some(Arc::new(fewer)));
            self.prepare_all(slot.name());
        }
    }

    /// Stores a cluster; the counters of the value before are carried over.
    pub fn set_cluster(&self, mut cluster: Cluster) {
        let slot = self.clusters.slot(&cluster.name);
        if let Some(before) = &*slot.load() {
            cluster.shared = Arc::clone(&before.shared);
        }
        self.note_borrower(&cluster);
        if let Some(prepare) = &self.prepare {
            prepare.prepare(&cluster);
        }
        slot.store(Some(Arc::new(cluster)));
        self.changed.notify_one();
    }

    fn note_borrower(&self, cluster: &Cluster) {
        let Some(endpoints) = cluster.endpoints().map(|slot| slot.name()) else {
            return;
        };
        if *endpoints == cluster.name {
            return;
        }
        let mut borrowers = lock(&self.borrowers);
        let names = borrowers.entry(Arc::clone(endpoints)).or_default();
        if !names.contains(&cluster.name) {
            names.push(Arc::clone(&cluster.name));
        }
    }

    /// Stores endpoints; those that did not change stay the same values.
    pub fn set_endpoints(&self, name: &str, localities: Vec<LocalityEndpoints>) {
        let slot = self.endpoints.slot(name);
        let mut merged = merge(slot.load().as_deref(), localities);
        let users = self.users(name);
        if users
            .iter()
            .any(|one| one.health_check.is_some() && !one.remove_healthy)
        {
            keep_healthy(slot.load().as_deref(), &mut merged);
        }
        slot.store(Some(Arc::new(merged)));
        self.prepare_all(name);
        self.changed.notify_one();
    }

    /// The clusters that use endpoints of this name.
    fn users(&self, name: &str) -> Vec<Arc<Cluster>> {
        let slot = self.endpoints.slot(name);
        let borrowers = lock(&self.borrowers).get(name).cloned();
        let own = self.clusters.value(name);
        let others = borrowers.iter().flatten();
        let others = others.filter_map(|other| self.clusters.value(other));
        // The name may be that of other endpoints by now.
        let uses = |cluster: &Arc<Cluster>| {
            let used = cluster.endpoints();
            used.is_some_and(|used| Arc::ptr_eq(used, &slot))
        };
        own.into_iter().chain(others).filter(uses).collect()
    }

    fn prepare_all(&self, name: &str) {
        let Some(prepare) = &self.prepare else {
            return;
        };
        for cluster in self.users(name) {
            prepare.prepare(&cluster);
        }
    }

    /// Stores a route table under its name.
    pub fn set_routes(&self, table: RouteTable) {
        let name = Arc::clone(&table.name);
        self.routes.set(&name, Arc::new(table));
    }

    /// Adds, replaces and removes listeners as one change.
    pub fn update_listeners(&self, set: Vec<Listener>, remove: &[impl AsRef<str>]) {
        let _one_writer = lock(&self.writing);
        let mut names = self.listeners.load().names().clone();
        for name in remove {
            names.remove(name.as_ref());
        }
        for listener in set {
            names.insert(Arc::clone(&listener.name), Arc::new(listener));
        }
        let next = Arc::new(ListenerSet::new(names));
        self.listeners.store(Arc::clone(&next));
        self.listener_changes.send_replace(next);
    }

    /// Drops slots that have no value and no holder left; to be called now and then after changes.
    pub fn sweep(&self) {
        lock(&self.borrowers).retain(|_, names| {
            names.retain(|name| self.clusters.value(name).is_some());
            !names.is_empty()
        });
        self.routes.sweep();
        self.clusters.sweep();
        self.endpoints.sweep();
        self.secrets.sweep();
        self.extensions.sweep();
    }
}

#[cfg(test)]
mod tests;
