use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lateen_proxy_model::{
    EndpointSet, InARow, Interned, LabelValue, Labels, LbPolicy, Locality, LocalityEndpoints,
    OutlierDetection, Slot,
};
use proptest::prelude::*;

use super::*;

mod hashed;
mod placed;
mod shares;

fn endpoint(port: u16, weight: u32, health: Health) -> Arc<Endpoint> {
    let address = SocketAddr::from(([10, 0, 0, 1], port));
    Arc::new(Endpoint::new(
        address,
        weight,
        health,
        EndpointMetadata::default(),
    ))
}

fn level(priority: u32, endpoints: Vec<Arc<Endpoint>>) -> LocalityEndpoints {
    LocalityEndpoints {
        locality: Default::default(),
        priority,
        weight: 0,
        endpoints,
    }
}

fn cluster(lb: LbPolicy, levels: Vec<LocalityEndpoints>) -> Cluster {
    let set = Arc::new(EndpointSet::new(levels));
    let kind = ClusterKind::Endpoints(Slot::filled("c", set));
    Cluster {
        lb,
        panic_threshold: 0,
        ..Cluster::new("c", kind)
    }
}

fn clock(seed: u64) -> (Balancer, Rc<Cell<u64>>) {
    let now = Rc::new(Cell::new(1000));
    let read = Rc::clone(&now);
    (Balancer::new(seed, Box::new(move || read.get())), now)
}

fn counts(cluster: &Cluster, seed: u64, draws: usize) -> HashMap<u16, usize> {
    let (balancer, _) = clock(seed);
    let slot = Slot::new("c");
    let mut counts = HashMap::new();
    for _ in 0..draws {
        let chosen = balancer.choose(&slot, cluster, &Choice::default());
        let port = chosen.expect("somebody is healthy").address.port();
        *counts.entry(port).or_default() += 1;
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn idle_endpoints_get_their_share_by_weight_and_sick_ones_nothing(
        weights in prop::collection::vec((1u32..20, any::<bool>()), 2..8),
        seed in any::<u64>(),
        policy in 0..2,
    ) {
        let lb = match policy {
            0 => LbPolicy::LeastRequest { choices: 2 },
            _ => LbPolicy::RoundRobin,
        };
        let endpoints: Vec<_> = weights
            .iter()
            .zip(0u16..)
            .map(|((weight, well), port)| {
                endpoint(port, *weight, if *well { Health::Healthy } else { Health::Unhealthy })
            })
            .collect();
        let total: u32 = weights.iter().filter(|(_, well)| *well).map(|(weight, _)| weight).sum();
        prop_assume!(total > 0);
        let draws = 4000;
        let seen = counts(&cluster(lb, vec![level(0, endpoints)]), seed, draws);
        for ((weight, well), port) in weights.iter().zip(0u16..) {
            let got = seen.get(&port).copied().unwrap_or_default() as f64;
            let wanted = if *well { draws as f64 * f64::from(*weight) / f64::from(total) } else { 0.0 };
            prop_assert!((got - wanted).abs() <= draws as f64 * 0.05, "{port}: {got} of {wanted}");
        }
    }
}

#[test]
fn round_robin_goes_in_turn() {
    let endpoints = (1..=3).map(|port| endpoint(port, 1, Health::Healthy));
    let cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints.collect())]);
    let seen = counts(&cluster, 7, 9);
    assert!(seen.values().all(|count| *count == 3), "{seen:?}");
}

#[test]
fn least_request_avoids_the_busy_one() {
    let busy = endpoint(1, 1, Health::Healthy);
    busy.active.store(100, Ordering::Relaxed);
    let endpoints = vec![busy, endpoint(2, 1, Health::Healthy)];
    let cluster = cluster(
        LbPolicy::LeastRequest { choices: 2 },
        vec![level(0, endpoints)],
    );
    // Both draws fall on the busy one in a quarter of all cases.
    let seen = counts(&cluster, 3, 1000);
    assert!(seen.get(&2).copied().unwrap_or_default() > 650, "{seen:?}");
}

