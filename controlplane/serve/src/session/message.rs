//! What goes in and out of a session.

use std::collections::BTreeSet;
use std::sync::Arc;

use lateen_controlplane_model::generate::Resource;

/// Which of the two protocols the stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Names are added and removed; only what changed is sent.
    Delta,
    /// Each request lists all names; CDS and LDS are always sent whole.
    Sotw,
}

/// Names as a request carries them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A delta request.
    Delta {
        /// Added.
        subscribe: Vec<String>,
        /// Removed.
        unsubscribe: Vec<String>,
        /// Held from an earlier stream.
        initial: Vec<String>,
    },
    /// A SotW request: all of them.
    Sotw(Vec<String>),
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// Type asked for.
    pub type_url: String,
    /// Nonce of the response it is about; empty in a spontaneous one.
    pub nonce: String,
    /// Why the response was refused, in a NACK.
    pub error: Option<String>,
    /// The names.
    pub asked: Asked,
}

/// What an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All the subscription is for.
    All,
    /// These names.
    Some(BTreeSet<Arc<str>>),
}

/// A response on its way out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Response {
    /// Type of the resources.
    pub type_url: String,
    /// Version of the configuration.
    pub version: String,
    /// Names the response.
    pub nonce: String,
    /// What is sent.
    pub resources: Vec<Resource>,
    /// Names that are gone.
    pub removed: Vec<String>,
}
