//! Subsets, zones, bounded loads, reported weights, and endpoints named by requests.

use super::*;
use lateen_proxy_model::{
    LabelValue, LoadReport, NamedEndpoint, ReportedWeights, SelectorFallback, SubsetCriteria,
    SubsetFallback, SubsetSelector, Subsets, ZoneAware,
};

fn labels(of: &[(&str, &str)]) -> std::collections::BTreeMap<Box<str>, LabelValue> {
    let own = of.iter().map(|(key, value)| {
        let value = match value.split_once('|') {
            Some(_) => LabelValue::List(value.split('|').map(LabelValue::from).collect()),
            None => LabelValue::from(*value),
        };
        ((*key).into(), value)
    });
    own.collect()
}

fn labelled(port: u16, of: &[(&str, &str)]) -> Arc<Endpoint> {
    let metadata = EndpointMetadata {
        labels: labels(of),
        ..EndpointMetadata::default()
    };
    let address = SocketAddr::from(([10, 0, 0, 1], port));
    Arc::new(Endpoint::new(address, 1, Health::Healthy, metadata))
}

fn selector(keys: &[&str], fallback: Option<SelectorFallback>) -> SubsetSelector {
    SubsetSelector {
        keys: keys.iter().map(|key| (*key).into()).collect(),
        single_host: false,
        fallback,
    }
}

fn divided(change: impl FnOnce(&mut Subsets)) -> Cluster {
    let endpoints = vec![
        labelled(1, &[("stage", "prod"), ("version", "1")]),
        labelled(2, &[("stage", "prod"), ("version", "2")]),
        labelled(3, &[("stage", "dev"), ("version", "1|3")]),
    ];
    let mut subsets = Subsets {
        selectors: [
            selector(&["stage", "version"], None),
            selector(&["version"], None),
        ]
        .into(),
        ..Subsets::default()
    };
    change(&mut subsets);
    let mut made = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
    made.subsets = Some(Arc::new(subsets));
    made
}

