//! An overloaded process refuses requests, also while clients reset theirs (S25).

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use lateen_proxy_model::{
    LeastTime, Overload, OverloadAction, OverloadPlan, Resource, ScaledTime, Trigger, TriggerRule,
};
use lateen_proxy_relay::http::Shedding;
use lateen_proxy_telemetry::Side;
use tokio::sync::watch;

use crate::mesh::{Mesh, Upstream, boxed, collect, route, run, slot, to};

/// A process whose pressure the test sets.
struct Process {
    plan: OverloadPlan,
    state: Arc<Overload>,
    changes: watch::Sender<u64>,
}

impl Process {
    fn new(action: OverloadAction) -> (Self, Shedding) {
        let trigger = Trigger {
            monitor: 0,
            rule: TriggerRule::Threshold(0.9),
        };
        let plan = OverloadPlan {
            refresh: Duration::from_secs(1),
            monitors: vec![("heap".into(), Resource::Heap(1))],
            actions: vec![(action, vec![trigger])],
            points: Vec::new(),
            timers: vec![(
                ScaledTime::ConnectionIdle,
                LeastTime::Time(Duration::from_millis(10)),
            )],
            max_connections: None,
        };
        let state = Arc::new(Overload::new(&plan));
        let (sender, changes) = watch::channel(0);
        let shedding = Shedding {
            state: Arc::clone(&state),
            changes,
            shed: Default::default(),
        };
        let process = Self {
            plan,
            state,
            changes: sender,
        };
        (process, shedding)
    }

    fn press(&self, pressure: f64) {
        self.state.apply(&self.plan, &[Some(pressure)]);
        self.changes.send_modify(|count| *count += 1);
    }
}

fn request() -> Request<Full<Bytes>> {
    let request = Request::post("/").header("host", "app");
    request.body(Full::from("hello")).unwrap()
}

async fn upstream(http2: bool) -> Upstream {
    Upstream::start(http2, |request, _| {
        Box::pin(async move { http::Response::new(boxed(request.into_body())) })
    })
    .await
}

#[test]
fn shedding_goes_on_while_streams_are_reset() {
    run(|| async {
        // The cluster speaks what the client speaks.
        let upstream = upstream(true).await;
        let (process, shedding) = Process::new(OverloadAction::StopRequests);
        let routes = vec![route(to(slot(upstream.cluster())))];
        let overload = (None, Some(shedding));
        let mesh = Mesh::start_shedding(routes, Side::Outbound, overload, |_| {}).await;
        let mut sender = mesh.http2().await;
        for round in 0..200 {
            process.press(if round % 2 == 0 { 1.0 } else { 0.0 });
            // Sent, and given up before or while it is refused.
            let mut given_up = Box::pin(sender.send_request(request()));
            let _ = std::future::poll_fn(|cx| Poll::Ready(given_up.as_mut().poll(cx))).await;
            if round % 3 == 0 {
                tokio::task::yield_now().await;
            }
            drop(given_up);
        }
        process.press(1.0);
        let refused = sender.send_request(request()).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(collect(refused).await.body(), "envoy overloaded");
        process.press(0.0);
        let served = sender.send_request(request()).await.unwrap();
        assert_eq!(served.status(), StatusCode::OK);
        assert_eq!(collect(served).await.body(), "hello");
        let counted = plain(&mesh)
            .lines()
            .any(|line| line.contains("downstream_rq_overload_close") && !line.ends_with(": 0"));
        assert!(counted);
    });
}

fn plain(mesh: &Mesh) -> String {
    let mut text = String::new();
    mesh.metrics.stats().render_plain(&mut text);
    text
}

#[test]
fn connections_end_with_their_answer_and_idle_ones_at_once() {
    run(|| async {
        let upstream = upstream(false).await;
        let (process, shedding) = Process::new(OverloadAction::DisableKeepalive);
        let routes = vec![route(to(slot(upstream.cluster())))];
        let overload = (None, Some(shedding));
        let mesh = Mesh::start_shedding(routes, Side::Outbound, overload, |_| {}).await;
        let mut sender = mesh.http1().await;
        let kept = sender.send_request(request()).await.unwrap();
        assert!(!kept.headers().contains_key("connection"));
        collect(kept).await;
        process.press(1.0);
        let last = sender.send_request(request()).await.unwrap();
        assert_eq!(last.headers()["connection"], "close");
    });
    run(|| async {
        let upstream = upstream(false).await;
        let (process, shedding) = Process::new(OverloadAction::ReduceTimeouts);
        let routes = vec![route(to(slot(upstream.cluster())))];
        let overload = (None, Some(shedding));
        let mesh = Mesh::start_shedding(routes, Side::Outbound, overload, |manager| {
            manager.idle_timeout = Some(Duration::from_secs(3600));
        })
        .await;
        let mut sender = mesh.http1().await;
        collect(sender.send_request(request()).await.unwrap()).await;
        process.press(1.0);
        // An hour without a request became ten milliseconds.
        while mesh.served.get() == 0 {
            tokio::task::yield_now().await;
        }
    });
}
