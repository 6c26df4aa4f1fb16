//! Objects on their way from a source into the index.

use std::sync::Arc;

use lateen_api::object::{Object, ObjectKey};

/// One change of one object.
#[derive(Debug, Clone)]
pub enum Change {
    /// The object exists now with this content; it replaces an earlier one with the same key.
    Apply(Arc<Object>),
    /// The object with this key is gone.
    Delete(ObjectKey),
}

/// Changes that belong together: the index applies all of them before anybody sees the result.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The changes in the order they happened; for one key the last one wins.
    pub changes: Vec<Change>,
    /// True once the source has listed everything that existed when it started. Nothing is served before every source is synced.
    pub synced: bool,
}

impl Change {
    /// The key of the object that changes.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Apply(object) => &object.key,
            Self::Delete(key) => key,
        }
    }
}
