//! Hosts and wildcards with values, found by whether they have a name in common with another host.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Values by host. Of two hosts that have a name in common one covers the other, so that a lookup needs only the wildcards above a
/// host and, for a wildcard, the hosts below it.
#[derive(Debug)]
pub(crate) struct HostPatterns<T> {
    /// By the letters of the name from its end, without a wildcard's `*`.
    entries: BTreeMap<Box<[u8]>, Values<T>>,
    /// The lengths that wildcards have.
    lengths: BTreeSet<usize>,
}

#[derive(Debug)]
struct Values<T> {
    exact: Vec<T>,
    wildcard: Vec<T>,
}

impl<T> Default for HostPatterns<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            lengths: BTreeSet::new(),
        }
    }
}

impl<T> HostPatterns<T> {
    /// Adds a value of a host.
    pub(crate) fn insert(&mut self, host: &str, value: T) {
        let (letters, is_wildcard) = letters(host);
        if is_wildcard {
            self.lengths.insert(letters.len());
        }
        let values = self
            .entries
            .entry(letters.into_boxed_slice())
            .or_insert_with(|| Values {
                exact: Vec::new(),
                wildcard: Vec::new(),
            });
        if is_wildcard {
            values.wildcard.push(value);
        } else {
            values.exact.push(value);
        }
    }

    /// Whether a condition holds for a value of a host that has a name in common with the given one.
    pub(crate) fn any<'a>(&'a self, host: &str, mut holds: impl FnMut(&'a T) -> bool) -> bool {
        let (letters, is_wildcard) = letters(host);
        let longest = if is_wildcard {
            // Wildcards of the same length are among those below.
            self.lengths.range(..letters.len())
        } else {
            self.lengths.range(..=letters.len())
        };
        let above = longest
            .filter_map(|length| self.entries.get(letters.get(..*length)?))
            .flat_map(|values| &values.wildcard);
        let mut above = above;
        if above.any(&mut holds) {
            return true;
        }
        if !is_wildcard {
            let same = self.entries.get(letters.as_slice());
            return same.into_iter().flat_map(|values| &values.exact).any(holds);
        }
        let from = (Bound::Included(letters.as_slice()), Bound::Unbounded);
        self.entries
            .range::<[u8], _>(from)
            .take_while(|(name, _)| name.starts_with(&letters))
            .flat_map(|(_, values)| values.exact.iter().chain(&values.wildcard))
            .any(holds)
    }

    /// The values of all hosts that have a name in common with the given one.
    pub(crate) fn overlapping(&self, host: &str) -> Vec<&T> {
        let mut found = Vec::new();
        self.any(host, |value| {
            found.push(value);
            false
        });
        found
    }
}

/// The letters of a name from its end, and whether it is a wildcard.
fn letters(host: &str) -> (Vec<u8>, bool) {
    let stem = host.strip_prefix('*');
    let name = stem.unwrap_or(host);
    (name.bytes().rev().collect(), stem.is_some())
}

#[cfg(test)]
mod tests {
    use lateen_api::host::overlap;

    use super::*;

    #[test]
    fn lookups_agree_with_the_comparison_of_pairs() {
        let hosts = [
            "*",
            "*.com",
            "*.a.com",
            "*a.com",
            "a.com",
            "x.a.com",
            "*.x.a.com",
            "y.x.a.com",
            "b.com",
            "*.org",
            "",
        ];
        let mut patterns = HostPatterns::default();
        for host in hosts {
            patterns.insert(host, host);
        }
        for host in hosts.into_iter().chain(["z.a.com", "*.b.com", "c.net"]) {
            let mut found = patterns.overlapping(host);
            found.sort_unstable();
            let mut expected: Vec<&&str> =
                hosts.iter().filter(|other| overlap(other, host)).collect();
            expected.sort_unstable();
            assert_eq!(found, expected, "{host}");
        }
    }
}
