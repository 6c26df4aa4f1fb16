//! Clusters that are made of others: each takes as much as its healthy endpoints can, the rest flows on to the next.

use std::sync::Arc;

use lateen_proxy_model::{Cluster, ClusterKind, ClusterRef};

/// Clusters nest no deeper.
const DEPTH: usize = 8;

/// A cluster that may take the request.
type Member = (ClusterRef, Arc<Cluster>);

/// The member that a number below 100 falls on.
pub(crate) fn member(cluster: &Cluster, draw: u32) -> Option<Member> {
    let mut leaves = Vec::new();
    collect(cluster, DEPTH, &mut leaves);
    let of = |degraded: bool| {
        let able = leaves.iter().map(move |member| able(&member.1, degraded));
        able.collect::<Vec<u32>>()
    };
    let (healthy, degraded) = (of(false), of(true));
    let total = healthy.iter().chain(&degraded).sum::<u32>().min(100);
    let mut left = 100;
    let mut first = None;
    for (place, able) in healthy
        .iter()
        .enumerate()
        .chain(degraded.iter().enumerate())
    {
        let load = (able * 100).checked_div(total).unwrap_or(0).min(left);
        left -= load;
        if load > 0 {
            first.get_or_insert(place);
        }
        // The draw counts down from 99 as the load is handed out.
        if load > 0 && draw >= left {
            return leaves.into_iter().nth(place);
        }
    }
    // What rounding left over, or nobody is able: the first that has anybody.
    let any = || leaves.iter().position(|(_, cluster)| has_any(cluster));
    let place = first.or_else(any)?;
    leaves.into_iter().nth(place)
}

fn collect(cluster: &Cluster, depth: usize, found: &mut Vec<Member>) {
    let ClusterKind::Aggregate { clusters } = &cluster.kind else {
        return;
    };
    for slot in &**clusters {
        let Some(member) = slot.load_full() else {
            continue;
        };
        match &member.kind {
            ClusterKind::Aggregate { .. } if depth == 0 => {}
            ClusterKind::Aggregate { .. } => collect(&member, depth - 1, found),
            _ => found.push((Arc::clone(slot), member)),
        }
    }
}

/// How far a member could take all requests, in percent.
fn able(cluster: &Cluster, degraded: bool) -> u32 {
    if cluster.endpoints().is_none() {
        // It has no list of endpoints that could be unhealthy.
        return if degraded { 0 } else { 100 };
    }
    let plan = cluster.plan.load();
    let levels = plan.as_deref().map_or(&[][..], |plan| &plan.levels);
    let able = levels.iter().map(|level| match degraded {
        false => level.healthy_able,
        true => level.degraded_able,
    });
    able.sum::<u32>().min(100)
}

fn has_any(cluster: &Cluster) -> bool {
    let set = cluster.endpoints().map(|slot| slot.load_full());
    set.is_none_or(|set| set.is_some_and(|set| !set.is_empty()))
}
