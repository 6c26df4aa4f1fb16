//! The client: one stream after the other, for as long as the proxy runs.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use lateen_proxy_state::{LastGood, ResourceKind, State};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep_until;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Streaming};

use crate::apply::{Applier, Incoming};
use crate::bootstrap::{StaticError, StaticResources};
use crate::connect::Connector;
use crate::delta::{DeltaState, kind_of, type_of};
use crate::dns::Resolvers;
use crate::wire::context::AccessLogs;

/// How long the control plane may take before the copy on disk is used.
const DISK_AFTER: Duration = Duration::from_secs(2);
/// First and longest wait between attempts.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Bytes of one response, at most.
const MAX_RESPONSE: usize = 256 << 20;
/// Wait when nothing is due.
const LONG: Duration = Duration::from_secs(3600);

/// The state of the connection, for readiness texts and the admin pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XdsStatus {
    /// A stream is open.
    pub connected: bool,
    /// Why the last stream or attempt ended.
    pub last_error: Option<String>,
    /// Responses so far.
    pub responses: u64,
}

/// Settings of the client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Who the proxy says it is.
    pub node: Node,
    /// The copy on disk; `None` keeps none.
    pub last_good: Option<LastGood>,
    /// `#` in a path is answered 400; the mesh bootstrap says no (S1).
    pub reject_fragment: bool,
}

/// The xDS client. It is the only writer of clusters, endpoints, routes and listeners of a [`State`].
pub struct Client {
    state: Arc<State>,
    applier: Applier,
    delta: DeltaState,
    wake: Arc<Notify>,
    status: watch::Sender<XdsStatus>,
    last_good: Option<LastGood>,
    disk_at: Option<Instant>,
}

impl Client {
    /// A client that writes to `state`. Must be made on a tokio runtime when static resources hold DNS clusters.
    pub fn new(state: Arc<State>, logs: Arc<dyn AccessLogs>, config: ClientConfig) -> Self {
        let wake = Arc::new(Notify::new());
        let resolvers = Resolvers::new(Arc::clone(&wake));
        let applier = Applier::new(Arc::clone(&state), logs, config.reject_fragment, resolvers);
        Self {
            state,
            applier,
            delta: DeltaState::new(config.node),
            wake,
            status: watch::Sender::default(),
            last_good: config.last_good,
            disk_at: None,
        }
    }

    /// Follows the state of the connection.
    pub fn status(&self) -> watch::Receiver<XdsStatus> {
        self.status.subscribe()
    }

    /// Applies the resources of a bootstrap file; they are never replaced by the control plane's.
    ///
    /// # Errors
    /// The first resource that is not supported, with its field.
    pub fn apply_static(&mut self, resources: StaticResources) -> Result<(), StaticError> {
        let now = Instant::now();
        for (kind, resources) in resources.by_kind {
            let errors = self.applier.apply(kind, resources, &[], false, now);
            if let Some(first) = errors.into_iter().next() {
                return Err(StaticError::Refused(first));
            }
        }
        Ok(())
    }

    /// Serves static resources alone: keeps DNS clusters and waiting resources going.
    pub async fn run_static(mut self) -> Infallible {
        self.idle(None).await;
        loop {
            self.idle(Some(LONG)).await;
        }
    }

    /// Follows the control plane, for ever. Keeps the copy on disk up to date, and begins with it when the control
    /// plane cannot be reached or does not answer within two seconds.
    pub async fn run(mut self, connector: Arc<dyn Connector>) -> Infallible {
        self.disk_at = self.last_good.as_ref().map(|_| Instant::now() + DISK_AFTER);
        let mut keeping = None;
        if let Some(copy) = self.last_good.clone() {
            let state = Arc::clone(&self.state);
            keeping = Some(tokio::spawn(async move { copy.keep(state).await }));
        }
        let _keeping = AbortOnDrop(keeping);
        let mut failures: u32 = 0;
        loop {
            let before = self.status.borrow().responses;
            let error = self.session(&*connector).await;
            tracing::warn!("xDS stream to the control plane ended: {error}");
            let answered = self.status.borrow().responses > before;
            self.status.send_modify(|status| {
                status.connected = false;
                status.last_error = Some(error);
            });
            self.load_from_disk();
            failures = if answered {
                0
            } else {
                failures.saturating_add(1)
            };
            self.idle(Some(backoff(failures))).await;
        }
    }

    /// One connection and its stream, to its end; gives the reason.
    async fn session(&mut self, connector: &dyn Connector) -> String {
        let (requests, outgoing) = mpsc::unbounded_channel();
        for request in self.delta.connected(&self.state) {
            // The receiver is still here.
            let _ = requests.send(request);
        }
        self.subscribe(&requests);
        let opening = open(connector, outgoing);
        tokio::pin!(opening);
        let mut stream = loop {
            tokio::select! {
                opened = &mut opening => match opened {
                    Ok(stream) => break stream,
                    Err(error) => return error,
                },
                () = at(self.due()) => self.on_time(&requests),
                () = self.wake.notified() => self.applier.flush(Instant::now()),
            }
        };
        self.status.send_modify(|status| status.connected = true);
        loop {
            tokio::select! {
                received = stream.message() => match received {
                    Ok(Some(response)) => self.receive(response, &requests),
                    Ok(None) => return "closed by the control plane".to_owned(),
                    Err(status) => return describe(&status),
                },
                () = at(self.due()) => self.on_time(&requests),
                () = self.wake.notified() => self.applier.flush(Instant::now()),
            }
        }
    }

