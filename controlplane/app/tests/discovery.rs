//! The program as a whole: from files and a token to certificates, configuration, debug pages and an orderly end.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use hyper_util::rt::TokioIo;
use lateen_xds::names::type_url;
use lateen_xds::pb::istio::v1::auth::IstioCertificateRequest;
use lateen_xds::pb::istio::v1::auth::istio_certificate_service_client::IstioCertificateServiceClient;
use lateen_xds::{any, structs};
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Streaming};

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: default}
spec:
  clusterIP: 10.96.0.10
  selector: {app: reviews}
  ports: [{name: http, port: 9080, targetPort: 9080}]
"#;
const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";
const WEB: &str = "sidecar~10.0.0.1~web-1.default~default.svc.cluster.local";

fn slice(address: &str) -> String {
    format!(
        r#"
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: reviews-1, namespace: default, labels: {{kubernetes.io/service-name: reviews}}}}
addressType: IPv4
ports: [{{name: http, port: 9080, protocol: TCP}}]
endpoints: [{{addresses: ["{address}"], conditions: {{ready: true}}}}]
"#
    )
}

/// Signs the tokens that the control plane believes.
struct Signer(KeyPair);

impl Signer {
    fn rule(&self) -> String {
        let point = self.0.der_bytes();
        let part = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&point[range]);
        let jwks =
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": part(1..33), "y": part(33..65)}]});
        json!({"issuer": "mesh", "jwks": jwks.to_string(), "audiences": ["istio-ca"]}).to_string()
    }

    fn token(&self, namespace: &str, account: &str) -> String {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let sub = format!("system:serviceaccount:{namespace}:{account}");
        let claims = json!({"iss": "mesh", "aud": ["istio-ca"], "sub": sub, "exp": now + 600});
        let key = jsonwebtoken::EncodingKey::from_ec_der(&self.0.serialize_der());
        jsonwebtoken::encode(
            &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::ES256),
            &claims,
            &key,
        )
        .unwrap()
    }
}

/// A running lateend with its folders.
struct Lateend {
    child: Child,
    folder: tempfile::TempDir,
    addresses: Value,
    signer: Signer,
}

impl Drop for Lateend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lateend"));
    command
        .args(["discovery", "--configDir"])
        .arg(folder.join("config"));
    for flag in [
        "--secureGRPCAddr",
        "--httpAddr",
        "--httpsAddr",
        "--monitoringAddr",
    ] {
        command.args([flag, "127.0.0.1:0"]);
    }
    command
        .arg("--meshConfig")
        .arg(folder.join("mesh"))
        .arg("--caDir")
        .arg(folder.join("ca"));
    command
        .arg("--operatorCertDir")
        .arg(folder.join("operator"))
        .arg("--addressFile")
        .arg(folder.join("addresses"));
    command
        .current_dir(folder)
        .env_remove("JWT_RULE")
        .stdout(Stdio::null());
    command
}

/// Waits for what a process of its own brings about; there is no event to wait for across processes.
fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if let Some(done) = attempt() {
            return done;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{what} did not happen");
}

