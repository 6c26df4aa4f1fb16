//! Facts that readiness is made of.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::resources::ResourceKind;

/// What has been applied at least once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadyFacts {
    /// Clusters, from the control plane or from the copy on disk.
    pub clusters: bool,
    /// Listeners, likewise.
    pub listeners: bool,
}

/// Updates of one kind of resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateCounts {
    /// Applied in full.
    pub success: u64,
    /// Refused, in part or whole.
    pub rejected: u64,
}

/// Readiness facts and update counters.
#[derive(Debug)]
pub struct Readiness {
    facts: watch::Sender<ReadyFacts>,
    counts: [(AtomicU64, AtomicU64); ResourceKind::ALL.len()],
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            facts: watch::Sender::new(ReadyFacts::default()),
            counts: Default::default(),
        }
    }
}

impl Readiness {
    /// What has been applied so far.
    pub fn facts(&self) -> ReadyFacts {
        *self.facts.borrow()
    }

    /// Follows the facts.
    pub fn watch(&self) -> watch::Receiver<ReadyFacts> {
        self.facts.subscribe()
    }

    /// Clusters or listeners were applied; other kinds say nothing about readiness.
    pub fn applied(&self, kind: ResourceKind) {
        self.facts.send_if_modified(|facts| {
            let fact = match kind {
                ResourceKind::Cluster => &mut facts.clusters,
                ResourceKind::Listener => &mut facts.listeners,
                _ => return false,
            };
            !std::mem::replace(fact, true)
        });
    }

    /// Counts an update from the control plane.
    pub fn count(&self, kind: ResourceKind, success: bool) {
        if let Some((good, bad)) = self.counts.get(kind as usize) {
            if success { good } else { bad }.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Updates of a kind so far.
    pub fn counts(&self, kind: ResourceKind) -> UpdateCounts {
        self.counts
            .get(kind as usize)
            .map(|(good, bad)| UpdateCounts {
                success: good.load(Ordering::Relaxed),
                rejected: bad.load(Ordering::Relaxed),
            })
            .unwrap_or_default()
    }
}
