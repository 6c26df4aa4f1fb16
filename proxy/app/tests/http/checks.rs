//! Active health checks: an endpoint gets requests by what its checks find.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};
use lateen_proxy_balance::Keeper;
use lateen_proxy_dial::check_health;
use lateen_proxy_model::{
    ActiveHealth, CheckKind, CheckTimes, Cluster, ClusterKind, Endpoint, EndpointMetadata,
    GrpcCheck, Health, HealthCheck, HttpCheck, LocalityEndpoints, TcpCheck,
};
use lateen_proxy_state::State;

use crate::mesh::{Mesh, Upstream, route, run, text, to};

fn check(kind: CheckKind) -> HealthCheck {
    let soon = Duration::from_millis(10);
    HealthCheck {
        kind,
        times: CheckTimes {
            timeout: Duration::from_secs(5),
            interval: soon,
            initial_jitter: None,
            interval_jitter: None,
            interval_jitter_percent: 0,
            no_traffic: soon,
            no_traffic_healthy: soon,
            unhealthy: soon,
            unhealthy_edge: soon,
            healthy_edge: soon,
        },
        unhealthy_threshold: 2,
        healthy_threshold: 2,
        reuse_connection: true,
        alpn: Vec::new(),
        transport: None,
        log_failures: false,
        log_successes: false,
        event_log: None,
    }
}

fn http_check() -> HttpCheck {
    HttpCheck {
        method: Method::GET,
        path: "/health".into(),
        host: "checked".into(),
        add: HeaderMap::new(),
        remove: Vec::new(),
        expected: Vec::new(),
        retriable: Vec::new(),
        send: Vec::new(),
        receive: Vec::new(),
        buffer: 1024,
        http2: false,
        service: None,
    }
}

/// A state with one cluster of one endpoint whose checks run.
fn checked(upstream: &Upstream, check: HealthCheck) -> Arc<State> {
    let keeper = Keeper::new(Instant::now());
    let state = State::preparing(Arc::new(keeper));
    let endpoint = Endpoint::new(
        upstream.address,
        1,
        Health::Healthy,
        EndpointMetadata::default(),
    );
    let localities = vec![LocalityEndpoints {
        locality: Default::default(),
        priority: 0,
        weight: 0,
        endpoints: vec![Arc::new(endpoint)],
    }];
    let kind = ClusterKind::Endpoints(state.endpoints().slot("c"));
    state.set_endpoints("c", localities);
    state.set_cluster(Cluster {
        panic_threshold: 0,
        health_check: Some(Arc::new(check)),
        ..Cluster::new("c", kind)
    });
    tokio::task::spawn_local(check_health(Arc::clone(&state), Arc::new(keeper)));
    state
}

fn endpoint(state: &State) -> Arc<Endpoint> {
    let set = state.endpoints().value("c").unwrap();
    Arc::clone(set.iter().next().unwrap())
}

/// Waits until checks find the endpoint well, or sick.
async fn until(state: &State, well: bool) {
    let checked = Arc::clone(state.checked());
    let failed = ActiveHealth::FAILED | ActiveHealth::PENDING;
    while endpoint(state).found.has(failed) == well {
        checked.notified().await;
    }
}

#[test]
fn an_endpoint_that_fails_its_checks_gets_no_requests() {
    run(|| async {
        let sick = Rc::new(Cell::new(false));
        let fails = Rc::clone(&sick);
        let upstream = Upstream::start(false, move |request, _| {
            let status = match request.uri().path() {
                "/health" if fails.get() => 503,
                _ => 200,
            };
            Box::pin(async move { text(status, "x") })
        })
        .await;
        let state = checked(&upstream, check(CheckKind::Http(Box::new(http_check()))));
        assert!(!state.is_checked("c"), "the first check is to come");
        let mesh = Mesh::start(vec![route(to(state.clusters().slot("c")))], |_| {}).await;
        until(&state, true).await;
        assert!(state.is_checked("c"));
        assert_eq!(upstream.header(0, "host").as_deref(), Some("checked"));
        assert_eq!(
            upstream.header(0, "user-agent").as_deref(),
            Some("Envoy/HC")
        );
        assert_eq!(mesh.get("/", &[]).await.status(), 200);
        sick.set(true);
        until(&state, false).await;
        let answer = mesh.get("/", &[]).await;
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.body(), "no healthy upstream");
        sick.set(false);
        until(&state, true).await;
        assert_eq!(mesh.get("/", &[]).await.status(), 200);
        let cluster = state.clusters().value("c").unwrap();
        let stats = cluster.shared.checks();
        assert!(stats.success.load(Relaxed) >= 3 && stats.failure.load(Relaxed) >= 1);
    });
}

#[test]
fn an_answer_may_end_its_endpoints_use_at_once() {
    run(|| async {
        let upstream = Upstream::start(false, |request, _| {
            let health = request.uri().path() == "/health";
            Box::pin(async move {
                let mut answer = text(200, "x");
                if !health {
                    let name = "x-envoy-immediate-health-check-fail";
                    answer.headers_mut().insert(name, "true".parse().unwrap());
                }
                answer
            })
        })
        .await;
        let mut rare = check(CheckKind::Http(Box::new(http_check())));
        rare.times.interval = Duration::from_secs(600);
        rare.times.no_traffic_healthy = rare.times.interval;
        rare.times.healthy_edge = rare.times.interval;
        let state = checked(&upstream, rare);
        let mesh = Mesh::start(vec![route(to(state.clusters().slot("c")))], |_| {}).await;
        until(&state, true).await;
        assert_eq!(mesh.get("/", &[]).await.status(), 200);
        assert_eq!(mesh.get("/", &[]).await.status(), 503);
        assert!(endpoint(&state).found.has(ActiveHealth::EXCLUDED));
    });
}

#[test]
fn grpc_and_tcp_checks_are_answered() {
    run(|| async {
        let upstream = Upstream::start(true, |request, _| {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            Box::pin(async {
                let mut answer = text(200, "\0\0\0\0\u{2}\u{8}\u{1}");
                let headers = answer.headers_mut();
                headers.insert("grpc-status", "0".parse().unwrap());
                answer
            })
        })
        .await;
        let grpc = GrpcCheck {
            service: "app".into(),
            authority: "".into(),
            metadata: HeaderMap::new(),
        };
        let state = checked(&upstream, check(CheckKind::Grpc(Box::new(grpc))));
        until(&state, true).await;
        let state = checked(&upstream, check(CheckKind::Tcp(TcpCheck::default())));
        until(&state, true).await;
    });
}

#[test]
fn an_endpoint_that_discovery_gave_up_serves_while_it_is_well() {
    run(|| async {
        let sick = Rc::new(Cell::new(false));
        let fails = Rc::clone(&sick);
        let upstream = Upstream::start(false, move |_, _| {
            let status = if fails.get() { 503 } else { 200 };
            Box::pin(async move { text(status, "x") })
        })
        .await;
        let state = checked(&upstream, check(CheckKind::Http(Box::new(http_check()))));
        let cluster = Cluster {
            remove_healthy: false,
            health_check: Some(Arc::new(check(CheckKind::Http(Box::new(http_check()))))),
            ..Cluster::new("c", ClusterKind::Endpoints(state.endpoints().slot("c")))
        };
        state.set_cluster(cluster);
        until(&state, true).await;
        state.set_endpoints("c", Vec::new());
        assert!(endpoint(&state).found.has(ActiveHealth::LEAVING));
        sick.set(true);
        let checked = Arc::clone(state.checked());
        while !state.endpoints().value("c").unwrap().is_empty() {
            checked.notified().await;
        }
    });
}
