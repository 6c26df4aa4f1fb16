//! Wildcard hosts of a route table, found by hash: one look for each length that some wildcard has.

use std::collections::HashMap;

use ahash::RandomState;

/// The fixed parts of wildcards of one kind (`*.x` or `x.*`) and what they stand for.
#[derive(Clone, Debug, Default)]
pub struct Wildcards {
    places: HashMap<Box<str>, usize, RandomState>,
    /// Lengths of the texts, longest first.
    lengths: Vec<usize>,
}

impl Wildcards {
    /// Adds a text; `false` when it is there already.
    pub fn insert(&mut self, text: &str, place: usize) -> bool {
        let length = text.len();
        if let Err(at) = self.lengths.binary_search_by(|known| length.cmp(known)) {
            self.lengths.insert(at, length);
        }
        self.places.insert(text.into(), place).is_none()
    }

    /// What the longest text stands for that `host` ends with; the host must have more than that.
    pub fn ending(&self, host: &str) -> Option<usize> {
        self.find(host, |length| host.get(host.len() - length..))
    }

    /// What the longest text stands for that `host` starts with; the host must have more than that.
    pub fn starting(&self, host: &str) -> Option<usize> {
        self.find(host, |length| host.get(..length))
    }

    fn find<'h>(&self, host: &str, part: impl Fn(usize) -> Option<&'h str>) -> Option<usize> {
        let shorter = self.lengths.iter().filter(|length| **length < host.len());
        shorter
            .filter_map(|length| self.places.get(part(*length)?))
            .copied()
            .next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_wins_and_the_star_stands_for_something() {
        let mut texts = Wildcards::default();
        assert!(texts.insert(".example.com", 1));
        assert!(texts.insert(".b.example.com", 2));
        assert!(!texts.insert(".b.example.com", 3));
        assert_eq!(texts.ending("a.b.example.com"), Some(3));
        assert_eq!(texts.ending("a.example.com"), Some(1));
        assert_eq!(texts.ending(".example.com"), None);
        assert_eq!(texts.ending("\u{e9}.org"), None);
        assert_eq!(texts.starting(".example.com.x"), Some(1));
    }
}
