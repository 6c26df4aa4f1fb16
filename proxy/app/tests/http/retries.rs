//! Retries, circuit breakers and the choice of endpoints.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use lateen_proxy_model::{CircuitBreakers, InternalRedirect, RetryOn, Slot};

use crate::mesh::{Mesh, Upstream, cluster, collect, retry, route, run, slot, text, to};

#[test]
fn a_retry_hides_a_failure_and_says_how_many_there_were() {
    run(|| async {
        let upstream = Upstream::statuses(&[503, 200]).await;
        let mut forward = to(slot(upstream.cluster()));
        forward.retry = retry(RetryOn::FIVE_XX, 2);
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        let answer = mesh.get("/", &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(upstream.asked(), 2);
        assert_eq!(
            upstream.header(1, "x-envoy-attempt-count").as_deref(),
            Some("2")
        );
        assert_eq!(
            upstream.connections.get(),
            1,
            "the connection is used again"
        );
    });
}

#[test]
fn retries_end_with_the_flag_of_their_limit() {
    run(|| async {
        let upstream = Upstream::statuses(&[503]).await;
        let mut forward = to(slot(upstream.cluster()));
        forward.retry = retry(RetryOn::FIVE_XX, 2);
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        let answer = mesh.get("/", &[]).await;
        assert_eq!((answer.status().as_u16(), upstream.asked()), (503, 3));
        assert_eq!(mesh.log(1).await, ["503 URX via_upstream 0 3"]);
    });
}

#[test]
fn a_slow_try_goes_on_beside_the_next_and_the_first_answer_counts() {
    run(|| async {
        let upstream = Upstream::start(false, |request, turn| {
            Box::pin(async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                if turn == 0 {
                    std::future::pending::<()>().await;
                }
                text(200, &String::from_utf8_lossy(&body))
            })
        })
        .await;
        let mut forward = to(slot(upstream.cluster()));
        let mut policy = retry(RetryOn::FIVE_XX, 1).unwrap();
        std::sync::Arc::make_mut(&mut policy).per_try_timeout = Some(Duration::from_millis(20));
        forward.retry = Some(policy);
        forward.hedge = true;
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        let request = Request::post("/")
            .header("host", "app")
            .body(Full::new(Bytes::from("payload")))
            .unwrap();
        let answer = collect(mesh.http1().await.send_request(request).await.unwrap()).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (200, &b"payload"[..])
        );
        assert_eq!(upstream.asked(), 2);
    });
}

#[test]
fn a_redirect_that_is_followed_is_logged_for_itself() {
    run(|| async {
        let upstream = Upstream::start(false, |_, turn| {
            Box::pin(async move {
                let mut answer = text(if turn == 0 { 302 } else { 200 }, "x");
                let place = http::HeaderValue::from_static("http://app/there");
                answer.headers_mut().insert("location", place);
                answer
            })
        })
        .await;
        let mut forward = to(slot(upstream.cluster()));
        forward.internal_redirect = Some(Box::new(InternalRedirect {
            max: 1,
            statuses: [StatusCode::FOUND].into(),
            cross_scheme: false,
            copied: Box::default(),
            targets: Box::default(),
        }));
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        let answer = mesh.get("/here", &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(
            upstream.header(1, "x-envoy-original-url").as_deref(),
            Some("http://app/here")
        );
        let log = mesh.log(2).await;
        assert_eq!(
            log,
            ["302 - internal_redirect 0 0", "200 - via_upstream 0 1"]
        );
    });
}

#[test]
fn a_body_is_sent_again_with_each_try() {
    run(|| async {
        let upstream = Upstream::start(false, |request, turn| {
            Box::pin(async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let status = if turn == 0 { 503 } else { 200 };
                text(status, &String::from_utf8_lossy(&body))
            })
        })
        .await;
        let mut forward = to(slot(upstream.cluster()));
        forward.retry = retry(RetryOn::FIVE_XX, 2);
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        let request = Request::post("/")
            .header("host", "app")
            .body(Full::new(Bytes::from("payload")))
            .unwrap();
        let answer = collect(mesh.http1().await.send_request(request).await.unwrap()).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (200, &b"payload"[..])
        );
        assert_eq!(mesh.log(1).await, ["200 - via_upstream 7 7"]);
    });
}

