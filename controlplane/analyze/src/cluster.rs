//! What there is to analyze: the objects of a cluster, or of files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::OnceLock;

use jiff::Timestamp;
use lateen_api::mesh::{IngressControllerMode, MeshConfig, MeshNetworks};
use lateen_api::object::{Kind, Object, ObjectKey};

use crate::default_objects;
use crate::hosts::{HostIndex, Hosts};
use crate::message::Origin;
use crate::pods::{PodIndex, Pods};

/// What a cluster is made of.
#[derive(Debug, Clone, Default)]
pub struct ClusterInput {
    /// The name; empty for the only cluster there is.
    pub id: String,
    /// The objects. Of two with one key the later one counts.
    pub objects: Vec<Object>,
    /// The mesh's settings.
    pub mesh: MeshConfig,
    /// The mesh's networks, with where they were read.
    pub networks: Option<(MeshNetworks, Origin)>,
    /// The namespace of the mesh's own objects; empty means `istio-system`.
    pub istio_namespace: String,
    /// The kinds that could be read; `None` if all were, as from files.
    pub readable: Option<BTreeSet<Kind>>,
    /// Whether objects come from files alone, so that what is missing may merely be kept elsewhere.
    pub files_only: bool,
    /// The time at which certificates have to be valid; the beginning of 1970, which is the default, leaves their dates alone.
    pub now: Timestamp,
}

/// What an analyzer reads; it is skipped where one of them could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Objects of a kind.
    Kind(Kind),
    /// The mesh's settings.
    MeshConfig,
    /// The mesh's networks.
    MeshNetworks,
}

/// A cluster whose objects can be looked up.
#[derive(Debug)]
pub struct Cluster {
    /// The name; empty for the only cluster there is.
    pub id: String,
    /// The mesh's settings.
    pub mesh: MeshConfig,
    /// The mesh's networks, with where they were read.
    pub networks: Option<(MeshNetworks, Origin)>,
    /// The namespace of the mesh's own objects, `istio-system`.
    pub istio_namespace: String,
    /// Whether objects come from files alone.
    pub files_only: bool,
    /// The time at which certificates have to be valid; the beginning of 1970, which is the default, leaves their dates alone.
    pub now: Timestamp,
    readable: Option<BTreeSet<Kind>>,
    objects: Vec<Object>,
    by_kind: BTreeMap<Kind, Vec<usize>>,
    by_key: HashMap<ObjectKey, usize>,
    /// Keys of objects that a cluster of files has by default.
    defaults: Vec<ObjectKey>,
    pods: OnceLock<PodIndex>,
    hosts: OnceLock<HostIndex>,
}

impl Cluster {
    /// Takes up the objects; those of a kind are in the order of namespace and name. A cluster of files has an ingress gateway by
    /// default, unless the mesh's settings switch Ingress off: its pod and its Service are there to be found, but nothing is reported
    /// about them.
    #[must_use]
    pub fn new(mut input: ClusterInput) -> Self {
        if input.istio_namespace.is_empty() {
            input.istio_namespace = "istio-system".to_owned();
        }
        let defaults = add_defaults(&mut input);
        let mut by_key = HashMap::with_capacity(input.objects.len());
        for (number, object) in input.objects.iter().enumerate() {
            by_key.insert(object.key.clone(), number);
        }
        let mut by_kind: BTreeMap<Kind, Vec<usize>> = BTreeMap::new();
        for (key, number) in &by_key {
            by_kind.entry(key.kind).or_default().push(*number);
        }
        for numbers in by_kind.values_mut() {
            numbers
                .sort_unstable_by(|one, two| input.objects[*one].key.cmp(&input.objects[*two].key));
        }
        Self {
            id: input.id,
            mesh: input.mesh,
            networks: input.networks,
            istio_namespace: input.istio_namespace,
            files_only: input.files_only,
            now: input.now,
            readable: input.readable,
            objects: input.objects,
            by_kind,
            by_key,
            defaults,
            pods: OnceLock::new(),
            hosts: OnceLock::new(),
        }
    }

    /// The objects of a kind, in the order of namespace and name. Those that a cluster of files has by default are among them, see
    /// [`Cluster::given`].
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.by_kind
            .get(&kind)
            .into_iter()
            .flatten()
            .filter_map(|number| self.objects.get(*number))
    }

    /// The objects of a kind without those that a cluster of files has by default: those to report on.
    pub fn given(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.of(kind).filter(|object| !self.is_default(object))
    }

    /// Whether there is an object of a kind, besides those that a cluster of files has by default.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.given(kind).next().is_some()
    }

    /// Whether an object is one that a cluster of files has by default.
    #[must_use]
    pub fn is_default(&self, object: &Object) -> bool {
        self.defaults.contains(&object.key)
    }

    /// The pods, indexed by their labels.
    #[must_use]
    pub fn pods(&self) -> Pods<'_> {
        Pods::new(self, self.pods.get_or_init(|| PodIndex::new(self)))
    }

    /// The hosts, indexed by name and by who sees them.
    #[must_use]
    pub fn hosts(&self) -> Hosts<'_> {
        Hosts::new(self, self.hosts.get_or_init(|| HostIndex::new(self)))
    }

    /// The object of a key; `namespace` is empty for kinds that belong to none.
    #[must_use]
    pub fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        let number = self.by_key.get(&ObjectKey::new(kind, namespace, name))?;
        self.objects.get(*number)
    }

    /// The object of a number that [`Cluster::numbers_of`] gave.
    pub(crate) fn object(&self, number: u32) -> Option<&Object> {
        self.objects.get(number as usize)
    }

    /// The numbers of the objects of a kind.
    pub(crate) fn numbers_of(&self, kind: Kind) -> impl Iterator<Item = u32> {
        self.by_kind
            .get(&kind)
            .into_iter()
            .flatten()
            .filter_map(|number| u32::try_from(*number).ok())
    }

    /// Whether all that an analyzer reads could be read.
    #[must_use]
    pub fn can_read(&self, input: Input) -> bool {
        match (input, &self.readable) {
            (Input::Kind(kind), Some(readable)) => readable.contains(&kind),
            (Input::MeshNetworks, _) => self.networks.is_some(),
            _ => true,
        }
    }
}

/// Adds what a cluster of files has by default, and gives the keys of what was added.
fn add_defaults(input: &mut ClusterInput) -> Vec<ObjectKey> {
    if !input.files_only || input.mesh.ingress_controller_mode == IngressControllerMode::Off {
        return Vec::new();
    }
    let mut added = Vec::new();
    for object in default_objects::ingress_gateway(&input.istio_namespace) {
        if !input.objects.iter().any(|given| given.key == object.key) {
            added.push(object.key.clone());
            input.objects.push(object);
        }
    }
    added
}

impl std::fmt::Display for Input {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => kind.fmt(out),
            Self::MeshConfig => out.write_str("MeshConfig"),
            Self::MeshNetworks => out.write_str("MeshNetworks"),
        }
    }
}
