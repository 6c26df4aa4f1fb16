//! What the proxy knows now: one writer (`sync`, and `agent` for secrets), many readers, immutable values.
//!
//! Readers on the request path hold [slots](lateen_proxy_model::Slot) and the [`ListenerSet`]; they never look names up
//! here. The raw resources are kept for configuration dumps and for the copy on disk that a restarted proxy serves from.

mod dns_caches;
mod endpoints;
mod last_good;
mod listeners;
mod ready;
mod resources;
mod runtime;
mod secrets;
mod state;
mod table;

pub use dns_caches::{DnsCaches, OtherSettings};
pub use last_good::{LastGood, LastGoodError};
pub use listeners::{ListenerChanges, ListenerSet, ListenerWatch};
pub use ready::{ControlPlaneFacts, Readiness, ReadyFacts, Update, UpdateCounts};
pub use resources::{Rejection, Resource, ResourceKind, Resources};
pub use runtime::Runtime;
pub use secrets::SecretStore;
pub use state::State;
pub use table::Table;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a panic of another holder leaves complete values behind, since every change is one insertion or removal.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
