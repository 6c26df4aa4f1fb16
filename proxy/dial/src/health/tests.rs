use std::sync::Arc;

use ::http::{HeaderMap, Method};
use lateen_proxy_model::{
    CheckTimes, ClusterKind, EndpointMetadata, EndpointSet, Health, HttpCheck, Slot, TcpCheck,
};

use super::*;

fn check(unhealthy: u32, healthy: u32) -> HealthCheck {
    let time = Duration::from_secs;
    HealthCheck {
        kind: CheckKind::Tcp(TcpCheck::default()),
        times: CheckTimes {
            timeout: time(1),
            interval: time(2),
            initial_jitter: None,
            interval_jitter: None,
            interval_jitter_percent: 0,
            no_traffic: time(60),
            no_traffic_healthy: time(61),
            unhealthy: time(3),
            unhealthy_edge: time(4),
            healthy_edge: time(5),
        },
        unhealthy_threshold: unhealthy,
        healthy_threshold: healthy,
        reuse_connection: true,
        alpn: Vec::new(),
        transport: None,
        log_failures: false,
        log_successes: false,
        event_log: None,
    }
}

fn endpoint() -> Endpoint {
    let made = Endpoint::new(
        ([127, 0, 0, 1], 1).into(),
        1,
        Health::Healthy,
        EndpointMetadata::default(),
    );
    made.found.meet();
    made
}

const WELL: Finding = Finding::Well { degraded: false };
const REFUSED: Finding = Finding::Refused {
    retriable: false,
    excluded: false,
};

#[test]
fn the_first_check_decides_alone_and_later_ones_by_threshold() {
    let check = check(3, 2);
    let endpoint = endpoint();
    let mut judge = Judge::default();
    let mut failed = |finding| {
        judge.take(&check, &endpoint, finding);
        endpoint.found.has(ActiveHealth::FAILED)
    };
    assert!(!failed(WELL));
    assert!(!failed(Finding::Network));
    assert!(!failed(Finding::TimedOut));
    assert!(!failed(WELL), "not in a row");
    assert!(!failed(Finding::Network));
    assert!(!failed(Finding::Network));
    assert!(failed(Finding::Network));
    assert!(failed(WELL));
    assert!(failed(Finding::Network));
    assert!(failed(WELL));
    assert!(!failed(WELL));
    assert!(failed(REFUSED), "an answer that refuses counts at once");
    assert!(!endpoint.found.has(ActiveHealth::PENDING));
}

#[test]
fn degraded_and_retriable_answers_count_as_they_say() {
    let check = check(2, 1);
    let endpoint = endpoint();
    let mut judge = Judge::default();
    judge.take(&check, &endpoint, Finding::Well { degraded: true });
    assert!(endpoint.found.has(ActiveHealth::DEGRADED));
    assert!(judge.take(&check, &endpoint, WELL).changed);
    let retriable = Finding::Refused {
        retriable: true,
        excluded: false,
    };
    assert!(!judge.take(&check, &endpoint, retriable).changed);
    assert!(judge.take(&check, &endpoint, retriable).changed);
    let excluded = Finding::Refused {
        retriable: false,
        excluded: true,
    };
    judge.take(&check, &endpoint, excluded);
    assert!(endpoint.found.has(ActiveHealth::EXCLUDED));
    judge.take(&check, &endpoint, WELL);
    assert!(!endpoint.found.has(ActiveHealth::EXCLUDED));
}

#[test]
fn intervals_follow_health_and_use() {
    let check = check(1, 1);
    let set = Slot::filled("c", Arc::new(EndpointSet::default()));
    let cluster = Cluster::new("c", ClusterKind::Endpoints(set));
    let of = |well, edge| {
        let verdict = Verdict {
            well,
            edge,
            ..Verdict::default()
        };
        wait(&check, &cluster, &verdict).as_secs()
    };
    assert_eq!((of(true, true), of(false, false)), (61, 60));
    cluster.shared.used.store(1, Ordering::Relaxed);
    assert_eq!((of(true, false), of(true, true)), (2, 5));
    assert_eq!((of(false, false), of(false, true)), (3, 4));
}

#[test]
fn answers_are_judged_by_status_body_and_service() {
    let mut check = HttpCheck {
        method: Method::GET,
        path: "/".into(),
        host: "".into(),
        add: HeaderMap::new(),
        remove: Vec::new(),
        expected: Vec::new(),
        retriable: vec![503..=503],
        send: Vec::new(),
        receive: vec![b"up".to_vec(), b"ok".to_vec()],
        buffer: 100,
        http2: false,
        service: None,
    };
    let none = HeaderMap::new();
    assert_eq!(http::judge(&check, 200, &none, b"up and ok"), WELL);
    assert_eq!(http::judge(&check, 200, &none, b"ok and up"), REFUSED);
    let retriable = Finding::Refused {
        retriable: true,
        excluded: false,
    };
    assert_eq!(http::judge(&check, 503, &none, b"up ok"), retriable);
    check.expected = vec![201..=203];
    assert_eq!(http::judge(&check, 200, &none, b"up ok"), REFUSED);
    assert_eq!(http::judge(&check, 203, &none, b"up ok"), WELL);
    check.service = Some(lateen_proxy_model::StringMatcher::Prefix {
        value: "a".into(),
        ignore_case: false,
    });
    assert_eq!(
        http::judge(&check, 203, &none, b"up ok"),
        Finding::WrongService
    );
}
