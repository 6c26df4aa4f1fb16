//! Plans: which share of requests each priority, locality and endpoint gets. The numbers are those of Envoy.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use lateen_proxy_model::{
    ActiveHealth, Cluster, Endpoint, EndpointSet, HashTable, Health, LbPolicy, Locality,
    LocalityEndpoints, Part, Plan, PlanLevel, Pool,
};

use crate::table::{self, Share};
use crate::{reported, subset, zone};

/// A priority counts as whole while `100 / 1.4` percent of it are healthy.
const OVERPROVISION_PERCENT: usize = 140;

/// Highest priority and one.
const PRIORITIES: usize = 128;

/// Makes the plan of a cluster anew and stores it.
pub(crate) fn prepare(cluster: &Cluster, now: u64) -> Arc<Plan> {
    let _one_at_a_time = cluster.plan.making();
    let endpoints = cluster.endpoints().and_then(|slot| slot.load_full());
    let plan = Arc::new(match endpoints {
        Some(set) => make(cluster, &set, now),
        None => Plan {
            expires: u64::MAX,
            ..Plan::default()
        },
    });
    cluster.plan.store(Arc::clone(&plan));
    plan
}

/// Whether a plan is made before somebody calls the cluster: where another one was made, where making it is long or has
/// effects of its own. Any other cluster gets its plan with its first request; most are never called.
pub(crate) fn is_wanted(cluster: &Cluster) -> bool {
    let balancing = &cluster.balancing;
    cluster.plan.load().is_some()
        || cluster.lb.is_hashed()
        || cluster.health_check.is_some()
        || cluster.outlier.is_some()
        || cluster.subsets.is_some()
        || balancing.slow_start.is_some()
        || balancing.zone.is_some()
        || balancing.reported.is_some()
        || balancing.named.is_some()
}

/// What a plan shares out: endpoints of one locality at one priority, all or those of a subset.
pub(crate) struct Slice<'a> {
    pub(crate) of: &'a LocalityEndpoints,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    /// Weight of the locality.
    pub(crate) weight: u32,
}

/// Endpoints of one locality of a priority.
#[derive(Default)]
pub(crate) struct Group {
    pub(crate) weight: u32,
    pub(crate) all: Vec<Arc<Endpoint>>,
}

/// One priority while its share is worked out.
#[derive(Default)]
pub(crate) struct Draft {
    /// How far healthy and degraded endpoints could take all requests, in percent.
    able: (usize, usize),
    /// In the order given.
    pub(crate) all: Vec<Arc<Endpoint>>,
    /// Sorted, as the order decides how rounding falls.
    pub(crate) localities: BTreeMap<Locality, Group>,
    healthy: usize,
    degraded: usize,
    /// Endpoints that count for the share of healthy ones.
    counted: usize,
    healthy_load: usize,
    degraded_load: usize,
    panics: bool,
}

fn make(cluster: &Cluster, set: &EndpointSet, now: u64) -> Plan {
    if cluster.health_check.is_some() {
        meet(set);
    }
    let whole: Vec<Slice<'_>> = set
        .localities
        .iter()
        .map(|of| Slice {
            of,
            endpoints: of.endpoints.clone(),
            weight: of.weight,
        })
        .collect();
    let (expires, ejected) = ejections(set, now);
    let zone = cluster.balancing.zone.as_ref();
    Plan {
        levels: levels(cluster, &whole, now),
        expires,
        ejected,
        warm: warm(cluster, set, now),
        subsets: cluster
            .subsets
            .as_ref()
            .map(|subsets| Box::new(subset::plans(cluster, subsets, set, now))),
        local: zone.and_then(|zone| zone::callers(zone)),
        by_address: OnceLock::new(),
    }
}

/// Endpoints that requests may name.
pub(crate) fn by_address(cluster: &Cluster, now: u64) -> HashMap<SocketAddr, Arc<Endpoint>> {
    let Some(set) = cluster.endpoints().and_then(|slot| slot.load_full()) else {
        return HashMap::new();
    };
    let usable = set.iter().filter(|one| {
        !matches!(
            health(cluster, one, now),
            Health::Unhealthy | Health::Draining
        )
    });
    usable.map(|one| (one.address, Arc::clone(one))).collect()
}

