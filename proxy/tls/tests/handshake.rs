//! Handshakes between our own two sides over an in-memory pipe.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use lateen_proxy_model::{ClientTls, Identity, SanMatcher, ServerTls, Slot, TrustBundle};
use lateen_proxy_tls::{PeerCertificate, TlsError, accept, connect};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

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

fn identity(ca: &Ca, uri: &str) -> Arc<Slot<Identity>> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    let leaf = params.signed_by(&key, &ca.issuer).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Slot::filled(
        "default",
        Arc::new(Identity {
            chain: vec![leaf],
            key,
            ocsp: None,
        }),
    )
}

fn trust(ca: &Ca) -> Arc<Slot<TrustBundle>> {
    Slot::filled(
        "ROOTCA",
        Arc::new(TrustBundle {
            roots: vec![ca.der.clone()],
        }),
    )
}

fn client_side(ca: &Ca, server: &str, alpn: &[&str]) -> ClientTls {
    ClientTls {
        sni: Some("outbound_.9080_._.reviews.default.svc.cluster.local".into()),
        auto_sni: false,
        host_sni: false,
        alpn: alpn
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect::<Vec<_>>()
            .into(),
        identity: Some(identity(ca, "spiffe://cluster.local/ns/default/sa/client")),
        trust: Some(trust(ca)),
        sans: vec![SanMatcher::Exact(server.into())],
        auto_san: false,
        checks: Default::default(),
        algorithms: Default::default(),
        versions: (12, 13),
        compiled: ArcSwapOption::empty(),
    }
}

fn server_side(ca: &Ca, uri: &str) -> ServerTls {
    ServerTls {
        identity: identity(ca, uri),
        trust: Some(trust(ca)),
        require_client_certificate: true,
        more: Vec::new(),
        full_scan: false,
        require_sni: false,
        checks: Default::default(),
        algorithms: Default::default(),
        resumption: Default::default(),
        quic: None,
        sans: vec![SanMatcher::Prefix("spiffe://cluster.local/".into())],
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        versions: (12, 13),
        compiled: ArcSwapOption::empty(),
    }
}

type Outcome = Result<(Option<Vec<u8>>, Option<PeerCertificate>), TlsError>;

async fn shake(client: &ClientTls, server: &ServerTls) -> (Outcome, Outcome) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let (client, server) = tokio::join!(
        connect(client, None, None, address, near),
        accept(server, far, None)
    );
    (
        client.map(|(stream, peer, _)| {
            (stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec), peer)
        }),
        server.map(|(stream, peer, _)| {
            (stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec), peer)
        }),
    )
}

const SERVER: &str = "spiffe://cluster.local/ns/default/sa/reviews";

#[tokio::test]
async fn both_sides_learn_the_other_identity() {
    let ca = ca();
    let (client, server) = shake(
        &client_side(&ca, SERVER, &["h2"]),
        &server_side(&ca, SERVER),
    )
    .await;
    let (alpn, peer) = client.unwrap();
    assert_eq!(alpn.as_deref(), Some(&b"h2"[..]));
    assert_eq!(&*peer.unwrap().identity.unwrap().0, SERVER);
    assert_eq!(
        &*server.unwrap().1.unwrap().identity.unwrap().0,
        "spiffe://cluster.local/ns/default/sa/client"
    );
}

#[tokio::test]
async fn no_alpn_overlap_is_no_error() {
    let ca = ca();
    let tls = client_side(&ca, SERVER, &["istio-peer-exchange", "istio"]);
    let (client, server) = shake(&tls, &server_side(&ca, SERVER)).await;
    assert_eq!(client.unwrap().0, None);
    assert_eq!(server.unwrap().0, None);
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let ca = ca();
    let other = server_side(&ca, "spiffe://cluster.local/ns/default/sa/reviews2");
    let (client, _) = shake(&client_side(&ca, SERVER, &["h2"]), &other).await;
    assert!(matches!(client, Err(TlsError::Handshake(_))));
}

#[tokio::test]
async fn a_client_of_another_trust_domain_or_root_is_refused() {
    let ours = ca();
    let theirs = ca();
    let mut foreign = client_side(&ours, SERVER, &["h2"]);
    foreign.identity = Some(identity(
        &ours,
        "spiffe://cluster.local.evil/ns/default/sa/client",
    ));
    let (_, server) = shake(&foreign, &server_side(&ours, SERVER)).await;
    assert!(matches!(server, Err(TlsError::Handshake(_))));

    foreign.identity = Some(identity(
        &theirs,
        "spiffe://cluster.local/ns/default/sa/client",
    ));
    let (_, server) = shake(&foreign, &server_side(&ours, SERVER)).await;
    assert!(matches!(server, Err(TlsError::Handshake(_))));
}

