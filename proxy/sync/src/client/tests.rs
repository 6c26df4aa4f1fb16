//! The client against a control plane in the same process, scripted by the test.

use std::pin::Pin;
use std::sync::Mutex;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use futures_util::Stream;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use lateen_proxy_model::AccessLogRef;
use lateen_xds::any;
use lateen_xds::json::message_from_json;
use prost::{Message, Name};
use serde_json::{Value, json};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};

use super::*;
use crate::connect::{ConnectError, Connecting, Connection};
use crate::delta::type_of;
use crate::wire::context::AccessLogSpec;

type Sending = mpsc::UnboundedSender<Result<DeltaDiscoveryResponse, Status>>;
type Answers = Pin<Box<dyn Stream<Item = Result<DeltaDiscoveryResponse, Status>> + Send>>;
type SotwAnswers = Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

/// One stream as the script sees it.
struct Talk {
    requests: mpsc::UnboundedReceiver<DeltaDiscoveryRequest>,
    responses: Sending,
}

/// The same for the state of the world.
struct SotwTalk {
    requests: mpsc::UnboundedReceiver<DiscoveryRequest>,
    responses: mpsc::UnboundedSender<Result<DiscoveryResponse, Status>>,
}

#[derive(Clone)]
struct Plane {
    talks: mpsc::UnboundedSender<Talk>,
    sotw: mpsc::UnboundedSender<SotwTalk>,
}

fn forwarded<T: Send + 'static>(mut incoming: Streaming<T>) -> mpsc::UnboundedReceiver<T> {
    let (to_script, requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(request)) = incoming.next().await {
            if to_script.send(request).is_err() {
                return;
            }
        }
    });
    requests
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Plane {
    type StreamAggregatedResourcesStream = SotwAnswers;
    type DeltaAggregatedResourcesStream = Answers;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<SotwAnswers>, Status> {
        let (responses, answers) = mpsc::unbounded_channel();
        let requests = forwarded(request.into_inner());
        let _ = self.sotw.send(SotwTalk {
            requests,
            responses,
        });
        let answers = UnboundedReceiverStream::new(answers);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Answers>, Status> {
        assert_eq!(
            request.metadata().get("clusterid").expect("sent"),
            "Kubernetes"
        );
        let (responses, answers) = mpsc::unbounded_channel();
        let requests = forwarded(request.into_inner());
        let _ = self.talks.send(Talk {
            requests,
            responses,
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(
            answers,
        ))))
    }
}

/// Connects by a pipe in memory to the scripted control plane, or fails while there is none.
struct InMemory(Mutex<Option<Plane>>);

impl Connector for InMemory {
    fn connect(&self) -> Connecting<'_> {
        Box::pin(async move {
            let plane = self.0.lock().expect("lock").clone();
            let plane = plane.ok_or_else(|| ConnectError::Address("nowhere".into()))?;
            let dial = tower::service_fn(move |_: tonic::transport::Uri| {
                let plane = plane.clone();
                async move {
                    let (ours, theirs) = tokio::io::duplex(1 << 16);
                    let service = AggregatedDiscoveryServiceServer::new(plane);
                    tokio::spawn(
                        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(
                                TokioIo::new(theirs),
                                TowerToHyperService::new(service),
                            ),
                    );
                    Ok::<_, std::io::Error>(TokioIo::new(ours))
                }
            });
            let channel = Endpoint::from_static("http://plane")
                .connect_with_connector(dial)
                .await
                .expect("in memory");
            Ok(Connection {
                channel,
                authorization: None,
                cluster_id: Some("Kubernetes".parse().expect("header")),
                metadata: Vec::new(),
            })
        })
    }
}

fn resource<M: Message + Name + Default>(name: &str, value: &Value) -> Resource {
    let message: M = message_from_json(value).expect("valid JSON of the message");
    Resource {
        name: name.into(),
        resource: Some(any::pack(&message)),
        ..Resource::default()
    }
}

fn cluster(name: &str) -> Resource {
    resource::<Cluster>(
        name,
        &json!({"name": name, "type": "EDS",
            "eds_cluster_config": {"eds_config": {"ads": {}, "initial_fetch_timeout": "0s"}}}),
    )
}

fn endpoints(name: &str) -> Resource {
    resource::<ClusterLoadAssignment>(
        name,
        &json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
            {"socket_address": {"address": "10.0.0.1", "port_value": 80}}}}]}]}),
    )
}

