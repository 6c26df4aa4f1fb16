//! Real streams against a scripted configuration.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use envoy_types::pb::google::rpc::Status as RpcStatus;
use lateen_api::identity::SpiffeId;
use lateen_controlplane_model::affected::{Affected, Touched};
use lateen_controlplane_model::caller::{AuthError, CallerSource};
use lateen_controlplane_model::generate::{Generate, Names, Rejection, Resource, Update};
use lateen_controlplane_model::proxy::Proxy;
use lateen_xds::{any, structs};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

use super::*;
use crate::debug::Info;
use crate::metrics::Metrics;
use crate::{grpc, listen};

const CDS: &str = type_url::CLUSTER;

/// Clusters by name, with a number that stands for their content.
struct Fake(String, BTreeMap<String, u64>);

impl Generate for Fake {
    fn version(&self) -> &str {
        &self.0
    }

    fn generate(&self, _: &Proxy, url: &str, _: &Names) -> Vec<Resource> {
        if url != CDS {
            return Vec::new();
        }
        let made = self.1.iter().map(|(name, version)| {
            let body: Bytes = any::pack_bytes(&Cluster {
                name: name.clone(),
                alt_stat_name: version.to_string(),
                ..Cluster::default()
            });
            Resource {
                name: name.as_str().into(),
                body,
                version: *version,
            }
        });
        made.collect()
    }

    fn affected(&self, _: &Proxy, affected: &Affected) -> Touched {
        if affected.is_empty() {
            Touched::default()
        } else {
            Touched::everything()
        }
    }

    fn rejections(&self) -> Arc<[Rejection]> {
        Arc::new([])
    }
}

/// Believes `Bearer <namespace>/<service account>`.
struct Believer;

impl Authenticate for Believer {
    fn authenticate(
        &self,
        _: &Connection,
        authorization: Option<&str>,
    ) -> Result<Caller, AuthError> {
        let token = authorization
            .and_then(|header| header.strip_prefix("Bearer "))
            .ok_or(AuthError::Missing)?;
        let (namespace, account) = token
            .split_once('/')
            .ok_or_else(|| AuthError::Token("form".to_owned()))?;
        Ok(Caller {
            id: SpiffeId::new("cluster.local", namespace, account)?,
            source: CallerSource::Token,
        })
    }
}

/// Says of every connection whether it counts as encrypted.
#[derive(Clone)]
struct Marked<S> {
    inner: S,
    encrypted: bool,
}

impl<S: NamedService> NamedService for Marked<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Marked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        if let Some(connection) = request.extensions_mut().get_mut::<Connection>() {
            connection.encrypted = self.encrypted;
        }
        self.inner.call(request)
    }
}

struct Bench {
    hub: Arc<Hub>,
    address: SocketAddr,
}

impl Bench {
    /// A server whose connections count as encrypted or not; the TLS itself is tested where certificates are made.
    async fn start(encrypted: bool) -> Self {
        let hub = Hub::new(Metrics::new("test"));
        let info = Info {
            version: "0.1.0".into(),
            revision: "default".into(),
            id: "istiod-1".into(),
            cluster: "Kubernetes".into(),
        };
        let debug = Arc::new(Debug::new(Arc::clone(&hub), info, "istio-system"));
        let service = AdsService::new(Arc::clone(&hub), Arc::new(Believer), debug);
        let bound = listen::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .await
            .expect("bound");
        let address = bound.address();
        let service = grpc::Pair::new(
            Marked {
                inner: service,
                encrypted,
            },
            grpc::Nothing,
        );
        tokio::spawn(grpc::serve(
            bound.accept(None),
            service,
            grpc::MAX_AGE,
            std::future::pending(),
        ));
        Self { hub, address }
    }

    fn publish(&self, version: &str, clusters: &[(&str, u64)]) {
        let clusters = clusters
            .iter()
            .map(|(name, version)| ((*name).to_owned(), *version))
            .collect();
        let config = Arc::new(Fake(version.to_owned(), clusters));
        self.hub.publish(&Update {
            config,
            affected: Arc::new(Affected::everything()),
        });
    }

    async fn connect(&self, token: Option<&str>) -> Result<Client, Status> {
        let channel = Channel::from_shared(format!("http://{}", self.address))
            .expect("uri")
            .connect()
            .await
            .expect("connected");
        let (sender, receiver) = mpsc::channel(16);
        let mut request = tonic::Request::new(ReceiverStream::new(receiver));
        if let Some(token) = token {
            request.metadata_mut().insert(
                "authorization",
                format!("Bearer {token}").parse().expect("header"),
            );
        }
        let responses = AggregatedDiscoveryServiceClient::new(channel)
            .delta_aggregated_resources(request)
            .await?
            .into_inner();
        Ok(Client { sender, responses })
    }
}