impl Lateend {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("config")).unwrap();
        fs::write(folder.path().join("config/service.yaml"), SERVICE).unwrap();
        fs::write(folder.path().join("config/slice.yaml"), slice("10.0.0.7")).unwrap();
        Self::start_in(
            folder,
            Signer(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()),
        )
    }

    fn start_in(folder: tempfile::TempDir, signer: Signer) -> Self {
        let _ = fs::remove_file(folder.path().join("addresses"));
        let child = command(folder.path())
            .env("JWT_RULE", signer.rule())
            .spawn()
            .unwrap();
        let file = folder.path().join("addresses");
        let addresses = until("lateend's start", || fs::read_to_string(&file).ok());
        let addresses = serde_json::from_str(&addresses).unwrap();
        let lateend = Self {
            child,
            folder,
            addresses,
            signer,
        };
        until("readiness", || {
            lateend
                .get("http", "/ready")
                .starts_with("HTTP/1.1 200")
                .then_some(())
        });
        lateend
    }

    fn address(&self, port: &str) -> SocketAddr {
        self.addresses[port].as_str().unwrap().parse().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A page by plain HTTP/1.1: status line, headers and body.
    fn get(&self, port: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address(port)).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A channel over TLS, with a client certificate if one is given.
    async fn channel(
        &self,
        identity: Option<(&str, &str)>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(self.path("ca/root-cert.pem")).unwrap() {
            roots.add(root.unwrap()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some((chain, key)) => {
                let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
                    .map(Result::unwrap)
                    .collect();
                builder
                    .with_client_auth_cert(
                        chain,
                        PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                    )
                    .unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = Connector(
            self.address("secureGRPC"),
            tokio_rustls::TlsConnector::from(Arc::new(config)),
        );
        Endpoint::from_static("http://istiod.istio-system.svc:15012")
            .connect_with_connector(connector)
            .await
    }

    async fn certificate(&self, namespace: &str, account: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default()
            .serialize_request(&key)
            .unwrap()
            .pem()
            .unwrap();
        let mut request = Request::new(IstioCertificateRequest {
            csr,
            validity_duration: 3600,
            metadata: None,
        });
        request.metadata_mut().insert(
            "authorization",
            format!("Bearer {}", self.signer.token(namespace, account))
                .parse()
                .unwrap(),
        );
        let mut client = IstioCertificateServiceClient::new(self.channel(None).await.unwrap());
        let chain = client
            .create_certificate(request)
            .await
            .unwrap()
            .into_inner()
            .cert_chain;
        assert_eq!(
            chain.last().unwrap(),
            &fs::read_to_string(self.path("ca/root-cert.pem")).unwrap()
        );
        (chain[0].clone(), key.serialize_pem())
    }

    async fn subscribe(
        &self,
        identity: Option<(&str, &str)>,
        token: Option<&str>,
    ) -> Result<Stream, tonic::Status> {
        let (sender, receiver) = mpsc::channel(16);
        let mut request = Request::new(ReceiverStream::new(receiver));
        if let Some(token) = token {
            request
                .metadata_mut()
                .insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let mut client =
            AggregatedDiscoveryServiceClient::new(self.channel(identity).await.unwrap());
        Ok(Stream {
            sender,
            responses: client
                .delta_aggregated_resources(request)
                .await?
                .into_inner(),
        })
    }

    fn terminate(&mut self) -> i32 {
        let kill = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

#[derive(Clone)]
struct Connector(SocketAddr, tokio_rustls::TlsConnector);

impl tower_service::Service<http::Uri> for Connector {
    type Response = TokioIo<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, std::io::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let Self(address, tls) = self.clone();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let name = ServerName::try_from(uri.host().unwrap().to_owned()).unwrap();
            tls.connect(name, stream).await.map(TokioIo::new)
        })
    }
}

struct Stream {
    sender: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Stream {
    async fn ask(&self, id: &str, url: &str, names: &[&str]) {
        let metadata = structs::from_json(
            &json!({"ISTIO_VERSION": "1.27.0", "NAMESPACE": "default", "SERVICE_ACCOUNT": "web"}),
        )
        .unwrap();
        let node = Some(Node {
            id: id.to_owned(),
            metadata: Some(metadata),
            ..Node::default()
        });
        let resource_names_subscribe = names.iter().map(|name| (*name).to_owned()).collect();
        self.sender
            .send(DeltaDiscoveryRequest {
                node,
                type_url: url.to_owned(),
                resource_names_subscribe,
                ..Default::default()
            })
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, tonic::Status> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.responses.message())
            .await
            .expect("a response");
        next.map(|message| message.expect("stream goes on"))
    }

    async fn ack(&self, response: &DeltaDiscoveryResponse) {
        let (type_url, response_nonce) = (response.type_url.clone(), response.nonce.clone());
        self.sender
            .send(DeltaDiscoveryRequest {
                type_url,
                response_nonce,
                ..Default::default()
            })
            .await
            .unwrap();
    }
}

fn endpoint_text(response: &DeltaDiscoveryResponse) -> String {
    let body = response.resources[0].resource.as_ref().unwrap();
    format!("{:?}", any::unpack::<ClusterLoadAssignment>(body).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_files_and_a_token_to_a_proxy() {
    let mut lateend = Lateend::start();
    let (chain, key) = lateend.certificate("default", "web").await;
    let mut stream = lateend.subscribe(Some((&chain, &key)), None).await.unwrap();
    stream.ask(WEB, type_url::CLUSTER, &[]).await;
    let clusters = stream.next().await.unwrap();
    let names: BTreeSet<&str> = clusters
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    assert!(
        names.contains(REVIEWS) && names.contains("PassthroughCluster"),
        "{names:?}"
    );
    stream.ack(&clusters).await;
    stream.ask(WEB, type_url::ENDPOINT, &[REVIEWS]).await;
    let endpoints = stream.next().await.unwrap();
    assert!(endpoint_text(&endpoints).contains("10.0.0.7"));
    stream.ack(&endpoints).await;

    let part = lateend.path("slice.part");
    fs::write(&part, slice("10.0.0.8")).unwrap();
    fs::rename(&part, lateend.path("config/slice.yaml")).unwrap();
    let pushed = stream.next().await.unwrap();
    assert_eq!(pushed.type_url, type_url::ENDPOINT);
    assert!(endpoint_text(&pushed).contains("10.0.0.8"));

    let read = |name: &str| fs::read_to_string(lateend.path("operator").join(name)).unwrap();
    let operator = (read("cert-chain.pem"), read("key.pem"));
    let mut debug = lateend
        .subscribe(Some((&operator.0, &operator.1)), None)
        .await
        .unwrap();
    debug
        .ask(
            "debug~0.0.0.0~lateenctl~cluster.local",
            type_url::DEBUG_SYNCZ,
            &[],
        )
        .await;
    assert_eq!(debug.next().await.unwrap().resources.len(), 1);
    let page = lateend.get("http", "/debug/syncz");
    assert!(
        page.contains("\"id\":\"web-1.default\"") && page.contains("SYNCED"),
        "{page}"
    );
    let dump = lateend.get("monitoring", "/debug/config_dump?proxyID=web-1.default");
    assert!(dump.contains("dynamicActiveClusters") && dump.contains(REVIEWS));
    let metrics = lateend.get("monitoring", "/metrics");
    for line in [
        "pilot_services 1",
        "citadel_server_success_cert_issuance_count 1",
        "pilot_xds{version=\"1.27.0\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }

    assert_eq!(lateend.terminate(), 0);
    let end = stream.next().await;
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_served() {
    let lateend = Lateend::start();
    assert_eq!(
        lateend
            .subscribe(None, None)
            .await
            .err()
            .map(|status| status.code()),
        Some(Code::Unauthenticated)
    );
    let foreign = Signer(KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap());
    let token = foreign.token("default", "web");
    assert_eq!(
        lateend
            .subscribe(None, Some(&token))
            .await
            .err()
            .map(|status| status.code()),
        Some(Code::Unauthenticated)
    );
    let token = lateend.signer.token("default", "other");
    let mut stream = lateend.subscribe(None, Some(&token)).await.unwrap();
    stream.ask(WEB, type_url::CLUSTER, &[]).await;
    assert_eq!(
        stream.next().await.unwrap_err().code(),
        Code::PermissionDenied
    );

    // A certificate of nobody's: the handshake itself ends.
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::default().self_signed(&key).unwrap();
    let channel = lateend
        .channel(Some((&own.pem(), &key.serialize_pem())))
        .await;
    if let Ok(channel) = channel {
        let call = IstioCertificateServiceClient::new(channel)
            .create_certificate(IstioCertificateRequest::default())
            .await;
        assert!(call.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_keeps_the_root() {
    let mut lateend = Lateend::start();
    let (chain, key) = lateend.certificate("default", "web").await;
    assert_eq!(lateend.terminate(), 0);
    let folder = std::mem::replace(&mut lateend.folder, tempfile::tempdir().unwrap());
    let signer = Signer(KeyPair::from_pem(&lateend.signer.0.serialize_pem()).unwrap());
    let again = Lateend::start_in(folder, signer);
    let mut stream = again
        .subscribe(Some((&chain, &key)), None)
        .await
        .expect("the old certificate still holds");
    stream.ask(WEB, type_url::CLUSTER, &[]).await;
    assert!(stream.next().await.is_ok());
}

#[test]
fn faults_end_the_start_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("config")).unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = |extra: &[&str], environment: &[(&str, &str)]| {
        let output = command(folder.path())
            .args(extra)
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{extra:?}");
        assert!(!folder.path().join("addresses").exists(), "half started");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let port = said(&["--grpcAddr", &address], &[]);
    assert!(
        port.contains("--grpcAddr") && port.contains(&address) && port.contains("in use"),
        "{port}"
    );
    assert!(said(&["--configDir", "missing-folder"], &[]).contains("missing-folder"));
    assert!(said(&["--kubeconfig", "x"], &[]).contains("--kubeconfig is not supported"));
    assert!(said(&[], &[("JWT_RULE", "{\"issuer\": \"x\"}")]).contains("JWT_RULE: field jwks"));
    fs::write(folder.path().join("mesh"), "accessLogFile: [\n").unwrap();
    let mesh = said(&[], &[]);
    assert!(mesh.contains("mesh"), "{mesh}");
}
