//! Header changes, compiled to names and values.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Headers to remove, set and append, applied in that order. Values are literals: a value with a format operator is
/// refused when the configuration arrives.
#[derive(Clone, Debug, Default)]
pub struct HeaderMutations {
    /// Headers taken away.
    pub remove: Vec<HeaderName>,
    /// Headers that replace what was there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Headers added beside what was there.
    pub append: Vec<(HeaderName, HeaderValue)>,
    /// Headers added only when absent.
    pub add_if_absent: Vec<(HeaderName, HeaderValue)>,
}

impl HeaderMutations {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.set.is_empty()
            && self.append.is_empty()
            && self.add_if_absent.is_empty()
    }

    /// Changes `headers` in place.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.append {
            headers.append(name, value.clone());
        }
        for (name, value) in &self.add_if_absent {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
}
