//! Subsets: their plans, and which of them serves a request.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lateen_proxy_model::{
    Cluster, Endpoint, EndpointSet, LabelValue, Plan, PlanLevel, SelectorFallback, SubsetCriteria,
    SubsetFallback, SubsetPlan, SubsetPlans, SubsetSelector, Subsets,
};

use crate::plan::{self, Slice};

/// Combinations of list values of one endpoint for one selector.
const COMBINATIONS: usize = 256;

/// Plans of all subsets that have an endpoint.
pub(crate) fn plans(
    cluster: &Cluster,
    subsets: &Subsets,
    set: &EndpointSet,
    now: u64,
) -> SubsetPlans {
    let mut made = SubsetPlans::default();
    let mut known: HashSet<&[Box<str>]> = HashSet::new();
    for selector in &subsets.selectors {
        if !known.insert(&selector.keys) {
            continue;
        }
        let mut members: HashMap<SubsetCriteriaKey, Vec<u64>> = HashMap::new();
        for endpoint in set.iter() {
            for criteria in named_by(subsets, selector, endpoint) {
                let ids = members.entry(SubsetCriteriaKey(criteria)).or_default();
                if !selector.single_host || ids.is_empty() {
                    ids.push(endpoint.id);
                }
            }
        }
        for (SubsetCriteriaKey(criteria), ids) in members {
            let ids: HashSet<u64> = ids.into_iter().collect();
            let levels = levels(cluster, subsets, set, |one| ids.contains(&one.id), now);
            let same = made.by_hash.entry(criteria.hash()).or_default();
            same.push(SubsetPlan { criteria, levels });
        }
    }
    if subsets.fallback == SubsetFallback::Default || has_default(subsets) {
        let member = |endpoint: &Endpoint| matches(subsets, endpoint, &subsets.default);
        made.default = Some(levels(cluster, subsets, set, member, now));
    }
    let active = made.by_hash.values().map(Vec::len).sum::<usize>() as u64;
    let stats = cluster.shared.subsets();
    stats.active.store(active, Ordering::Relaxed);
    made
}

fn has_default(subsets: &Subsets) -> bool {
    let falls_back = Some(SelectorFallback::As(SubsetFallback::Default));
    let mut selectors = subsets.selectors.iter();
    selectors.any(|selector| selector.fallback == falls_back)
}

/// Criteria as a key: the hash is known already.
#[derive(PartialEq, Eq)]
struct SubsetCriteriaKey(SubsetCriteria);

impl std::hash::Hash for SubsetCriteriaKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash());
    }
}

fn levels(
    cluster: &Cluster,
    subsets: &Subsets,
    set: &EndpointSet,
    member: impl Fn(&Endpoint) -> bool,
    now: u64,
) -> Box<[PlanLevel]> {
    let slices: Vec<Slice<'_>> = set
        .localities
        .iter()
        .map(|of| {
            let members = of.endpoints.iter().filter(|one| member(one));
            let endpoints: Vec<Arc<Endpoint>> = members.cloned().collect();
            let weight = match (subsets.locality_weight_aware, subsets.scale_locality_weight) {
                (false, _) => 1,
                (true, false) => of.weight,
                (true, true) => scaled(of.weight, endpoints.len(), of.endpoints.len()),
            };
            Slice {
                of,
                endpoints,
                weight,
            }
        })
        .collect();
    plan::levels(cluster, &slices, now)
}

/// A locality's weight by the share of its endpoints, rounded, and never nothing.
fn scaled(weight: u32, part: usize, whole: usize) -> u32 {
    let share = part as f64 / whole.max(1) as f64;
    let scaled = (f64::from(weight) * share).round();
    if part == 0 { 0 } else { (scaled as u32).max(1) }
}

/// The subsets that an endpoint belongs to by one selector: more than one where a label is a list.
fn named_by(
    subsets: &Subsets,
    selector: &SubsetSelector,
    endpoint: &Endpoint,
) -> Vec<SubsetCriteria> {
    let mut found: Vec<BTreeMap<Box<str>, LabelValue>> = vec![BTreeMap::new()];
    for key in &selector.keys {
        let Some(value) = endpoint.metadata.labels.get(key) else {
            return Vec::new();
        };
        let values: &[LabelValue] = match value {
            LabelValue::List(values) if subsets.list_as_any => values,
            one => std::slice::from_ref(one),
        };
        found = found
            .into_iter()
            .flat_map(|labels| {
                values.iter().map(move |value| {
                    let mut labels = labels.clone();
                    labels.insert(key.clone(), value.clone());
                    labels
                })
            })
            .take(COMBINATIONS)
            .collect();
    }
    found.into_iter().map(SubsetCriteria::new).collect()
}

fn matches(subsets: &Subsets, endpoint: &Endpoint, criteria: &SubsetCriteria) -> bool {
    let mut labels = criteria.labels().iter();
    labels.all(|(key, wanted)| match endpoint.metadata.labels.get(key) {
        Some(LabelValue::List(values)) if subsets.list_as_any => values.contains(wanted),
        Some(value) => value == wanted,
        None => false,
    })
}

/// The shares that a request for `wanted` gets, and a number that names them.
pub(crate) fn find<'p>(
    cluster: &Cluster,
    plan: &'p Plan,
    plans: &'p SubsetPlans,
    wanted: Option<&SubsetCriteria>,
) -> Option<(&'p [PlanLevel], u64)> {
    let subsets = cluster.subsets.as_ref()?;
    let stats = cluster.shared.subsets();
    let bump = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let any: Option<&'p [PlanLevel]> = Some(&*plan.levels).filter(|levels| !is_empty(levels));
    let of = |fallback| match fallback {
        SubsetFallback::None => None,
        SubsetFallback::Any => any,
        SubsetFallback::Default => plans.default.as_deref().filter(|levels| !is_empty(levels)),
    };
    let mut narrowed;
    let mut wanted = wanted;
    // Each step has fewer keys than the one before.
    while let Some(criteria) = wanted {
        if let Some(levels) = plans.find(criteria) {
            bump(&stats.selected);
            return Some((levels, criteria.hash()));
        }
        let mut selectors = subsets.selectors.iter();
        let own = selectors.find(|selector| criteria.has_keys(&selector.keys));
        match own.and_then(|selector| selector.fallback.as_ref()) {
            Some(SelectorFallback::Keys(keys)) => {
                narrowed = criteria.only(keys);
                wanted = Some(&narrowed);
            }
            Some(SelectorFallback::As(fallback)) => {
                let levels = of(*fallback)?;
                bump(&stats.fallback);
                return Some((levels, 0));
            }
            None => break,
        }
    }
    if let Some(levels) = of(subsets.fallback) {
        bump(&stats.fallback);
        return Some((levels, 0));
    }
    let levels = any.filter(|_| subsets.panic_mode_any)?;
    bump(&stats.fallback_panic);
    Some((levels, 0))
}

/// Whether there is no endpoint at any priority.
fn is_empty(levels: &[PlanLevel]) -> bool {
    levels.iter().all(|level| {
        level.healthy.parts.is_empty() && level.degraded.parts.is_empty() && level.table.is_none()
    })
}
