//! What is done to heads on their way.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use lateen_proxy_model::*;
use lateen_proxy_telemetry::Side;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::mesh::{Mesh, Upstream, route, run, slot, to};

#[test]
fn hop_by_hop_and_internal_headers_do_not_pass() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        let answer = mesh
            .get(
                "/",
                &[
                    ("connection", "keep-alive, x-secret"),
                    ("x-secret", "1"),
                    ("proxy-connection", "keep-alive"),
                    ("te", "gzip"),
                    ("x-envoy-retry-on", "5xx"),
                    ("x-envoy-internal", "true"),
                    ("x-forwarded-client-cert", "By=spiffe://me"),
                    ("x-request-id", "kept"),
                    ("x-app", "kept"),
                ],
            )
            .await;
        assert_eq!(answer.headers()["server"], "istio-envoy");
        assert!(
            answer
                .headers()
                .contains_key("x-envoy-upstream-service-time")
        );
        for gone in [
            "connection",
            "x-secret",
            "proxy-connection",
            "te",
            "x-envoy-retry-on",
            "x-envoy-internal",
            "x-forwarded-client-cert",
        ] {
            assert_eq!(upstream.header(0, gone), None, "{gone}");
        }
        for kept in ["x-request-id", "x-app"] {
            assert_eq!(upstream.header(0, kept).as_deref(), Some("kept"));
        }
        assert_eq!(
            upstream.header(0, "x-forwarded-proto").as_deref(),
            Some("http")
        );
    });
}

#[test]
fn the_edge_says_who_the_client_is() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |manager| {
            manager.use_remote_address = true;
        })
        .await;
        mesh.get(
            "/",
            &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-forwarded-proto", "https"),
                ("x-request-id", "mine"),
            ],
        )
        .await;
        assert_eq!(
            upstream.header(0, "x-forwarded-for").as_deref(),
            Some("6.6.6.6,127.0.0.1")
        );
        assert_eq!(
            upstream.header(0, "x-forwarded-proto").as_deref(),
            Some("http")
        );
        assert_eq!(
            upstream.header(0, "x-envoy-external-address").as_deref(),
            Some("127.0.0.1")
        );
        assert_ne!(upstream.header(0, "x-request-id").as_deref(), Some("mine"));
    });
}

#[test]
fn paths_are_made_canonical_before_routing() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let mut admin = route(to(Slot::new("none")));
        admin.matches.path = PathMatcher::Prefix {
            value: "/admin".into(),
            ignore_case: false,
        };
        let open = route(to(slot(upstream.cluster())));
        let mesh = Mesh::start(vec![admin, open], |_| {}).await;
        for path in ["/x/../admin", "/%61dmin", "/admin#/open"] {
            let answer = raw(
                &mesh,
                &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
            )
            .await;
            assert!(answer.starts_with("HTTP/1.1 503"), "{path}: {answer}");
        }
        assert_eq!(upstream.asked(), 0);
    });
}

#[test]
fn rewrites_change_path_and_host() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let mut forward = to(slot(upstream.cluster()));
        forward.path_rewrite = Some(PathRewrite::Prefix("/v2/".into()));
        forward.host_rewrite = Some(HostRewrite::Literal(HeaderValue::from_static("new.host")));
        let mut rewritten = route(forward);
        let set = HeaderRule {
            name: "x-route".parse().unwrap(),
            text: HeaderText::Literal(HeaderValue::from_static("set")),
            action: AppendAction::OverwriteOrAdd,
            keep_empty: false,
        };
        rewritten.request_headers = HeaderMutations::new(Vec::new(), vec![set]);
        rewritten.response_headers =
            HeaderMutations::new(vec!["date".parse().unwrap()], Vec::new());
        let mesh = Mesh::start(vec![rewritten], |_| {}).await;
        mesh.get("/a/b?c=d", &[]).await;
        assert_eq!(upstream.seen.borrow()[0].uri, "/v2/a/b?c=d");
        assert_eq!(upstream.header(0, "host").as_deref(), Some("new.host"));
        assert_eq!(
            upstream.header(0, "x-envoy-original-path").as_deref(),
            Some("/a/b?c=d")
        );
        assert_eq!(upstream.header(0, "x-route").as_deref(), Some("set"));
    });
}

