use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::AsyncWriteExt;

use lateen_proxy_model::{ListenerFilterEntry, ListenerPredicate};

use super::*;

fn entry(filter: ListenerFilter, off: &[(u32, u32)]) -> ListenerFilterEntry {
    let ports = off
        .iter()
        .map(|(start, end)| ListenerPredicate::Port(*start, *end));
    ListenerFilterEntry {
        disabled: (!off.is_empty()).then(|| ListenerPredicate::Or(ports.collect())),
        filter,
    }
}

fn tls(close_on_error: bool) -> ListenerFilter {
    ListenerFilter::TlsInspector {
        max_hello: 16 * 1024,
        close_on_error,
    }
}

fn inspectors() -> ListenerFilters {
    ListenerFilters {
        entries: vec![
            entry(tls(true), &[]),
            entry(ListenerFilter::HttpInspector, &[]),
        ],
        ..ListenerFilters::default()
    }
}

async fn seen(bytes: &[u8]) -> Result<Detected, DetectError> {
    let (mut client, mut server) = tokio::io::duplex(64);
    let bytes = bytes.to_vec();
    let writer = tokio::spawn(async move {
        for byte in bytes {
            if client.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    });
    let found = detect(&mut server, &inspectors(), 80).await;
    drop(server);
    writer.await.unwrap();
    found
}

#[tokio::test]
async fn http_is_told_from_other_protocols_byte_by_byte() {
    let cases: [(&[u8], Option<HttpVersion>); 7] = [
        (b"GET / HTTP/1.1\r\n", Some(HttpVersion::Http11)),
        (b"GET / HTTP/1.0\r\n", Some(HttpVersion::Http10)),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            Some(HttpVersion::Http2),
        ),
        (b"PROPFIND /a HTTP/1.1\r\n", Some(HttpVersion::Http11)),
        (b"GET / SPDY/3\r\n", None),
        (b"\x00\x00\x00\x01", None),
        (b"hello\r\n", None),
    ];
    for (bytes, wanted) in cases {
        let found = seen(bytes).await.unwrap();
        assert_eq!(found.http, wanted, "{:?}", String::from_utf8_lossy(bytes));
        assert!(
            bytes.starts_with(&found.head),
            "nothing may be lost or changed"
        );
    }
}

#[tokio::test]
async fn a_client_hello_gives_server_name_and_alpn() {
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"istio-peer-exchange".to_vec(), b"istio".to_vec()];
    let name = "outbound_.9080_._.Reviews.default.svc.cluster.local"
        .try_into()
        .unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();

    let found = seen(&hello).await.unwrap();
    assert_eq!(found.transport(), Transport::Tls);
    assert_eq!(
        found.server_name(),
        Some("outbound_.9080_._.reviews.default.svc.cluster.local")
    );
    assert_eq!(
        found.application,
        vec![b"istio-peer-exchange".to_vec(), b"istio".to_vec()]
    );
    assert_eq!(&found.head[..], &hello[..]);
}

#[tokio::test]
async fn a_broken_hello_and_an_early_close_are_errors() {
    assert!(matches!(
        seen(b"\x16\x03\x01\x00\x05\x05hello").await,
        Err(DetectError::BadHello(_))
    ));
    assert!(matches!(seen(b"").await, Err(DetectError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_goes_on_when_the_listener_says_so() {
    let (_client, mut server) = tokio::io::duplex(64);
    let mut patient = inspectors();
    patient.timeout = Some(Duration::from_secs(5));
    assert!(matches!(
        detect(&mut server, &patient, 80).await,
        Err(DetectError::TimedOut)
    ));
    patient.continue_on_timeout = true;
    assert!(
        detect(&mut server, &patient, 80)
            .await
            .unwrap()
            .http
            .is_none()
    );
}

#[tokio::test]
async fn a_port_without_inspectors_reads_nothing() {
    let (_client, mut server) = tokio::io::duplex(64);
    let off = ListenerFilters {
        entries: vec![
            entry(tls(true), &[(80, 81)]),
            entry(ListenerFilter::HttpInspector, &[(0, 65536)]),
        ],
        ..ListenerFilters::default()
    };
    assert!(detect(&mut server, &off, 80).await.unwrap().head.is_empty());
}

#[tokio::test]
async fn a_proxy_header_is_taken_away_before_the_inspectors_look() {
    let rules = ProxyProtocolRules::default();
    let filters = ListenerFilters {
        entries: vec![
            entry(ListenerFilter::ProxyProtocol(Arc::new(rules)), &[]),
            entry(ListenerFilter::HttpInspector, &[(80, 81)]),
        ],
        ..ListenerFilters::default()
    };
    let (mut client, mut server) = tokio::io::duplex(256);
    let text = b"PROXY TCP4 1.2.3.4 5.6.7.8 1000 81\r\nGET / HTTP/1.1\r\n";
    client.write_all(text).await.unwrap();
    let found = detect(&mut server, &filters, 80).await.unwrap();
    assert_eq!(found.proxied.unwrap().0, "1.2.3.4:1000".parse().unwrap());
    assert_eq!(found.http, Some(HttpVersion::Http11));
    assert!(found.head.starts_with(b"GET / "));
}

#[tokio::test]
async fn a_rate_limit_ends_connections_above_it() {
    let rate = lateen_proxy_model::ConnectionRate::new("r".into(), 1, 1, Duration::from_secs(3600));
    let filters = ListenerFilters {
        entries: vec![entry(ListenerFilter::LocalRateLimit(Arc::new(rate)), &[])],
        ..ListenerFilters::default()
    };
    let (_client, mut server) = tokio::io::duplex(64);
    assert!(detect(&mut server, &filters, 80).await.is_ok());
    assert!(matches!(
        detect(&mut server, &filters, 80).await,
        Err(DetectError::RateLimited)
    ));
}

proptest! {
    #[test]
    fn no_bytes_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = HelloReader::default().read(&bytes);
        let _ = http::http_version(&bytes);
    }

    #[test]
    fn no_bytes_after_a_tls_start_cause_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut head = vec![0x16, 3, 1];
        head.extend(bytes);
        let _ = HelloReader::default().read(&head);
    }
}
