//! An object and its key.

use std::fmt;
use std::sync::Arc;

use super::kind::Kind;
use super::metadata::Metadata;
use super::problem::{Problem, Severity};
use super::source::Source;
use super::spec::Spec;
use crate::yaml::Mark;

/// What tells an object from all others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for kinds that belong to none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// A key of its parts.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    /// `Kind namespace/name`, or `Kind name` where there is no namespace.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(out, "{} {}", self.kind, self.name)
        } else {
            write!(out, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// An object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What tells it from all others.
    pub key: ObjectKey,
    /// Its metadata.
    pub meta: Metadata,
    /// Its content.
    pub spec: Spec,
    /// The status of an object of Istio's kinds that has one; the content of Kubernetes' kinds holds theirs.
    pub status: Option<Arc<serde_json::Value>>,
    /// Where it was read; `None` for one that comes from elsewhere.
    pub source: Option<Source>,
}

impl Object {
    /// The line and column of a field such as `spec.http[0].route[0].destination.subset`; `None` if the object has no such field or
    /// was not read from a file.
    #[must_use]
    pub fn line_of(&self, path: &str) -> Option<(u32, u32)> {
        let mark = self.source.as_ref()?.node().mark_of(path)?;
        Some((mark.line, mark.column))
    }

    /// The place of a field, or of the closest one around it; the beginning of all for an object that was not read from a file.
    #[must_use]
    pub fn mark_near(&self, path: &str) -> Mark {
        self.source
            .as_ref()
            .map(|source| source.node().mark_near(path))
            .unwrap_or_default()
    }

    /// The file that the object was read from; empty if it comes from elsewhere.
    #[must_use]
    pub fn file(&self) -> &str {
        self.source.as_ref().map_or("", |source| &source.file)
    }

    /// A problem with a field of this object.
    #[must_use]
    pub fn problem(&self, severity: Severity, field: &str, message: impl Into<String>) -> Problem {
        let at = self.mark_near(field);
        Problem {
            file: self.file().to_owned(),
            line: at.line,
            column: at.column,
            object: Some(self.key.to_string()),
            field: (!field.is_empty()).then(|| field.to_owned()),
            message: message.into(),
            severity,
        }
    }
}
