//! Tables against what Envoy 1.40.0 chose for the same clusters and the header values `u0` to `u15`.

use super::*;
use crate::table::pick as table_pick;
use lateen_proxy_model::HashTable;
use twox_hash::XxHash64;

const RING: LbPolicy = LbPolicy::RingHash {
    min: 1024,
    max: 8 * 1024 * 1024,
};
const MAGLEV: LbPolicy = LbPolicy::Maglev { size: 65_537 };

fn numbered(number: u8, weight: u32) -> Endpoint {
    Endpoint::new(
        SocketAddr::from(([127, 0, 0, number], 1)),
        weight,
        Health::Healthy,
        EndpointMetadata::default(),
    )
}

fn weighted() -> Vec<Arc<Endpoint>> {
    let one = |number: u8| Arc::new(numbered(number, number.into()));
    (1..=5).map(one).collect()
}

fn keyed() -> Vec<Arc<Endpoint>> {
    let one = |number: u8| {
        let mut made = numbered(number, 1);
        let key = format!("host-{number}").as_str().into();
        made.metadata.labels.insert("hash_key".into(), key);
        Arc::new(made)
    };
    (1..=5).map(one).collect()
}

fn named() -> Vec<Arc<Endpoint>> {
    let one = |number: u8| {
        let mut made = numbered(number, 1);
        made.hostname = Some(format!("h{number}.example").into());
        Arc::new(made)
    };
    (1..=5).map(one).collect()
}

/// The last number of the address that each header value goes to.
fn chosen(cluster: &Cluster) -> String {
    let (balancer, _) = clock(1);
    let slot = Slot::new("c");
    let pick = |user: u8| {
        let choice = Choice {
            hash: Some(XxHash64::oneshot(0, format!("u{user}").as_bytes())),
            ..Choice::default()
        };
        let endpoint = balancer.choose(&slot, cluster, &choice).expect("chosen");
        match endpoint.address {
            SocketAddr::V4(address) => address.ip().octets()[3].to_string(),
            SocketAddr::V6(_) => String::new(),
        }
    };
    (0..16).map(pick).collect()
}

#[test]
fn weighted_endpoints_are_where_envoy_has_them() {
    let of = |lb| chosen(&cluster(lb, vec![level(0, weighted())]));
    assert_eq!(of(RING), "2354351322453454");
    assert_eq!(of(MAGLEV), "3424432443452453");
    assert_eq!(
        of(LbPolicy::RingHash { min: 7, max: 7 }),
        "2525343515151353"
    );
}

#[test]
fn keys_and_host_names_are_hashed_in_place_of_addresses() {
    let ring = LbPolicy::RingHash { min: 100, max: 200 };
    assert_eq!(
        chosen(&cluster(ring, vec![level(0, keyed())])),
        "2224255523245435"
    );
    let small = LbPolicy::Maglev { size: 101 };
    assert_eq!(
        chosen(&cluster(small, vec![level(0, keyed())])),
        "1523511435411121"
    );
    let mut by_name = cluster(RING, vec![level(0, named())]);
    by_name.balancing.hash_hostnames = true;
    assert_eq!(chosen(&by_name), "1311351522521134");
}

#[test]
fn weights_of_localities_count() {
    let localities = || {
        let mut first = level(0, vec![numbered(1, 1).into(), numbered(2, 2).into()]);
        first.locality.region = "a".into();
        first.weight = 3;
        let rest = [(3, 1), (4, 1), (5, 4)].map(|(number, weight)| numbered(number, weight).into());
        let mut second = level(0, rest.to_vec());
        second.locality.region = "b".into();
        second.weight = 1;
        vec![second, first]
    };
    for (lb, envoy) in [(RING, "2322221122153252"), (MAGLEV, "1122232413152252")] {
        let mut cluster = cluster(lb, localities());
        cluster.balancing.locality_weighted = true;
        assert_eq!(chosen(&cluster), envoy);
    }
}

#[test]
fn another_attempt_gives_another_endpoint() {
    for lb in [RING, MAGLEV] {
        let cluster = cluster(lb, vec![level(0, weighted())]);
        let (balancer, _) = clock(1);
        let slot = Slot::new("c");
        let mut choice = Choice {
            hash: Some(7),
            ..Choice::default()
        };
        let first = balancer.choose(&slot, &cluster, &choice).expect("chosen");
        let tried = [first.id];
        choice.tried = &tried;
        choice.selection_attempts = 20;
        let second = balancer.choose(&slot, &cluster, &choice).expect("chosen");
        assert_ne!(first.id, second.id);
    }
}

#[test]
fn requests_without_a_hash_are_spread() {
    let cluster = cluster(MAGLEV, vec![level(0, weighted())]);
    let (balancer, _) = clock(1);
    let slot = Slot::new("c");
    let ids: std::collections::BTreeSet<u64> = (0..100)
        .filter_map(|_| balancer.choose(&slot, &cluster, &Choice::default()))
        .map(|endpoint| endpoint.id)
        .collect();
    assert_eq!(ids.len(), 5);
}

#[test]
fn an_ejected_endpoint_leaves_the_table_and_comes_back() {
    let endpoints = weighted();
    let bad = Arc::clone(&endpoints[4]);
    let mut cluster = cluster(RING, vec![level(0, endpoints)]);
    let whole = chosen(&cluster);
    cluster.outlier = Some(detection().into());
    bad.ejection.until.store(5000, Ordering::Relaxed);
    keeper::sweep(&cluster, 1000);
    let without = chosen(&cluster);
    assert!(!without.contains('5'), "{without}");
    keeper::sweep(&cluster, 5000);
    assert_eq!(chosen(&cluster), whole);
}

fn table(lb: LbPolicy, endpoints: Vec<Arc<Endpoint>>) -> Option<HashTable> {
    let shares = endpoints.into_iter().map(|one| (one, 0.25)).collect();
    match lb {
        LbPolicy::Maglev { size } => table::maglev(shares, size, false),
        _ => table::ring(shares, (4, 1000), false),
    }
}

#[test]
fn tables_without_endpoints_choose_nobody() {
    assert!(table(RING, Vec::new()).is_none());
    assert!(table(MAGLEV, Vec::new()).is_none());
    let one = table(RING, weighted()).expect("table");
    for hash in [0, 1, u64::MAX] {
        assert!(table_pick(&one, hash, 0).is_some());
    }
}
