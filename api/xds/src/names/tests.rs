use std::fmt::{Debug, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use proptest::prelude::*;

use super::*;

fn reads<T: FromStr<Err: Debug> + Display + PartialEq + Debug>(text: &str, name: T) {
    assert_eq!(name.to_string(), text);
    assert_eq!(text.parse::<T>().unwrap(), name);
}

#[test]
fn names_of_the_contract() {
    reads(
        "outbound|9080|v1|reviews.default.svc.cluster.local",
        ClusterName::outbound(9080, "v1", "reviews.default.svc.cluster.local"),
    );
    reads(
        "outbound|80||*.example.com",
        ClusterName::outbound(80, "", "*.example.com"),
    );
    reads(
        "outbound_.9080_.v1_.reviews.ns",
        ClusterName::sni_dnat(9080, "v1", "reviews.ns"),
    );
    reads("inbound|9080||", ClusterName::inbound(9080));
    reads(
        "PassthroughCluster",
        ClusterName::Special(SpecialCluster::Passthrough),
    );
    reads("sds-grpc", ClusterName::Special(SpecialCluster::SdsGrpc));
}

#[test]
fn listener_and_route_names_of_the_contract() {
    let v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let v6 = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    reads("virtualInbound", ListenerName::VirtualInbound);
    reads("0.0.0.0_80", ListenerName::bound(v4, 80));
    reads("::_80", ListenerName::bound(v6, 80));
    reads(
        "udp_0.0.0.0_443",
        ListenerName::Quic {
            bind: v4,
            port: 443,
        },
    );
    reads(
        "virtualInbound-catchall-http",
        FilterChainName::VirtualInboundCatchallHttp,
    );
    reads(
        "0.0.0.0_9080",
        FilterChainName::Service {
            bind: v4,
            port: 9080,
        },
    );
    reads("9080", RouteName::Port(9080));
    reads(
        "a.b.c:9080",
        RouteName::Service {
            host: "a.b.c".into(),
            port: 9080,
        },
    );
    reads("http.8080", RouteName::GatewayHttp(8080));
    let (port_name, gateway, namespace) = ("https".to_owned(), "my.gw".to_owned(), "ns".to_owned());
    reads(
        "https.443.https.my.gw.ns",
        RouteName::GatewayHttps {
            port: 443,
            port_name,
            gateway,
            namespace,
        },
    );
    reads("/run/x.sock", RouteName::Unix("/run/x.sock".into()));
    reads("inbound|http|9080", VirtualHostName::Inbound(9080));
    reads(
        "*:80",
        VirtualHostName::Service {
            host: "*".into(),
            port: 80,
        },
    );
    reads("blackhole:80", VirtualHostName::Blackhole(80));
    reads(
        "file-cert:/a~/b",
        SecretName::FileCert {
            cert: "/a".into(),
            key: "/b".into(),
        },
    );
    reads("file-root:system", SecretName::SystemRoots);
    reads(
        "kubernetes://ns/name-cacert",
        SecretName::Kubernetes {
            namespace: Some("ns".into()),
            name: "name".into(),
        }
        .with_ca_suffix(),
    );
    reads(
        "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        ResourceType::Cluster,
    );
    assert_eq!(
        ResourceType::from_short("rds").map(ResourceType::type_url),
        Some(type_url::ROUTE)
    );
}

#[test]
fn every_fixed_name_reads_back() {
    for cluster in SpecialCluster::all() {
        reads(cluster.name(), ClusterName::Special(cluster));
    }
    for kind in ResourceType::all() {
        reads(kind.type_url(), kind);
    }
}

#[test]
fn malformed_names_are_refused() {
    for text in [
        "outbound|80",
        "outbound|x||h",
        "outbound|80||",
        "outbound|80|a|b|c",
        "outbound|080||h",
        "outbound|70000||h",
        "inbound|80|a|",
        "inbound|-1||",
        "outbound_.80_.h",
    ] {
        assert!(text.parse::<ClusterName>().is_err(), "{text}");
    }
    for text in [
        "file-cert:/a",
        "kubernetes://",
        "kubernetes://a/b/c",
        "kubernetes-gateway://name",
        "configmap:///name",
    ] {
        assert!(text.parse::<SecretName>().is_err(), "{text}");
    }
    assert_eq!(
        "0.0.0.0_080".parse::<ListenerName>().unwrap(),
        ListenerName::Other("0.0.0.0_080".into())
    );
    assert!("inbound|http|x".parse::<VirtualHostName>().is_err());
}

proptest! {
    #[test]
    fn cluster_names_round_trip(port: u16, subset in "[a-z0-9.-]{0,20}", host in "[a-z0-9*][a-z0-9.-]{0,40}") {
        for name in [ClusterName::outbound(port, &*subset, &*host), ClusterName::sni_dnat(port, &*subset, &*host), ClusterName::inbound(port)] {
            prop_assert_eq!(name.to_string().parse::<ClusterName>().unwrap(), name);
        }
    }

    #[test]
    fn whatever_parses_prints_the_same(text in "(outbound|inbound|outbound_|http|https|kubernetes:|file-cert|udp)?[|._:/~]{0,2}[a-z0-9.:|_/~-]{0,24}") {
        if let Ok(name) = text.parse::<ClusterName>() {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(name) = text.parse::<RouteName>() {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(name) = text.parse::<VirtualHostName>() {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        if let Ok(name) = text.parse::<SecretName>() {
            prop_assert_eq!(name.to_string(), text.clone());
        }
        prop_assert_eq!(text.parse::<ListenerName>().unwrap().to_string(), text.clone());
        prop_assert_eq!(text.parse::<FilterChainName>().unwrap().to_string(), text);
    }

    #[test]
    fn bound_listeners_round_trip(bytes: [u8; 16], port: u16) {
        let v6 = IpAddr::V6(Ipv6Addr::from(bytes));
        let v4 = IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]));
        for bind in [v4, v6] {
            for name in [ListenerName::bound(bind, port), ListenerName::Quic { bind, port }] {
                prop_assert_eq!(name.to_string().parse::<ListenerName>().unwrap(), name);
            }
        }
    }
}