#[test]
fn tried_endpoints_are_avoided_while_attempts_last() {
    let endpoints: Vec<_> = (1..=2)
        .map(|port| endpoint(port, 1, Health::Healthy))
        .collect();
    let tried = [endpoints[0].id];
    let cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
    let (balancer, _) = clock(5);
    let slot = Slot::new("c");
    let choice = Choice {
        tried: &tried,
        selection_attempts: 5,
        ..Choice::default()
    };
    for _ in 0..20 {
        let chosen = balancer.choose(&slot, &cluster, &choice).expect("chosen");
        assert_eq!(chosen.address.port(), 2);
    }
}

fn labelled(port: u16, key: &str, value: LabelValue) -> Arc<Endpoint> {
    let metadata = EndpointMetadata {
        labels: [(Box::from(key), value)].into(),
        ..EndpointMetadata::default()
    };
    let address = SocketAddr::from(([10, 0, 0, 1], port));
    Arc::new(Endpoint::new(address, 1, Health::Healthy, metadata))
}

#[test]
fn endpoints_with_labels_are_avoided_while_attempts_last() {
    let both = LabelValue::List([LabelValue::from("a"), LabelValue::from("b")].into());
    let endpoints = vec![
        labelled(1, "canary", LabelValue::Bool(true)),
        labelled(2, "canary", LabelValue::Bool(false)),
        labelled(3, "kind", both),
    ];
    let cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
    let (balancer, _) = clock(5);
    let slot = Slot::new("c");
    let label = |key: &str, value| Labels(vec![(key.into(), value)]);
    let avoid = [
        label("canary", LabelValue::Bool(true)),
        label("kind", LabelValue::from("b")),
    ];
    let choice = Choice {
        avoid: &avoid,
        selection_attempts: 5,
        ..Choice::default()
    };
    for _ in 0..20 {
        let chosen = balancer.choose(&slot, &cluster, &choice).expect("chosen");
        assert_eq!(chosen.address.port(), 2);
    }
}

#[test]
fn priorities_that_were_tried_are_left_out_until_all_were() {
    let levels: Vec<_> = (0..3u16)
        .map(|at| level(at.into(), vec![endpoint(at + 1, 1, Health::Healthy)]))
        .collect();
    let cluster = cluster(LbPolicy::RoundRobin, levels);
    for (every, wanted) in [(1, [1, 2, 3, 1, 2, 3]), (2, [1, 1, 2, 2, 3, 3])] {
        let (balancer, _) = clock(5);
        let slot = Slot::new("c");
        let tried = TriedPriorities {
            every,
            ..TriedPriorities::default()
        };
        let choice = Choice {
            priorities: Some(&tried),
            ..Choice::default()
        };
        let ports = wanted.map(|_| {
            let chosen = balancer.choose(&slot, &cluster, &choice).expect("chosen");
            tried.endpoints.borrow_mut().push(chosen.id);
            chosen.address.port()
        });
        assert_eq!(ports, wanted, "after each {every}");
    }
}

#[test]
fn load_spills_to_the_next_priority_as_health_goes() {
    let well = |port| endpoint(port, 1, Health::Healthy);
    let sick = |port| endpoint(port, 1, Health::Unhealthy);
    let lb = LbPolicy::Random;
    let whole = cluster(lb, vec![level(0, vec![well(1)]), level(1, vec![well(2)])]);
    assert_eq!(counts(&whole, 1, 100).get(&2), None);
    let half = cluster(
        lb,
        vec![level(0, vec![well(1), sick(3)]), level(1, vec![well(2)])],
    );
    let spilled = counts(&half, 1, 1000).get(&2).copied().unwrap_or_default();
    assert!((200..400).contains(&spilled), "{spilled}");
    let gone = cluster(lb, vec![level(0, vec![sick(1)]), level(1, vec![well(2)])]);
    assert_eq!(counts(&gone, 1, 100).get(&2), Some(&100));
}

