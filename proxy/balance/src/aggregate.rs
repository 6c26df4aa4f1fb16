//! Clusters that are made of others: each takes as much as its healthy endpoints can, the rest flows on to the next.

use std::sync::Arc;

use lateen_proxy_model::{Cluster, ClusterKind, ClusterRef};

/// Clusters nest no deeper.
const DEPTH: usize = 8;

/// A cluster that may take the request.
type Member = (ClusterRef, Arc<Cluster>);

/// The member that a number below 100 falls on; `now` is the balancer's clock.
pub(crate) fn member(cluster: &Cluster, draw: u32, now: u64) -> Option<Member> {
    let mut leaves = Vec::new();
    collect(cluster, &mut Vec::new(), &mut leaves);
    let of = |degraded: bool| {
        let able = leaves
            .iter()
            .map(move |member| able(&member.1, degraded, now));
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

/// `path`: the clusters that this one stands in, so that circles end.
fn collect(cluster: &Cluster, path: &mut Vec<u64>, found: &mut Vec<Member>) {
    let ClusterKind::Aggregate { clusters } = &cluster.kind else {
        return;
    };
    for slot in &**clusters {
        let Some(member) = slot.load_full() else {
            continue;
        };
        if let ClusterKind::Aggregate { .. } = &member.kind {
            if path.len() < DEPTH && !path.contains(&slot.id()) {
                path.push(slot.id());
                collect(&member, path, found);
                path.pop();
            }
        } else {
            found.push((Arc::clone(slot), member));
        }
    }
}

/// How far a member could take all requests, in percent.
fn able(cluster: &Cluster, degraded: bool, now: u64) -> u32 {
    if cluster.endpoints().is_none() {
        // It has no list of endpoints that could be unhealthy.
        return if degraded { 0 } else { 100 };
    }
    // A cluster that nobody has called yet has none.
    let plan = (cluster.plan.load().clone()).unwrap_or_else(|| crate::plan::prepare(cluster, now));
    let able = plan.levels.iter().map(|level| match degraded {
        false => level.healthy_able,
        true => level.degraded_able,
    });
    able.sum::<u32>().min(100)
}

fn has_any(cluster: &Cluster) -> bool {
    let set = cluster.endpoints().map(|slot| slot.load_full());
    set.is_none_or(|set| set.is_some_and(|set| !set.is_empty()))
}

#[cfg(test)]
mod tests {
    use lateen_proxy_model::{
        Endpoint, EndpointMetadata, EndpointSet, Health, Locality, LocalityEndpoints, Slot,
    };

    use super::*;

    /// A cluster of that many well and sick endpoints.
    fn leaf(name: &str, well: u16, sick: u16) -> ClusterRef {
        let one = |(port, health)| {
            let address = ([127, 0, 0, 1], port).into();
            Arc::new(Endpoint::new(
                address,
                1,
                health,
                EndpointMetadata::default(),
            ))
        };
        let well = (0..well).map(|port| (port, Health::Healthy));
        let sick = (0..sick).map(|port| (100 + port, Health::Unhealthy));
        let set = EndpointSet::new(vec![LocalityEndpoints {
            locality: Locality::default().into(),
            priority: 0,
            weight: 0,
            endpoints: well.chain(sick).map(one).collect(),
        }]);
        let cluster = Cluster::new(
            name,
            ClusterKind::Endpoints(Slot::filled(name, Arc::new(set))),
        );
        Slot::filled(name, Arc::new(cluster))
    }

    fn of(members: Vec<ClusterRef>) -> Cluster {
        let clusters = members.into();
        Cluster::new("all", ClusterKind::Aggregate { clusters })
    }

    /// How many of all draws fall on each member.
    fn shares(cluster: &Cluster) -> Vec<(String, u32)> {
        let mut found: Vec<(String, u32)> = Vec::new();
        for draw in (0..100).rev() {
            let (slot, _) = member(cluster, draw, 0).expect("a member");
            match found.last_mut() {
                Some((name, count)) if **name == **slot.name() => *count += 1,
                _ => found.push((slot.name().to_string(), 1)),
            }
        }
        found
    }

    #[test]
    fn what_one_cannot_take_flows_to_the_next() {
        let whole = of(vec![leaf("a", 1, 0), leaf("b", 1, 0)]);
        assert_eq!(shares(&whole), [("a".to_owned(), 100)]);
        let half = of(vec![leaf("a", 1, 1), leaf("b", 1, 0)]);
        assert_eq!(shares(&half), [("a".to_owned(), 70), ("b".to_owned(), 30)]);
        let gone = of(vec![Slot::new("x"), leaf("a", 0, 2), leaf("b", 2, 0)]);
        assert_eq!(shares(&gone), [("b".to_owned(), 100)]);
        let sick = of(vec![leaf("e", 0, 0), leaf("a", 0, 2)]);
        assert_eq!(shares(&sick), [("a".to_owned(), 100)]);
        assert!(member(&of(vec![leaf("e", 0, 0)]), 5, 0).is_none());
    }

    #[test]
    fn clusters_nest_and_circles_end() {
        let inner = Arc::new(of(vec![leaf("a", 1, 0)]));
        let outer = of(vec![Slot::filled("inner", inner)]);
        assert_eq!(shares(&outer), [("a".to_owned(), 100)]);
        let own: ClusterRef = Slot::new("own");
        own.store(Some(Arc::new(of(vec![Arc::clone(&own), Arc::clone(&own)]))));
        let circle = own.load_full().expect("stored");
        assert!(member(&circle, 1, 0).is_none());
        own.store(None);
    }
}
