//! Resources as they came, for configuration dumps and the copy on disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::watch;

use crate::lock;

/// A kind of resource that the data path is built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceKind {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
    /// SDS.
    Secret,
    /// ECDS.
    Extension,
}

impl ResourceKind {
    /// Every kind, in the order they are applied.
    pub const ALL: [Self; 6] = [
        Self::Cluster,
        Self::Endpoint,
        Self::Listener,
        Self::Route,
        Self::Secret,
        Self::Extension,
    ];
}

/// One accepted resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Version the control plane gave it; may be empty.
    pub version: Box<str>,
    /// The encoded message, without its `Any` envelope.
    pub body: Bytes,
    /// When it was accepted.
    pub updated: SystemTime,
    /// It was given in the bootstrap and is not the control plane's.
    pub is_static: bool,
}

/// Why the newest version of a resource is not in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Version that was refused.
    pub version: Box<str>,
    /// What is wrong, with resource and field.
    pub reason: Box<str>,
    /// When.
    pub at: SystemTime,
}

type ByName<T> = BTreeMap<Arc<str>, Arc<T>>;

#[derive(Debug, Default)]
struct Tables {
    accepted: [ByName<Resource>; ResourceKind::ALL.len()],
    rejected: [ByName<Rejection>; ResourceKind::ALL.len()],
}

/// Accepted and refused resources by kind and name.
#[derive(Debug)]
pub struct Resources {
    tables: Mutex<Tables>,
    changes: watch::Sender<u64>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            tables: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl Resources {
    /// Keeps an accepted resource; an earlier refusal of it is forgotten.
    pub fn accept(&self, kind: ResourceKind, name: &str, resource: Resource) {
        self.accept_shared(kind, name.into(), resource);
    }

    /// The same under a name that somebody else holds too, such as a slot.
    pub fn accept_shared(&self, kind: ResourceKind, name: Arc<str>, resource: Resource) {
        let mut tables = lock(&self.tables);
        tables.rejected[kind as usize].remove(&name);
        let table = &mut tables.accepted[kind as usize];
        match table.get_mut(&name) {
            Some(old) => *old = Arc::new(resource),
            None => {
                table.insert(name, Arc::new(resource));
            }
        }
        drop(tables);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Notes that a resource was refused; the version in use stays.
    pub fn reject(&self, kind: ResourceKind, name: &str, rejection: Rejection) {
        lock(&self.tables).rejected[kind as usize].insert(name.into(), Arc::new(rejection));
    }

    /// Forgets a resource.
    pub fn remove(&self, kind: ResourceKind, name: &str) {
        let mut tables = lock(&self.tables);
        tables.rejected[kind as usize].remove(name);
        let gone = tables.accepted[kind as usize].remove(name).is_some();
        drop(tables);
        if gone {
            self.changes.send_modify(|count| *count += 1);
        }
    }

    /// The resource in use.
    pub fn accepted(&self, kind: ResourceKind, name: &str) -> Option<Arc<Resource>> {
        lock(&self.tables).accepted[kind as usize]
            .get(name)
            .cloned()
    }

    /// All resources of a kind in use, by name.
    pub fn all(&self, kind: ResourceKind) -> Vec<(Arc<str>, Arc<Resource>)> {
        lock(&self.tables).accepted[kind as usize]
            .iter()
            .map(|(name, resource)| (Arc::clone(name), Arc::clone(resource)))
            .collect()
    }

    /// Names of a kind in use.
    pub fn names(&self, kind: ResourceKind) -> Vec<Arc<str>> {
        lock(&self.tables).accepted[kind as usize]
            .keys()
            .cloned()
            .collect()
    }

    /// Refused resources of a kind, by name.
    pub fn rejections(&self, kind: ResourceKind) -> Vec<(Arc<str>, Arc<Rejection>)> {
        lock(&self.tables).rejected[kind as usize]
            .iter()
            .map(|(name, rejection)| (Arc::clone(name), Arc::clone(rejection)))
            .collect()
    }

    /// Follows the number of changes.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
