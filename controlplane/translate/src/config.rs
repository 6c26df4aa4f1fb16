//! One snapshot, ready to answer any proxy, with everything already made kept for the next one that asks.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lateen_controlplane_model::affected::{
    Affected, Cause, Hosts, Import, Reach, Touched, TypeSet, cluster_host,
};
use lateen_controlplane_model::generate::{Generate, Names, Rejection, Resource};
use lateen_controlplane_model::proxy::Proxy;
use lateen_controlplane_model::scope::Scope;
use lateen_controlplane_model::snapshot::Snapshot;

use crate::view::{Tags, Traits, View, keeps_to_node, tags};
use crate::wire::resource;
use crate::{check, cluster, endpoint, listener, name_table, route, secret};

/// A group that nobody asked for through so many configurations is forgotten.
const MAX_IDLE: u32 = 64;

/// Most resources of one type that are kept for a group.
const MAX_CACHED: usize = 100_000;

type Cell = Arc<OnceLock<Arc<[Resource]>>>;
type Cache = Mutex<HashMap<Arc<str>, Resource>>;

/// An immutable configuration: what every proxy gets under one snapshot.
pub struct Config {
    snapshot: Arc<Snapshot>,
    groups: Mutex<BTreeMap<Traits, Arc<Group>>>,
    rejections: OnceLock<Arc<[Rejection]>>,
    /// Some service keeps to its clients' nodes.
    near: OnceLock<bool>,
}

/// Proxies with equal traits, and what was made for them.
struct Group {
    view: Arc<View>,
    clusters: Cell,
    /// Listeners name the workload in their spans, so they are shared by its replicas only.
    listeners: Mutex<BTreeMap<Tags, Cell>>,
    routes: Arc<Cache>,
    endpoints: Cache,
    idle: AtomicU32,
}

impl Config {
    /// A configuration that answers from a snapshot.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            groups: Mutex::default(),
            rejections: OnceLock::new(),
            near: OnceLock::new(),
        }
    }

    /// The configuration of the next snapshot, keeping everything made so far that `affected` does not touch.
    #[must_use]
    pub fn next(&self, snapshot: Arc<Snapshot>, affected: &Affected) -> Self {
        let held = lock(&self.groups);
        let carried = held.iter().filter_map(|(traits, group)| {
            let idle = group.idle.load(Ordering::Relaxed);
            (idle < MAX_IDLE).then(|| (traits.clone(), Arc::new(group.carry(&snapshot, affected))))
        });
        let groups = Mutex::new(carried.collect());
        let config_touched = affected
            .types()
            .intersects(TypeSet::ALL.without(TypeSet::ENDPOINTS));
        let (rejections, near) = match config_touched {
            true => (OnceLock::new(), OnceLock::new()),
            false => (self.rejections.clone(), self.near.clone()),
        };
        Self {
            snapshot,
            groups,
            rejections,
            near,
        }
    }

    /// The snapshot answered from.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    fn group(&self, proxy: &Proxy) -> Arc<Group> {
        let near = *self.near.get_or_init(|| {
            self.snapshot
                .services
                .iter()
                .any(|(_, service)| keeps_to_node(service))
        });
        let traits = Traits::of(proxy, &self.snapshot, near);
        let mut groups = lock(&self.groups);
        if let Some(group) = groups.get(&traits) {
            group.idle.store(0, Ordering::Relaxed);
            return Arc::clone(group);
        }
        let group = Arc::new(Group::new(&self.snapshot, traits.clone(), proxy));
        groups.insert(traits, Arc::clone(&group));
        group
    }
}

impl Generate for Config {
    fn version(&self) -> &str {
        &self.snapshot.version
    }

    fn generate(&self, proxy: &Proxy, type_url: &str, names: &Names) -> Vec<Resource> {
        let group = self.group(proxy);
        match type_url {
            TypeSet::CLUSTER_URL => group.clusters_for(proxy, names),
            TypeSet::ENDPOINT_URL => group.endpoints_for(names),
            TypeSet::LISTENER_URL => group.listeners_for(proxy, names),
            TypeSet::ROUTE_URL => group.routes_for(names),
            TypeSet::SECRET_URL => secrets(&self.snapshot, proxy, names),
            TypeSet::NAMES_URL => vec![resource("", &name_table::name_table(&group.view))],
            _ => Vec::new(),
        }
    }

