//! Faults, answers made here, weights, mirrors.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use lateen_proxy_model::*;

use crate::mesh::{Mesh, Upstream, acting, route, run, slot, text, to};

#[test]
fn aborts_and_delays_are_injected() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let mut aborted = route(to(slot(upstream.cluster())));
        let fault = Fault {
            delay: Some((Duration::from_millis(40), Percentage::ALL)),
            abort: Some((FaultAbort::Http(StatusCode::IM_A_TEAPOT), Percentage::ALL)),
            ..Fault::default()
        };
        let setting = FilterSetting {
            disabled: false,
            config: Some(FilterOverride::Fault(Some(Arc::new(fault)))),
        };
        aborted.overrides = Overrides::new(vec![("fault".into(), setting)]);
        let mesh = Mesh::start(vec![aborted], |_| {}).await;
        let start = Instant::now();
        let answer = mesh.get("/", &[]).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (418, &b"fault filter abort"[..])
        );
        assert!(start.elapsed() >= Duration::from_millis(40));
        assert_eq!(mesh.log(1).await, ["418 DI,FI fault_filter_abort 0 18"]);
        assert_eq!(upstream.asked(), 0);
        let grpc = mesh.get("/", &[("content-type", "application/grpc")]).await;
        assert_eq!(
            (grpc.status(), &grpc.headers()["grpc-status"]),
            (StatusCode::OK, &HeaderValue::from(2))
        );
    });
}

#[test]
fn redirects_and_direct_answers_need_no_upstream() {
    run(|| async {
        let direct = acting(RouteAction::Direct(DirectResponse {
            status: StatusCode::ACCEPTED,
            body: Bytes::from_static(b"here"),
            format: None,
        }));
        let mesh = Mesh::start(vec![direct], |_| {}).await;
        let answer = mesh.get("/", &[]).await;
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (202, &b"here"[..])
        );
        assert_eq!(answer.headers()["server"], "istio-envoy");
        assert_eq!(mesh.log(1).await, ["202 - direct_response 0 4"]);
    });
}

#[test]
fn weights_split_and_their_headers_go_along() {
    run(|| async {
        let one = Upstream::statuses(&[201]).await;
        let two = Upstream::statuses(&[202]).await;
        let candidate = |upstream: &Upstream, weight| WeightedCluster {
            subset: None,
            cluster: NamedCluster::Fixed(slot(upstream.cluster())),
            weight,
            request_headers: HeaderMutations::default(),
            response_headers: HeaderMutations::new(
                Vec::new(),
                vec![HeaderRule {
                    name: "x-weight".parse().unwrap(),
                    text: HeaderText::Literal(HeaderValue::from(weight)),
                    action: AppendAction::OverwriteOrAdd,
                    keep_empty: false,
                }],
            ),
            host_rewrite: None,
            overrides: None,
        };
        let mut forward = to(slot(one.cluster()));
        forward.cluster = ClusterChoice::Weighted {
            clusters: vec![candidate(&one, 80), candidate(&two, 20)],
            total: 100,
            draw: WeightedDraw::Random,
        };
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        for _ in 0..200 {
            let answer = mesh.get("/", &[]).await;
            let weight = if answer.status() == 201 { "80" } else { "20" };
            assert_eq!(answer.headers()["x-weight"], weight);
        }
        assert!((130..190).contains(&one.asked()), "{}", one.asked());
        assert_eq!(one.asked() + two.asked(), 200);
    });
}

#[test]
fn mirrors_get_a_copy_and_their_answers_go_nowhere() {
    run(|| async {
        let primary = Upstream::statuses(&[200]).await;
        let (told, mut copies) = tokio::sync::mpsc::unbounded_channel();
        let shadow = Upstream::start(false, move |request, _| {
            let told = told.clone();
            Box::pin(async move {
                use http_body_util::BodyExt;
                let host = request.headers()["host"].clone();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                told.send((host, body)).unwrap();
                text(500, "nobody hears this")
            })
        })
        .await;
        let mut forward = to(slot(primary.cluster()));
        forward.mirrors = vec![Mirror {
            cluster: NamedCluster::Fixed(slot(shadow.cluster())),
            fraction: Percentage::ALL,
            shadow_suffix: true,
            host: None,
            headers: Vec::new(),
        }];
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        let request = http::Request::post("/")
            .header("host", "app:80")
            .body(http_body_util::Full::new(Bytes::from("copied")))
            .unwrap();
        // The primary answers at once; its connection moves the body on for both.
        let answer = mesh.http1().await.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let (host, body) = copies.recv().await.unwrap();
        assert_eq!(
            (host.as_bytes(), &body[..]),
            (&b"app-shadow:80"[..], &b"copied"[..])
        );
    });
}
