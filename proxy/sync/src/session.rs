//! Streams: one after the other, each told about as events.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use envoy_types::pb::google::protobuf::Any;
use http::uri::PathAndQuery;
use lateen_proxy_state::ResourceKind;
use lateen_xds::any;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::{Request, Streaming};
use tonic_prost::ProstCodec;

use crate::connect::{Connection, Connector};
use crate::source::Variant;

/// First and longest wait between attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Bytes of one response, at most.
const MAX_RESPONSE: usize = 256 << 20;

/// What a stream tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// A new stream begins; its first requests go here at once.
    Opening(mpsc::UnboundedSender<Outgoing>),
    /// The server took the stream.
    Open,
    /// An answer.
    Answer(Answer),
    /// The stream or the attempt ended.
    Ended(String),
}

/// A request of either form of the protocol.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Delta(DeltaDiscoveryRequest),
    Sotw(DiscoveryRequest),
}

/// An answer of either form, or the content of a file.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) type_url: String,
    pub(crate) version: String,
    pub(crate) nonce: String,
    pub(crate) resources: Vec<Resource>,
    pub(crate) removed: Vec<String>,
    /// What the server calls itself.
    pub(crate) identifier: String,
}

/// How a stream is made.
pub(crate) struct Plan {
    /// One of them at a time; the next one after a failure.
    pub(crate) connectors: Vec<Line>,
    pub(crate) variant: Variant,
    /// The type of a stream for one type.
    pub(crate) kind: Option<ResourceKind>,
}

/// One way to connect.
pub(crate) struct Line {
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) backoff: Option<(Duration, Duration)>,
    pub(crate) max_message: Option<usize>,
}

/// Keeps a stream open until the receiver of its events is gone. `id` goes with each event.
pub(crate) async fn follow(id: usize, plan: Plan, events: mpsc::Sender<(usize, Event)>) {
    let mut failures: u32 = 0;
    let mut turn = 0;
    loop {
        let Some(line) = plan.connectors.get(turn % plan.connectors.len().max(1)) else {
            return;
        };
        let (requests, outgoing) = mpsc::unbounded_channel();
        if events.send((id, Event::Opening(requests))).await.is_err() {
            return;
        }
        let outgoing = UnboundedReceiverStream::new(outgoing);
        let (error, answered) = match plan.variant {
            Variant::Delta => {
                let outgoing = outgoing.filter_map(|one| match one {
                    Outgoing::Delta(request) => Some(request),
                    Outgoing::Sotw(_) => None,
                });
                run::<_, DeltaDiscoveryResponse>(id, &plan, line, outgoing, &events).await
            }
            Variant::Sotw => {
                let outgoing = outgoing.filter_map(|one| match one {
                    Outgoing::Sotw(request) => Some(request),
                    Outgoing::Delta(_) => None,
                });
                run::<_, DiscoveryResponse>(id, &plan, line, outgoing, &events).await
            }
        };
        if events.send((id, Event::Ended(error))).await.is_err() {
            return;
        }
        failures = if answered {
            0
        } else {
            turn += 1;
            failures.saturating_add(1)
        };
        tokio::time::sleep(backoff(line.backoff.unwrap_or(BACKOFF), failures)).await;
    }
}

/// One stream to its end: why it ended, and whether there was any answer.
async fn run<Req, Res>(
    id: usize,
    plan: &Plan,
    line: &Line,
    outgoing: impl Stream<Item = Req> + Send + 'static,
    events: &mpsc::Sender<(usize, Event)>,
) -> (String, bool)
where
    Req: Message + 'static,
    Res: Message + Default + Into<Answer> + 'static,
{
    let path = method(plan.kind, plan.variant);
    let opened: Result<Streaming<Res>, String> = async {
        let connection = line.connector.connect().await;
        let connection = connection.map_err(|error| error.to_string())?;
        open(
            connection,
            path,
            line.max_message.unwrap_or(MAX_RESPONSE),
            outgoing,
        )
        .await
    }
    .await;
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => return (error, false),
    };
    if events.send((id, Event::Open)).await.is_err() {
        return (String::new(), false);
    }
    let mut answered = false;
    loop {
        match stream.message().await {
            Ok(Some(response)) => {
                answered = true;
                let answer = Event::Answer(response.into());
                if events.send((id, answer)).await.is_err() {
                    return (String::new(), answered);
                }
            }
            Ok(None) => return ("closed by the control plane".to_owned(), answered),
            Err(status) => return (describe(&status), answered),
        }
    }
}

