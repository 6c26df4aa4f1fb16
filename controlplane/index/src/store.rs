//! Objects as they came in, by kind, and which parts of the joined state a change makes stale.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lateen_api::object::{Kind, Object, ObjectKey};
use lateen_controlplane_model::change::Change;

use crate::entry::{self, EntryInfo};
use crate::kubernetes::{self, PodInfo};

/// Namespace and name.
pub(crate) type Id = (Arc<str>, Arc<str>);

/// Everything that came in.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) services: BTreeMap<Id, Arc<Object>>,
    /// Slices by their Service.
    pub(crate) slices: HashMap<Id, BTreeMap<Arc<str>, Arc<Object>>>,
    /// Which Service a slice belongs to.
    slice_owner: HashMap<Id, Id>,
    pub(crate) pods: BTreeMap<Id, PodInfo>,
    /// Pods before they are joined with their machines, for when a machine changes.
    pod_objects: HashMap<Id, Arc<Object>>,
    pub(crate) entries: BTreeMap<Id, Arc<Object>>,
    pub(crate) workload_entries: BTreeMap<Id, EntryInfo>,
    pub(crate) virtual_services: BTreeMap<Id, Arc<Object>>,
    pub(crate) destination_rules: BTreeMap<Id, Arc<Object>>,
    pub(crate) gateways: BTreeMap<Id, Arc<Object>>,
    pub(crate) sidecars: BTreeMap<Id, Arc<Object>>,
    pub(crate) peers: BTreeMap<Id, Arc<Object>>,
    pub(crate) secrets: BTreeMap<Id, Arc<Object>>,
    nodes: HashMap<Arc<str>, Arc<str>>,
    /// Services whose slices name a pod.
    pod_users: HashMap<Id, BTreeSet<Arc<str>>>,
    cluster: Arc<str>,
}

/// What has to be joined anew.
#[derive(Debug, Default)]
pub(crate) struct Stale {
    pub(crate) services: BTreeSet<Id>,
    /// Services of which only the endpoints changed.
    pub(crate) endpoints: BTreeSet<Id>,
    pub(crate) entries: BTreeSet<Id>,
    pub(crate) virtual_services: BTreeSet<Id>,
    pub(crate) destination_rules: BTreeSet<Id>,
    pub(crate) secrets: BTreeSet<Id>,
    pub(crate) gateways: BTreeSet<Id>,
    pub(crate) sidecars: BTreeSet<Id>,
    pub(crate) peers: BTreeSet<Id>,
}

impl Store {
    /// An empty store for pods of one cluster.
    pub(crate) fn new(cluster: &str) -> Self {
        Self {
            cluster: cluster.into(),
            ..Self::default()
        }
    }

    /// Takes a change in and notes what it makes stale.
    pub(crate) fn apply(&mut self, change: &Change, stale: &mut Stale) {
        let key = change.key();
        let id = id_of(key);
        let object = match change {
            Change::Apply(object) => Some(object),
            Change::Delete(_) => None,
        };
        match key.kind {
            Kind::Service => note(&mut self.services, id, object, &mut stale.services),
            Kind::EndpointSlice => self.slice(id, object, stale),
            Kind::Pod => self.pod(id, object, stale),
            Kind::Node => self.node(&id.1, object, stale),
            Kind::ServiceEntry => note(&mut self.entries, id, object, &mut stale.entries),
            Kind::WorkloadEntry => self.workload_entry(id, object, stale),
            Kind::VirtualService => note(
                &mut self.virtual_services,
                id,
                object,
                &mut stale.virtual_services,
            ),
            Kind::DestinationRule => note(
                &mut self.destination_rules,
                id,
                object,
                &mut stale.destination_rules,
            ),
            Kind::Gateway => note(&mut self.gateways, id, object, &mut stale.gateways),
            Kind::Sidecar => note(&mut self.sidecars, id, object, &mut stale.sidecars),
            Kind::PeerAuthentication => note(&mut self.peers, id, object, &mut stale.peers),
            Kind::Secret => note(&mut self.secrets, id, object, &mut stale.secrets),
            // Workload templates, accounts and settings shape pods, not configuration.
            _ => {}
        }
    }

    /// The configuration object of a kind's name and id.
    pub(crate) fn config_object(&self, kind: &str, id: &Id) -> Option<&Arc<Object>> {
        let all = [
            &self.virtual_services,
            &self.destination_rules,
            &self.gateways,
            &self.sidecars,
            &self.peers,
            &self.entries,
        ];
        all.iter()
            .filter_map(|objects| objects.get(id))
            .find(|object| object.key.kind.as_str() == kind)
    }

