use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use lateen_proxy_state::{ResourceKind, State};
use lateen_proxy_telemetry::{Metrics, MetricsConfig, Peer, PeerFields};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::Status;
use crate::fetch::Fetch;
use crate::probes::{Probers, Target};
use crate::scrape::ScrapeConfig;
use crate::serve::{Answer, Call, serve, text};
use crate::{Ask, Readiness};

fn status(probers: &str, scrape: Option<&str>) -> (Status, mpsc::Receiver<Ask>) {
    let metrics = Metrics::new(MetricsConfig {
        local: Arc::new(Peer::new(PeerFields::default())),
        principal: None,
        version: "0.1.0".into(),
        max_series: 10,
    });
    let (asks, asked) = mpsc::channel(4);
    let status = Status {
        readiness: Readiness::new(State::new(), metrics.stats()),
        metrics,
        agent: Arc::default(),
        probers: Probers::parse(Some(probers)).expect("probers"),
        target: Target {
            address: [127, 0, 0, 1].into(),
            status_port: 15020,
        },
        scrape: ScrapeConfig::parse(scrape, 15020).expect("scrape"),
        merge_proxy_stats: true,
        asks,
    };
    (status, asked)
}

async fn ask(status: &Status, method: Method, path: &str, from: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "10.1.0.7:15020");
    let request = request
        .header("x-probe", "yes")
        .body(Bytes::new())
        .expect("request");
    status
        .status_answer(Call {
            request,
            from: from.parse().expect("address"),
        })
        .await
}

async fn body(answer: Answer) -> String {
    use http_body_util::BodyExt;
    let bytes = answer.into_body().collect().await.expect("body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An application that answers by path and says what it was asked.
async fn application() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(serve(listener, |call: Call| async move {
        let headers = call.request.headers();
        let shown = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or("-")
                .to_owned()
        };
        match call.request.uri().path() {
            "/health" => text(
                StatusCode::OK,
                format!("{} {} {}", shown("host"), shown("x-probe"), call.from.ip()),
            ),
            "/moved" => text(StatusCode::FOUND, ""),
            "/big" => text(StatusCode::OK, vec![b'x'; 20_000]),
            "/metrics" => text(StatusCode::OK, "app_up 1\n"),
            _ => text(StatusCode::IM_A_TEAPOT, "no"),
        }
    }));
    port
}

#[tokio::test]
async fn probes_reach_the_application() {
    let port = application().await;
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("port")
        .local_addr()
        .expect("address")
        .port();
    let http = |path: &str| format!(r#"{{"httpGet":{{"path":"{path}","port":{port}}}}}"#);
    let probers = format!(
        r#"{{"/app-health/a/livez":{},"/app-health/a/readyz":{},"/app-health/a/startupz":{},"/app-health/b/livez":{},
            "/app-health/b/readyz":{{"tcpSocket":{{"port":{port}}}}},"/app-health/b/startupz":{{"tcpSocket":{{"port":{closed}}}}},
            "/app-lifecycle/a/prestopz":{}}}"#,
        http("/health"),
        http("/moved"),
        http("/big"),
        http("/other"),
        http("/health"),
    );
    let (status, _asked) = status(&probers, None);
    let get = async |path: &str| ask(&status, Method::GET, path, "10.1.0.1:999").await;
    let alive = get("/app-health/a/livez").await;
    assert_eq!(alive.status(), StatusCode::OK);
    assert_eq!(body(alive).await, format!("10.1.0.7:{port} yes 127.0.0.6"));
    for (path, expected) in [
        ("/app-health/a/readyz", StatusCode::OK),
        ("/app-health/b/livez", StatusCode::IM_A_TEAPOT),
        ("/app-health/b/readyz", StatusCode::OK),
        ("/app-health/b/startupz", StatusCode::INTERNAL_SERVER_ERROR),
        ("/app-lifecycle/a/prestopz", StatusCode::OK),
        ("/app-health/none/livez", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(get(path).await.status(), expected, "{path}");
    }
    assert_eq!(
        body(get("/app-health/a/startupz").await).await.len(),
        10 * 1024
    );
}

#[tokio::test]
async fn the_metrics_page_is_agent_then_proxy_then_application() {
    let port = application().await;
    let annotations = format!(r#"{{"scrape":"true","path":"/metrics","port":"{port}"}}"#);
    let (status, _asked) = status("{}", Some(&annotations));
    let page = body(ask(&status, Method::GET, "/stats/prometheus", "10.1.0.1:999").await).await;
    let at = |part: &str| {
        page.find(part)
            .unwrap_or_else(|| panic!("{part} is not in:\n{page}"))
    };
    assert!(
        at("istio_agent_scrapes_total 1") < at("istio_build") && at("istio_build") < at("app_up 1")
    );
}

#[tokio::test]
async fn only_this_machine_may_end_the_pod() {
    let (status, mut asked) = status("{}", None);
    let outcomes = [
        (Method::POST, "10.1.0.1:999", StatusCode::FORBIDDEN),
        (Method::GET, "127.0.0.1:999", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "[::ffff:127.0.0.1]:999", StatusCode::OK),
    ];
    for (method, from, expected) in outcomes {
        assert_eq!(
            ask(&status, method, "/drain", from).await.status(),
            expected
        );
    }
    assert_eq!(
        ask(&status, Method::POST, "/quitquitquit", "[::1]:999")
            .await
            .status(),
        StatusCode::OK
    );
    assert_eq!(
        (asked.try_recv(), asked.try_recv()),
        (Ok(Ask::Drain), Ok(Ask::Quit))
    );
    assert!(asked.try_recv().is_err());
}

#[tokio::test]
async fn health_follows_readiness() {
    let (status, _asked) = status("{}", None);
    let status = Arc::new(status);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(Arc::clone(&status).serve_health(listener));
    let get = async || {
        let fetched = Fetch::get("127.0.0.1", port, "/healthz/ready", Duration::from_secs(5))
            .send()
            .await
            .expect("answer");
        (
            fetched.status,
            String::from_utf8_lossy(&fetched.body).into_owned(),
        )
    };
    let (code, reason) = get().await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reason.contains("config not received"), "{reason}");
    for kind in [ResourceKind::Cluster, ResourceKind::Listener] {
        status.readiness.state().readiness().applied(kind);
    }
    status
        .metrics
        .stats()
        .gauge("listener_manager.workers_started")
        .set(1);
    assert_eq!(get().await.0, StatusCode::OK);
}
