//! Facts that readiness is made of.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::lock;
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
    /// Asked for, answered or not.
    pub attempt: u64,
    /// Not answered: the connection or the file failed.
    pub failure: u64,
    /// Waited for in vain.
    pub timeout: u64,
}

/// One way an update can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// See [`UpdateCounts::success`].
    Success,
    /// See [`UpdateCounts::rejected`].
    Rejected,
    /// See [`UpdateCounts::attempt`].
    Attempt,
    /// See [`UpdateCounts::failure`].
    Failure,
    /// See [`UpdateCounts::timeout`].
    Timeout,
}

/// Counters by kind of update.
type Counts = [AtomicU64; 5];

/// What is known of the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlPlaneFacts {
    /// What it calls itself in answers.
    pub identifier: String,
    /// Version of the last accepted answer by kind.
    pub versions: [Box<str>; ResourceKind::ALL.len()],
}

/// Readiness facts and update counters.
#[derive(Debug)]
pub struct Readiness {
    facts: watch::Sender<ReadyFacts>,
    counts: [Counts; ResourceKind::ALL.len()],
    connected: AtomicBool,
    failing: Arc<AtomicBool>,
    control_plane: Mutex<ControlPlaneFacts>,
    waiting: Mutex<Vec<(ResourceKind, Arc<str>)>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            facts: watch::Sender::new(ReadyFacts::default()),
            counts: Default::default(),
            connected: AtomicBool::new(false),
            failing: Arc::default(),
            control_plane: Mutex::default(),
            waiting: Mutex::default(),
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

    /// Counts an answer from the control plane.
    pub fn count(&self, kind: ResourceKind, success: bool) {
        self.note(kind, Update::Attempt);
        self.note(
            kind,
            if success {
                Update::Success
            } else {
                Update::Rejected
            },
        );
    }

    /// Counts one way that an update went.
    pub fn note(&self, kind: ResourceKind, update: Update) {
        let counter = self.counts.get(kind as usize);
        if let Some(counter) = counter.and_then(|counts| counts.get(update as usize)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Updates of a kind so far.
    pub fn counts(&self, kind: ResourceKind) -> UpdateCounts {
        let of = |update: Update| {
            let counts = self.counts.get(kind as usize);
            let counter = counts.and_then(|counts| counts.get(update as usize));
            counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
        };
        UpdateCounts {
            success: of(Update::Success),
            rejected: of(Update::Rejected),
            attempt: of(Update::Attempt),
            failure: of(Update::Failure),
            timeout: of(Update::Timeout),
        }
    }

    /// Whether health checks of this proxy are made to fail.
    pub fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failing)
    }

    /// Forgets the counts.
    pub fn reset_counts(&self) {
        for counter in self.counts.iter().flatten() {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Whether a stream to the control plane is open.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// A stream to the control plane was opened, or ended.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    /// Notes what an accepted answer says about the control plane.
    pub fn answered_by(&self, kind: ResourceKind, identifier: &str, version: &str) {
        let mut facts = lock(&self.control_plane);
        if !identifier.is_empty() && facts.identifier != identifier {
            identifier.clone_into(&mut facts.identifier);
        }
        if let Some(known) = facts.versions.get_mut(kind as usize)
            && **known != *version
        {
            *known = version.into();
        }
    }

    /// What is known of the control plane.
    pub fn control_plane(&self) -> ControlPlaneFacts {
        lock(&self.control_plane).clone()
    }

    /// Resources that are not visible yet because something is missing, and what is missing.
    pub fn waiting(&self) -> Vec<(ResourceKind, Arc<str>)> {
        lock(&self.waiting).clone()
    }

    /// Notes what is waited for.
    pub fn set_waiting(&self, waiting: Vec<(ResourceKind, Arc<str>)>) {
        *lock(&self.waiting) = waiting;
    }
}
