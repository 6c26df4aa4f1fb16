use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use lateen_proxy_agent::serve::Call;
use lateen_proxy_agent::{DrainHandle, PemIdentity, Readiness};
use lateen_proxy_model::StringMatcher;
use lateen_proxy_state::{Rejection, Resource, ResourceKind, State};
use lateen_proxy_telemetry::{Metrics, MetricsConfig, Peer, PeerFields};
use prost::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

use super::{Admin, Shown};
use crate::logging::LogControl;

struct Connections;

impl DrainHandle for Connections {
    fn drain(&self) {}

    fn active_connections(&self) -> u64 {
        0
    }
}

fn admin() -> Arc<Admin> {
    let metrics = Metrics::new(MetricsConfig {
        local: Arc::new(Peer::new(PeerFields::default())),
        principal: None,
        version: "0.1.0".into(),
        max_series: 10,
    });
    let state = State::new();
    Arc::new(Admin {
        readiness: Readiness::new(Arc::clone(&state), metrics.stats()),
        state,
        metrics,
        log: Arc::new(LogControl::detached()),
        sockets: Arc::default(),
        paths: Vec::new(),
        drain: Arc::new(Connections),
        bootstrap: Shown::Json(
            json!({ "node": { "id": "sidecar~10.1.0.7~a.b~b.svc.cluster.local" } }),
        ),
        options: json!({ "concurrency": 2 }),
        runtime: vec![lateen_proxy_sync::Layer {
            name: "base".into(),
            is_admin: false,
            values: [("a.b".to_owned(), "1".to_owned())].into(),
        }],
        drain_time: Duration::from_secs(600),
        quit: None,
        started: (Instant::now(), SystemTime::UNIX_EPOCH),
        program: "/no/such/program",
    })
}

async fn ask(admin: &Arc<Admin>, method: Method, path: &str) -> (StatusCode, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Bytes::new())
        .expect("request");
    let answer = Arc::clone(admin)
        .answer(Call {
            request,
            from: ([127, 0, 0, 1], 9).into(),
        })
        .await;
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

async fn page(admin: &Arc<Admin>, path: &str) -> Value {
    let (status, body) = ask(admin, Method::GET, path).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn resource(message: &impl Message) -> Resource {
    Resource {
        version: "v1".into(),
        body: message.encode_to_vec().into(),
        updated: SystemTime::UNIX_EPOCH,
        is_static: false,
    }
}

fn install_certificate(state: &State) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("root");
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(
        "spiffe://cluster.local/ns/b/sa/c".try_into().expect("URI"),
    )];
    let chain = params.signed_by(&key, &*root).expect("leaf").pem();
    let key = key.serialize_pem();
    PemIdentity {
        chain,
        key: key.clone(),
        roots: root.pem(),
    }
    .install(state.secrets())
    .expect("installed");
    key
}

/// One resource of each kind, one refusal, and secrets with a key, which comes back.
fn fill(admin: &Admin) -> String {
    let resources = admin.state.resources();
    let cluster = Cluster {
        name: "outbound|80||a.b.svc.cluster.local".into(),
        ..Default::default()
    };
    resources.accept(ResourceKind::Cluster, &cluster.name, resource(&cluster));
    let listener = Listener {
        name: "virtualInbound".into(),
        ..Default::default()
    };
    resources.accept(ResourceKind::Listener, &listener.name, resource(&listener));
    let refused = Rejection {
        version: "v2".into(),
        reason: "filter x is not supported".into(),
        at: SystemTime::UNIX_EPOCH,
    };
    resources.reject(ResourceKind::Listener, "virtualInbound", refused);
    let key = install_certificate(&admin.state);
    let secret = Resource {
        body: Bytes::copy_from_slice(key.as_bytes()),
        ..resource(&Cluster::default())
    };
    resources.accept(ResourceKind::Secret, "kubernetes://tls", secret);
    key
}

