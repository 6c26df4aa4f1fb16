//! A configuration object with what every rule needs of its metadata.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::service::{Created, Visibility};

/// A named configuration object.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule<T> {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// When it was created; the oldest rule wins conflicts.
    pub created: Created,
    /// Which namespaces may see it.
    pub export_to: Visibility,
    /// The content, host and gateway names in full.
    pub spec: T,
}

impl<T> Rule<T> {
    /// Oldest first, then by name and namespace.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        (self.created, &self.name, &self.namespace).cmp(&(
            other.created,
            &other.name,
            &other.namespace,
        ))
    }

    /// `<namespace>/<name>`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}
