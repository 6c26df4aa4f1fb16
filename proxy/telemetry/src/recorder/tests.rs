use std::sync::Arc;
use std::time::Duration;

use super::TcpReporter;
use crate::{
    Exchange, Flags, HttpRecord, Metrics, MetricsConfig, Peer, PeerFields, Service, Side, TcpRecord,
};

fn peer(workload: &str, app: &str, version: &str) -> Arc<Peer> {
    Arc::new(Peer::new(PeerFields {
        workload: workload.into(),
        namespace: "shop".into(),
        canonical_name: app.into(),
        canonical_revision: version.into(),
        app: app.into(),
        version: version.into(),
        cluster: "Kubernetes".into(),
    }))
}

fn metrics(max_series: usize) -> Arc<Metrics> {
    Metrics::new(MetricsConfig {
        local: peer("productpage-v1", "productpage", "v1"),
        principal: Some("spiffe://cluster.local/ns/shop/sa/productpage".into()),
        version: "0.1.0".into(),
        max_series,
    })
}

fn service() -> Arc<Service> {
    Arc::new(Service {
        host: "reviews.shop.svc.cluster.local".into(),
        name: "reviews".into(),
        namespace: "shop".into(),
    })
}

#[test]
fn a_request_out_carries_exactly_the_standard_labels() {
    let metrics = metrics(100);
    let (peer, service) = (peer("reviews-v2", "reviews", "v2"), service());
    let principal: Arc<str> = "spiffe://cluster.local/ns/shop/sa/reviews".into();
    let record = HttpRecord {
        exchange: Exchange {
            peer: Some(&peer),
            peer_principal: Some(&principal),
            service: Some(&service),
            mtls: true,
            duration: Duration::from_millis(7),
            bytes_sent: 300,
            ..Exchange::default()
        },
        status: 200,
        ..HttpRecord::default()
    };
    // Two workers: their shards meet in one series.
    metrics.recorder().http(&record);
    metrics.recorder().http(&record);
    let text = metrics.render();
    let expected = concat!(
        "istio_requests_total{reporter=\"source\",source_workload=\"productpage-v1\",source_canonical_service=\"productpage\",",
        "source_canonical_revision=\"v1\",source_workload_namespace=\"shop\",",
        "source_principal=\"spiffe://cluster.local/ns/shop/sa/productpage\",source_app=\"productpage\",source_version=\"v1\",",
        "source_cluster=\"Kubernetes\",destination_workload=\"reviews-v2\",destination_workload_namespace=\"shop\",",
        "destination_principal=\"spiffe://cluster.local/ns/shop/sa/reviews\",destination_app=\"reviews\",",
        "destination_version=\"v2\",destination_service=\"reviews.shop.svc.cluster.local\",",
        "destination_canonical_service=\"reviews\",destination_canonical_revision=\"v2\",destination_service_name=\"reviews\",",
        "destination_service_namespace=\"shop\",destination_cluster=\"Kubernetes\",request_protocol=\"http\",",
        "response_code=\"200\",grpc_response_status=\"\",response_flags=\"-\",connection_security_policy=\"unknown\"} 2\n"
    );
    assert!(text.contains(expected), "{text}");
    assert!(text.contains("istio_build{component=\"proxy\",tag=\"0.1.0\"} 1\n"));
    assert!(text.contains("connection_security_policy=\"unknown\",le=\"10\"} 2\n"));
    let mut names = Vec::new();
    metrics.each_of_mesh(&mut |name, _| names.push(name.to_owned()));
    assert!(names.iter().any(|name| name.starts_with(
        "istiocustom.istio_requests_total.reporter=.=source;.;source_workload=.=productpage-v1;.;"
    )));
}

#[test]
fn a_request_in_without_peer_or_tls_says_so() {
    let metrics = metrics(100);
    let service = service();
    metrics.recorder().http(&HttpRecord {
        exchange: Exchange {
            side: Side::Inbound,
            service: Some(&service),
            flags: Flags::NO_ROUTE,
            ..Exchange::default()
        },
        status: 404,
        grpc: true,
        grpc_status: Some(12),
        grpc_messages: Some((1, 0)),
        ..HttpRecord::default()
    });
    let text = metrics.render();
    assert!(
        text.contains("istio_requests_total{reporter=\"destination\",source_workload=\"unknown\",")
    );
    assert!(text.contains("source_principal=\"unknown\""));
    assert!(text.contains("destination_principal=\"unknown\",destination_app=\"productpage\""));
    assert!(text.contains(
        "request_protocol=\"grpc\",response_code=\"404\",grpc_response_status=\"12\",response_flags=\"NR\",connection_security_policy=\"none\"} 1"
    ));
    assert!(
        text.contains("request_protocol=\"grpc\",connection_security_policy=\"none\"} 1\n"),
        "message counters: {text}"
    );
}

