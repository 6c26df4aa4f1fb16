use ipnet::IpNet;

use super::*;
use crate::address::OriginalDst;
use crate::chain::{SourceType, Transport};
use crate::slot::Slot;

fn chain(name: &str) -> Arc<FilterChain> {
    Arc::new(FilterChain {
        name: name.into(),
        fingerprint: 0,
        tls: None,
        handshake_timeout: None,
        filters: Vec::new(),
        filter: NetworkFilter::Tcp(Arc::new(TcpProxy {
            stat_prefix: "t".into(),
            cluster: ClusterChoice::One(Slot::new("c")),
            idle_timeout: None,
            max_duration: None,
            max_duration_jitter: 0.0,
            max_connect_attempts: 1,
            backoff: None,
            log_moments: LogMoments::default(),
            access_log: Vec::new(),
            subset: None,
            hash_source: false,
            early_data: None,
            tunnel: None,
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
        direct_source: SocketAddr::from(([10, 0, 0, 2], 4000)),
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
    let table = ChainTable::new(
        vec![
            (on(Transport::Tls, istio), chain("mtls")),
            (on(Transport::Tls, Vec::new()), chain("passthrough")),
            (on(Transport::RawBuffer, Vec::new()), chain("plain")),
        ],
        Some(chain("default")),
    )
    .unwrap();
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
    let table = ChainTable::new(
        vec![
            (named("*.example.com"), chain("wide")),
            (named("*.a.example.com"), chain("narrow")),
            (named("b.a.example.com"), chain("exact")),
        ],
        None,
    )
    .unwrap();
    let name = |text| found(&table, 443, Transport::Tls, Some(text), &[]);
    assert_eq!(name("x.example.com").as_deref(), Some("wide"));
    assert_eq!(name("x.a.example.com").as_deref(), Some("narrow"));
    assert_eq!(name("b.a.example.com").as_deref(), Some("exact"));
    assert_eq!(name("example.com"), None);
    assert_eq!(found(&table, 443, Transport::Tls, None, &[]), None);
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A connection from `source` to `destination`, in clear.
fn between(table: &ChainTable, source: &str, destination: &str) -> Option<String> {
    let source = source.parse().unwrap();
    let connection = Connection {
        destination: OriginalDst(destination.parse().unwrap()),
        source,
        direct_source: source,
        transport: Transport::RawBuffer,
        server_name: None,
        application: &[],
    };
    table.find(&connection).map(|chain| chain.name.to_string())
}

#[test]
fn there_is_no_way_back_from_the_most_specific_entry() {
    let table = ChainTable::new(
        vec![
            (
                ChainMatch {
                    destination: nets(&["10.0.0.0/8"]),
                    ..ChainMatch::default()
                },
                chain("wide"),
            ),
            (
                ChainMatch {
                    destination: nets(&["10.1.0.0/16"]),
                    transport: Some(Transport::Tls),
                    ..ChainMatch::default()
                },
                chain("narrow"),
            ),
            (
                ChainMatch {
                    destination_port: Some(81),
                    destination: nets(&["11.0.0.0/8"]),
                    ..ChainMatch::default()
                },
                chain("port"),
            ),
        ],
        None,
    )
    .unwrap();
    let from = "1.1.1.1:1000";
    assert_eq!(
        between(&table, from, "10.2.0.1:80").as_deref(),
        Some("wide")
    );
    assert_eq!(between(&table, from, "10.1.0.1:80"), None);
    assert_eq!(
        between(&table, from, "11.0.0.1:81").as_deref(),
        Some("port")
    );
    assert_eq!(between(&table, from, "10.2.0.1:81"), None);
}

#[test]
fn sources_are_told_apart_by_place_address_and_port() {
    let typed = |source_type, source: &[&str], source_ports: &[u16]| ChainMatch {
        source_type,
        source: nets(source),
        source_ports: source_ports.to_vec(),
        ..ChainMatch::default()
    };
    let table = ChainTable::new(
        vec![
            (typed(SourceType::Local, &[], &[]), chain("local")),
            (typed(SourceType::Any, &["10.0.0.0/8"], &[]), chain("ten")),
            (
                typed(SourceType::Any, &["10.0.0.0/8"], &[7]),
                chain("seven"),
            ),
        ],
        None,
    )
    .unwrap();
    let to = "10.0.0.9:80";
    assert_eq!(between(&table, "127.0.0.1:9", to).as_deref(), Some("local"));
    assert_eq!(between(&table, "10.0.0.9:9", to).as_deref(), Some("local"));
    assert_eq!(between(&table, "10.0.0.8:9", to).as_deref(), Some("ten"));
    assert_eq!(between(&table, "10.0.0.8:7", to).as_deref(), Some("seven"));
    assert_eq!(between(&table, "11.0.0.8:7", to), None);
}

#[test]
fn overlapping_conditions_are_named() {
    let on = |ports: &[u16]| ChainMatch {
        source_ports: ports.to_vec(),
        ..ChainMatch::default()
    };
    let table = ChainTable::new(
        vec![(on(&[1, 2]), chain("a")), (on(&[2, 3]), chain("b"))],
        None,
    );
    let overlap = table.err().unwrap();
    assert_eq!((overlap.first, overlap.second), (0, 1));
}

/// What the compiled look-up must find, written as a filter over all chains.
fn narrowed(rules: &[ChainMatch], connection: &Connection<'_>) -> Option<usize> {
    let mut left: Vec<usize> = (0..rules.len()).collect();
    let mut keep = |rank: &dyn Fn(&ChainMatch) -> Option<usize>| {
        let best = left.iter().filter_map(|at| rank(&rules[*at])).max();
        left.retain(|at| best.is_some() && rank(&rules[*at]) == best);
    };
    let prefix = |nets: &[IpNet], ip| match nets.is_empty() {
        true => Some(0),
        false => nets
            .iter()
            .filter(|net| net.contains(&ip))
            .map(|net| 1 + usize::from(net.prefix_len()))
            .max(),
    };
    let port = connection.destination.port();
    keep(&|rule| match rule.destination_port {
        None => Some(0),
        Some(own) => (own == port).then_some(1),
    });
    keep(&|rule| prefix(&rule.destination, connection.destination.ip()));
    keep(&|rule| match rule.transport {
        None => Some(0),
        Some(own) => (own == connection.transport).then_some(1),
    });
    keep(&|rule| prefix(&rule.source, connection.source.ip()));
    keep(&|rule| match rule.source_ports.is_empty() {
        true => Some(0),
        false => rule
            .source_ports
            .contains(&connection.source.port())
            .then_some(1),
    });
    left.first().copied()
}

#[test]
fn the_compiled_lookup_agrees_with_a_filter_over_all_chains() {
    let mut random = fastrand::Rng::with_seed(7);
    let ranges = ["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "0.0.0.0/0"];
    let ips = ["10.1.1.1", "10.1.2.1", "10.2.0.1", "9.0.0.1"];
    for _ in 0..300 {
        let pick = |random: &mut fastrand::Rng| match random.bool() {
            true => nets(&[ranges[random.usize(..ranges.len())]]),
            false => Vec::new(),
        };
        let rules: Vec<ChainMatch> = (0..random.usize(1..8))
            .map(|_| ChainMatch {
                destination_port: random.bool().then(|| random.u16(80..82)),
                destination: pick(&mut random),
                transport: random.bool().then_some(Transport::Tls),
                source: pick(&mut random),
                source_ports: if random.bool() { vec![5] } else { Vec::new() },
                ..ChainMatch::default()
            })
            .collect();
        let listed = rules
            .iter()
            .map(|rule| (rule.clone(), chain("c")))
            .collect();
        let Ok(table) = ChainTable::new(listed, None) else {
            continue;
        };
        for _ in 0..20 {
            let address = |random: &mut fastrand::Rng, port| {
                SocketAddr::new(ips[random.usize(..ips.len())].parse().unwrap(), port)
            };
            let port = random.u16(80..83);
            let source = address(&mut random, 5);
            let connection = Connection {
                destination: OriginalDst(address(&mut random, port)),
                source,
                direct_source: source,
                transport: [Transport::RawBuffer, Transport::Tls][random.usize(..2)],
                server_name: None,
                application: &[],
            };
            let wanted = narrowed(&rules, &connection);
            assert_eq!(
                table.lookup.find(&connection),
                wanted,
                "{rules:?} {connection:?}"
            );
        }
    }
}
