//! Updates of endpoints that keep what did not change.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use ahash::RandomState;
use lateen_proxy_model::{ActiveHealth, Ejection, Endpoint, EndpointSet, LocalityEndpoints};

/// The set of `localities`, with the endpoints of `old` that are still the same, so that their counters and the pools
/// of the workers survive. An endpoint whose weight, health or labels changed keeps its id, and with it its pools.
pub(crate) fn merge(
    old: Option<&EndpointSet>,
    mut localities: Vec<LocalityEndpoints>,
) -> EndpointSet {
    let known: HashMap<SocketAddr, &Arc<Endpoint>, RandomState> = old
        .into_iter()
        .flat_map(EndpointSet::iter)
        .map(|endpoint| (endpoint.address, endpoint))
        .collect();
    for endpoint in localities
        .iter_mut()
        .flat_map(|locality| &mut locality.endpoints)
    {
        let Some(before) = known.get(&endpoint.address) else {
            continue;
        };
        if before.same_as(endpoint) {
            before.found.clear(ActiveHealth::LEAVING);
            *endpoint = Arc::clone(before);
        } else if before.hostname == endpoint.hostname
            && let Some(fresh) = Arc::get_mut(endpoint)
        {
            fresh.id = before.id;
            fresh.since.store(before.since.load(Relaxed), Relaxed);
            fresh.found.carry(&before.found);
            if let Some(stats) = before.stats.made() {
                fresh.stats.carry(stats);
            }
            if let Some(ejection) = before.ejection.made() {
                carry_ejection(&fresh.ejection, ejection);
            }
        }
    }
    for locality in &mut localities {
        locality.endpoints.shrink_to_fit();
    }
    localities.shrink_to_fit();
    EndpointSet::new(localities)
}

/// Keeps endpoints of `old` that discovery does not know any more, for as long as their checks succeed.
pub(crate) fn keep_healthy(old: Option<&EndpointSet>, next: &mut EndpointSet) {
    let known: HashSet<SocketAddr, RandomState> = next.iter().map(|one| one.address).collect();
    for locality in old.into_iter().flat_map(|old| &old.localities) {
        let left: Vec<Arc<Endpoint>> = locality
            .endpoints
            .iter()
            .filter(|one| !known.contains(&one.address))
            .filter(|one| one.found.has(ActiveHealth::KNOWN))
            .filter(|one| !one.found.has(ActiveHealth::FAILED))
            .cloned()
            .collect();
        if left.is_empty() {
            continue;
        }
        for endpoint in &left {
            endpoint.found.set(ActiveHealth::LEAVING);
        }
        let same = |one: &&mut LocalityEndpoints| {
            one.locality == locality.locality && one.priority == locality.priority
        };
        match next.localities.iter_mut().find(same) {
            Some(of) => of.endpoints.extend(left),
            None => next.localities.push(LocalityEndpoints {
                endpoints: left,
                ..locality.clone()
            }),
        }
    }
}

/// The set without endpoints that discovery gave up and that fail; `None` when there is none.
pub(crate) fn without_left(set: &EndpointSet) -> Option<EndpointSet> {
    let gone = |one: &Arc<Endpoint>| {
        one.found.has(ActiveHealth::LEAVING) && one.found.has(ActiveHealth::FAILED)
    };
    if !set.iter().any(gone) {
        return None;
    }
    let mut fewer = set.clone();
    for locality in &mut fewer.localities {
        locality.endpoints.retain(|one| !gone(one));
    }
    Some(fewer)
}

fn carry_ejection(fresh: &Ejection, before: &Ejection) {
    let copy = |to: &AtomicU32, from: &AtomicU32| to.store(from.load(Relaxed), Relaxed);
    copy(&fresh.consecutive_5xx, &before.consecutive_5xx);
    copy(&fresh.consecutive_gateway, &before.consecutive_gateway);
    copy(&fresh.consecutive_local, &before.consecutive_local);
    copy(&fresh.count, &before.count);
    fresh.until.store(before.until.load(Relaxed), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_proxy_model::{EndpointMetadata, Health};

    fn one(port: u16, weight: u32) -> Vec<LocalityEndpoints> {
        vec![LocalityEndpoints {
            locality: Default::default(),
            priority: 0,
            weight: 0,
            endpoints: vec![Arc::new(Endpoint::new(
                SocketAddr::from(([10, 0, 0, 1], port)),
                weight,
                Health::Healthy,
                EndpointMetadata::default(),
            ))],
        }]
    }

    #[test]
    fn an_unchanged_endpoint_is_the_same_value() {
        let old = merge(None, one(80, 1));
        let before = old.iter().next().expect("one");
        let same = merge(Some(&old), one(80, 1));
        assert!(same.iter().all(|endpoint| Arc::ptr_eq(endpoint, before)));
        let heavier = merge(Some(&old), one(80, 2));
        let after = heavier.iter().next().expect("one");
        assert!(!Arc::ptr_eq(after, before) && after.id == before.id && after.weight == 2);
        let other = merge(Some(&old), one(81, 1));
        assert!(other.iter().all(|endpoint| endpoint.id != before.id));
    }
}
