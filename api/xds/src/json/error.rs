/// Deepest nesting that is read or written.
pub const MAX_DEPTH: usize = 100;

/// Why JSON could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The descriptors of this build do not read, which is a fault of the build.
    #[error("the built-in descriptors are malformed: {0}")]
    Descriptors(String),
    /// A message that this build does not know.
    #[error("unknown message type {name:?}{}", at(.path))]
    UnknownType {
        /// Full name or type URL.
        name: String,
        /// Where in the document, such as `.static_resources.clusters[0]`.
        path: String,
    },
    /// A field the message does not have.
    #[error("unknown field {field:?} of {message}{}", at(.path))]
    UnknownField {
        /// The key.
        field: String,
        /// Full name of the message.
        message: String,
        /// Where in the document.
        path: String,
    },
    /// A value that does not fit.
    #[error("{reason}{}", at(.path))]
    Value {
        /// What is wrong.
        reason: String,
        /// Where in the document.
        path: String,
    },
    /// Nesting beyond [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Bytes that are no such message.
    #[error("malformed {name}: {reason}")]
    Decode {
        /// Full name.
        name: String,
        /// What the decoder says.
        reason: String,
    },
}

impl JsonError {
    /// Where in the document, such as `.static_resources.clusters[0]`; empty where it is not known.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::UnknownType { path, .. }
            | Self::UnknownField { path, .. }
            | Self::Value { path, .. } => path,
            Self::Descriptors(_) | Self::TooDeep | Self::Decode { .. } => "",
        }
    }
}

fn at(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" at {path}")
    }
}
