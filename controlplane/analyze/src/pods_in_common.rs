//! Which of many selectors select the same pods.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lateen_api::object::Object;

use crate::cluster::Cluster;

/// A selector and the namespace in which it looks; `None` looks in all.
pub(crate) type Selector<'a> = (Option<&'a str>, &'a BTreeMap<String, String>);

/// For each of some selectors, by its number, the others that select a pod or, on files, a template that it selects too.
pub(crate) fn pods_in_common(
    cluster: &Cluster,
    selectors: &[Selector<'_>],
) -> HashMap<usize, BTreeSet<usize>> {
    let mut common: HashMap<usize, BTreeSet<usize>> = HashMap::new();
    if selectors.len() < 2 {
        return common;
    }
    let mut by_pod: HashMap<*const Object, Vec<usize>> = HashMap::new();
    for (number, (namespace, selector)) in selectors.iter().enumerate() {
        for pod in cluster.pods().matching_with_templates(*namespace, selector) {
            by_pod
                .entry(std::ptr::from_ref(pod.object))
                .or_default()
                .push(number);
        }
    }
    let sets: HashSet<Vec<usize>> = by_pod.into_values().filter(|set| set.len() > 1).collect();
    for set in &sets {
        for one in set {
            let others = set.iter().copied().filter(|other| other != one);
            common.entry(*one).or_default().extend(others);
        }
    }
    common
}