#[tokio::test]
async fn a_client_without_certificate_is_refused_where_one_is_required() {
    let ca = ca();
    let mut anonymous = client_side(&ca, SERVER, &["h2"]);
    anonymous.identity = None;
    let (_, server) = shake(&anonymous, &server_side(&ca, SERVER)).await;
    assert!(matches!(server, Err(TlsError::Handshake(_))));
}

#[tokio::test]
async fn a_rotated_secret_is_used_by_the_next_handshake() {
    let ca = ca();
    let client = client_side(&ca, SERVER, &["h2"]);
    let server = server_side(&ca, SERVER);
    let (first, _) = shake(&client, &server).await;
    server.identity.store(identity(&ca, SERVER).load_full());
    let (second, _) = shake(&client, &server).await;
    assert_ne!(
        first.unwrap().1.unwrap().sha256,
        second.unwrap().1.unwrap().sha256
    );
}

#[tokio::test]
async fn a_missing_secret_is_named() {
    let ca = ca();
    let mut server = server_side(&ca, SERVER);
    server.identity = Slot::new("kubernetes://shop-cert");
    let (_, outcome) = shake(&client_side(&ca, SERVER, &["h2"]), &server).await;
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "secret \"kubernetes://shop-cert\" is not known yet"
    );
}

/// A certificate for DNS names.
fn named(
    ca: &Ca,
    names: &[&str],
    algorithm: &'static rcgen::SignatureAlgorithm,
) -> Arc<Slot<Identity>> {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::DnsName((*name).try_into().unwrap()))
        .collect();
    let leaf = params.signed_by(&key, &ca.issuer).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let identity = Identity {
        chain: vec![leaf],
        key,
        ocsp: None,
    };
    Slot::filled("named", Arc::new(identity))
}

fn hash_of(slot: &Slot<Identity>) -> [u8; 32] {
    let leaf = slot.load_full().unwrap().chain[0].clone();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf);
    digest.as_ref().try_into().unwrap()
}

#[tokio::test]
async fn the_certificate_goes_by_the_server_name() {
    let ca = ca();
    let mut server = server_side(&ca, SERVER);
    server.trust = None;
    server.require_client_certificate = false;
    server.identity = named(&ca, &["first.test"], &rcgen::PKCS_ECDSA_P256_SHA256);
    server.more = vec![
        named(&ca, &["*.wild.test"], &rcgen::PKCS_ECDSA_P256_SHA256),
        named(&ca, &["a.wild.test"], &rcgen::PKCS_ECDSA_P384_SHA384),
    ];
    for (name, wanted) in [
        ("first.test", "first.test"),
        ("b.wild.test", "*.wild.test"),
        ("a.wild.test", "a.wild.test"),
        ("c.b.wild.test", "first.test"),
        ("other.test", "first.test"),
    ] {
        let mut client = client_side(&ca, SERVER, &["h2"]);
        client.sni = Some(name.into());
        client.sans = Vec::new();
        let (seen, _) = shake(&client, &server).await;
        assert_eq!(&*seen.unwrap().1.unwrap().dns[0], wanted, "{name}");
    }
}

#[tokio::test]
async fn a_client_is_known_by_hash_and_nobody_where_untrusted_ones_may_come() {
    let ca = ca();
    let client = client_side(&ca, SERVER, &["h2"]);
    let hash = hash_of(client.identity.as_ref().unwrap());
    let mut server = server_side(&ca, SERVER);
    server.checks.hashes = vec![hash];
    assert!(shake(&client, &server).await.1.unwrap().1.is_some());
    let mut server = server_side(&ca, SERVER);
    server.checks.hashes = vec![[0; 32]];
    assert!(shake(&client, &server).await.1.is_err());
    let mut server = server_side(&ca, SERVER);
    server.checks.hashes = vec![[0; 32]];
    server.checks.accept_untrusted = true;
    assert!(shake(&client, &server).await.1.unwrap().1.is_none());
}

#[tokio::test]
async fn suites_groups_and_server_names_are_asked_for() {
    let ca = ca();
    let client = client_side(&ca, SERVER, &["h2"]);
    let mut server = server_side(&ca, SERVER);
    server.versions = (12, 12);
    server.algorithms.suites = vec![rustls::CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256];
    assert!(
        shake(&client, &server).await.1.is_err(),
        "the key is no RSA key"
    );
    let mut server = server_side(&ca, SERVER);
    server.algorithms.groups = vec![rustls::NamedGroup::secp384r1];
    assert!(shake(&client, &server).await.1.is_ok());
    let mut server = server_side(&ca, SERVER);
    server.require_sni = true;
    assert!(shake(&client, &server).await.1.is_ok());
    let mut nameless = client_side(&ca, SERVER, &["h2"]);
    nameless.sni = None;
    let (_, outcome) = shake(&nameless, &server).await;
    assert!(matches!(outcome, Err(TlsError::NoServerName)));
}