    fn affected(&self, proxy: &Proxy, change: &Affected) -> Touched {
        self.group(proxy).touched(Some(proxy), change)
    }

    fn rejections(&self) -> Arc<[Rejection]> {
        Arc::clone(
            self.rejections
                .get_or_init(|| check::rejections(&self.snapshot).into()),
        )
    }
}

impl Group {
    fn new(snapshot: &Arc<Snapshot>, traits: Traits, proxy: &Proxy) -> Self {
        let sidecar = traits
            .sidecar
            .is_some()
            .then(|| snapshot.sidecars.select(&proxy.namespace, &proxy.labels))
            .flatten();
        let scope = Arc::new(Scope::new(snapshot, &proxy.namespace, sidecar.cloned()));
        Self {
            view: Arc::new(View::new(Arc::clone(snapshot), scope, traits)),
            clusters: Cell::default(),
            listeners: Mutex::default(),
            routes: Arc::default(),
            endpoints: Cache::default(),
            idle: AtomicU32::new(0),
        }
    }

    /// The same group under the next snapshot, with what the change leaves alone.
    fn carry(&self, snapshot: &Arc<Snapshot>, affected: &Affected) -> Self {
        let touched = self.touched(None, affected);
        let types = touched.types;
        let sees_the_same = !types.intersects(
            TypeSet::CLUSTERS
                .union(TypeSet::LISTENERS)
                .union(TypeSet::ROUTES),
        );
        let scope =
            if sees_the_same {
                Arc::clone(&self.view.scope)
            } else {
                let sidecar =
                    self.view.scope.sidecar.as_ref().and_then(|old| {
                        snapshot.sidecars.named(&old.namespace, &old.name).cloned()
                    });
                Arc::new(Scope::new(snapshot, &self.view.traits.namespace, sidecar))
            };
        let kept = |kind: TypeSet| !types.intersects(kind);
        let endpoints = lock(&self.endpoints)
            .iter()
            .filter(|(name, _)| !touches(&touched.endpoints, name))
            .map(clone)
            .collect();
        Self {
            view: Arc::new(View::new(
                Arc::clone(snapshot),
                scope,
                self.view.traits.clone(),
            )),
            clusters: if kept(TypeSet::CLUSTERS) {
                Arc::clone(&self.clusters)
            } else {
                Cell::default()
            },
            listeners: Mutex::new(if kept(TypeSet::LISTENERS) {
                lock(&self.listeners).clone()
            } else {
                BTreeMap::new()
            }),
            routes: if kept(TypeSet::ROUTES) {
                Arc::clone(&self.routes)
            } else {
                Arc::default()
            },
            endpoints: Mutex::new(endpoints),
            idle: AtomicU32::new(self.idle.load(Ordering::Relaxed).saturating_add(1)),
        }
    }

    /// What of this group a change touches; without a proxy, only what its proxies share.
    fn touched(&self, proxy: Option<&Proxy>, change: &Affected) -> Touched {
        let mut touched = Touched::default();
        for cause in change
            .causes
            .iter()
            .filter(|cause| self.reached(proxy, cause))
        {
            touched.add(cause);
        }
        touched
    }

    fn reached(&self, proxy: Option<&Proxy>, cause: &Cause) -> bool {
        let traits = &self.view.traits;
        match &cause.reach {
            Reach::All => true,
            Reach::Namespace(namespace) => *namespace == traits.namespace,
            Reach::Addresses(addresses) => {
                proxy.is_some_and(|proxy| proxy.addresses.iter().any(|ip| addresses.contains(ip)))
            }
            Reach::Importers(imports) => self.imports(imports),
            Reach::RestrictedImporters(imports) => {
                self.view.scope.is_restricted() && self.imports(imports)
            }
            Reach::Routers => self.view.is_router(),
        }
    }

    fn imports(&self, imports: &[Import]) -> bool {
        imports.iter().any(|import| {
            import.visible.admits(&self.view.traits.namespace)
                && self
                    .view
                    .scope
                    .may_concern(import.namespace.as_deref(), &import.host)
        })
    }

    fn clusters_for(&self, proxy: &Proxy, names: &Names) -> Vec<Resource> {
        let shared = self
            .clusters
            .get_or_init(|| cluster::outbound_clusters(&self.view).into());
        let own = cluster::inbound_clusters(&self.view, proxy);
        shared
            .iter()
            .cloned()
            .chain(own)
            .filter(|cluster| names.contains(&cluster.name))
            .collect()
    }

