//! Subsets of a cluster's endpoints, named by metadata (`envoy.lb`).

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A value of metadata, comparable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LabelValue {
    /// `null`.
    Null,
    /// A flag.
    Bool(bool),
    /// A number, by its bits.
    Number(u64),
    /// A text.
    Text(Box<str>),
    /// A list.
    List(Box<[LabelValue]>),
    /// A struct, by key.
    Struct(Box<[(Box<str>, LabelValue)]>),
}

impl LabelValue {
    /// The text, when it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for LabelValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

/// Labels that endpoints of a subset have: what a route asks for, or what names a subset.
#[derive(Clone, Debug, Default)]
pub struct SubsetCriteria {
    labels: BTreeMap<Box<str>, LabelValue>,
    hash: u64,
}

impl SubsetCriteria {
    /// Criteria of these labels.
    pub fn new(labels: BTreeMap<Box<str>, LabelValue>) -> Self {
        let mut hasher = DefaultHasher::new();
        labels.hash(&mut hasher);
        Self {
            hash: hasher.finish(),
            labels,
        }
    }

    /// The labels by key.
    pub fn labels(&self) -> &BTreeMap<Box<str>, LabelValue> {
        &self.labels
    }

    /// A hash of all labels, worked out once.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// These labels with those of `inner` over them.
    pub fn merged(&self, inner: &Self) -> Self {
        let mut labels = self.labels.clone();
        labels.extend(inner.labels.clone());
        Self::new(labels)
    }

    /// The labels of these keys alone.
    pub fn only(&self, keys: &[Box<str>]) -> Self {
        let kept = |key: &str| keys.iter().any(|one| **one == *key);
        let labels = self.labels.iter().filter(|(key, _)| kept(key));
        Self::new(
            labels
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        )
    }

    /// Whether the keys are exactly `keys`, which are sorted.
    pub fn has_keys(&self, keys: &[Box<str>]) -> bool {
        self.labels.len() == keys.len() && self.labels.keys().eq(keys)
    }
}

impl PartialEq for SubsetCriteria {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.labels == other.labels
    }
}

impl Eq for SubsetCriteria {}

/// How a cluster is divided into subsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subsets {
    /// Which keys name subsets.
    pub selectors: Box<[SubsetSelector]>,
    /// What serves a request whose subset does not exist.
    pub fallback: SubsetFallback,
    /// Labels of the default subset.
    pub default: SubsetCriteria,
    /// Localities keep their weights within a subset.
    pub locality_weight_aware: bool,
    /// The weights shrink with the share of a locality's endpoints that are in the subset.
    pub scale_locality_weight: bool,
    /// Every endpoint may serve when the fallback has none.
    pub panic_mode_any: bool,
    /// An endpoint whose label is a list is in the subset of each of its values.
    pub list_as_any: bool,
}

/// What serves a request whose subset does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubsetFallback {
    /// Nothing.
    #[default]
    None,
    /// Any endpoint.
    Any,
    /// The default subset.
    Default,
}

/// Keys that name subsets together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubsetSelector {
    /// The keys, sorted.
    pub keys: Box<[Box<str>]>,
    /// A subset has one endpoint.
    pub single_host: bool,
    /// What serves a request for these keys whose subset does not exist; `None` is the cluster's own way.
    pub fallback: Option<SelectorFallback>,
}

/// A selector's own way of falling back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelectorFallback {
    /// As for the cluster.
    As(SubsetFallback),
    /// Asked again with these keys alone.
    Keys(Box<[Box<str>]>),
}

/// `cluster.<name>.lb_subsets_*`.
#[derive(Debug, Default)]
pub struct SubsetStats {
    /// Requests that their subset served.
    pub selected: AtomicU64,
    /// Requests that the fallback served.
    pub fallback: AtomicU64,
    /// Requests that any endpoint served, as the fallback had none.
    pub fallback_panic: AtomicU64,
    /// Subsets with endpoints now.
    pub active: AtomicU64,
}

/// Criteria shared by routes.
pub type SubsetRef = Arc<SubsetCriteria>;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(labels: &[(&str, &str)]) -> SubsetCriteria {
        let own = labels
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        SubsetCriteria::new(own.collect())
    }

    #[test]
    fn inner_labels_win() {
        let merged = of(&[("a", "1"), ("b", "1")]).merged(&of(&[("b", "2")]));
        assert_eq!(merged, of(&[("a", "1"), ("b", "2")]));
        assert_eq!(merged.only(&["b".into()]), of(&[("b", "2")]));
        assert!(merged.has_keys(&["a".into(), "b".into()]) && !merged.has_keys(&["a".into()]));
    }
}
