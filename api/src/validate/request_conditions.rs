//! Conditions on requests as keys of a hash map.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use crate::networking::{StringMatch, StringMatchKind};

/// A condition on one text, or none.
#[derive(PartialEq)]
pub(super) struct Text<'a>(pub(super) Option<&'a StringMatch>);

impl Eq for Text<'_> {}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let kind = self.0.map(|text| match &text.kind {
            None => (0, ""),
            Some(StringMatchKind::Exact(text)) => (1, text.as_str()),
            Some(StringMatchKind::Prefix(text)) => (2, text.as_str()),
            Some(StringMatchKind::Regex(text)) => (3, text.as_str()),
        });
        kind.hash(state);
    }
}

/// Conditions on texts with names.
#[derive(PartialEq)]
pub(super) struct Conditions<'a>(pub(super) &'a BTreeMap<String, StringMatch>);

impl Eq for Conditions<'_> {}

impl Hash for Conditions<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.len().hash(state);
        for (name, text) in self.0 {
            (name, Text(Some(text))).hash(state);
        }
    }
}
