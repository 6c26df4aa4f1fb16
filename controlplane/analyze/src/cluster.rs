//! What there is to analyze: the objects of a cluster, or of files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lateen_api::mesh::{MeshConfig, MeshNetworks};
use lateen_api::object::{Kind, Object, ObjectKey};

use crate::message::Origin;

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
    /// The namespace of the mesh's own objects, `istio-system`.
    pub istio_namespace: String,
    /// The kinds that could be read; `None` if all were, as from files.
    pub readable: Option<BTreeSet<Kind>>,
    /// Whether objects come from files alone, so that what is missing may merely be kept elsewhere.
    pub files_only: bool,
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
    readable: Option<BTreeSet<Kind>>,
    objects: Vec<Object>,
    by_kind: BTreeMap<Kind, Vec<usize>>,
    by_key: HashMap<ObjectKey, usize>,
}

impl Cluster {
    /// Takes up the objects; those of a kind are in the order of namespace and name.
    #[must_use]
    pub fn new(input: ClusterInput) -> Self {
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
            readable: input.readable,
            objects: input.objects,
            by_kind,
            by_key,
        }
    }

    /// The objects of a kind, in the order of namespace and name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.by_kind
            .get(&kind)
            .into_iter()
            .flatten()
            .filter_map(|number| self.objects.get(*number))
    }

    /// Whether there is an object of a kind.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.by_kind.contains_key(&kind)
    }

    /// The object of a key; `namespace` is empty for kinds that belong to none.
    #[must_use]
    pub fn find(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Object> {
        let number = self.by_key.get(&ObjectKey::new(kind, namespace, name))?;
        self.objects.get(*number)
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

impl std::fmt::Display for Input {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kind(kind) => kind.fmt(out),
            Self::MeshConfig => out.write_str("MeshConfig"),
            Self::MeshNetworks => out.write_str("MeshNetworks"),
        }
    }
}
