//! The part of an object that is alike for all kinds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Metadata without name and namespace, which the object's key holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// When the object was made; of two objects that compete the older wins.
    pub creation_timestamp: Option<Timestamp>,
    /// When the object was asked to go.
    pub deletion_timestamp: Option<Timestamp>,
    /// The API server's mark of this state of the object.
    pub resource_version: Option<String>,
    /// How many times the content was changed.
    pub generation: Option<i64>,
    /// The object's unique id.
    pub uid: Option<String>,
    /// The beginning of the name of an object that gets its name from the API server.
    pub generate_name: Option<String>,
    /// Objects that this one belongs to.
    pub owner_references: Vec<OwnerReference>,
}

impl From<ObjectMeta> for Metadata {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            labels: meta.labels.unwrap_or_default(),
            annotations: meta.annotations.unwrap_or_default(),
            creation_timestamp: meta.creation_timestamp.map(|time| time.0),
            deletion_timestamp: meta.deletion_timestamp.map(|time| time.0),
            resource_version: meta.resource_version,
            generation: meta.generation,
            uid: meta.uid,
            generate_name: meta.generate_name,
            owner_references: meta.owner_references.unwrap_or_default(),
        }
    }
}
