//! Labels that a configuration makes of names.

use std::ops::Range;

use regex::Regex;

/// A label of every statistic whose name has it, or of all.
#[derive(Clone, Debug)]
pub struct StatsTag {
    /// The label's name, as Prometheus writes it.
    pub(super) label: String,
    kind: TagKind,
}

#[derive(Clone, Debug)]
enum TagKind {
    Fixed(String),
    /// The first group is left out of the name; the second, or else the first, is the value.
    Found(Regex),
}

impl StatsTag {
    /// A label with the same value everywhere.
    #[must_use]
    pub fn fixed_value(name: &str, value: String) -> Self {
        Self {
            label: label(name),
            kind: TagKind::Fixed(value),
        }
    }

    /// A label that is a part of names.
    #[must_use]
    pub fn found_by(name: &str, pattern: Regex) -> Self {
        Self {
            label: label(name),
            kind: TagKind::Found(pattern),
        }
    }

    pub(super) fn fixed(&self) -> Option<&str> {
        match &self.kind {
            TagKind::Fixed(value) => Some(value),
            TagKind::Found(_) => None,
        }
    }

    /// What is left out of a name, and the value.
    pub(super) fn found<'n>(&self, name: &'n str) -> Option<(Range<usize>, &'n str)> {
        let TagKind::Found(pattern) = &self.kind else {
            return None;
        };
        let found = pattern.captures(name)?;
        let first = found.get(1)?;
        let value = found.get(2).unwrap_or(first);
        Some((first.range(), value.as_str()))
    }
}

fn label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(plain).collect()
}