/// Endpoints that checks have not seen wait for their first one.
fn meet(set: &EndpointSet) {
    for endpoint in set.iter() {
        if endpoint.check.as_ref().is_none_or(|check| !check.disabled) {
            endpoint.found.meet();
        }
    }
}

/// The shares of priorities, and what is in each.
pub(crate) fn levels(cluster: &Cluster, slices: &[Slice<'_>], now: u64) -> Box<[PlanLevel]> {
    let mut drafts = drafts(cluster, slices, now);
    share_out(&mut drafts, cluster.panic_threshold as usize);
    drafts
        .iter()
        .enumerate()
        .map(|(priority, draft)| level(cluster, draft, priority, now))
        .collect()
}

/// When the first ejection ends, and a number that is another one when others are ejected.
pub(crate) fn ejections(set: &EndpointSet, now: u64) -> (u64, u64) {
    let until = |endpoint: &Arc<Endpoint>| endpoint.out_until();
    let out = set.iter().map(until).filter(|until| *until > now);
    out.fold((u64::MAX, 0), |(first, sum), until| {
        (first.min(until), sum.wrapping_add(until))
    })
}

/// When the last endpoint has its full weight. Endpoints that were not seen before are from now.
fn warm(cluster: &Cluster, set: &EndpointSet, now: u64) -> u64 {
    let Some(slow) = &cluster.balancing.slow_start else {
        return 0;
    };
    let window = crate::millis(slow.window);
    set.iter()
        .map(|endpoint| {
            let fresh = now.max(1);
            let known =
                endpoint
                    .since
                    .compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
            known.err().unwrap_or(fresh).saturating_add(window)
        })
        .max()
        .unwrap_or(0)
}

fn drafts(cluster: &Cluster, slices: &[Slice<'_>], now: u64) -> Vec<Draft> {
    let by_locality = cluster.balancing.locality_weighted || cluster.balancing.zone.is_some();
    let mut drafts: Vec<Draft> = Vec::new();
    for slice in slices {
        let locality = slice.of;
        let priority = (locality.priority as usize).min(PRIORITIES - 1);
        if drafts.len() <= priority {
            drafts.resize_with(priority + 1, Draft::default);
        }
        let Some(draft) = drafts.get_mut(priority) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            match health(cluster, endpoint, now) {
                Health::Healthy => draft.healthy += 1,
                Health::Degraded => draft.degraded += 1,
                Health::Unhealthy | Health::Draining => {}
            }
            draft.counted += usize::from(counts(cluster, endpoint));
        }
        draft.all.extend(slice.endpoints.iter().cloned());
        if by_locality {
            let group = draft
                .localities
                .entry((*locality.locality).clone())
                .or_default();
            group.weight = slice.weight;
            group.all.extend(slice.endpoints.iter().cloned());
        }
    }
    drafts
}

/// Health as given and as found; `now` is milliseconds of the balancer's clock.
pub fn health(cluster: &Cluster, endpoint: &Endpoint, now: u64) -> Health {
    if endpoint.is_out(now) {
        return Health::Unhealthy;
    }
    if cluster.health_check.is_none() || endpoint.health == Health::Draining {
        return endpoint.health;
    }
    let found = endpoint.found.bits();
    if found & (ActiveHealth::FAILED | ActiveHealth::EXCLUDED) != 0 {
        Health::Unhealthy
    } else if found & ActiveHealth::DEGRADED != 0 && endpoint.health == Health::Healthy {
        Health::Degraded
    } else {
        endpoint.health
    }
}

/// Whether an endpoint counts for the share of healthy ones.
fn counts(cluster: &Cluster, endpoint: &Endpoint) -> bool {
    if endpoint.health == Health::Draining {
        return false;
    }
    let Some(_) = cluster.health_check else {
        return true;
    };
    let unchecked = if cluster.balancing.ignore_unchecked {
        ActiveHealth::PENDING
    } else {
        0
    };
    !endpoint.found.has(ActiveHealth::EXCLUDED | unchecked)
}

/// The endpoints in this state of health.
pub(crate) fn of(
    cluster: &Cluster,
    endpoints: &[Arc<Endpoint>],
    wanted: Health,
    now: u64,
) -> Vec<Arc<Endpoint>> {
    endpoints
        .iter()
        .filter(|endpoint| health(cluster, endpoint, now) == wanted)
        .cloned()
        .collect()
}

/// Load flows to a priority as far as it is available, what is left to the next one; degraded endpoints come after all
/// healthy ones. Where no priority has enough, each gets requests by its size.
fn share_out(drafts: &mut [Draft], threshold: usize) {
    let availability = |part: usize, counted: usize| {
        let percent = part.saturating_mul(OVERPROVISION_PERCENT);
        percent.checked_div(counted).unwrap_or_default().min(100)
    };
    let healthy: Vec<usize> = drafts
        .iter()
        .map(|draft| availability(draft.healthy, draft.counted))
        .collect();
    let degraded: Vec<usize> = drafts
        .iter()
        .map(|draft| availability(draft.degraded, draft.counted))
        .collect();
    for ((draft, healthy), degraded) in drafts.iter_mut().zip(&healthy).zip(&degraded) {
        draft.able = (*healthy, *degraded);
    }
    let total = healthy.iter().chain(&degraded).sum::<usize>().min(100);
    if total > 0 {
        let mut left = 100;
        let part = |availability: usize| (availability * 100).checked_div(total).unwrap_or(0);
        for (draft, availability) in drafts.iter_mut().zip(&healthy) {
            draft.healthy_load = part(*availability).min(left);
            left -= draft.healthy_load;
        }
        for (draft, availability) in drafts.iter_mut().zip(&degraded) {
            draft.degraded_load = part(*availability).min(left);
            left -= draft.degraded_load;
        }
        // What rounding left over goes to the first that has anybody.
        if let Some(first) = healthy.iter().position(|share| *share > 0) {
            add(drafts, first, |draft| draft.healthy_load += left);
        } else if let Some(first) = degraded.iter().position(|share| *share > 0) {
            add(drafts, first, |draft| draft.degraded_load += left);
        }
    } else if threshold == 0 {
        add(drafts, 0, |draft| draft.healthy_load = 100);
        return;
    }
    if total == 100 {
        return;
    }
    for draft in drafts.iter_mut() {
        let able = (draft.healthy + draft.degraded).saturating_mul(100);
        draft.panics =
            threshold > 0 && (draft.counted == 0 || able < draft.counted.saturating_mul(threshold));
    }
    if drafts.iter().all(|draft| draft.panics) {
        by_size(drafts);
    }
}

fn by_size(drafts: &mut [Draft]) {
    let total: usize = drafts.iter().map(|draft| draft.all.len()).sum();
    let mut left = 100;
    for draft in drafts.iter_mut() {
        draft.healthy_load = (100 * draft.all.len())
            .checked_div(total)
            .unwrap_or_default();
        draft.degraded_load = 0;
        left -= draft.healthy_load;
    }
    if let Some(first) = drafts.iter().position(|draft| !draft.all.is_empty()) {
        add(drafts, first, |draft| draft.healthy_load += left);
    }
}

fn add(drafts: &mut [Draft], index: usize, change: impl FnOnce(&mut Draft)) {
    if let Some(draft) = drafts.get_mut(index) {
        change(draft);
    }
}

fn level(cluster: &Cluster, draft: &Draft, priority: usize, now: u64) -> PlanLevel {
    let percent = |load: usize| u32::try_from(load).unwrap_or(100);
    let mut made = PlanLevel {
        healthy_load: percent(draft.healthy_load),
        degraded_load: percent(draft.degraded_load),
        healthy_able: percent(draft.able.0),
        degraded_able: percent(draft.able.1),
        panics: draft.panics,
        ..PlanLevel::default()
    };
    match cluster.lb {
        LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => {
            made.table = table(cluster, draft, now);
        }
        _ if draft.panics => made.healthy = single(cluster, draft.all.clone()),
        _ => {
            let of = |health| {
                zone::pool(cluster, draft, (priority, health), now)
                    .unwrap_or_else(|| pool(cluster, draft, health, now))
            };
            made.healthy = of(Health::Healthy);
            made.degraded = of(Health::Degraded);
        }
    }
    made
}

/// Endpoints by locality where localities have weights; a locality gives away what its sick endpoints leave.
fn pool(cluster: &Cluster, draft: &Draft, health: Health, now: u64) -> Pool {
    let mut parts = Vec::new();
    if cluster.balancing.locality_weighted {
        for group in draft.localities.values() {
            let counted = group.all.iter().filter(|one| counts(cluster, one)).count();
            let able = of(cluster, &group.all, health, now);
            let ratio = (able.len() as f64 * 1.4 / counted.max(1) as f64).min(1.0);
            // Sixteen binary digits behind the point.
            let share = (f64::from(group.weight) * ratio * 65536.0) as u64;
            parts.push((share, able));
        }
    }
    weighted(cluster, parts)
        .unwrap_or_else(|| single(cluster, of(cluster, &draft.all, health, now)))
}

/// Parts by weight; `None` when none has both weight and endpoints.
pub(crate) fn weighted(cluster: &Cluster, given: Vec<(u64, Vec<Arc<Endpoint>>)>) -> Option<Pool> {
    let mut sum = 0u64;
    let (mut parts, mut sums) = (Vec::new(), Vec::new());
    for (share, endpoints) in given {
        if share > 0 && !endpoints.is_empty() {
            sum = sum.saturating_add(share);
            sums.push(sum);
            parts.push(part(cluster, endpoints));
        }
    }
    if parts.len() < 2 {
        sums.clear();
    }
    (!parts.is_empty()).then(|| Pool {
        parts: parts.into(),
        sums: sums.into(),
    })
}

fn single(cluster: &Cluster, endpoints: Vec<Arc<Endpoint>>) -> Pool {
    if endpoints.is_empty() {
        return Pool::default();
    }
    Pool {
        parts: [part(cluster, endpoints)].into(),
        sums: Box::default(),
    }
}

fn part(cluster: &Cluster, endpoints: Vec<Arc<Endpoint>>) -> Part {
    let weights = match &cluster.balancing.reported {
        Some(_) => reported::weights(&endpoints),
        None => endpoints.iter().map(|one| u64::from(one.weight)).collect(),
    };
    let first = weights.first().copied();
    let equal = weights.iter().all(|one| Some(*one) == first);
    let mut sum = 0u64;
    let sums = if equal {
        Box::default()
    } else {
        let running = weights.into_iter().map(|weight| {
            sum = sum.saturating_add(weight);
            sum
        });
        running.collect()
    };
    Part {
        endpoints: endpoints.into(),
        sums,
    }
}

fn table(cluster: &Cluster, draft: &Draft, now: u64) -> Option<Box<HashTable>> {
    let able = |endpoints: &[Arc<Endpoint>]| {
        if draft.panics {
            endpoints.to_vec()
        } else {
            of(cluster, endpoints, Health::Healthy, now)
        }
    };
    let mut shares = Vec::new();
    if cluster.balancing.locality_weighted {
        let weights = draft
            .localities
            .values()
            .map(|group| u64::from(group.weight));
        let sum = weights.sum::<u64>();
        for group in draft.localities.values().filter(|group| group.weight > 0) {
            share(
                able(&group.all),
                f64::from(group.weight) / sum as f64,
                &mut shares,
            );
        }
    } else {
        share(able(&draft.all), 1.0, &mut shares);
    }
    let hostnames = cluster.balancing.hash_hostnames;
    let bounded = cluster.balancing.hash_balance.is_some();
    let kept = if bounded {
        shares.iter().map(|(_, share)| *share).collect()
    } else {
        Box::default()
    };
    let mut made = match cluster.lb {
        LbPolicy::RingHash { min, max } => table::ring(shares, (min, max), hostnames),
        LbPolicy::Maglev { size } => table::maglev(shares, size, hostnames),
        _ => None,
    }?;
    made.shares = kept;
    Some(Box::new(made))
}

/// The endpoints' shares of `whole`, by weight.
fn share(endpoints: Vec<Arc<Endpoint>>, whole: f64, shares: &mut Vec<Share>) {
    let sum: u64 = endpoints.iter().map(|one| u64::from(one.weight)).sum();
    for endpoint in endpoints {
        let share = f64::from(endpoint.weight) * whole / sum as f64;
        shares.push((endpoint, share));
    }
}
