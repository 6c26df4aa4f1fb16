//! Statistics of MongoDB connections.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::route::Percentage;

/// Collections that are counted under their own names; all further ones are counted together.
const MAX_COLLECTIONS: usize = 256;

/// The MongoDB proxy: it looks at what passes. Envoy's `MongoProxy`.
#[derive(Debug)]
pub struct MongoFilter {
    /// Statistics prefix.
    pub stat_prefix: Arc<str>,
    /// Commands that are counted under their own names.
    pub commands: Vec<Box<str>>,
    /// Messages of clients that are held up, and how long.
    pub delay: Option<(Percentage, Duration)>,
    named: Mutex<HashSet<Box<str>>>,
}

impl MongoFilter {
    /// A filter that has seen nothing yet.
    pub fn new(
        stat_prefix: Arc<str>,
        commands: Vec<Box<str>>,
        delay: Option<(Percentage, Duration)>,
    ) -> Self {
        Self {
            stat_prefix,
            commands,
            delay,
            named: Mutex::default(),
        }
    }

    /// Whether a collection may have counters of its own: names come from clients, and are bounded in number.
    pub fn may_name(&self, collection: &str) -> bool {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains(collection) {
            return true;
        }
        let room = named.len() < MAX_COLLECTIONS;
        if room {
            named.insert(collection.into());
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        let filter = MongoFilter::new("m".into(), Vec::new(), None);
        for number in 0..MAX_COLLECTIONS {
            assert!(filter.may_name(&number.to_string()));
        }
        assert!(!filter.may_name("one more") && filter.may_name("0"));
    }
}