    fn slice(&mut self, id: Id, object: Option<&Arc<Object>>, stale: &mut Stale) {
        if let Some(owner) = self.slice_owner.remove(&id) {
            let left = self
                .slices
                .get_mut(&owner)
                .and_then(|slices| slices.remove(&id.1));
            if let Some(slice) = left.as_ref().and_then(|old| old.spec.as_endpoint_slice()) {
                for pod in kubernetes::slice_pods(slice) {
                    if let Some(users) =
                        self.pod_users.get_mut(&(Arc::clone(&id.0), Arc::from(pod)))
                    {
                        users.remove(&owner.1);
                    }
                }
            }
            stale.endpoints.insert(owner);
        }
        let Some(object) = object else { return };
        let Some(service) = kubernetes::slice_service(&object.meta) else {
            return;
        };
        let owner: Id = (Arc::clone(&id.0), service.into());
        if let Some(slice) = object.spec.as_endpoint_slice() {
            for pod in kubernetes::slice_pods(slice) {
                let users = self
                    .pod_users
                    .entry((Arc::clone(&id.0), Arc::from(pod)))
                    .or_default();
                users.insert(Arc::clone(&owner.1));
            }
        }
        self.slices
            .entry(owner.clone())
            .or_default()
            .insert(Arc::clone(&id.1), Arc::clone(object));
        self.slice_owner.insert(id, owner.clone());
        stale.endpoints.insert(owner);
    }

    fn pod(&mut self, id: Id, object: Option<&Arc<Object>>, stale: &mut Stale) {
        match object {
            Some(object) => self.pod_objects.insert(id.clone(), Arc::clone(object)),
            None => self.pod_objects.remove(&id),
        };
        self.join_pod(&id, stale);
    }

    fn join_pod(&mut self, id: &Id, stale: &mut Stale) {
        let joined = self.pod_objects.get(id).and_then(|object| {
            let pod = object.spec.as_pod()?;
            kubernetes::pod(
                object,
                pod,
                |node| self.nodes.get(node).cloned(),
                &self.cluster,
            )
        });
        if self.pods.get(id) == joined.as_ref() {
            return;
        }
        match joined {
            Some(info) => self.pods.insert(id.clone(), info),
            None => self.pods.remove(id),
        };
        let users = self.pod_users.get(id).into_iter().flatten();
        stale
            .endpoints
            .extend(users.map(|service| (Arc::clone(&id.0), Arc::clone(service))));
        self.pick_again(&id.0, stale);
    }

    fn node(&mut self, name: &Arc<str>, object: Option<&Arc<Object>>, stale: &mut Stale) {
        let locality = object.and_then(|object| kubernetes::node_locality(&object.meta.labels));
        if self.nodes.get(name) == locality.as_ref() {
            return;
        }
        match locality {
            Some(locality) => self.nodes.insert(Arc::clone(name), locality),
            None => self.nodes.remove(name),
        };
        let there: Vec<Id> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.workload.node == *name)
            .map(|(id, _)| id.clone())
            .collect();
        for id in there {
            self.join_pod(&id, stale);
        }
    }

    fn workload_entry(&mut self, id: Id, object: Option<&Arc<Object>>, stale: &mut Stale) {
        let info = object.and_then(|object| {
            Some(entry::workload(
                object,
                object.spec.as_workload_entry()?,
                &self.cluster,
            ))
        });
        match info {
            Some(info) => self.workload_entries.insert(id.clone(), info),
            None => self.workload_entries.remove(&id),
        };
        self.pick_again(&id.0, stale);
    }

    /// ServiceEntries of a namespace that pick workloads have to pick again.
    fn pick_again(&self, namespace: &Arc<str>, stale: &mut Stale) {
        let picking = in_namespace(&self.entries, namespace).filter(|(_, object)| {
            object
                .spec
                .as_service_entry()
                .is_some_and(|spec| entry::selector(spec).is_some())
        });
        stale.entries.extend(picking.map(|(id, _)| id.clone()));
    }
}

/// The entries of one namespace.
pub(crate) fn in_namespace<'a, V>(
    map: &'a BTreeMap<Id, V>,
    namespace: &Arc<str>,
) -> impl Iterator<Item = (&'a Id, &'a V)> {
    let wanted = Arc::clone(namespace);
    map.range((Arc::clone(namespace), Arc::from(""))..)
        .take_while(move |((own, _), _)| *own == wanted)
}

/// Namespace and name of a key.
pub(crate) fn id_of(key: &ObjectKey) -> Id {
    (key.namespace.as_str().into(), key.name.as_str().into())
}

fn note(
    map: &mut BTreeMap<Id, Arc<Object>>,
    id: Id,
    object: Option<&Arc<Object>>,
    stale: &mut BTreeSet<Id>,
) {
    match object {
        // A source may read a file again that says the same.
        Some(object)
            if map
                .get(&id)
                .is_some_and(|old| old.spec == object.spec && old.meta == object.meta) =>
        {
            return;
        }
        Some(object) => map.insert(id.clone(), Arc::clone(object)),
        None => map.remove(&id),
    };
    stale.insert(id);
}
