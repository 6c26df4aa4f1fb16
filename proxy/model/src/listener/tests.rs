use super::*;
use crate::slot::Slot;

fn chain(name: &str) -> Arc<FilterChain> {
    Arc::new(FilterChain {
        name: name.into(),
        tls: None,
        handshake_timeout: None,
        filters: Vec::new(),
        filter: NetworkFilter::Tcp(Arc::new(TcpProxy {
            stat_prefix: "t".into(),
            cluster: ClusterChoice::One(Slot::new("c")),
            idle_timeout: None,
            max_connect_attempts: 1,
            access_log: Vec::new(),
            metadata_match: EndpointMetadata::default(),
            hash_source: false,
        })),
        stats: None,
        metadata_exchange: false,
    })
}

fn found(
    table: &ChainTable,
    port: u16,
    transport: Transport,
    name: Option<&str>,
    alpn: &[&str],
) -> Option<String> {
    let application: Vec<Vec<u8>> = alpn.iter().map(|text| text.as_bytes().to_vec()).collect();
    let connection = Connection {
        destination: OriginalDst(SocketAddr::from(([10, 0, 0, 1], port))),
        source: SocketAddr::from(([10, 0, 0, 2], 4000)),
        transport,
        server_name: name,
        application: &application,
    };
    table.find(&connection).map(|chain| chain.name.to_string())
}

#[test]
fn permissive_inbound_chains_separate_mesh_tls_from_plain_text_and_foreign_tls() {
    let istio: Vec<Box<str>> = ["istio", "istio-peer-exchange", "istio-http/1.1"]
        .map(Box::from)
        .to_vec();
    let on = |transport, application: Vec<Box<str>>| ChainMatch {
        destination_port: Some(9080),
        transport: Some(transport),
        application,
        ..ChainMatch::default()
    };
    let table = ChainTable {
        chains: vec![
            (on(Transport::Tls, istio), chain("mtls")),
            (on(Transport::Tls, Vec::new()), chain("passthrough")),
            (on(Transport::RawBuffer, Vec::new()), chain("plain")),
        ],
        default: Some(chain("default")),
    };
    assert_eq!(
        found(&table, 9080, Transport::Tls, None, &["istio"]).as_deref(),
        Some("mtls")
    );
    assert_eq!(
        found(&table, 9080, Transport::Tls, None, &["h2"]).as_deref(),
        Some("passthrough")
    );
    assert_eq!(
        found(&table, 9080, Transport::RawBuffer, None, &["http/1.1"]).as_deref(),
        Some("plain")
    );
    assert_eq!(
        found(&table, 9081, Transport::RawBuffer, None, &[]).as_deref(),
        Some("default")
    );
}

#[test]
fn the_most_specific_server_name_wins() {
    let named = |name: &str| ChainMatch {
        server_names: vec![name.into()],
        ..ChainMatch::default()
    };
    let table = ChainTable {
        chains: vec![
            (named("*.example.com"), chain("wide")),
            (named("*.a.example.com"), chain("narrow")),
            (named("b.a.example.com"), chain("exact")),
        ],
        default: None,
    };
    let name = |text| found(&table, 443, Transport::Tls, Some(text), &[]);
    assert_eq!(name("x.example.com").as_deref(), Some("wide"));
    assert_eq!(name("x.a.example.com").as_deref(), Some("narrow"));
    assert_eq!(name("b.a.example.com").as_deref(), Some("exact"));
    assert_eq!(name("example.com"), None);
    assert_eq!(found(&table, 443, Transport::Tls, None, &[]), None);
}