struct Client {
    sender: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Client {
    async fn send(&self, request: DeltaDiscoveryRequest) {
        self.sender.send(request).await.expect("stream is open");
    }

    async fn subscribe(&self, id: &str, url: &str, names: &[&str]) {
        let metadata = structs::from_json(&json!({"ISTIO_VERSION": "1.27.0"})).expect("metadata");
        let node = Node {
            id: id.to_owned(),
            metadata: Some(metadata),
            ..Node::default()
        };
        let resource_names_subscribe = names.iter().map(|name| (*name).to_owned()).collect();
        self.send(DeltaDiscoveryRequest {
            node: Some(node),
            type_url: url.to_owned(),
            resource_names_subscribe,
            ..Default::default()
        })
        .await;
    }

    async fn next(&mut self) -> Result<DeltaDiscoveryResponse, Status> {
        self.responses
            .message()
            .await
            .map(|message| message.expect("stream goes on"))
    }

    async fn ack(&self, response: &DeltaDiscoveryResponse, error: Option<&str>) {
        let error_detail = error.map(|message| RpcStatus {
            code: 13,
            message: message.to_owned(),
            details: Vec::new(),
        });
        self.send(DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail,
            ..Default::default()
        })
        .await;
    }
}

fn names(response: &DeltaDiscoveryResponse) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect()
}

const WEB: &str = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local";

#[tokio::test]
async fn a_proxy_is_told_what_changes() {
    let bench = Bench::start(true).await;
    let mut client = bench.connect(Some("shop/web")).await.expect("stream");
    client.subscribe(WEB, CDS, &[]).await;
    bench.publish("v1", &[("a", 1), ("b", 1)]);
    let first = client.next().await.expect("answer");
    assert_eq!(
        (
            names(&first),
            first.system_version_info.as_str(),
            first.type_url.as_str()
        ),
        (vec!["a", "b"], "v1", CDS)
    );
    assert!(
        first.control_plane.is_none()
            && first
                .resources
                .iter()
                .all(|resource| resource.version.is_empty())
    );
    let cluster: Cluster =
        any::unpack(first.resources[0].resource.as_ref().expect("body")).expect("cluster");
    assert_eq!(cluster.name, "a");
    client.ack(&first, None).await;
    bench.publish("v2", &[("a", 1), ("b", 1)]);
    bench.publish("v3", &[("a", 2)]);
    let mut second = client.next().await.expect("push");
    if second.resources.is_empty() {
        second = client.next().await.expect("push");
    }
    assert_eq!(
        (names(&second), second.removed_resources.as_slice()),
        (vec!["a"], ["b".to_owned()].as_slice())
    );
}

#[tokio::test]
async fn a_stream_waits_for_the_first_configuration() {
    let bench = Bench::start(true).await;
    assert!(!bench.hub.is_ready());
    let mut client = bench.connect(Some("shop/web")).await.expect("stream");
    client.subscribe(WEB, CDS, &[]).await;
    let early = tokio::time::timeout(std::time::Duration::from_millis(50), client.next()).await;
    assert!(early.is_err(), "answered before there was a configuration");
    bench.publish("v1", &[("a", 1)]);
    assert_eq!(names(&client.next().await.expect("answer")), ["a"]);
}

#[tokio::test]
async fn callers_are_who_they_say() {
    let bench = Bench::start(true).await;
    bench.publish("v1", &[]);
    assert_eq!(
        bench.connect(None).await.err().map(|status| status.code()),
        Some(Code::Unauthenticated)
    );
    assert_eq!(
        bench
            .connect(Some("nonsense"))
            .await
            .err()
            .map(|status| status.code()),
        Some(Code::Unauthenticated)
    );
    let mut client = bench.connect(Some("bank/web")).await.expect("stream");
    client.subscribe(WEB, CDS, &[]).await;
    assert_eq!(
        client.next().await.expect_err("refused").code(),
        Code::PermissionDenied
    );
    let mut client = bench.connect(Some("shop/web")).await.expect("stream");
    client.subscribe("nonsense", CDS, &[]).await;
    assert_eq!(
        client.next().await.expect_err("refused").code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn plain_text_serves_neither_secrets_nor_debug() {
    let bench = Bench::start(false).await;
    bench.publish("v1", &[("a", 1)]);
    let mut client = bench.connect(None).await.expect("stream");
    client
        .subscribe(WEB, type_url::SECRET, &["kubernetes://x"])
        .await;
    client.subscribe(WEB, CDS, &[]).await;
    assert_eq!(client.next().await.expect("the first answer").type_url, CDS);
    client.subscribe(WEB, type_url::DEBUG_SYNCZ, &[]).await;
    let status = client.next().await.expect_err("refused");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unauthenticated, "authentication required")
    );
}

