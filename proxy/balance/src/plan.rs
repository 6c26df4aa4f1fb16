//! Plans: which share of requests each priority, locality and endpoint gets. The numbers are those of Envoy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lateen_proxy_model::{
    Cluster, Endpoint, EndpointSet, HashTable, Health, LbPolicy, Locality, Part, Plan, PlanLevel,
    Pool,
};

use crate::table::{self, Share};

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
            levels: Box::default(),
            expires: u64::MAX,
            ejected: 0,
            warm: 0,
        },
    });
    cluster.plan.store(Arc::clone(&plan));
    plan
}

/// Endpoints of one locality of a priority.
#[derive(Default)]
struct Group {
    weight: u32,
    all: Vec<Arc<Endpoint>>,
}

/// One priority while its share is worked out.
#[derive(Default)]
struct Draft {
    /// In the order given.
    all: Vec<Arc<Endpoint>>,
    /// Sorted, as the order decides how rounding falls.
    localities: BTreeMap<Locality, Group>,
    healthy: usize,
    degraded: usize,
    /// Endpoints that count for the share of healthy ones.
    counted: usize,
    healthy_load: usize,
    degraded_load: usize,
    panics: bool,
}

fn make(cluster: &Cluster, set: &EndpointSet, now: u64) -> Plan {
    let mut drafts = drafts(cluster, set, now);
    share_out(&mut drafts, cluster.panic_threshold as usize);
    let (expires, ejected) = ejections(set, now);
    Plan {
        levels: drafts
            .iter()
            .map(|draft| level(cluster, draft, now))
            .collect(),
        expires,
        ejected,
        warm: warm(cluster, set, now),
    }
}

/// When the first ejection ends, and a number that is another one when others are ejected.
pub(crate) fn ejections(set: &EndpointSet, now: u64) -> (u64, u64) {
    let until = |endpoint: &Arc<Endpoint>| endpoint.ejection.until.load(Ordering::Relaxed);
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

fn drafts(cluster: &Cluster, set: &EndpointSet, now: u64) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    for locality in &set.localities {
        let priority = (locality.priority as usize).min(PRIORITIES - 1);
        if drafts.len() <= priority {
            drafts.resize_with(priority + 1, Draft::default);
        }
        let Some(draft) = drafts.get_mut(priority) else {
            continue;
        };
        for endpoint in &locality.endpoints {
            match state(endpoint, now) {
                Health::Healthy => draft.healthy += 1,
                Health::Degraded => draft.degraded += 1,
                Health::Unhealthy | Health::Draining => {}
            }
            draft.counted += usize::from(endpoint.health != Health::Draining);
        }
        draft.all.extend(locality.endpoints.iter().cloned());
        if cluster.balancing.locality_weighted {
            let group = draft
                .localities
                .entry(locality.locality.clone())
                .or_default();
            group.weight = locality.weight;
            group.all.extend(locality.endpoints.iter().cloned());
        }
    }
    drafts
}

/// Health as given and as found.
fn state(endpoint: &Endpoint, now: u64) -> Health {
    if endpoint.ejection.is_out(now) {
        Health::Unhealthy
    } else {
        endpoint.health
    }
}

fn of(endpoints: &[Arc<Endpoint>], health: Health, now: u64) -> Vec<Arc<Endpoint>> {
    endpoints
        .iter()
        .filter(|endpoint| state(endpoint, now) == health)
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

fn level(cluster: &Cluster, draft: &Draft, now: u64) -> PlanLevel {
    let percent = |load: usize| u32::try_from(load).unwrap_or(100);
    let mut made = PlanLevel {
        healthy_load: percent(draft.healthy_load),
        degraded_load: percent(draft.degraded_load),
        panics: draft.panics,
        ..PlanLevel::default()
    };
    match cluster.lb {
        LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => {
            made.table = table(cluster, draft, now);
        }
        _ if draft.panics => made.healthy = Pool::single(draft.all.clone()),
        _ => {
            made.healthy = pool(draft, Health::Healthy, now);
            made.degraded = pool(draft, Health::Degraded, now);
        }
    }
    made
}

/// Endpoints by locality where localities have weights; a locality gives away what its sick endpoints leave.
fn pool(draft: &Draft, health: Health, now: u64) -> Pool {
    let mut sum = 0u64;
    let (mut parts, mut sums) = (Vec::new(), Vec::new());
    for group in draft.localities.values() {
        let counted = |endpoint: &&Arc<Endpoint>| endpoint.health != Health::Draining;
        let counted = group.all.iter().filter(counted).count();
        let able = of(&group.all, health, now);
        let ratio = (able.len() as f64 * 1.4 / counted.max(1) as f64).min(1.0);
        // Sixteen binary digits behind the point.
        let share = (f64::from(group.weight) * ratio * 65536.0) as u64;
        if share > 0 && !able.is_empty() {
            sum = sum.saturating_add(share);
            sums.push(sum);
            parts.push(Part::of(able));
        }
    }
    match parts.len() {
        0 => Pool::single(of(&draft.all, health, now)),
        1 => Pool {
            parts: parts.into(),
            sums: Box::default(),
        },
        _ => Pool {
            parts: parts.into(),
            sums: sums.into(),
        },
    }
}

trait Single {
    fn single(endpoints: Vec<Arc<Endpoint>>) -> Self;
}

impl Single for Pool {
    fn single(endpoints: Vec<Arc<Endpoint>>) -> Self {
        if endpoints.is_empty() {
            return Self::default();
        }
        Self {
            parts: [Part::of(endpoints)].into(),
            sums: Box::default(),
        }
    }
}

trait Of {
    fn of(endpoints: Vec<Arc<Endpoint>>) -> Self;
}

impl Of for Part {
    fn of(endpoints: Vec<Arc<Endpoint>>) -> Self {
        let first = endpoints.first().map(|endpoint| endpoint.weight);
        let equal = endpoints.iter().all(|one| Some(one.weight) == first);
        let mut sum = 0u64;
        let sums = if equal {
            Box::default()
        } else {
            endpoints
                .iter()
                .map(|endpoint| {
                    sum += u64::from(endpoint.weight);
                    sum
                })
                .collect()
        };
        Self {
            endpoints: endpoints.into(),
            sums,
        }
    }
}

fn table(cluster: &Cluster, draft: &Draft, now: u64) -> Option<HashTable> {
    let able = |endpoints: &[Arc<Endpoint>]| {
        if draft.panics {
            endpoints.to_vec()
        } else {
            of(endpoints, Health::Healthy, now)
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
    match cluster.lb {
        LbPolicy::RingHash { min, max } => table::ring(shares, (min, max), hostnames),
        LbPolicy::Maglev { size } => table::maglev(shares, size, hostnames),
        _ => None,
    }
}

/// The endpoints' shares of `whole`, by weight.
fn share(endpoints: Vec<Arc<Endpoint>>, whole: f64, shares: &mut Vec<Share>) {
    let sum: u64 = endpoints.iter().map(|one| u64::from(one.weight)).sum();
    for endpoint in endpoints {
        let share = f64::from(endpoint.weight) * whole / sum as f64;
        shares.push((endpoint, share));
    }
}
