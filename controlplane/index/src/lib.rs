//! Joins objects into an immutable snapshot and says what changed in it.
//!
//! One [`Index`] has one writer. A batch goes through three steps: the [`store`] takes objects in and notes what they make stale, only
//! that is joined anew (services and endpoints by their [`claims`] on hosts, the rest as [`rules`]), and what differs from before becomes
//! an [`Affected`] ([`causes`]). Everything else is shared with the snapshot before.

mod causes;
mod claims;
mod entry;
mod kubernetes;
mod rules;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lateen_api::object::{Object, Problem, Severity};
use lateen_controlplane_model::affected::Affected;
use lateen_controlplane_model::change::Batch;
use lateen_controlplane_model::destination::Destinations;
use lateen_controlplane_model::endpoint::Endpoint;
use lateen_controlplane_model::generate::Rejection;
use lateen_controlplane_model::peer::PeerPolicies;
use lateen_controlplane_model::routing::VirtualServices;
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::service::{Registry, Service};
use lateen_controlplane_model::sidecar::Sidecars;
use lateen_controlplane_model::snapshot::{Mesh, Snapshot};
use lateen_controlplane_model::table::Table;

use claims::{Claimant, Claims};
use entry::Candidates;
use rules::Routes;
use store::{Id, Stale, Store, in_namespace};

/// Who this control plane is, as far as snapshots show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// When this process started, RFC 3339; the first half of every version.
    pub started: String,
    /// Name of the cluster that pods belong to.
    pub cluster: String,
}

/// A new snapshot and what differs from the one before.
#[derive(Debug, Clone)]
pub struct Step {
    /// The state now.
    pub snapshot: Arc<Snapshot>,
    /// What changed; everything in the first step.
    pub affected: Affected,
}

/// The joined state, changed by one writer.
#[derive(Debug)]
pub struct Index {
    settings: Settings,
    cluster: Arc<str>,
    counter: u64,
    store: Store,
    claims: Claims,
    routes: Routes,
    entry_rejections: BTreeMap<Id, Vec<Rejection>>,
    snapshot: Snapshot,
    synced: bool,
    published: bool,
    pending: Affected,
}

impl Index {
    /// An index without objects.
    #[must_use]
    pub fn new(settings: Settings, mesh: Mesh) -> Self {
        let root = mesh.root_namespace().to_owned();
        let snapshot = Snapshot {
            version: format!("{}/0", settings.started).into(),
            mesh: Arc::new(mesh),
            services: Table::default(),
            endpoints: Table::default(),
            virtual_services: Arc::default(),
            destinations: Destinations::default(),
            gateways: Arc::from([]),
            sidecars: Arc::new(Sidecars::new(Vec::new(), &root)),
            peers: Arc::default(),
            secrets: Table::default(),
            rejections: Arc::from([]),
        };
        Self {
            store: Store::new(&settings.cluster),
            cluster: settings.cluster.as_str().into(),
            settings,
            counter: 0,
            claims: Claims::default(),
            routes: Routes::default(),
            entry_rejections: BTreeMap::new(),
            snapshot,
            synced: false,
            published: false,
            pending: Affected::default(),
        }
    }

    /// Applies a batch as a whole. A step comes back once the sources are synced and something visible changed.
    pub fn apply(&mut self, batch: &Batch) -> Option<Step> {
        let mut stale = Stale::default();
        for change in &batch.changes {
            self.store.apply(change, &mut stale);
        }
        self.synced |= batch.synced;
        let affected = self.join(stale);
        self.publish(affected)
    }

    /// Replaces the mesh settings; everything is joined anew, because defaults of every object may differ.
    pub fn set_mesh(&mut self, mesh: Mesh) -> Option<Step> {
        self.snapshot.mesh = Arc::new(mesh);
        let stale = Stale {
            services: self.store.services.keys().cloned().collect(),
            endpoints: BTreeSet::new(),
            entries: self.store.entries.keys().cloned().collect(),
            virtual_services: self.store.virtual_services.keys().cloned().collect(),
            destination_rules: self.store.destination_rules.keys().cloned().collect(),
            secrets: BTreeSet::new(),
            gateways: self.store.gateways.keys().cloned().collect(),
            sidecars: self.store.sidecars.keys().cloned().collect(),
            peers: self.store.peers.keys().cloned().collect(),
        };
        self.join(stale);
        self.publish(Affected::everything())
    }