async fn open<Req, Res>(
    connection: Connection,
    path: &'static str,
    max: usize,
    outgoing: impl Stream<Item = Req> + Send + 'static,
) -> Result<Streaming<Res>, String>
where
    Req: Message + 'static,
    Res: Message + Default + 'static,
{
    let mut grpc = Grpc::new(connection.channel).max_decoding_message_size(max);
    grpc.ready().await.map_err(|error| error.to_string())?;
    let mut request = Request::new(outgoing);
    let headers = request.metadata_mut();
    for (key, value) in connection.metadata {
        headers.append(key, value);
    }
    if let Some(value) = connection.authorization {
        headers.insert("authorization", value);
    }
    if let Some(value) = connection.cluster_id {
        headers.insert("clusterid", value);
    }
    let codec = ProstCodec::<Req, Res>::default();
    let answer = grpc.streaming(request, PathAndQuery::from_static(path), codec);
    answer
        .await
        .map(tonic::Response::into_inner)
        .map_err(|status| describe(&status))
}

impl From<DeltaDiscoveryResponse> for Answer {
    fn from(response: DeltaDiscoveryResponse) -> Self {
        Self {
            type_url: response.type_url,
            version: response.system_version_info,
            nonce: response.nonce,
            resources: response.resources,
            removed: response.removed_resources,
            identifier: response
                .control_plane
                .map_or_else(String::new, |plane| plane.identifier),
        }
    }
}

impl From<DiscoveryResponse> for Answer {
    fn from(response: DiscoveryResponse) -> Self {
        Self {
            type_url: response.type_url,
            version: response.version_info,
            nonce: response.nonce,
            resources: response.resources.into_iter().map(unwrapped).collect(),
            removed: Vec::new(),
            identifier: response
                .control_plane
                .map_or_else(String::new, |plane| plane.identifier),
        }
    }
}

/// A resource of the state of the world may stand in an envelope, which gives it a time to live.
fn unwrapped(packed: Any) -> Resource {
    if any::holds::<Resource>(&packed)
        && let Ok(resource) = any::unpack::<Resource>(&packed)
    {
        return resource;
    }
    Resource {
        resource: Some(packed),
        ..Resource::default()
    }
}

fn method(kind: Option<ResourceKind>, variant: Variant) -> &'static str {
    let (sotw, delta) = match kind {
        None => (
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        ),
        Some(ResourceKind::Cluster) => (
            "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters",
            "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters",
        ),
        Some(ResourceKind::Endpoint) => (
            "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints",
            "/envoy.service.endpoint.v3.EndpointDiscoveryService/DeltaEndpoints",
        ),
        Some(ResourceKind::Listener) => (
            "/envoy.service.listener.v3.ListenerDiscoveryService/StreamListeners",
            "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners",
        ),
        Some(ResourceKind::Route) => (
            "/envoy.service.route.v3.RouteDiscoveryService/StreamRoutes",
            "/envoy.service.route.v3.RouteDiscoveryService/DeltaRoutes",
        ),
        Some(ResourceKind::Secret) => (
            "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
            "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets",
        ),
        Some(ResourceKind::Extension) => (
            "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs",
            "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/DeltaExtensionConfigs",
        ),
    };
    match variant {
        Variant::Sotw => sotw,
        Variant::Delta => delta,
    }
}

fn describe(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// Doubles with each failure, up to the longest, and takes between half and all of that.
fn backoff((base, most): (Duration, Duration), failures: u32) -> Duration {
    let grown = base.saturating_mul(1 << failures.min(10));
    grown.min(most).mul_f64(0.5 + fastrand::f64() / 2.0)
}
