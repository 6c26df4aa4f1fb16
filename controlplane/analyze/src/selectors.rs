//! Selectors the other way round: which of many select a set of labels; and Kubernetes' selectors with expressions.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use lateen_api::labels::selects;

/// A label of a selector, with the namespace that the selector looks in.
type Key<'a> = (&'a str, &'a str, &'a str);

/// A thing with the selector that it has.
type Selecting<'a, T> = (&'a BTreeMap<String, String>, T);

/// Things that select pods of a namespace by labels, such as Services.
#[derive(Debug)]
pub struct SelectorIndex<'a, T> {
    /// Each thing under the label of its selector that fewest others ask for.
    by_label: HashMap<Key<'a>, Vec<Selecting<'a, T>>>,
}

impl<'a, T: Copy> SelectorIndex<'a, T> {
    /// Takes up things with their namespaces and selectors. Those whose selectors have no labels are left out.
    pub fn new(things: impl Iterator<Item = (&'a str, &'a BTreeMap<String, String>, T)>) -> Self {
        let things: Vec<_> = things.collect();
        let mut asked: HashMap<Key<'a>, usize> = HashMap::new();
        for (namespace, selector, _) in &things {
            for (key, value) in *selector {
                *asked.entry((namespace, key, value)).or_default() += 1;
            }
        }
        let mut by_label: HashMap<Key<'a>, Vec<_>> = HashMap::new();
        for (namespace, selector, thing) in things {
            let rarest = selector
                .iter()
                .map(|(key, value)| (namespace, key.as_str(), value.as_str()))
                .min_by_key(|key| asked.get(key));
            if let Some(rarest) = rarest {
                by_label.entry(rarest).or_default().push((selector, thing));
            }
        }
        Self { by_label }
    }

    /// The things that select a pod of a namespace with these labels.
    pub fn selecting<'s>(
        &'s self,
        namespace: &'s str,
        labels: &'s BTreeMap<String, String>,
    ) -> impl Iterator<Item = T> + 's
    where
        'a: 's,
    {
        labels
            .iter()
            .filter_map(move |(key, value)| {
                self.by_label
                    .get(&(namespace, key.as_str(), value.as_str()))
            })
            .flatten()
            .filter(move |(selector, _)| selects(selector, labels))
            .map(|(_, thing)| *thing)
    }
}

/// Whether a selector with expressions selects labels. No selector selects all, and one that makes no sense selects nothing.
#[must_use]
pub fn label_selector_selects(
    selector: Option<&LabelSelector>,
    labels: &BTreeMap<String, String>,
) -> bool {
    let Some(selector) = selector else {
        return true;
    };
    let named = selector.match_labels.as_ref();
    named.is_none_or(|named| selects(named, labels))
        && selector
            .match_expressions
            .iter()
            .flatten()
            .all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.contains(value));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !values.is_empty() && !listed,
        "Exists" => values.is_empty() && value.is_some(),
        "DoesNotExist" => values.is_empty() && value.is_none(),
        _ => false,
    }
}
