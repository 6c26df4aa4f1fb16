//! Two proxies with mutual TLS between them.

use std::sync::Arc;

use http::StatusCode;
use lateen_proxy_model::*;
use lateen_proxy_telemetry::Side;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::mesh::{Mesh, Upstream, cluster, route, run, slot, to};

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/server";

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn ca() -> Ca {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let der = params.self_signed(&key).unwrap().der().clone();
    Ca {
        issuer: Issuer::new(params, key),
        der,
    }
}

impl Ca {
    fn identity(&self, uri: &str) -> IdentityRef {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.distinguished_name = rcgen::DistinguishedName::new();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let chain = vec![leaf];
        Slot::filled(
            "default",
            Arc::new(Identity {
                chain,
                key,
                ocsp: None,
            }),
        )
    }

    fn trust(&self) -> TrustRef {
        let roots = vec![self.der.clone()];
        Slot::filled("ROOTCA", Arc::new(TrustBundle { roots }))
    }

    fn server(&self, alpn: &str) -> Arc<ServerTls> {
        Arc::new(ServerTls {
            identity: self.identity(SERVER),
            trust: Some(self.trust()),
            require_client_certificate: true,
            more: Vec::new(),
            full_scan: false,
            require_sni: false,
            checks: Default::default(),
            algorithms: Default::default(),
            resumption: Default::default(),
            quic: None,
            sans: vec![SanMatcher::Prefix("spiffe://cluster.local/".into())],
            alpn: vec![alpn.as_bytes().to_vec()],
            versions: (12, 13),
            compiled: Default::default(),
        })
    }

    fn client(&self, san: &str) -> Vec<TransportMatch> {
        let tls = ClientTls {
            sni: Some("outbound_.80_._.app.default.svc.cluster.local".into()),
            auto_sni: false,
            host_sni: false,
            alpn: vec![b"istio".to_vec()].into(),
            identity: Some(self.identity(CLIENT)),
            trust: Some(self.trust()),
            sans: vec![SanMatcher::Exact(san.into())],
            auto_san: false,
            checks: Default::default(),
            algorithms: Default::default(),
            versions: (12, 13),
            compiled: Default::default(),
        };
        vec![TransportMatch {
            name: "tlsMode-istio".into(),
            criteria: Vec::new(),
            tls: Some(Arc::new(tls)),
        }]
    }
}

fn inbound(manager: &mut HttpManager) {
    manager.forward_client_cert = ForwardClientCert::AppendForward;
    manager.xfcc = XfccDetails {
        subject: true,
        uri: true,
        dns: true,
        ..XfccDetails::default()
    };
}

fn outbound(manager: &mut HttpManager) {
    manager
        .filters
        .push(FilterEntry::new("istio.alpn", HttpFilter::IstioAlpn));
}

#[test]
fn a_pair_of_proxies_proves_who_they_are() {
    for (http, alpn) in [
        (HttpProtocol::Http1, "http/1.1"),
        (HttpProtocol::Http2, "istio-h2"),
    ] {
        run(|| async {
            let ca = ca();
            let upstream = Upstream::statuses(&[200]).await;
            let mut local = upstream.cluster();
            local.http = HttpProtocol::Http1;
            let routes = vec![route(to(slot(local)))];
            let server =
                Mesh::start_tls(routes, Side::Inbound, Some(ca.server(alpn)), inbound).await;
            let mut towards = cluster(&[server.address]);
            towards.http = http;
            towards.transports = ca.client(SERVER);
            let client = Mesh::start(vec![route(to(slot(towards)))], outbound).await;
            for _ in 0..2 {
                assert_eq!(client.get("/", &[]).await.status(), StatusCode::OK);
            }
            let xfcc = upstream.header(0, "x-forwarded-client-cert").unwrap();
            assert!(
                xfcc.starts_with("By=spiffe://cluster.local/ns/default/sa/server;Hash="),
                "{xfcc}"
            );
            assert!(
                xfcc.ends_with(&format!(";Subject=\"\";URI={CLIENT}")),
                "{xfcc}"
            );
            server.log(2).await;
            let counted = server.metrics.render();
            assert!(
                counted.contains("connection_security_policy=\"mutual_tls\""),
                "{counted}"
            );
            assert!(
                counted.contains(&format!("source_principal=\"{CLIENT}\"")),
                "{counted}"
            );
            client.log(2).await;
            let counted = client.metrics.render();
            assert!(
                counted.contains(&format!("destination_principal=\"{SERVER}\"")),
                "{counted}"
            );
            assert_eq!(client.pools.open(), 1, "one connection for both");
        });
    }
}

#[test]
fn a_server_that_is_somebody_else_gets_no_request() {
    run(|| async {
        let ca = ca();
        let upstream = Upstream::statuses(&[200]).await;
        let routes = vec![route(to(slot(upstream.cluster())))];
        let server =
            Mesh::start_tls(routes, Side::Inbound, Some(ca.server("http/1.1")), inbound).await;
        let mut towards = cluster(&[server.address]);
        towards.transports = ca.client("spiffe://cluster.local/ns/default/sa/other");
        let client = Mesh::start(vec![route(to(slot(towards)))], outbound).await;
        assert_eq!(
            client.get("/", &[]).await.status(),
            StatusCode::SERVICE_UNAVAILABLE
        );
        assert_eq!(upstream.asked(), 0);
        let log = client.log(1).await;
        assert!(log[0].starts_with("503 UF"), "{log:?}");
    });
}
