use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use lateen_proxy_state::State;
use lateen_xds::pb::istio::v1::auth::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use lateen_xds::pb::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa,
    KeyPair, SanType,
};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tonic::{Request, Response, Status};

use super::{Authority, CertificateSource, KEPT, Renewal};
use crate::certificate::{IDENTITY, ROOTS, certificate_info};
use crate::control_plane::ControlPlane;
use crate::{AgentMetrics, CertificateSettings};

type Root = CertifiedIssuer<'static, KeyPair>;

/// A signer that remembers who asked.
#[derive(Clone)]
struct Signer {
    root: Arc<Root>,
    bearers: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl IstioCertificateService for Signer {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let bearer = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let bearer = bearer.unwrap_or_default().to_owned();
        if bearer == "Bearer wrong" {
            return Err(Status::unauthenticated("request authenticate failure"));
        }
        self.bearers.lock().expect("lock").push(bearer);
        let mut csr =
            CertificateSigningRequestParams::from_pem(&request.into_inner().csr).expect("CSR");
        // What the request names does not count: the caller's identity does.
        csr.params.subject_alt_names = vec![SanType::URI(
            "spiffe://cluster.local/ns/shop/sa/reviews"
                .try_into()
                .expect("URI"),
        )];
        let leaf = csr.signed_by(&*self.root).expect("signed").pem();
        Ok(Response::new(IstioCertificateResponse {
            cert_chain: vec![leaf, self.root.pem()],
        }))
    }
}

fn root() -> Arc<Root> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Arc::new(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("root"))
}

/// Serves one signer over TLS; says for each connection whether a client certificate was shown.
async fn serve(signer: Signer) -> (u16, Arc<Mutex<Vec<bool>>>) {
    let key = KeyPair::generate().expect("key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("name");
    let leaf = params.signed_by(&key, &*signer.root).expect("signed");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut store = rustls::RootCertStore::empty();
    store.add(signer.root.der().clone()).expect("root");
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(clients.allow_unauthenticated().build().expect("verifier"))
        .with_single_cert(vec![leaf.der().clone()], key.into())
        .expect("certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let port = listener.local_addr().expect("address").port();
    let shown = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&shown);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            seen.lock()
                .expect("lock")
                .push(stream.get_ref().1.peer_certificates().is_some());
            let service =
                TowerToHyperService::new(IstioCertificateServiceServer::new(signer.clone()));
            tokio::spawn(
                http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (port, shown)
}

fn renewal(folder: &Path, port: u16, state: &Arc<State>) -> Renewal {
    let identity = state.secrets().identity(IDENTITY);
    let way = ControlPlane::at(format!("localhost:{port}"), folder, identity);
    Renewal {
        state: Arc::clone(state),
        metrics: Arc::new(AgentMetrics::default()),
        settings: CertificateSettings {
            ttl: Duration::from_secs(3600),
            grace_ratio: 0.5,
        },
        source: CertificateSource::Authority(Authority {
            way,
            spiffe_id: "spiffe://cluster.local/ns/shop/sa/reviews".into(),
            cluster_id: "Kubernetes".into(),
            kept: folder.join(KEPT),
        }),
    }
}

#[tokio::test]
async fn a_certificate_is_asked_for_kept_and_used_again() {
    let folder = tempfile::tempdir().expect("folder");
    let signer = Signer {
        root: root(),
        bearers: Arc::default(),
    };
    let (port, shown) = serve(signer.clone()).await;
    std::fs::write(folder.path().join("root-cert.pem"), signer.root.pem()).expect("written");
    std::fs::write(folder.path().join("token"), "first\n").expect("written");
    let state = State::new();
    let renewal = renewal(folder.path(), port, &state);
    assert!(renewal.restore().is_none(), "nothing is kept yet");
    renewal.renew().await.expect("issued");
    let identity = state
        .secrets()
        .identity(IDENTITY)
        .load_full()
        .expect("installed");
    let info = certificate_info(&identity.chain[0]).expect("reads");
    assert_eq!(info.uris, ["spiffe://cluster.local/ns/shop/sa/reviews"]);
    assert_eq!(
        state
            .secrets()
            .trust(ROOTS)
            .load_full()
            .expect("installed")
            .roots
            .len(),
        1
    );

    // A rotated token is read again, and the certificate is shown from now on.
    std::fs::write(folder.path().join("token"), "second").expect("written");
    renewal.renew().await.expect("issued");
    assert_eq!(
        *signer.bearers.lock().expect("lock"),
        ["Bearer first", "Bearer second"]
    );
    assert_eq!(*shown.lock().expect("lock"), [false, true]);

    let kept = folder.path().join(KEPT);
    assert_eq!(
        std::fs::metadata(&kept).expect("kept").permissions().mode() & 0o777,
        0o600
    );
    let restarted = State::new();
    let again = self::renewal(folder.path(), 1, &restarted);
    assert!(
        again.restore().is_some(),
        "the kept certificate serves although nobody answers"
    );
    assert!(restarted.secrets().identity(IDENTITY).load_full().is_some());
}

#[tokio::test]
async fn refusals_name_the_authority_and_its_words() {
    let folder = tempfile::tempdir().expect("folder");
    let signer = Signer {
        root: root(),
        bearers: Arc::default(),
    };
    let (port, _) = serve(signer.clone()).await;
    std::fs::write(folder.path().join("root-cert.pem"), signer.root.pem()).expect("written");
    std::fs::write(folder.path().join("token"), "wrong").expect("written");
    let state = State::new();
    let error = renewal(folder.path(), port, &state)
        .renew()
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("request authenticate failure")
            && error.contains(&format!("localhost:{port}")),
        "{error}"
    );

    // Another mesh's root: nothing is sent to a control plane that cannot prove itself.
    std::fs::write(folder.path().join("root-cert.pem"), root().pem()).expect("written");
    let error = renewal(folder.path(), port, &state)
        .renew()
        .await
        .expect_err("not trusted")
        .to_string();
    assert!(
        error.contains("connect to localhost") && error.contains("certificate"),
        "{error}"
    );
}