    /// The state as it is now, synced or not.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(self.snapshot.clone())
    }

    /// A rejection with the place of its field in the file it was read from, as a problem for people. The rest of the object is in use,
    /// so it is a warning.
    #[must_use]
    pub fn explain(&self, rejection: &Rejection) -> Problem {
        let (namespace, name) = rejection.object.split_once('/').unwrap_or_default();
        let id: Id = (namespace.into(), name.into());
        match self.store.config_object(&rejection.kind, &id) {
            Some(object) => object.problem(
                Severity::Warning,
                &rejection.field,
                rejection.reason.clone(),
            ),
            None => Problem {
                object: Some(format!("{} {}", rejection.kind, rejection.object)),
                field: Some(rejection.field.clone()),
                severity: Severity::Warning,
                ..Problem::file_error("", rejection.reason.clone())
            },
        }
    }

    fn publish(&mut self, affected: Affected) -> Option<Step> {
        if self.published {
            self.pending.merge(&affected);
        }
        if !self.synced || (self.published && self.pending.is_empty()) {
            return None;
        }
        let pending = std::mem::take(&mut self.pending);
        let affected = if self.published {
            pending
        } else {
            Affected::everything()
        };
        self.published = true;
        self.counter += 1;
        self.snapshot.version = format!("{}/{}", self.settings.started, self.counter).into();
        Some(Step {
            snapshot: self.snapshot(),
            affected,
        })
    }

    /// Joins what is stale and says what that changed.
    fn join(&mut self, stale: Stale) -> Affected {
        let mut affected = Affected::default();
        self.declare(&stale);
        for change in self
            .claims
            .settle(&mut self.snapshot.services, &mut self.snapshot.endpoints)
        {
            causes::host(&change, &mut affected);
        }
        self.join_routes(&stale, &mut affected);
        self.join_destinations(&stale, &mut affected);
        self.join_policies(&stale, &mut affected);
        self.join_secrets(&stale, &mut affected);
        affected
    }

    fn declare(&mut self, stale: &Stale) {
        for id in &stale.services {
            let claimant: Claimant = (Registry::Kubernetes, id.clone());
            let services = self.kubernetes_service(id).into_iter().collect();
            self.claims.declare(&claimant, services);
        }
        for id in stale.endpoints.difference(&stale.services) {
            let endpoints = self.kubernetes_endpoints(id);
            if self.external(id).is_none() {
                self.claims
                    .supply(&(Registry::Kubernetes, id.clone()), |_| endpoints.clone());
            }
        }
        for id in &stale.entries {
            let mut rejections = Vec::new();
            let services = self.entry_services(id, &mut rejections);
            self.claims
                .declare(&(Registry::ServiceEntry, id.clone()), services);
            if rejections.is_empty() {
                self.entry_rejections.remove(id);
            } else {
                self.entry_rejections.insert(id.clone(), rejections);
            }
        }
        if !stale.entries.is_empty() {
            self.collect_rejections();
        }
    }

    fn kubernetes_service(&self, id: &Id) -> Option<(Service, Vec<Endpoint>)> {
        let object = self.store.services.get(id)?;
        let mesh = &self.snapshot.mesh;
        let kube = object.spec.as_service()?;
        let service = kubernetes::service(object, kube, &mesh.config, &mesh.domain);
        let endpoints = match self.external(id) {
            Some(_) => kubernetes::external_endpoints(kube, &service),
            None => self.kubernetes_endpoints(id),
        };
        Some((service, endpoints))
    }

    /// The name a Service of type ExternalName stands for.
    fn external(&self, id: &Id) -> Option<&str> {
        let kube = self.store.services.get(id)?.spec.as_service()?;
        kube.spec
            .as_ref()
            .filter(|spec| spec.type_.as_deref() == Some("ExternalName"))?
            .external_name
            .as_deref()
    }

    fn kubernetes_endpoints(&self, id: &Id) -> Vec<Endpoint> {
        let pods = |name: &str| {
            self.store
                .pods
                .get(&(Arc::clone(&id.0), name.into()))
                .cloned()
        };
        let slices = self
            .store
            .slices
            .get(id)
            .into_iter()
            .flat_map(|slices| slices.values());
        slices
            .filter_map(|object| object.spec.as_endpoint_slice())
            .flat_map(|slice| kubernetes::slice_endpoints(slice, &id.0, pods))
            .collect()
    }

    fn entry_services(
        &self,
        id: &Id,
        rejections: &mut Vec<Rejection>,
    ) -> Vec<(Service, Vec<Endpoint>)> {
        let Some(object) = self.store.entries.get(id) else {
            return Vec::new();
        };
        let Some(spec) = object.spec.as_service_entry() else {
            return Vec::new();
        };
        let candidates = Candidates {
            pods: in_namespace(&self.store.pods, &id.0)
                .map(|(_, pod)| pod)
                .collect(),
            entries: in_namespace(&self.store.workload_entries, &id.0)
                .map(|(_, info)| info)
                .collect(),
            cluster: &self.cluster,
        };
        let services = entry::services(object, spec, &self.snapshot.mesh.config, rejections);
        services
            .into_iter()
            .map(|service| {
                let endpoints = entry::endpoints(object, spec, &service, &candidates);
                (service, endpoints)
            })
            .collect()
    }

    fn join_routes(&mut self, stale: &Stale, affected: &mut Affected) {
        if stale.virtual_services.is_empty() {
            return;
        }
        let mesh = Arc::clone(&self.snapshot.mesh);
        let changes =
            self.routes
                .update(&stale.virtual_services, &self.store.virtual_services, &mesh);
        self.collect_rejections();
        if changes.is_empty() {
            return;
        }
        for (old, new) in &changes {
            causes::route(old.as_deref(), new.as_deref(), affected);
        }
        self.snapshot.virtual_services = Arc::new(VirtualServices::new(self.routes.effective()));
    }

    fn join_destinations(&mut self, stale: &Stale, affected: &mut Affected) {
        let namespaces: BTreeSet<&Arc<str>> = stale
            .destination_rules
            .iter()
            .map(|(namespace, _)| namespace)
            .collect();
        let mesh = Arc::clone(&self.snapshot.mesh);
        for namespace in namespaces {
            let rules: Vec<Arc<Rule<_>>> = in_namespace(&self.store.destination_rules, namespace)
                .filter_map(|(_, object)| {
                    Some(rules::destination_rule(
                        object,
                        object.spec.as_destination_rule()?,
                        &mesh,
                    ))
                })
                .map(Arc::new)
                .collect();
            let before = self.snapshot.destinations.row(namespace);
            self.snapshot.destinations.replace(namespace, rules);
            let after = self.snapshot.destinations.row(namespace);
            causes::destinations(&before, &after, affected);
        }
    }

    fn join_policies(&mut self, stale: &Stale, affected: &mut Affected) {
        let mesh = Arc::clone(&self.snapshot.mesh);
        let root = mesh.root_namespace();
        if !stale.gateways.is_empty() {
            let mut rules = read(&self.store.gateways, |object| {
                Some(rules::gateway(object, object.spec.as_gateway()?))
            });
            rules.sort_by(|a, b| a.order(b));
            self.snapshot.gateways = rules.into();
            causes::gateways(affected);
        }
        if !stale.sidecars.is_empty() {
            let rules = read(&self.store.sidecars, |object| {
                Some(rules::sidecar(object, object.spec.as_sidecar()?, &mesh))
            });
            self.snapshot.sidecars = Arc::new(Sidecars::new(rules, root));
            causes::sidecars(&stale.sidecars, root, affected);
        }
        if !stale.peers.is_empty() {
            let rules = read(&self.store.peers, |object| {
                Some(rules::peer(object, object.spec.as_peer_authentication()?))
            });
            self.snapshot.peers = Arc::new(PeerPolicies::new(rules, root));
            causes::peers(&stale.peers, root, affected);
        }
    }

    fn join_secrets(&mut self, stale: &Stale, affected: &mut Affected) {
        for id in &stale.secrets {
            let object = self.store.secrets.get(id);
            let data = object
                .and_then(|object| rules::secret(object.spec.as_secret()?))
                .map(Arc::new);
            if self.snapshot.secrets.value(&id.0, &id.1) == data.as_ref() {
                continue;
            }
            match data {
                Some(data) => drop(self.snapshot.secrets.insert(&id.0, &id.1, data)),
                None => drop(self.snapshot.secrets.remove(&id.0, &id.1)),
            }
            causes::secret(&id.0, affected);
        }
    }

    fn collect_rejections(&mut self) {
        let mut all: Vec<Rejection> = self
            .entry_rejections
            .values()
            .flatten()
            .chain(self.routes.rejections())
            .cloned()
            .collect();
        all.sort();
        self.snapshot.rejections = all.into();
    }
}

/// Every object of a kind as a rule.
fn read<T>(
    objects: &BTreeMap<Id, Arc<Object>>,
    read: impl Fn(&Object) -> Option<Rule<T>>,
) -> Vec<Arc<Rule<T>>> {
    objects
        .values()
        .filter_map(|object| read(object))
        .map(Arc::new)
        .collect()
}