fn listener(name: &str, cluster: &str) -> Resource {
    resource::<Listener>(
        name,
        &json!({"name": name, "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
            "filter_chains": [{"filters": [{"name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "x", "cluster": cluster}}]}]}),
    )
}

impl Talk {
    async fn expect(&mut self, kind: ResourceKind) -> DeltaDiscoveryRequest {
        let request = self.requests.recv().await.expect("the stream lives");
        assert_eq!(request.type_url, type_of(kind).type_url());
        request
    }

    fn send(&self, kind: ResourceKind, nonce: &str, resources: Vec<Resource>) {
        let response = DeltaDiscoveryResponse {
            system_version_info: "v1".into(),
            type_url: type_of(kind).type_url().into(),
            nonce: nonce.into(),
            resources,
            ..DeltaDiscoveryResponse::default()
        };
        let _ = self.responses.send(Ok(response));
    }
}

use ResourceKind::{Cluster as C, Endpoint as E, Listener as L};

fn client(state: &Arc<State>, last_good: Option<LastGood>) -> Client {
    let logs = |_: AccessLogSpec| Ok(AccessLogRef(0));
    let config = ClientConfig {
        node: Node {
            id: "sidecar~10.0.0.9~p.ns~ns.svc.cluster.local".into(),
            ..Node::default()
        },
        last_good,
        reject_fragment: false,
        dynamic: None,
    };
    Client::new(Arc::clone(state), Arc::new(logs), config)
}

fn plane() -> (Arc<InMemory>, mpsc::UnboundedReceiver<Talk>) {
    let (connector, talks, _) = planes();
    (connector, talks)
}

type Talks<T> = mpsc::UnboundedReceiver<T>;

fn planes() -> (Arc<InMemory>, Talks<Talk>, Talks<SotwTalk>) {
    let (talks, streams) = mpsc::unbounded_channel();
    let (sotw, sotw_streams) = mpsc::unbounded_channel();
    let plane = Plane { talks, sotw };
    let connector = Arc::new(InMemory(Mutex::new(Some(plane))));
    (connector, streams, sotw_streams)
}

async fn first_sync(talk: &mut Talk) {
    let first = talk.expect(C).await;
    assert!(first.node.is_some());
    talk.expect(L).await;
    talk.send(C, "1", vec![cluster("a")]);
    assert_eq!(talk.expect(C).await.response_nonce, "1");
    let asked = talk.expect(E).await;
    assert_eq!(asked.resource_names_subscribe, ["a"]);
    talk.send(E, "2", vec![endpoints("a")]);
    assert_eq!(talk.expect(E).await.response_nonce, "2");
    talk.send(L, "3", vec![listener("l", "a")]);
    assert!(talk.expect(L).await.error_detail.is_none());
}

#[tokio::test]
async fn a_stream_is_acknowledged_refused_and_resumed() {
    let state = State::new();
    let (connector, mut streams) = plane();
    let client = client(&state, None);
    let mut status = client.status();
    let running = tokio::spawn(client.run(connector));
    let mut talk = streams.recv().await.expect("a stream");
    first_sync(&mut talk).await;
    assert!(state.clusters().value("a").is_some() && state.listeners().len() == 1);
    assert_eq!(state.readiness().counts(C).success, 1);

    let bad = resource::<Cluster>(
        "b",
        &json!({"name": "b", "lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}),
    );
    talk.send(C, "4", vec![bad]);
    let refused = talk.expect(C).await;
    let detail = refused.error_detail.expect("refused");
    assert_eq!(
        detail.message,
        "Cluster \"b\": lb_policy: LOAD_BALANCING_POLICY_CONFIG is not supported"
    );
    assert_eq!(state.readiness().counts(C).rejected, 1);

    drop(talk);
    let mut talk = streams.recv().await.expect("a new stream");
    let again = talk.expect(C).await;
    assert_eq!(
        again.initial_resource_versions.get("a").map(String::as_str),
        Some("v1")
    );
    assert!(again.node.is_some());
    let names = talk.expect(E).await;
    assert_eq!(names.resource_names_subscribe, ["a"]);
    assert!(state.clusters().value("a").is_some(), "still serving");
    status
        .wait_for(|status| status.connected)
        .await
        .expect("client lives");
    running.abort();
}

#[tokio::test]
async fn the_copy_on_disk_serves_until_the_control_plane_answers() {
    let folder = tempfile::tempdir().expect("folder");
    let copy = LastGood::new(folder.path());
    let saved = State::new();
    let (connector, mut streams) = plane();
    let running = tokio::spawn(client(&saved, Some(copy.clone())).run(connector));
    let mut talk = streams.recv().await.expect("a stream");
    first_sync(&mut talk).await;
    copy.save(&saved).expect("saved");
    running.abort();

    let state = State::new();
    let nowhere = Arc::new(InMemory(Mutex::new(None)));
    let running =
        tokio::spawn(client(&state, Some(copy)).run(Arc::clone(&nowhere) as Arc<dyn Connector>));
    let mut ready = state.readiness().watch();
    let both = ready.wait_for(|facts| facts.clusters && facts.listeners);
    tokio::time::timeout(Duration::from_secs(20), both)
        .await
        .expect("in time")
        .expect("state lives");
    assert!(state.clusters().value("a").is_some() && state.listeners().len() == 1);

    // The control plane comes back with another listener: what is gone from its first answer goes.
    let (talks, mut streams) = mpsc::unbounded_channel();
    let (sotw, _none) = mpsc::unbounded_channel();
    *nowhere.0.lock().expect("lock") = Some(Plane { talks, sotw });
    let mut talk = streams.recv().await.expect("a stream");
    assert!(talk.expect(C).await.initial_resource_versions.is_empty());
    assert_eq!(talk.expect(E).await.resource_names_subscribe, ["a"]);
    talk.expect(L).await;
    let mut watch = state.watch_listeners();
    watch.next().await.expect("state lives");
    talk.send(C, "1", vec![cluster("a")]);
    talk.expect(C).await;
    talk.send(L, "2", vec![listener("other", "a")]);
    let changes = watch.next().await.expect("state lives");
    assert_eq!(&*changes.added[0].name, "other");
    assert_eq!(&*changes.removed[0].name, "l");
    running.abort();
}

mod more;