    fn listeners_for(&self, proxy: &Proxy, names: &Names) -> Vec<Resource> {
        let workload = tags(proxy, self.view.mesh());
        let cell = Arc::clone(lock(&self.listeners).entry(workload.clone()).or_default());
        let view = self.view.tagged(workload);
        let pack = |listeners: Vec<crate::pb::listener::Listener>| {
            listeners.into_iter().map(|own| resource(&own.name, &own))
        };
        let shared = cell.get_or_init(|| {
            let listeners = if view.is_router() {
                listener::gateway_listeners(&view)
            } else {
                listener::outbound_listeners(&view)
            };
            pack(listeners).collect::<Vec<_>>().into()
        });
        // A pod does not listen in its own stead.
        let own_pod = |name: &str| {
            proxy.addresses.iter().any(|ip| {
                name.rsplit_once('_')
                    .is_some_and(|(bind, _)| bind == ip.to_string())
            })
        };
        let outbound = shared
            .iter()
            .filter(|listener| view.is_router() || !own_pod(&listener.name))
            .cloned();
        let inbound: Vec<Resource> = pack(listener::inbound_listeners(&view, proxy)).collect();
        outbound
            .chain(inbound)
            .filter(|listener| names.contains(&listener.name))
            .collect()
    }

    fn routes_for(&self, names: &Names) -> Vec<Resource> {
        let Names::Set(names) = names else {
            return Vec::new();
        };
        let mut made = lock(&self.routes);
        let make = |name: &Arc<str>| {
            let routes = if self.view.is_router() {
                route::gateway_routes(&self.view, name)
            } else {
                route::sidecar_routes(&self.view, name)
            };
            resource(name, &routes)
        };
        names
            .iter()
            .map(|name| cached(&mut made, name, make))
            .collect()
    }

    fn endpoints_for(&self, names: &Names) -> Vec<Resource> {
        let all;
        let names = match names {
            Names::Set(names) => names,
            Names::Wildcard => {
                let clusters = self
                    .clusters
                    .get_or_init(|| cluster::outbound_clusters(&self.view).into());
                all = clusters
                    .iter()
                    .filter(|own| cluster_host(&own.name).is_some())
                    .map(|own| Arc::clone(&own.name))
                    .collect();
                &all
            }
        };
        let mut made = lock(&self.endpoints);
        let make = |name: &Arc<str>| {
            let assignment = match cluster::assigned(&self.view, name) {
                Some((service, port, subset)) => {
                    endpoint::assignment(&self.view, service, port, subset, name)
                }
                None => endpoint::empty_assignment(name),
            };
            resource(name, &assignment)
        };
        names
            .iter()
            .map(|name| cached(&mut made, name, make))
            .collect()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("version", &self.snapshot.version)
            .field("groups", &lock(&self.groups).len())
            .finish()
    }
}

fn secrets(snapshot: &Snapshot, proxy: &Proxy, names: &Names) -> Vec<Resource> {
    let Names::Set(names) = names else {
        return Vec::new();
    };
    names
        .iter()
        .filter_map(|name| Some(resource(name, &secret::secret(snapshot, proxy, name)?)))
        .collect()
}

fn touches(hosts: &Hosts, cluster: &str) -> bool {
    match hosts {
        Hosts::None => false,
        Hosts::All => true,
        Hosts::Some(hosts) => cluster_host(cluster).is_none_or(|host| hosts.contains(host)),
    }
}

/// What was made for a name, or what `make` makes. Clients choose names, so a full cache takes no more.
fn cached(
    made: &mut HashMap<Arc<str>, Resource>,
    name: &Arc<str>,
    make: impl Fn(&Arc<str>) -> Resource,
) -> Resource {
    if let Some(known) = made.get(name) {
        return known.clone();
    }
    let resource = make(name);
    if made.len() < MAX_CACHED {
        made.insert(Arc::clone(name), resource.clone());
    }
    resource
}

fn clone((name, resource): (&Arc<str>, &Resource)) -> (Arc<str>, Resource) {
    (Arc::clone(name), resource.clone())
}

/// A lock whose data stays good when a holder panicked: caches are filled one whole entry at a time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