#[test]
fn sick_endpoints_serve_only_in_panic() {
    let sick = || vec![level(0, vec![endpoint(1, 1, Health::Unhealthy)])];
    let (balancer, _) = clock(1);
    let slot = Slot::new("c");
    let mut cluster = cluster(LbPolicy::Random, sick());
    assert!(
        balancer
            .choose(&slot, &cluster, &Choice::default())
            .is_none()
    );
    cluster.panic_threshold = 50;
    plan::prepare(&cluster, 0);
    assert!(
        balancer
            .choose(&slot, &cluster, &Choice::default())
            .is_some()
    );
}

fn in_a_row(limit: u32) -> InARow {
    InARow {
        limit,
        enforcing: 100,
    }
}

fn detection() -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: in_a_row(2),
        consecutive_gateway: InARow::default(),
        split_local: false,
        consecutive_local: InARow::default(),
        success_rate: None,
        failure_percentage: None,
        local_success_rate: None,
        local_failure_percentage: None,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(300),
        jitter: Duration::ZERO,
        max_ejection_percent: 50,
        always_eject_one: false,
        uneject_by_check: true,
    }
}

#[test]
fn failures_in_a_row_eject_for_a_growing_time() {
    let endpoints: Vec<_> = (1..=2)
        .map(|port| endpoint(port, 1, Health::Healthy))
        .collect();
    let bad = Arc::clone(&endpoints[0]);
    let mut cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
    cluster.outlier = Some(detection().into());
    let (balancer, now) = clock(1);
    let slot = Slot::new("c");
    let chosen = || {
        let chosen = |_| balancer.choose(&slot, &cluster, &Choice::default());
        (0..4)
            .filter_map(chosen)
            .filter(|one| one.id == bad.id)
            .count()
    };
    balancer.report(&cluster, &bad, Outcome::ServerError);
    balancer.report(&cluster, &bad, Outcome::Success);
    balancer.report(&cluster, &bad, Outcome::GatewayError);
    assert_eq!(chosen(), 2, "not in a row");
    balancer.report(&cluster, &bad, Outcome::ServerError);
    assert_eq!(chosen(), 0);
    now.set(1000 + 30_000);
    assert_eq!(chosen(), 0, "the path of requests makes no plans");
    keeper::sweep(&cluster, now.get());
    assert_eq!(chosen(), 2, "back after the base time");
    balancer.report(&cluster, &bad, Outcome::ServerError);
    balancer.report(&cluster, &bad, Outcome::ServerError);
    now.set(31_000 + 59_999);
    keeper::sweep(&cluster, now.get());
    assert_eq!(chosen(), 0, "twice the base time");
    now.set(31_000 + 60_000);
    keeper::sweep(&cluster, now.get());
    assert_eq!(chosen(), 2);
}

#[test]
fn failures_without_an_answer_count_by_themselves_where_they_are_told_apart() {
    for split in [false, true] {
        let endpoints: Vec<_> = (1..=2)
            .map(|port| endpoint(port, 1, Health::Healthy))
            .collect();
        let bad = Arc::clone(&endpoints[0]);
        let mut cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
        cluster.outlier = Some(Interned::from(OutlierDetection {
            split_local: split,
            consecutive_local: in_a_row(3),
            ..detection()
        }));
        let (balancer, _) = clock(1);
        let is_out_after = |outcomes: &[Outcome]| {
            for outcome in outcomes {
                balancer.report(&cluster, &bad, *outcome);
            }
            bad.is_out(1000)
        };
        let local = Outcome::LocalFailure;
        assert_eq!(is_out_after(&[local, local]), !split);
        if split {
            let between = [Outcome::ServerError, local, local];
            assert!(!is_out_after(&between), "not in a row");
            assert!(is_out_after(&[local]));
        }
    }
}

