//! TLS towards a control plane: roots, server name, client certificate and token.

use std::net::SocketAddr;

use lateen_proxy_model::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("root")
}

fn leaf(root: &Authority, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("name");
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().expect("key");
    let certificate = params.signed_by(&key, root).expect("leaf");
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    (certificate.der().clone(), key.into())
}

/// Accepts one connection that shows a certificate of `root`, and keeps it open.
async fn server(root: &Authority) -> (SocketAddr, tokio::task::JoinHandle<bool>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).expect("root");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .expect("verifier");
    let (certificate, key) = leaf(root, "istiod.istio-system.svc");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate], key)
        .expect("certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("address");
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("accepted");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        match acceptor.accept(tcp).await {
            Ok(stream) => {
                let (_, session) = stream.get_ref();
                session.peer_certificates().is_some() && session.alpn_protocol() == Some(&b"h2"[..])
            }
            Err(_) => false,
        }
    });
    (address, task)
}

fn plane(address: SocketAddr, folder: &Path, name: &str, state: &Arc<State>) -> ControlPlane {
    ControlPlane {
        address: address.to_string(),
        security: Security::Tls {
            roots: Roots::File(folder.join("root.pem")),
            server_name: name.to_owned(),
        },
        token: Some(folder.join("token")),
        cluster_id: Some("Kubernetes".to_owned()),
        state: Arc::clone(state),
    }
}

#[tokio::test]
async fn the_workload_certificate_and_the_token_are_shown() {
    let root = authority();
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(folder.path().join("root.pem"), root.pem()).expect("written");
    std::fs::write(folder.path().join("token"), "a.b.c\n").expect("written");
    let state = State::new();
    let (certificate, key) = leaf(&root, "workload");
    let chain = vec![certificate];
    state.secrets().set_identity(
        "default",
        Identity {
            chain,
            key,
            ocsp: None,
        },
    );
    let (address, accepted) = server(&root).await;
    let plane = plane(address, folder.path(), "istiod.istio-system.svc", &state);
    let connection = plane.connect().await.expect("connected");
    assert!(accepted.await.expect("server"), "certificate and h2");
    let token = connection.authorization.expect("token");
    assert_eq!(token.to_str().ok(), Some("Bearer a.b.c"));
    assert!(token.is_sensitive());
}

#[tokio::test]
async fn another_name_or_missing_roots_are_refused() {
    let root = authority();
    let folder = tempfile::tempdir().expect("folder");
    let state = State::new();
    let (address, _accepted) = server(&root).await;
    let other = plane(address, folder.path(), "other.example", &state);
    let missing = other.connect().await.expect_err("no roots");
    assert!(missing.to_string().contains("root.pem"), "{missing}");
    std::fs::write(folder.path().join("root.pem"), root.pem()).expect("written");
    let refused = other.connect().await.expect_err("another name");
    assert!(
        refused.to_string().contains("not valid for name"),
        "{refused}"
    );
}