/// The state of each connected proxy, as the operator sees it.
async fn syncz(bench: &Bench) -> HashMap<String, ConfigStatus> {
    let mut operator = bench
        .connect(Some("istio-system/lateen-operator"))
        .await
        .expect("stream");
    operator
        .subscribe(
            "debug~0.0.0.0~lateenctl~cluster.local",
            type_url::DEBUG_SYNCZ,
            &[],
        )
        .await;
    let answer = operator.next().await.expect("answer");
    assert!(
        answer
            .control_plane
            .expect("syncz says who answers")
            .identifier
            .contains("istiod-1")
    );
    let configs = answer
        .resources
        .iter()
        .map(|r| any::unpack::<ClientConfig>(r.resource.as_ref().expect("body")).expect("config"));
    configs
        .map(|config| {
            (
                config.node.expect("node").id,
                config.generic_xds_configs[0].config_status(),
            )
        })
        .collect()
}

#[tokio::test]
async fn the_operator_sees_the_state_of_each_proxy() {
    let bench = Bench::start(true).await;
    bench.publish("v1", &[("a", 1)]);
    let mut client = bench.connect(Some("shop/web")).await.expect("stream");
    client.subscribe(WEB, CDS, &[]).await;
    let first = client.next().await.expect("answer");
    assert_eq!(
        syncz(&bench).await.get("web-1.shop"),
        Some(&ConfigStatus::Stale)
    );
    client.ack(&first, Some("no such filter")).await;
    // The ack and the next subscription travel in order, so its answer says that the ack was read.
    client.subscribe(WEB, type_url::LISTENER, &[]).await;
    client.next().await.expect("answer");
    assert_eq!(
        syncz(&bench).await.get("web-1.shop"),
        Some(&ConfigStatus::Error)
    );

    let mut other = bench.connect(Some("bank/web")).await.expect("stream");
    other.subscribe("x", type_url::DEBUG_SYNCZ, &[]).await;
    assert_eq!(
        other.next().await.expect_err("refused").code(),
        Code::PermissionDenied
    );
    let mut other = bench.connect(Some("bank/web")).await.expect("stream");
    other
        .subscribe("x", type_url::DEBUG_CONFIG_DUMP, &["web-1.shop"])
        .await;
    assert_eq!(
        other.next().await.expect_err("refused").code(),
        Code::PermissionDenied
    );
    let mut own = bench.connect(Some("shop/other")).await.expect("stream");
    own.subscribe("x", type_url::DEBUG_CONFIG_DUMP, &["web-1.shop"])
        .await;
    assert_eq!(own.next().await.expect("own namespace").resources.len(), 6);
    own.subscribe("x", type_url::DEBUG, &["config_dump?proxyID=web-1.shop"])
        .await;
    let body = own
        .next()
        .await
        .expect("raw page")
        .resources
        .remove(0)
        .resource
        .expect("body");
    assert_eq!(body.type_url, "istio.io/debug");
    let page: serde_json::Value = serde_json::from_slice(&body.value).expect("json");
    assert_eq!(
        page["configs"][1]["dynamicActiveClusters"][0]["cluster"]["name"],
        "a"
    );
}

#[tokio::test]
async fn a_slow_proxy_delays_nobody_and_skips_to_the_newest() {
    let bench = Bench::start(true).await;
    let wide: Vec<(String, u64)> = (0..2000)
        .map(|i| (format!("cluster-{i:05}-{}", "x".repeat(400)), 1))
        .collect();
    let publish = |round: u64| {
        let clusters: Vec<(&str, u64)> = wide
            .iter()
            .map(|(name, _)| (name.as_str(), round))
            .collect();
        bench.publish(&format!("v{round}"), &clusters);
    };
    publish(1);
    let mut slow = bench.connect(Some("shop/web")).await.expect("stream");
    slow.subscribe(WEB, CDS, &[]).await;
    let mut quick = bench.connect(Some("shop/web")).await.expect("stream");
    quick
        .subscribe(
            "sidecar~10.0.0.2~web-2.shop~shop.svc.cluster.local",
            CDS,
            &[],
        )
        .await;
    assert_eq!(quick.next().await.expect("answer").resources.len(), 2000);
    for round in 2..=30 {
        publish(round);
        assert_eq!(
            quick.next().await.expect("push").system_version_info,
            format!("v{round}")
        );
    }
    let mut read = Vec::new();
    while read.last().is_none_or(|version| version != "v30") {
        read.push(slow.next().await.expect("response").system_version_info);
    }
    assert!(
        read.len() < 15,
        "the slow proxy was sent {} versions",
        read.len()
    );
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let bench = Bench::start(true).await;
    bench.publish("v1", &[("a", 1)]);
    let mut client = bench.connect(Some("shop/web")).await.expect("stream");
    client.subscribe(WEB, CDS, &[]).await;
    client.next().await.expect("answer");
    bench.hub.stop();
    assert_eq!(
        client.next().await.expect_err("ended").code(),
        Code::Unavailable
    );
    assert!(!bench.hub.is_ready());
}
