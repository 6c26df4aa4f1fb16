//! Conditions on HTTP requests.

use std::collections::BTreeMap;

use crate::proto::{message, oneof};

message! {
    /// Conditions on a request, all of which must hold.
    HttpMatchRequest {
        /// A name for logs.
        name: String,
        /// The path, without the query.
        uri: Option<StringMatch>,
        /// The scheme.
        scheme: Option<StringMatch>,
        /// The method.
        method: Option<StringMatch>,
        /// The `:authority` or `Host` header.
        authority: Option<StringMatch>,
        /// Headers by name; a condition without a kind asks only that the header is there.
        headers: BTreeMap<String, StringMatch>,
        /// Headers whose values must not match.
        without_headers: BTreeMap<String, StringMatch>,
        /// Query parameters by name.
        query_params: BTreeMap<String, StringMatch>,
        /// The port that the client addressed; 0 for any.
        port: u32,
        /// Labels that the client's pod must have.
        source_labels: BTreeMap<String, String>,
        /// The client's namespace.
        source_namespace: String,
        /// Gateways for which the condition counts, instead of the object's.
        gateways: Vec<String>,
        /// Whether `uri` exact and prefix matches ignore case.
        ignore_uri_case: bool,
        /// A prefix for this route's statistics.
        stat_prefix: String,
    }
}

message! {
    /// A condition on a text; without a kind it holds for any text.
    StringMatch {}
    oneof {
        /// How the text is compared.
        kind: StringMatchKind,
    }
}

oneof! {
    /// How a text is compared.
    StringMatchKind {
        /// Equal, with case.
        exact: Exact(String),
        /// Beginning with.
        prefix: Prefix(String),
        /// Matched as a whole by an RE2 expression.
        regex: Regex(String),
    }
}

impl StringMatch {
    /// A match of the whole text.
    #[must_use]
    pub fn exact(text: impl Into<String>) -> Self {
        Self {
            kind: Some(StringMatchKind::Exact(text.into())),
        }
    }

    /// A match of the text's beginning.
    #[must_use]
    pub fn prefix(text: impl Into<String>) -> Self {
        Self {
            kind: Some(StringMatchKind::Prefix(text.into())),
        }
    }

    /// A match by an expression.
    #[must_use]
    pub fn regex(text: impl Into<String>) -> Self {
        Self {
            kind: Some(StringMatchKind::Regex(text.into())),
        }
    }
}