#[test]
fn what_cannot_be_trusted_is_refused() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        for (name, request, status) in [
            ("HTTP/1.0", "GET / HTTP/1.0\r\nhost: a\r\n\r\n", 426),
            (
                "no host",
                "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
                400,
            ),
            (
                "two hosts",
                "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
                400,
            ),
            (
                "a hidden client",
                "GET / HTTP/1.1\r\nhost: a\r\nconnection: close, x-forwarded-for\r\n\r\n",
                400,
            ),
            (
                "a coding before chunked",
                "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
                501,
            ),
            (
                "an odd coding",
                "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
                501,
            ),
            (
                "CONNECT",
                "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\nconnection: close\r\n\r\n",
                404,
            ),
            (
                "an upgrade nobody allowed",
                "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: spdy\r\n\r\n",
                403,
            ),
        ] {
            let answer = raw(&mesh, request).await;
            let got = answer.split(' ').nth(1);
            assert_eq!(got, Some(&*status.to_string()), "{name}: {answer}");
        }
        assert_eq!(upstream.asked(), 0);
        let long = format!(
            "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
            "y".repeat(70 * 1024)
        );
        let answer = raw(&mesh, &long).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    });
}

#[test]
fn a_request_with_length_and_chunks_counts_by_its_chunks_and_ends_the_connection() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |_| {}).await;
        let smuggled = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
                        0\r\n\r\nGET /admin HTTP/1.1\r\nhost: a\r\n\r\n";
        raw(&mesh, smuggled).await;
        assert!(upstream.seen.borrow().iter().all(|it| it.uri != "/admin"));
        assert!(
            upstream
                .seen
                .borrow()
                .iter()
                .all(|it| !it.headers.contains_key("content-length"))
        );
    });
}

#[test]
fn peers_say_who_they_are() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let exchange = |downstream| {
            move |manager: &mut HttpManager| {
                let filter = HttpFilter::PeerMetadata {
                    downstream,
                    upstream: !downstream,
                    skip_external: false,
                };
                let entry = FilterEntry::new("istio.metadata_exchange", filter);
                manager.filters.push(entry);
            }
        };
        let routes = || vec![route(to(slot(upstream.cluster())))];
        let inbound = Mesh::start_side(routes(), Side::Inbound, exchange(true)).await;
        let mut towards = upstream.cluster();
        let set = crate::mesh::cluster(&[inbound.address]);
        towards.kind = set.kind;
        let outbound = Mesh::start(vec![route(to(slot(towards)))], exchange(false)).await;
        let answer = outbound.get("/", &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(upstream.header(0, "x-envoy-peer-metadata"), None);
        assert!(!answer.headers().contains_key("x-envoy-peer-metadata"));
        inbound.log(1).await;
        let counted = inbound.metrics.render();
        assert!(
            counted.contains("source_workload=\"proxy-v1\""),
            "{counted}"
        );
        outbound.log(1).await;
        let counted = outbound.metrics.render();
        assert!(
            counted.contains("destination_workload=\"proxy-v1\""),
            "{counted}"
        );
        assert!(
            counted.contains("destination_service=\"app.default.svc.cluster.local\""),
            "{counted}"
        );
    });
}

#[test]
fn cross_origin_preflights_are_answered_here() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let mut shared = route(to(slot(upstream.cluster())));
        shared.cors = Some(Arc::new(CorsPolicy {
            origins: vec![StringMatcher::Exact {
                value: "https://a".into(),
                ignore_case: false,
            }],
            methods: Some(HeaderValue::from_static("GET")),
            ..CorsPolicy::default()
        }));
        let mesh = Mesh::start(vec![shared], |_| {}).await;
        let asked = "OPTIONS / HTTP/1.1\r\nhost: a\r\norigin: https://a\r\n\
                     access-control-request-method: GET\r\nconnection: close\r\n\r\n";
        let answer = raw(&mesh, asked).await;
        assert!(
            answer.starts_with("HTTP/1.1 200")
                && answer.contains("access-control-allow-methods: GET")
        );
        assert_eq!(upstream.asked(), 0);
        let answer = mesh.get("/", &[("origin", "https://a")]).await;
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://a");
    });
}

async fn raw(mesh: &Mesh, request: &str) -> String {
    let mut stream = TcpStream::connect(mesh.address).await.unwrap();
    // The proxy may answer and close before it has read all of it.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut part).await {
            Ok(count) if count > 0 => answer.extend_from_slice(&part[..count]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
