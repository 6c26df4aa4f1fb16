//! Runtime keys: settings that a bootstrap gives beside the resources.

use std::collections::BTreeMap;

/// Runtime keys with their values as text; they do not change while the process lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime(BTreeMap<Box<str>, Box<str>>);

impl Runtime {
    /// Sets a key; a later value replaces an earlier one.
    pub fn set(&mut self, key: &str, value: &str) {
        self.0.insert(key.into(), value.into());
    }

    /// The value of a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| &**value)
    }

    /// The value of a key that is a whole number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key)?.parse().ok()
    }
}