    fn receive(
        &mut self,
        response: DeltaDiscoveryResponse,
        requests: &mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    ) {
        let Some(kind) = kind_of(&response.type_url) else {
            tracing::warn!("response of type {:?} was not asked for", response.type_url);
            return;
        };
        let full = self.delta.answered(kind);
        if kind == ResourceKind::Cluster {
            self.disk_at = None;
        }
        let nonce = response.nonce.clone();
        let removed = response.removed_resources.clone();
        let (incoming, mut errors) = incoming(kind, response);
        let refused = self
            .applier
            .apply(kind, incoming, &removed, full, Instant::now());
        errors.extend(refused);
        for error in &errors {
            tracing::warn!("refused: {error}");
        }
        self.state.readiness().count(kind, errors.is_empty());
        // A closed channel means that the stream has ended, which its reader reports.
        let _ = requests.send(self.delta.acknowledge(kind, nonce, &errors));
        self.status.send_modify(|status| status.responses += 1);
        if matches!(kind, ResourceKind::Cluster | ResourceKind::Listener) {
            self.subscribe(requests);
        }
    }

    /// Asks for what the present resources refer to.
    fn subscribe(&mut self, requests: &mpsc::UnboundedSender<DeltaDiscoveryRequest>) {
        let wanted = self.applier.wanted();
        for (kind, names) in [
            (ResourceKind::Endpoint, wanted.endpoints),
            (ResourceKind::Route, wanted.routes),
            (ResourceKind::Secret, wanted.secrets),
        ] {
            if let Some(request) = self.delta.subscribe(kind, names, &self.state) {
                let _ = requests.send(request);
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        self.applier
            .deadline()
            .into_iter()
            .chain(self.disk_at)
            .min()
    }

    fn on_time(&mut self, requests: &mpsc::UnboundedSender<DeltaDiscoveryRequest>) {
        let now = Instant::now();
        self.applier.flush(now);
        if self.disk_at.is_some_and(|at| at <= now) && self.load_from_disk() {
            self.subscribe(requests);
        }
    }

    /// Takes up the copy on disk, once; whether there was any.
    fn load_from_disk(&mut self) -> bool {
        if self.disk_at.take().is_none() {
            return false;
        }
        let Some(copy) = &self.last_good else {
            return false;
        };
        let known = match copy.load() {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!("{error}");
                return false;
            }
        };
        let any = !known.is_empty();
        if any {
            let count = known.len();
            tracing::info!("serving the last good configuration from disk ({count} resources)");
        }
        for kind in [
            ResourceKind::Secret,
            ResourceKind::Cluster,
            ResourceKind::Endpoint,
            ResourceKind::Listener,
            ResourceKind::Route,
        ] {
            let of_kind = known.iter().filter(|(of, _, _)| *of == kind);
            let resources: Vec<Incoming> = of_kind
                .map(|(_, name, one)| Incoming {
                    name: Arc::clone(name),
                    version: one.version.clone(),
                    body: one.body.clone(),
                    is_static: false,
                })
                .collect();
            if resources.is_empty() {
                continue;
            }
            for error in self
                .applier
                .apply(kind, resources, &[], false, Instant::now())
            {
                tracing::warn!("from disk: {error}");
            }
        }
        any
    }

    /// Waits, while timed work goes on.
    async fn idle(&mut self, wait: Option<Duration>) {
        let until = Instant::now() + wait.unwrap_or_default();
        loop {
            let next = self.due().map_or(until, |due| due.min(until));
            tokio::select! {
                () = at(Some(next)) => {}
                () = self.wake.notified() => {}
            }
            self.applier.flush(Instant::now());
            if Instant::now() >= until {
                return;
            }
        }
    }
}

struct AbortOnDrop(Option<tokio::task::JoinHandle<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn open(
    connector: &dyn Connector,
    outgoing: mpsc::UnboundedReceiver<DeltaDiscoveryRequest>,
) -> Result<Streaming<DeltaDiscoveryResponse>, String> {
    let connection = connector
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    let mut client = AggregatedDiscoveryServiceClient::new(connection.channel)
        .max_decoding_message_size(MAX_RESPONSE);
    let mut request = Request::new(UnboundedReceiverStream::new(outgoing));
    let headers = request.metadata_mut();
    if let Some(value) = connection.authorization {
        headers.insert("authorization", value);
    }
    if let Some(value) = connection.cluster_id {
        headers.insert("clusterid", value);
    }
    let answer = client.delta_aggregated_resources(request).await;
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| describe(&status))
}

/// Resources without their envelopes, and errors for those that are something else.
fn incoming(kind: ResourceKind, response: DeltaDiscoveryResponse) -> (Vec<Incoming>, Vec<String>) {
    let wanted = type_of(kind).type_url();
    let system: Box<str> = response.system_version_info.into();
    let mut errors = Vec::new();
    let mut found = Vec::with_capacity(response.resources.len());
    for resource in response.resources {
        let packed = resource.resource.unwrap_or_default();
        if packed.type_url != wanted {
            let (name, url) = (&resource.name, &packed.type_url);
            errors.push(format!(
                "{kind:?} {name:?}: type {url:?} where {wanted:?} was asked for"
            ));
            continue;
        }
        let version = if resource.version.is_empty() {
            system.clone()
        } else {
            resource.version.into()
        };
        found.push(Incoming {
            name: resource.name.into(),
            version,
            body: Bytes::from(packed.value),
            is_static: false,
        });
    }
    (found, errors)
}

fn describe(status: &tonic::Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

async fn at(when: Option<Instant>) {
    let when = when.unwrap_or_else(|| Instant::now() + LONG);
    sleep_until(when.into()).await;
}

/// Doubles with each failure, up to the longest, and takes between half and all of that.
fn backoff(failures: u32) -> Duration {
    let grown = BACKOFF.0.saturating_mul(1 << failures.min(10));
    grown.min(BACKOFF.1).mul_f64(0.5 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests;
