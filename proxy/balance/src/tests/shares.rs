//! Shares of priorities and localities.

use super::*;
use lateen_proxy_model::Plan;

fn endpoints(healthy: u16, degraded: u16, sick: u16) -> Vec<Arc<Endpoint>> {
    let of = |count: u16, health: Health| (0..count).map(move |port| endpoint(port, 1, health));
    of(healthy, Health::Healthy)
        .chain(of(degraded, Health::Degraded))
        .chain(of(sick, Health::Unhealthy))
        .collect()
}

fn loads(threshold: u32, levels: &[(u16, u16, u16)]) -> Vec<(u32, u32, bool)> {
    let levels = levels
        .iter()
        .zip(0u32..)
        .map(|((healthy, degraded, sick), priority)| {
            level(priority, endpoints(*healthy, *degraded, *sick))
        })
        .collect();
    let mut cluster = cluster(LbPolicy::Random, levels);
    cluster.panic_threshold = threshold;
    let plan: Arc<Plan> = plan::prepare(&cluster, 0);
    plan.levels
        .iter()
        .map(|level| (level.healthy_load, level.degraded_load, level.panics))
        .collect()
}

#[test]
fn load_flows_as_in_the_tables_of_envoys_documentation() {
    // Two priorities: health of the first, with all of the second.
    assert_eq!(loads(50, &[(100, 0, 0), (100, 0, 0)])[0], (100, 0, false));
    assert_eq!(loads(50, &[(72, 0, 28), (100, 0, 0)])[0], (100, 0, false));
    let half = loads(50, &[(50, 0, 50), (100, 0, 0)]);
    assert_eq!(half, [(70, 0, false), (30, 0, false)]);
    let none = loads(50, &[(0, 0, 100), (100, 0, 0)]);
    assert_eq!(none, [(0, 0, false), (100, 0, false)]);
    // Both sick: 25% of each is 35 + 35 of 100, scaled to all.
    let both = loads(20, &[(25, 0, 75), (25, 0, 75)]);
    assert_eq!(both, [(50, 0, false), (50, 0, false)]);
}

#[test]
fn degraded_endpoints_get_what_no_healthy_ones_can() {
    let mixed = loads(0, &[(10, 20, 70), (20, 10, 70), (10, 0, 90)]);
    // 14, 28, 14 healthy and 28, 14, 0 degraded of 98.
    assert_eq!(mixed, [(16, 28, false), (28, 14, false), (14, 0, false)]);
    let only = loads(0, &[(0, 5, 0)]);
    assert_eq!(only, [(0, 100, false)]);
}

#[test]
fn panic_is_of_a_priority_and_all_in_panic_share_by_size() {
    // Below 100 in total, the first alone is below the threshold.
    let first = loads(50, &[(1, 0, 9), (6, 0, 4)]);
    assert_eq!(
        first.iter().map(|one| one.2).collect::<Vec<_>>(),
        [true, false]
    );
    let all = loads(50, &[(1, 0, 9), (1, 0, 29)]);
    assert_eq!(all, [(25, 0, true), (75, 0, true)]);
    assert_eq!(
        loads(50, &[(0, 0, 0), (0, 0, 3)]),
        [(0, 0, true), (100, 0, true)]
    );
    assert_eq!(loads(0, &[(0, 0, 3)]), [(100, 0, false)]);
}

#[test]
fn fail_on_panic_answers_nothing() {
    let mut cluster = cluster(LbPolicy::Random, vec![level(0, endpoints(1, 0, 3))]);
    cluster.panic_threshold = 50;
    let (balancer, _) = clock(1);
    let slot = Slot::new("c");
    let choose = |cluster: &Cluster| balancer.choose(&slot, cluster, &Choice::default());
    assert!(choose(&cluster).is_some());
    cluster.balancing.fail_on_panic = true;
    assert!(choose(&cluster).is_none());
}

#[test]
fn localities_get_traffic_by_weight_as_far_as_they_are_healthy() {
    let locality = |region: &str, weight: u32, ports: &[(u16, Health)]| {
        let ports = ports
            .iter()
            .map(|(port, health)| endpoint(*port, 1, *health));
        let mut made = level(0, ports.collect());
        made.locality.region = region.into();
        made.weight = weight;
        made
    };
    let (well, sick) = (Health::Healthy, Health::Unhealthy);
    for lb in [
        LbPolicy::Random,
        LbPolicy::RoundRobin,
        LbPolicy::LeastRequest { choices: 2 },
    ] {
        let mut cluster = cluster(
            lb,
            vec![
                locality("a", 80, &[(1, well), (2, sick)]),
                locality("b", 20, &[(3, well), (4, well), (5, well)]),
                locality("c", 0, &[(6, well)]),
            ],
        );
        cluster.balancing.locality_weighted = true;
        let seen = counts(&cluster, 9, 10_000);
        // 80 × 0.7 against 20.
        let share = seen[&1] as f64 / 10_000.0;
        assert!((share - 56.0 / 76.0).abs() < 0.03, "{seen:?}");
        assert_eq!(seen.get(&6), None);
        cluster.balancing.locality_weighted = false;
        plan::prepare(&cluster, 0);
        assert!(counts(&cluster, 9, 1000).contains_key(&6));
    }
}

#[test]
fn random_ignores_weights() {
    let endpoints = vec![
        endpoint(1, 1, Health::Healthy),
        endpoint(2, 50, Health::Healthy),
    ];
    let seen = counts(
        &cluster(LbPolicy::Random, vec![level(0, endpoints)]),
        4,
        1000,
    );
    assert!((400..600).contains(&seen[&1]), "{seen:?}");
}

#[test]
fn new_endpoints_get_their_weight_slowly() {
    for lb in [LbPolicy::RoundRobin, LbPolicy::LeastRequest { choices: 2 }] {
        let old = endpoint(1, 1, Health::Healthy);
        let new = endpoint(2, 1, Health::Healthy);
        old.since.store(1, Ordering::Relaxed);
        new.since.store(100_000, Ordering::Relaxed);
        let mut cluster = cluster(lb, vec![level(0, vec![old, new])]);
        cluster.balancing.slow_start = Some(lateen_proxy_model::SlowStart {
            window: Duration::from_secs(60),
            aggression: 1.0,
            min_weight: 0.1,
        });
        let (balancer, now) = clock(5);
        let slot = Slot::new("c");
        let share = |at: u64| {
            now.set(at);
            let chosen = |_| balancer.choose(&slot, &cluster, &Choice::default());
            let new = (0..2000)
                .filter_map(chosen)
                .filter(|one| one.address.port() == 2);
            new.count() as f64 / 2000.0
        };
        // A tenth of its weight, half of it, all of it.
        for (at, wanted) in [(100_001, 0.0909), (130_000, 0.3333), (160_000, 0.5)] {
            let got = share(at);
            assert!((got - wanted).abs() < 0.04, "{lb:?} {at}: {got}");
        }
    }
}