#[tokio::test]
async fn the_dump_has_envoys_shape_and_no_keys() {
    let admin = admin();
    let key = fill(&admin);
    let (_, text) = ask(&admin, Method::GET, "/config_dump").await;
    let key_line = key.lines().nth(1).expect("PEM");
    assert!(!text.contains("PRIVATE KEY") && !text.contains(key_line));
    let dump: Value = serde_json::from_str(&text).expect("JSON");
    let kinds: Vec<&str> = dump["configs"]
        .as_array()
        .expect("configs")
        .iter()
        .filter_map(|part| part["@type"].as_str())
        .collect();
    let expected = [
        "Bootstrap",
        "Clusters",
        "Listeners",
        "ScopedRoutes",
        "Routes",
        "Secrets",
    ];
    assert_eq!(
        kinds,
        expected.map(|kind| format!("type.googleapis.com/envoy.admin.v3.{kind}ConfigDump"))
    );
    let part = |name: &str| {
        &dump["configs"][expected
            .iter()
            .position(|kind| *kind == name)
            .expect("part")]
    };
    let active = &part("Clusters")["dynamic_active_clusters"][0];
    assert_eq!(
        active["cluster"]["@type"],
        "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    );
    assert_eq!(
        active["cluster"]["name"],
        "outbound|80||a.b.svc.cluster.local"
    );
    assert_eq!(
        (&active["version_info"], &active["last_updated"]),
        (&json!("v1"), &json!("1970-01-01T00:00:00.000Z"))
    );
    let listener = &part("Listeners")["dynamic_listeners"][0];
    assert_eq!(
        listener["active_state"]["listener"]["name"],
        "virtualInbound"
    );
    assert_eq!(
        listener["error_state"]["details"],
        "filter x is not supported"
    );
    let secrets = part("Secrets")["dynamic_active_secrets"]
        .as_array()
        .expect("secrets");
    let names: Vec<_> = secrets.iter().map(|secret| &secret["name"]).collect();
    assert_eq!(names, ["default", "ROOTCA"]);
    assert_eq!(
        secrets[0]["secret"]["tls_certificate"]["private_key"]["inline_bytes"],
        "W3JlZGFjdGVkXQ=="
    );
}

#[tokio::test]
async fn endpoints_are_dumped_when_asked_for() {
    let admin = admin();
    let kinds = |dump: &Value| dump["configs"].as_array().expect("configs").len();
    assert_eq!(kinds(&page(&admin, "/config_dump").await), 6);
    assert_eq!(kinds(&page(&admin, "/config_dump?include_eds").await), 7);
    let (status, body) = ask(&admin, Method::GET, "/config_dump?nope=x").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(body.contains("`nope`"), "{body}");
    let (status, _) = ask(&admin, Method::GET, "/config_dump?resource=nope").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn certificates_are_shown_with_their_names() {
    let admin = admin();
    install_certificate(&admin.state);
    let certs = page(&admin, "/certs").await;
    let leaf = &certs["certificates"][0]["cert_chain"][0];
    assert_eq!(
        leaf["subject_alt_names"],
        json!([{ "uri": "spiffe://cluster.local/ns/b/sa/c" }])
    );
    assert_eq!(
        certs["certificates"][0]["ca_cert"].as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn what_changes_something_needs_post() {
    let admin = admin();
    for path in [
        "/healthcheck/fail",
        "/drain_listeners?graceful",
        "/logging",
        "/logging?level=debug",
        "/quitquitquit",
    ] {
        assert_eq!(
            ask(&admin, Method::GET, path).await.0,
            StatusCode::METHOD_NOT_ALLOWED,
            "{path}"
        );
    }
    assert_eq!(
        ask(&admin, Method::POST, "/quitquitquit").await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        ask(&admin, Method::POST, "/drain_listeners?nope").await.0,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        ask(&admin, Method::POST, "/runtime_modify?a=b").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        ask(&admin, Method::POST, "/healthcheck/fail").await.0,
        StatusCode::OK
    );
    assert_eq!(
        ask(&admin, Method::GET, "/ready").await.0,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(
        ask(&admin, Method::GET, "/nothing").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn log_levels_change_by_post() {
    let admin = admin();
    let (status, body) = ask(
        &admin,
        Method::POST,
        "/logging?paths=http:debug,router:trace",
    )
    .await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        body.starts_with("active loggers:\n")
            && body.contains("  http: debug\n")
            && body.contains("  router: trace\n"),
        "{body}"
    );
    assert_eq!(
        ask(&admin, Method::POST, "/logging?nothing=debug").await.0,
        StatusCode::BAD_REQUEST
    );
    let (_, body) = ask(&admin, Method::POST, "/logging?level=error").await;
    assert!(
        body.contains("  http: error\n") && body.contains("  misc: error\n"),
        "{body}"
    );
}

#[tokio::test]
async fn statistics_come_in_three_shapes() {
    let admin = admin();
    let (_, text) = ask(&admin, Method::GET, "/stats?filter=lds").await;
    assert!(
        text.lines().all(|line| line.contains("lds"))
            && text.contains("listener_manager.lds.update_success: 0\n"),
        "{text}"
    );
    let stats = page(&admin, "/stats?format=json&filter=server.live").await;
    assert_eq!(
        stats,
        json!({ "stats": [{ "name": "server.live", "value": 1 }] })
    );
    let (_, text) = ask(&admin, Method::GET, "/stats/prometheus").await;
    assert!(
        text.contains("istio_build{component=\"proxy\",tag=\"0.1.0\"} 1"),
        "{text}"
    );
}

#[tokio::test]
async fn pages_about_the_process() {
    let admin = admin();
    let runtime = page(&admin, "/runtime").await;
    assert_eq!(
        runtime,
        json!({ "entries": { "a.b": { "layer_values": ["1"], "final_value": "1" } }, "layers": ["base"] })
    );
    let memory = page(&admin, "/memory").await;
    assert!(memory["total_physical_bytes"].is_string());
    assert_eq!(page(&admin, "/init_dump").await, json!({}));
    let waiting = vec![(ResourceKind::Cluster, "a".into())];
    admin.state.readiness().set_waiting(waiting);
    let dump = page(&admin, "/init_dump?mask=cluster").await;
    assert_eq!(
        dump["unready_targets_dumps"][0]["target_names"],
        json!(["target Cluster a"])
    );
    let (_, index) = ask(&admin, Method::GET, "/").await;
    assert!(index.contains("<form method=\"post\" action=\"healthcheck/fail\">"));
    let (_, help) = ask(&admin, Method::GET, "/help").await;
    assert!(help.contains("  /drain_listeners (POST): "));
}

#[tokio::test]
async fn only_allowed_paths_are_answered() {
    let exact = StringMatcher::Exact {
        value: "/ready".into(),
        ignore_case: false,
    };
    let mut admin = admin();
    Arc::get_mut(&mut admin).expect("one").paths = vec![exact];
    assert_ne!(
        ask(&admin, Method::GET, "/ready").await.0,
        StatusCode::FORBIDDEN
    );
    for path in ["/ready?a=1", "/stats", "/nope"] {
        let (status, body) = ask(&admin, Method::GET, path).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert_eq!(body, format!("request to path {path} not allowed"));
    }
}

#[tokio::test]
async fn statistics_are_chosen_and_reset() {
    let admin = admin();
    admin.metrics.stats().counter("a.b").add(3);
    let of = |path: &'static str| {
        let admin = Arc::clone(&admin);
        async move { ask(&admin, Method::GET, path).await }
    };
    let (_, text) = of("/stats?filter=^a%5C.&usedonly").await;
    assert_eq!(text, "a.b: 3\n");
    assert_eq!(of("/stats?filter=^a%5C.&type=Gauges").await.1, "");
    let (_, text) = of("/stats/prometheus?filter=a.b").await;
    assert!(
        text.starts_with("# TYPE envoy_a_b counter\nenvoy_a_b 3\n"),
        "{text}"
    );
    for path in [
        "/stats?filter=(",
        "/stats?type=x",
        "/stats?format=x",
        "/stats?histogram_buckets=x",
    ] {
        assert_eq!(of(path).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    let (_, text) = of("/stats?type=TextReadouts").await;
    assert!(text.contains("control_plane.identifier: \"\""), "{text}");
    let _ = ask(&admin, Method::POST, "/reset_counters").await;
    assert_eq!(of("/stats?filter=^a%5C.").await.1, "a.b: 0\n");
}