#[test]
fn a_refused_connection_goes_to_another_endpoint() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let dead = dead().await;
        let mut forward = to(slot(cluster(&[dead, upstream.address])));
        forward.retry = retry(RetryOn::CONNECT_FAILURE, 1);
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        for _ in 0..6 {
            assert_eq!(mesh.get("/", &[]).await.status(), StatusCode::OK);
        }
    });
}

#[test]
fn without_retries_failures_are_worded_as_envoy_words_them() {
    run(|| async {
        let dead = dead().await;
        let refused = Mesh::start(vec![route(to(slot(cluster(&[dead]))))], |_| {}).await;
        let answer = refused.get("/", &[]).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            answer.body(),
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
        );
        let log = refused.log(1).await;
        assert!(log[0].starts_with(
            "503 UF upstream_reset_before_response_started{remote_connection_failure"
        ));

        let empty = Mesh::start(vec![route(to(slot(cluster(&[]))))], |_| {}).await;
        let answer = empty.get("/", &[]).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (503, &b"no healthy upstream"[..])
        );
        assert_eq!(empty.log(1).await, ["503 UH no_healthy_upstream 0 19"]);

        let missing = Mesh::start(vec![route(to(Slot::new("none")))], |_| {}).await;
        assert_eq!(
            missing.get("/", &[]).await.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(missing.log(1).await, ["503 NC cluster_not_found 0 0"]);

        let unrouted = Mesh::start(Vec::new(), |_| {}).await;
        assert_eq!(unrouted.get("/", &[]).await.status(), StatusCode::NOT_FOUND);
        assert_eq!(unrouted.log(1).await, ["404 NR route_not_found 0 0"]);
    });
}

#[test]
fn timeouts_answer_504() {
    run(|| async {
        let upstream = Upstream::start(false, |_, turn| {
            Box::pin(async move {
                if turn == 0 {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                }
                text(200, "late")
            })
        })
        .await;
        let mut whole = to(slot(upstream.cluster()));
        whole.timeout = Some(Duration::from_millis(30));
        let mesh = Mesh::start(vec![route(whole)], |_| {}).await;
        let answer = mesh.get("/", &[]).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (504, &b"upstream request timeout"[..])
        );
        assert_eq!(mesh.log(1).await, ["504 UT response_timeout 0 24"]);
        assert_eq!(
            upstream
                .header(0, "x-envoy-expected-rq-timeout-ms")
                .as_deref(),
            Some("30")
        );

        // The first request was taken; a try that takes too long is retried.
        upstream.seen.borrow_mut().clear();
        let mut tries = to(slot(upstream.cluster()));
        tries.retry = retry(RetryOn::FIVE_XX, 1).map(|policy| {
            let mut policy = std::sync::Arc::into_inner(policy).unwrap();
            policy.per_try_timeout = Some(Duration::from_millis(30));
            policy.into()
        });
        let mesh = Mesh::start(vec![route(tries)], |_| {}).await;
        assert_eq!(mesh.get("/", &[]).await.body(), "late");
        assert_eq!(upstream.asked(), 2);
    });
}

#[test]
fn circuit_breakers_open() {
    run(|| async {
        let upstream = Upstream::start(false, |_, _| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                text(200, "")
            })
        })
        .await;
        let mut limited = upstream.cluster();
        *limited.limits = CircuitBreakers {
            max_connections: 1,
            max_pending: 1,
            ..CircuitBreakers::default()
        };
        let mesh = Mesh::start(vec![route(to(slot(limited)))], |_| {}).await;
        let taken = async {
            while upstream.asked() == 0 {
                tokio::task::yield_now().await;
            }
            tokio::join!(mesh.get("/", &[]), mesh.get("/", &[]))
        };
        let (a, (b, c)) = tokio::join!(mesh.get("/", &[]), taken);
        let mut statuses = [a, b, c].map(|answer| answer.status().as_u16());
        statuses.sort_unstable();
        assert_eq!(
            statuses,
            [200, 200, 503],
            "one runs, one waits, one is too many"
        );
        assert_eq!(upstream.connections.get(), 1);
        let log = mesh.log(3).await;
        assert!(log.iter().any(|line| line.starts_with("503 UO")), "{log:?}");
    });
}

/// An address where nobody listens.
async fn dead() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
