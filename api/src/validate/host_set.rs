//! Which of many hosts cover each other, without comparing each with each.

use std::collections::HashMap;

/// Hosts by name and wildcards by what follows their `*`, each with the first place where it stands.
pub(super) struct HostSet<'a> {
    names: HashMap<&'a str, usize>,
    wildcards: HashMap<&'a str, usize>,
}

impl<'a> HostSet<'a> {
    pub(super) fn new(hosts: &'a [String]) -> Self {
        let mut set = Self {
            names: HashMap::new(),
            wildcards: HashMap::new(),
        };
        for (i, host) in hosts.iter().enumerate() {
            match host.strip_prefix('*') {
                Some(suffix) => set.wildcards.entry(suffix).or_insert(i),
                None => set.names.entry(host).or_insert(i),
            };
        }
        set
    }

    /// The first place of a host that is the same.
    fn same(&self, host: &str) -> Option<usize> {
        match host.strip_prefix('*') {
            Some(suffix) => self.wildcards.get(suffix),
            None => self.names.get(host),
        }
        .copied()
    }

    /// The place of a wildcard that covers more than the host, the closest one.
    fn wider(&self, host: &str) -> Option<usize> {
        if self.wildcards.is_empty() {
            return None;
        }
        // What follows a wildcard's own star is the wildcard itself.
        let (text, skipped) = host
            .strip_prefix('*')
            .map_or((host, 0), |suffix| (suffix, 1));
        let starts = text.char_indices().map(|(at, _)| at);
        starts
            .chain((!text.is_empty()).then_some(text.len()))
            .skip(skipped)
            .find_map(|at| self.wildcards.get(text.get(at..)?))
            .copied()
    }

    /// Whether a host covers this one, or is it.
    pub(super) fn covers(&self, host: &str) -> bool {
        self.same(host).is_some() || self.wider(host).is_some()
    }

    /// The place of another host that is the same and comes earlier, or of one that covers more; `at` is the host's own place.
    pub(super) fn overlapping(&self, host: &str, at: usize) -> Option<usize> {
        let same = self.same(host).filter(|first| *first < at);
        same.or_else(|| self.wider(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::is_subset_of;

    #[test]
    fn the_set_finds_what_comparing_each_with_each_finds() {
        let hosts: Vec<String> = [
            "*.a.com", "x.a.com", "a.com", "*x.com", "x.com", "*", "*.com", "b", "10.0.0.1",
            "a.com",
        ]
        .map(str::to_owned)
        .into();
        for taken in 0..hosts.len() {
            let some = &hosts[taken..];
            let set = HostSet::new(some);
            for host in &hosts {
                let covered = some.iter().any(|wide| is_subset_of(host, wide));
                assert_eq!(set.covers(host), covered, "{host} in {some:?}");
            }
            let pairs = some.iter().enumerate().any(|(i, host)| {
                let others = some.iter().enumerate().filter(|(j, _)| *j != i);
                others
                    .into_iter()
                    .any(|(_, other)| is_subset_of(host, other))
            });
            let found = some
                .iter()
                .enumerate()
                .any(|(i, host)| set.overlapping(host, i).is_some());
            assert_eq!(found, pairs, "{some:?}");
        }
    }
}
