//! The seam between translation and serving: an immutable configuration that answers for any proxy, and the updates that replace it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::affected::{Affected, Touched};
use crate::proxy::Proxy;

/// One xDS resource, encoded once and shared by every proxy that gets the same bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Resource {
    /// The resource's name.
    pub name: Arc<str>,
    /// An encoded `google.protobuf.Any` that holds the resource.
    pub body: Bytes,
    /// Hash of the body. Equal bodies have equal versions, also across restarts of one build.
    pub version: u64,
}

/// Which resources of a type a proxy asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Everything meant for this proxy (CDS and LDS).
    Wildcard,
    /// These names; a name that does not exist is answered as the type demands (an empty route configuration or assignment).
    Set(BTreeSet<Arc<str>>),
}

/// An object, or a part of one, that could not be translated; the rest of the configuration is served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// Kind of the object, e.g. `VirtualService`.
    pub kind: String,
    /// `<namespace>/<name>` of the object.
    pub object: String,
    /// Path of the field, e.g. `spec.http[0].route[1].destination.host`.
    pub field: String,
    /// What is wrong with it and what to do.
    pub reason: String,
}

/// An immutable configuration: one snapshot, ready to be asked by any number of streams at once.
pub trait Generate: Send + Sync {
    /// Version of the whole configuration, `<time>/<counter>`; sent as `system_version_info`.
    fn version(&self) -> &str;

    /// The resources of one type for one proxy, in a stable order.
    ///
    /// With [`Names::Set`] each name that exists comes back; RDS and EDS also answer unknown names, with a route configuration
    /// without virtual hosts and an assignment without endpoints. A type this control plane does not make gives nothing.
    fn generate(&self, proxy: &Proxy, type_url: &str, names: &Names) -> Vec<Resource>;

    /// What `proxy` needs again because of `change`. Never too little; may be too much, since unchanged resources keep their
    /// [`Resource::version`] and need not be sent again.
    fn affected(&self, proxy: &Proxy, change: &Affected) -> Touched;

    /// Objects and fields that this configuration leaves out, with the reason.
    fn rejections(&self) -> Arc<[Rejection]>;
}

/// A new configuration for the server, with what it changes since the one sent before.
#[derive(Clone)]
pub struct Update {
    /// The configuration to answer from.
    pub config: Arc<dyn Generate>,
    /// What differs from the update sent before this one; several can be joined by [`Affected::merge`].
    pub affected: Arc<Affected>,
}

impl Names {
    /// True when a resource of this name is asked for.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::Wildcard => true,
            Self::Set(names) => names.contains(name),
        }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Resource({}, {} bytes, {:016x})",
            self.name,
            self.body.len(),
            self.version
        )
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}: {}",
            self.kind, self.object, self.field, self.reason
        )
    }
}