#[test]
fn authorities_fill_in_only_where_allowed_and_up_to_the_cap() {
    let metrics = metrics(2);
    let recorder = metrics.recorder();
    let passthrough = Arc::new(Service {
        name: "PassthroughCluster".into(),
        ..Service::default()
    });
    for authority in ["a.example", "b.example", "c.example", "d.example"] {
        recorder.http(&HttpRecord {
            exchange: Exchange {
                service: Some(&passthrough),
                ..Exchange::default()
            },
            authority: Some(authority),
            host_header_fallback: true,
            ..HttpRecord::default()
        });
    }
    let text = metrics.render();
    assert!(text.contains("destination_service=\"a.example\""));
    assert!(text.contains("destination_service_name=\"PassthroughCluster\""));
    assert!(!text.contains("c.example"));
    assert!(text.contains("lateen_metrics_series_overflow_total 2\n"));
}

#[test]
fn label_values_cannot_break_out() {
    let metrics = metrics(10);
    metrics.recorder().http(&HttpRecord {
        authority: Some("x\"} 1\nevil 2"),
        host_header_fallback: true,
        ..HttpRecord::default()
    });
    assert!(
        metrics
            .render()
            .contains("destination_service=\"x\\\"} 1\\nevil 2\"")
    );
}

#[test]
fn tcp_reports_differences() {
    let metrics = metrics(10);
    let recorder = metrics.recorder();
    let at = |sent, received| TcpRecord {
        exchange: Exchange {
            side: Side::Inbound,
            mtls: true,
            bytes_sent: sent,
            bytes_received: received,
            ..Exchange::default()
        },
    };
    let mut reporter = TcpReporter::default();
    reporter.progress(&recorder, &at(10, 0));
    reporter.progress(&recorder, &at(30, 5));
    reporter.finish(&recorder, &at(31, 6));
    let text = metrics.render();
    for (family, value) in [
        ("istio_tcp_connections_opened_total", 1),
        ("istio_tcp_connections_closed_total", 1),
        ("istio_tcp_sent_bytes_total", 31),
        ("istio_tcp_received_bytes_total", 6),
    ] {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{family}{{")))
            .expect(family);
        let tail = format!(
            "request_protocol=\"tcp\",response_flags=\"-\",connection_security_policy=\"mutual_tls\"}} {value}"
        );
        assert!(line.ends_with(&tail), "{line}");
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn tags_are_changed_as_configured() {
    use lateen_proxy_model::cel::Expression;
    use lateen_proxy_model::{MetricOverrides, MetricRule};

    let expression = |text| Expression::compile(text).expect(text);
    let overrides = Arc::new(MetricOverrides {
        rules: vec![
            MetricRule {
                tags: vec![
                    ("method".into(), expression("request.method")),
                    ("absent".into(), expression("request.headers['x']")),
                ],
                remove: vec!["source_principal".into(), "response_flags".into()],
                ..MetricRule::default()
            },
            MetricRule {
                metric: Some("request_bytes".into()),
                drop: true,
                ..MetricRule::default()
            },
            MetricRule {
                metric: Some("requests_total".into()),
                tags: vec![("response_code".into(), expression("'many'"))],
                condition: Some(expression("response.code >= 500")),
                ..MetricRule::default()
            },
        ],
    });
    let metrics = metrics(10);
    let recorder = metrics.recorder();
    for (method, status) in [("GET", 200), ("POST", 500), ("POST", 501)] {
        recorder.http(&HttpRecord {
            exchange: Exchange {
                metric_overrides: Some(&overrides),
                ..Exchange::default()
            },
            method,
            status,
            ..HttpRecord::default()
        });
    }
    let text = metrics.render();
    let count = |start: &str, parts: &[&str]| {
        let lines = text.lines().filter(|line| line.starts_with(start));
        let lines = lines.filter(|line| parts.iter().all(|part| line.contains(part)));
        lines.count()
    };
    assert_eq!(
        count(
            "istio_requests_total",
            &["response_code=\"many\"", "method=\"POST\"", "} 2"]
        ),
        1,
        "{text}"
    );
    assert_eq!(count("istio_requests_total", &["absent=\"unknown\""]), 2);
    assert_eq!(count("istio_requests_total", &["source_principal"]), 0);
    assert_eq!(count("istio_request_bytes", &[]), 0);
    assert_eq!(
        count("istio_response_bytes_count", &["response_code=\"501\""]),
        1
    );
    // The cap holds for values of expressions too (S23).
    for user in 0..50 {
        let path = format!("/{user}");
        let overrides = Arc::new(MetricOverrides {
            rules: vec![MetricRule {
                tags: vec![("path".into(), expression("request.path"))],
                ..MetricRule::default()
            }],
        });
        recorder.http(&HttpRecord {
            exchange: Exchange {
                metric_overrides: Some(&overrides),
                ..Exchange::default()
            },
            path: &path,
            ..HttpRecord::default()
        });
    }
    let lines = metrics.render();
    let series = lines
        .lines()
        .filter(|line| line.starts_with("istio_requests_total{"));
    assert!(series.count() <= 10);
    assert!(!lines.contains("lateen_metrics_series_overflow_total 0"));
}
