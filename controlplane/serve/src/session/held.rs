//! Names with the version sent, kept small: a control plane holds this for every resource of every proxy.

use std::sync::Arc;

use lateen_controlplane_model::generate::Resource;

/// Stands for "asked for, never sent".
const UNSENT: u64 = 0;

/// A map from name to version as one sorted list, which takes less than half of a hash map's memory.
#[derive(Debug, Default)]
pub(crate) struct Held {
    entries: Vec<(Arc<str>, u64)>,
}

impl Held {
    /// Number of names.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the name is there.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// The version last sent; `None` where nothing was.
    pub(crate) fn sent(&self, name: &str) -> Option<u64> {
        let index = self.find(name).ok()?;
        self.entries
            .get(index)
            .map(|(_, version)| *version)
            .filter(|version| *version != UNSENT)
    }

    /// Every name, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().map(|(name, _)| name)
    }

    /// Adds names that are not there yet, as not sent.
    pub(crate) fn add(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        self.entries
            .extend(names.into_iter().map(|name| (name, UNSENT)));
        // Stable: of two entries with one name the older one is first and stays.
        self.settle();
    }

    /// Records what is sent. Names become the resource's own, which all streams share.
    pub(crate) fn hold(&mut self, resources: &[Resource]) {
        let before = std::mem::take(&mut self.entries);
        self.entries
            .reserve_exact(before.len().max(resources.len()));
        self.entries.extend(
            resources
                .iter()
                .map(|resource| (Arc::clone(&resource.name), resource.version)),
        );
        self.entries.extend(before);
        self.settle();
    }

    /// Keeps the names that fit.
    pub(crate) fn retain(&mut self, fits: impl Fn(&str) -> bool) {
        self.entries.retain(|(name, _)| fits(name));
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries
            .binary_search_by(|(known, _)| (**known).cmp(name))
    }

    fn settle(&mut self) {
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        self.entries.dedup_by(|later, earlier| later.0 == earlier.0);
        self.entries.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_newest_version_stays() {
        let mut held = Held::default();
        held.add(["b", "a", "b"].map(Arc::from));
        assert_eq!((held.len(), held.sent("a")), (2, None));
        let resource = |name: &str, version| Resource {
            name: name.into(),
            body: Bytes::new(),
            version,
        };
        held.hold(&[resource("c", 3), resource("a", 1)]);
        held.add(["a"].map(Arc::from));
        held.hold(&[resource("c", 4)]);
        let all: Vec<_> = held
            .names()
            .map(|name| (name.to_string(), held.sent(name)))
            .collect();
        assert_eq!(
            all,
            [
                ("a".to_owned(), Some(1)),
                ("b".to_owned(), None),
                ("c".to_owned(), Some(4))
            ]
        );
        held.retain(|name| name != "a");
        assert!(!held.contains("a") && held.contains("b"));
    }
}
