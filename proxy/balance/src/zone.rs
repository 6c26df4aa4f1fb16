//! Zone-aware routing: callers use the endpoints of their own zone as far as those can take them all. The numbers are
//! those of Envoy.

use std::collections::HashMap;
use std::sync::Arc;

use lateen_proxy_model::{Cluster, EndpointSet, Health, Locality, Pool, ZoneAware};

use crate::plan::{self, Draft, Group};

/// The whole, in the fractions that shares are worked out in.
const WHOLE: u64 = 10_000;

/// The proxies like this one.
pub(crate) fn callers(zone: &ZoneAware) -> Option<Arc<EndpointSet>> {
    let cluster = zone.local.load();
    let cluster = cluster.as_ref()?;
    cluster.endpoints().and_then(|slot| slot.load_full())
}

/// One zone of the cluster.
struct Zone<'a> {
    group: &'a Group,
    /// Share of the cluster's capacity.
    capacity: u64,
    /// Share of the callers.
    callers: u64,
}

/// The shares of zones; `None` when zones do not matter.
pub(crate) fn pool(
    cluster: &Cluster,
    draft: &Draft,
    (priority, health): (usize, Health),
    now: u64,
) -> Option<Pool> {
    let zone = cluster.balancing.zone.as_ref()?;
    let healthy = |group: &Group| plan::of(cluster, &group.all, Health::Healthy, now);
    let all = draft.localities.values().map(|group| healthy(group).len());
    let size = all.sum::<usize>() as u64;
    if priority > 0 || draft.localities.len() < 2 || size < zone.min_cluster_size {
        return None;
    }
    let callers = callers(zone)?;
    let callers = by_zone(&callers, cluster.panic_threshold)?;
    let weigh = |group: &Group| -> u64 {
        let able = healthy(group);
        match zone.by_weight {
            true => able.iter().map(|one| u64::from(one.weight)).sum(),
            false => able.len() as u64,
        }
    };
    let total: u64 = draft.localities.values().map(weigh).sum();
    let total_callers: u64 = callers.values().sum();
    let share = |part: u64, whole: u64| (part * WHOLE).checked_div(whole).unwrap_or_default();
    let of = |locality: &Locality, group| Zone {
        group,
        capacity: share(weigh(group), total),
        callers: share(
            callers.get(locality).copied().unwrap_or_default(),
            total_callers,
        ),
    };
    let own = draft.localities.get(&zone.locality);
    let own = own.map(|group| of(&zone.locality, group));
    let others = draft.localities.iter();
    let others = others.filter(|(locality, _)| **locality != zone.locality);
    let others: Vec<Zone<'_>> = others
        .map(|(locality, group)| of(locality, group))
        .collect();
    let forced = |own: &Zone<'_>| {
        let size = healthy(own.group).len();
        zone.force_local_min
            .is_some_and(|least| size >= least as usize)
    };
    let able = |group: &Group| plan::of(cluster, &group.all, health, now);
    let mut parts: Vec<(f64, _)> = shares(own.as_ref(), &others, forced)
        .into_iter()
        .map(|(share, group)| (share * zone.enabled, able(group)))
        .collect();
    let rest = plan::of(cluster, &draft.all, health, now);
    parts.push((100.0 - zone.enabled, rest));
    // Shares are at most 1 of 100 percent; six digits of them count.
    let whole = parts
        .into_iter()
        .map(|(share, endpoints)| ((share * 1e6) as u64, endpoints));
    plan::weighted(cluster, whole.collect())
}

/// Healthy callers by zone; `None` when too few are healthy to know.
fn by_zone(callers: &EndpointSet, panic_threshold: u32) -> Option<HashMap<Locality, u64>> {
    let (mut all, mut healthy) = (0u64, 0u64);
    let mut found: HashMap<Locality, u64> = HashMap::new();
    for locality in callers.localities.iter().filter(|one| one.priority == 0) {
        let well = locality.endpoints.iter();
        let well = well.filter(|one| one.health == Health::Healthy).count() as u64;
        all += locality.endpoints.len() as u64;
        healthy += well;
        *found.entry((*locality.locality).clone()).or_default() += well;
    }
    let enough = healthy * 100 >= all * u64::from(panic_threshold);
    (all > 0 && enough).then_some(found)
}

/// The share of each zone, in all 1.
fn shares<'a>(
    own: Option<&Zone<'a>>,
    others: &[Zone<'a>],
    forced: impl Fn(&Zone<'a>) -> bool,
) -> Vec<(f64, &'a Group)> {
    if let Some(own) = own
        && ((own.capacity > 0 && own.capacity >= own.callers) || forced(own))
    {
        return vec![(1.0, own.group)];
    }
    // Of the callers here only as many can stay as there is capacity for.
    let stay = own.filter(|own| own.callers > 0).map_or(0.0, |own| {
        (own.capacity * WHOLE / own.callers) as f64 / WHOLE as f64
    });
    let free = |zone: &Zone<'_>| zone.capacity.saturating_sub(zone.callers);
    let all_free: u64 = others.iter().map(free).sum();
    let mut found: Vec<(f64, &Group)> = own.map(|own| (stay, own.group)).into_iter().collect();
    let left = 1.0 - stay;
    if all_free == 0 {
        // Nobody has capacity left: every zone takes the same.
        let each = left / (others.len() + found.len()) as f64;
        found.iter_mut().for_each(|one| one.0 += each);
        found.extend(others.iter().map(|one| (each, one.group)));
        return found;
    }
    let part = |zone: &Zone<'a>| (left * free(zone) as f64 / all_free as f64, zone.group);
    found.extend(others.iter().map(part));
    found
}