#[test]
fn endpoints_that_fail_far_more_than_others_are_ejected() {
    // Failures of a hundred requests by endpoint, and who goes: by deviation 1.9, then by 85 percent.
    for (failures, deviates, fails) in [
        ([0, 0, 0, 0, 90], vec![4], vec![4]),
        ([10, 10, 10, 10, 10], vec![], vec![]),
        ([90, 90, 90, 90, 90], vec![], vec![0, 1]),
        ([0, 1, 2, 1, 40], vec![4], vec![]),
    ] {
        for by_rate in [true, false] {
            let endpoints: Vec<_> = (1..=5)
                .map(|port| endpoint(port, 1, Health::Healthy))
                .collect();
            let all = endpoints.clone();
            let mut cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
            let detector = Some(lateen_proxy_model::RateDetector {
                min_hosts: 5,
                volume: 100,
                bound: if by_rate { 1900 } else { 85 },
                enforcing: 100,
            });
            cluster.outlier = Some(Interned::from(OutlierDetection {
                consecutive_5xx: InARow::default(),
                success_rate: detector.filter(|_| by_rate),
                failure_percentage: detector.filter(|_| !by_rate),
                ..detection()
            }));
            let (balancer, _) = clock(1);
            for (endpoint, failures) in all.iter().zip(failures) {
                for turn in 0..100 {
                    let outcome = if turn < failures {
                        Outcome::ServerError
                    } else {
                        Outcome::Success
                    };
                    balancer.report(&cluster, endpoint, outcome);
                }
            }
            keeper::sweep(&cluster, 10_000);
            let out: Vec<usize> = (0..5).filter(|one| all[*one].is_out(10_000)).collect();
            assert_eq!(
                &out,
                if by_rate { &deviates } else { &fails },
                "{failures:?}"
            );
        }
    }
}

#[test]
fn how_many_may_be_ejected_is_as_in_envoy() {
    // Endpoints, percentage, whether one always may; how many Envoy 1.40.0 had ejected when all failed.
    for (count, percent, always, envoy) in [
        (3, 10, false, 0),
        (3, 10, true, 1),
        (3, 33, false, 0),
        (3, 34, false, 1),
        (3, 66, false, 1),
        (3, 67, true, 2),
        (2, 50, true, 1),
        (1, 10, false, 0),
        (1, 100, false, 1),
        (4, 50, false, 2),
    ] {
        let endpoints: Vec<_> = (1..=count)
            .map(|port| endpoint(port, 1, Health::Healthy))
            .collect();
        let all = endpoints.clone();
        let mut cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
        cluster.outlier = Some(Interned::from(OutlierDetection {
            consecutive_5xx: in_a_row(1),
            max_ejection_percent: percent,
            always_eject_one: always,
            ..detection()
        }));
        let (balancer, _) = clock(1);
        for endpoint in &all {
            balancer.report(&cluster, endpoint, Outcome::GatewayError);
        }
        let out = all.iter().filter(|one| one.is_out(1000)).count();
        assert_eq!(out, envoy, "{count} {percent} {always}");
    }
}

#[test]
fn the_original_destination_keeps_its_endpoint() {
    let mut cluster = cluster(LbPolicy::ClusterProvided, Vec::new());
    cluster.kind = ClusterKind::OriginalDst {
        port_override: Some(8080),
        header: None,
    };
    let (balancer, _) = clock(1);
    let slot = Slot::new("c");
    let choice = Choice {
        original_dst: Some(SocketAddr::from(([10, 0, 0, 9], 80))),
        ..Choice::default()
    };
    let first = balancer.choose(&slot, &cluster, &choice).expect("chosen");
    assert_eq!(first.address, SocketAddr::from(([10, 0, 0, 9], 8080)));
    let second = balancer.choose(&slot, &cluster, &choice).expect("chosen");
    assert_eq!(first.id, second.id);
    assert!(
        balancer
            .choose(&slot, &cluster, &Choice::default())
            .is_none()
    );
}