/// The ports that requests with these labels reach.
fn reached(cluster: &Cluster, wanted: Option<&[(&str, &str)]>) -> Vec<u16> {
    let (balancer, _) = clock(1);
    let slot = Slot::new("c");
    let wanted = wanted.map(|wanted| SubsetCriteria::new(labels(wanted)));
    let choice = Choice {
        subset: wanted.as_ref(),
        ..Choice::default()
    };
    let mut ports: Vec<u16> = (0..12)
        .filter_map(|_| balancer.choose(&slot, cluster, &choice))
        .map(|one| one.address.port())
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[test]
fn labels_name_a_subset_and_the_fallback_is_for_the_rest() {
    let none = divided(|_| {});
    assert_eq!(reached(&none, Some(&[("version", "2")])), [2]);
    assert_eq!(
        reached(&none, Some(&[("stage", "prod"), ("version", "1")])),
        [1]
    );
    assert!(
        reached(&none, Some(&[("stage", "prod")])).is_empty(),
        "no selector of these keys"
    );
    assert!(reached(&none, None).is_empty());
    let any = divided(|it| it.fallback = SubsetFallback::Any);
    assert_eq!(reached(&any, Some(&[("version", "9")])), [1, 2, 3]);
    assert_eq!(reached(&any, None), [1, 2, 3]);
    let default = divided(|it| {
        it.fallback = SubsetFallback::Default;
        it.default = SubsetCriteria::new(labels(&[("stage", "prod")]));
    });
    assert_eq!(reached(&default, Some(&[("version", "9")])), [1, 2]);
    let lists = divided(|it| it.list_as_any = true);
    assert_eq!(reached(&lists, Some(&[("version", "1")])), [1, 3]);
    assert_eq!(reached(&lists, Some(&[("version", "3")])), [3]);
}

#[test]
fn a_selector_falls_back_in_its_own_way() {
    let keys = Some(SelectorFallback::Keys(["version".into()].into()));
    let narrowed = divided(|it| it.selectors[0].fallback = keys);
    assert_eq!(
        reached(&narrowed, Some(&[("stage", "x"), ("version", "2")])),
        [2]
    );
    let any = Some(SelectorFallback::As(SubsetFallback::Any));
    let own = divided(|it| it.selectors[1].fallback = any);
    assert_eq!(reached(&own, Some(&[("version", "9")])), [1, 2, 3]);
    assert!(reached(&own, Some(&[("stage", "x"), ("version", "9")])).is_empty());
    let nothing = divided(|it| {
        it.fallback = SubsetFallback::Any;
        it.selectors[1].fallback = Some(SelectorFallback::As(SubsetFallback::None));
    });
    assert!(reached(&nothing, Some(&[("version", "9")])).is_empty());
    let panic = divided(|it| {
        it.fallback = SubsetFallback::Default;
        it.default = SubsetCriteria::new(labels(&[("stage", "none")]));
        it.panic_mode_any = true;
    });
    assert_eq!(reached(&panic, Some(&[("version", "9")])), [1, 2, 3]);
    let one = divided(|it| it.selectors[1].single_host = true);
    assert_eq!(reached(&one, Some(&[("version", "1")])), [1]);
}

fn zones(callers: [u16; 3], sizes: [u16; 3]) -> Cluster {
    let names = ["a", "b", "c"];
    let of = |sizes: [u16; 3]| -> Vec<LocalityEndpoints> {
        let zone = |(size, name): (u16, &str)| {
            let base = u16::from(name.as_bytes()[0]) * 100;
            let members = (0..size).map(|port| endpoint(base + port, 1, Health::Healthy));
            let mut made = level(0, members.collect());
            made.locality.zone = name.into();
            made
        };
        sizes.into_iter().zip(names).map(zone).collect()
    };
    let local = cluster(LbPolicy::RoundRobin, of(callers));
    let mut made = cluster(LbPolicy::RoundRobin, of(sizes));
    made.balancing.zone = Some(Arc::new(ZoneAware {
        locality: Locality {
            zone: "a".into(),
            ..Locality::default()
        },
        local: Slot::filled("local", Arc::new(local)),
        enabled: 100.0,
        min_cluster_size: 6,
        force_local_min: None,
        by_weight: false,
    }));
    made
}

/// Percent of requests that stay in the zone `a`, and that go to `b` and `c`.
fn zoned(cluster: &Cluster) -> [i64; 3] {
    let seen = counts(cluster, 3, 10_000);
    let of = |name: u8| {
        let base = u16::from(name) * 100;
        let ports = seen.iter().filter(|(port, _)| **port / 100 == base / 100);
        ports.map(|(_, count)| *count as i64).sum::<i64>()
    };
    [b'a', b'b', b'c'].map(|zone| (of(zone) + 50) / 100)
}

#[test]
fn requests_stay_in_their_zone_as_far_as_it_can_take_them() {
    let close = |cluster: &Cluster, wanted: [i64; 3]| {
        let got = zoned(cluster);
        let near = got
            .iter()
            .zip(wanted)
            .all(|(got, wanted)| (got - wanted).abs() <= 2);
        assert!(near, "{got:?} {wanted:?}");
    };
    close(&zones([2, 2, 2], [3, 3, 3]), [100, 0, 0]);
    // A third of the callers, a fifth of the capacity: 60% stay; the rest by what others have free.
    close(&zones([2, 2, 2], [2, 4, 4]), [60, 20, 20]);
    close(&zones([3, 3, 0], [2, 3, 5]), [40, 0, 60]);
    close(&zones([2, 2, 2], [1, 2, 2]), [20, 40, 40]);
    let mut forced = zones([4, 1, 1], [2, 4, 4]);
    let mut zone = ZoneAware::clone(forced.balancing.zone.as_ref().unwrap());
    zone.force_local_min = Some(2);
    forced.balancing.zone = Some(Arc::new(zone.clone()));
    close(&forced, [100, 0, 0]);
    let mut half = zones([2, 2, 2], [3, 3, 3]);
    zone.local = Arc::clone(&half.balancing.zone.as_ref().unwrap().local);
    zone.enabled = 50.0;
    half.balancing.zone = Some(Arc::new(zone));
    close(&half, [67, 17, 17]);
}

#[test]
fn an_overloaded_endpoint_gives_to_others_in_the_order_of_the_hash() {
    let endpoints: Vec<_> = (1..=4)
        .map(|port| endpoint(port, 1, Health::Healthy))
        .collect();
    let all = endpoints.clone();
    let mut cluster = cluster(LbPolicy::Maglev { size: 101 }, vec![level(0, endpoints)]);
    cluster.balancing.hash_balance = Some(150);
    let (balancer, _) = clock(1);
    let slot = Slot::new("c");
    let choice = Choice {
        hash: Some(77),
        ..Choice::default()
    };
    let choose = || balancer.choose(&slot, &cluster, &choice).expect("chosen");
    let first = choose();
    assert_eq!(choose().id, first.id);
    first.active.store(10, Ordering::Relaxed);
    let second = choose();
    assert_ne!(second.id, first.id);
    assert_eq!(choose().id, second.id, "the same others in the same order");
    all.iter()
        .for_each(|one| one.active.store(10, Ordering::Relaxed));
    assert_eq!(choose().id, first.id, "nobody is above the mean");
}

#[test]
fn weights_follow_what_endpoints_report() {
    let endpoints: Vec<_> = (1..=3)
        .map(|port| endpoint(port, 1, Health::Healthy))
        .collect();
    let all = endpoints.clone();
    let mut cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
    cluster.balancing.reported = Some(Arc::new(ReportedWeights {
        blackout: Duration::from_secs(10),
        expiration: Duration::from_secs(180),
        update: Duration::from_secs(1),
        error_penalty: 1.0,
        metrics: Box::default(),
    }));
    let (balancer, now) = clock(1);
    let report = |endpoint: &Endpoint, rps: f64| {
        let report = LoadReport {
            rps,
            application: 0.5,
            ..LoadReport::default()
        };
        balancer.load(&cluster, endpoint, &report);
    };
    report(&all[0], 300.0);
    report(&all[1], 100.0);
    keeper::sweep(&cluster, now.get());
    let even = counts(&cluster, 1, 3000);
    assert!(even.values().all(|count| *count == 1000), "{even:?}");
    now.set(12_000);
    keeper::sweep(&cluster, now.get());
    // The third has the median of the others.
    let seen = counts(&cluster, 1, 6000);
    for (port, wanted) in [(1, 3000), (2, 1000), (3, 2000)] {
        let got = seen[&port] as i64;
        assert!((got - wanted).abs() < 100, "{port}: {got}");
    }
    now.set(400_000);
    keeper::sweep(&cluster, now.get());
    let even = counts(&cluster, 1, 3000);
    assert!(even.values().all(|count| *count == 1000), "{even:?}");
}

#[test]
fn a_request_may_name_its_endpoint() {
    let endpoints: Vec<_> = (1..=3)
        .map(|port| endpoint(port, 1, Health::Healthy))
        .collect();
    let tried = [endpoints[1].id];
    let mut cluster = cluster(LbPolicy::RoundRobin, vec![level(0, endpoints)]);
    let name = http::HeaderName::from_static("x-to");
    cluster.balancing.named = Some(Arc::new(NamedEndpoint {
        headers: [name.clone()].into(),
    }));
    let (balancer, _) = clock(1);
    let slot = Slot::new("c");
    let mut headers = http::HeaderMap::new();
    let mut ports = |text: &'static str, tried: &[u64]| {
        headers.insert(&name, http::HeaderValue::from_static(text));
        let choice = Choice {
            headers: Some(&headers),
            tried,
            ..Choice::default()
        };
        let mut ports: Vec<u16> = (0..6)
            .filter_map(|_| balancer.choose(&slot, &cluster, &choice))
            .map(|one| one.address.port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    };
    assert_eq!(ports("10.0.0.1:2", &[]), [2]);
    assert_eq!(ports("10.0.0.1:2, 10.0.0.1:3", &tried), [3]);
    assert_eq!(ports("10.0.0.1:9", &[]), [1, 2, 3]);
    assert_eq!(ports("junk", &[]), [1, 2, 3]);
}
