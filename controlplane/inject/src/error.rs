//! Why a pod cannot be injected.

use crate::annotations::Fault;
use crate::values::ValuesError;

/// A pod or settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// Annotations with values that are not accepted.
    #[error("failed to run injection template: {}", listed(.0))]
    Annotations(Vec<Fault>),
    /// The annotation `inject.istio.io/templates` names a template that does not exist.
    #[error("requested template \"{name}\" not found; have {have}")]
    UnknownTemplate {
        /// The name.
        name: String,
        /// The names that exist.
        have: String,
    },
    /// The annotation `inject.istio.io/templates` names a stock template of Istio that is not supported yet.
    #[error(
        "the template \"{0}\" of the annotation inject.istio.io/templates is not supported yet: use sidecar or gateway"
    )]
    UnsupportedTemplate(String),
    /// An annotation that holds JSON or YAML of the wrong shape.
    #[error("the annotation {key} cannot be read: {reason}")]
    Annotation {
        /// The annotation.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A setting of the wrong shape.
    #[error("the setting {path} cannot be used: {reason}")]
    Setting {
        /// The path of the setting.
        path: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Values that cannot be used.
    #[error(transparent)]
    Values(#[from] ValuesError),
    /// A container or volume of the pod has a field of the wrong shape.
    #[error("the pod cannot be read: {0}")]
    Pod(String),
    /// A prometheus.io annotation that cannot be merged.
    #[error("invalid prometheus scrape {what}: {reason}")]
    Prometheus {
        /// `configuration` or `targets`.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The faults as the list that Istio prints.
fn listed(faults: &[Fault]) -> String {
    let mut text = match faults.len() {
        1 => "1 error occurred:\n".to_owned(),
        count => format!("{count} errors occurred:\n"),
    };
    for fault in faults {
        text.push_str(&format!("\t* {fault}\n"));
    }
    text
}
