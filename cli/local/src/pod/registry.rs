//! All pods of the mesh that run or end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use super::entry::{PodEntry, PodKey, PodPlan, WorkloadKey};
use crate::network::{Addresses, NetworkError};

/// The pods, and a number that grows with each change of any of them.
#[derive(Debug)]
pub(crate) struct Pods {
    entries: Mutex<BTreeMap<PodKey, Arc<PodEntry>>>,
    addresses: Addresses,
    changed: watch::Sender<u64>,
}

impl Default for Pods {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            addresses: Addresses::of_pods(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Pods {
    /// Adds a pod with an address of its own.
    ///
    /// # Errors
    /// [`NetworkError::Exhausted`] when there is no address left.
    pub(crate) fn add(&self, plan: PodPlan) -> Result<Arc<PodEntry>, NetworkError> {
        let ip = self.addresses.take()?;
        let entry = Arc::new(PodEntry::new(plan, ip, self.changed.clone()));
        crate::lock(&self.entries).insert(entry.key(), Arc::clone(&entry));
        self.bump();
        Ok(entry)
    }

    /// Forgets a pod that has ended.
    pub(crate) fn remove(&self, entry: &PodEntry) {
        crate::lock(&self.entries).remove(&entry.key());
        self.addresses.release(entry.ip);
        self.bump();
    }

    /// All pods in order of their keys.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<Arc<PodEntry>> {
        crate::lock(&self.entries).values().cloned().collect()
    }

    /// Pods of one workload.
    #[must_use]
    pub(crate) fn of(&self, workload: &WorkloadKey) -> Vec<Arc<PodEntry>> {
        crate::lock(&self.entries)
            .values()
            .filter(|e| e.plan.workload == *workload)
            .cloned()
            .collect()
    }

    /// One pod by its key.
    #[must_use]
    pub(crate) fn find(&self, key: &PodKey) -> Option<Arc<PodEntry>> {
        crate::lock(&self.entries).get(key).cloned()
    }

    /// Number of the newest change.
    #[must_use]
    pub(crate) fn version(&self) -> u64 {
        *self.changed.borrow()
    }

    /// Told about each change.
    #[must_use]
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn bump(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}
