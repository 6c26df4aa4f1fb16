//! `envoy.service.discovery.v3.AggregatedDiscoveryService`: one task a stream.
//!
//! A stream is authenticated before its first message; its node must be the caller's own. Requests and pushes are handled one
//! after the other, and a response is handed to the transport before the next is made.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use envoy_types::pb::envoy::config::core::v3::Node;
use futures_util::StreamExt;
use http::request::Parts;
use http::{Request, Response, header};
use lateen_controlplane_model::caller::{Authenticate, Caller, Connection};
use lateen_xds::ads::Frames;
use lateen_xds::names::{ResourceType, type_url};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Status, Streaming};
use tower_service::Service;

use crate::debug::Debug;
use crate::hub::{Hub, Registration};
use crate::identity::{self, SharedProxy};
use crate::metrics::{Connected, TypeLabel};
use crate::wire::{Delta, Sotw, Wire};
use crate::{session, transport};

/// The ADS service.
#[derive(Clone)]
pub struct AdsService {
    hub: Arc<Hub>,
    authenticate: Arc<dyn Authenticate>,
    debug: Arc<Debug>,
}

impl AdsService {
    /// A service over a hub. Requests must carry a [`Connection`] in their extensions.
    #[must_use]
    pub fn new(hub: Arc<Hub>, authenticate: Arc<dyn Authenticate>, debug: Arc<Debug>) -> Self {
        Self {
            hub,
            authenticate,
            debug,
        }
    }

    /// The connection and the caller behind it. Over TLS somebody must be authenticated; plain text never is.
    fn caller(&self, parts: &Parts) -> Result<(Connection, Option<Caller>), Status> {
        let connection = parts.extensions.get::<Connection>().cloned();
        let connection = connection
            .ok_or_else(|| Status::internal("the transport does not say who is connected"))?;
        if !connection.encrypted {
            return Ok((connection, None));
        }
        let header = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        match self.authenticate.authenticate(&connection, header) {
            Ok(caller) => Ok((connection, Some(caller))),
            Err(error) => {
                tracing::warn!(remote = %connection.remote, %error, "xDS stream without identity");
                Err(Status::unauthenticated("authentication failure"))
            }
        }
    }

    fn open<W: Wire>(&self, parts: &Parts, body: Body) -> Result<Response<Body>, Status> {
        let (connection, caller) = self.caller(parts)?;
        let (sender, response) = transport::response();
        let conversation = Conversation::<W> {
            hub: Arc::clone(&self.hub),
            debug: Arc::clone(&self.debug),
            registration: self.hub.register(connection, caller, W::PROTOCOL),
            sender,
            node: None,
            connected: None,
            wire: PhantomData,
        };
        tokio::spawn(conversation.run(transport::requests(body)));
        Ok(response)
    }
}

impl NamedService for AdsService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl Service<Request<Body>> for AdsService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let opened = match parts.uri.path().rsplit_once('/').map(|(_, method)| method) {
            Some("DeltaAggregatedResources") => self.open::<Delta>(&parts, body),
            Some("StreamAggregatedResources") => self.open::<Sotw>(&parts, body),
            _ => Err(Status::unimplemented(
                "no such method of AggregatedDiscoveryService",
            )),
        };
        ready(Ok(opened.unwrap_or_else(Status::into_http)))
    }
}

/// Why a stream ends.
enum End {
    /// The client is gone.
    Gone,
    /// The client is told.
    Status(Box<Status>),
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// One stream.
struct Conversation<W: Wire> {
    hub: Arc<Hub>,
    debug: Arc<Debug>,
    registration: Registration,
    sender: transport::Sender,
    node: Option<Node>,
    connected: Option<Connected>,
    wire: PhantomData<W>,
}

impl<W: Wire> Conversation<W> {
    async fn run(mut self, mut requests: Streaming<W::Request>) {
        let end = loop {
            let client = Arc::clone(&self.registration.client);
            let step = tokio::select! {
                () = self.hub.until_stopping() => Err(Status::unavailable("the control plane is shutting down").into()),
                message = requests.next() => match message {
                    Some(Ok(message)) => self.on_message(message).await,
                    Some(Err(_)) | None => Err(End::Gone),
                },
                () = client.wake.notified() => self.on_update().await,
            };
            if let Err(end) = step {
                break end;
            }
        };
        if let End::Status(status) = end {
            tracing::info!(remote = %self.registration.client.connection.remote, code = ?status.code(), message = status.message(), "xDS stream ended");
            // A client that is gone needs no status.
            let _ = self.sender.send(Err(*status)).await;
        }
    }

    async fn on_message(&mut self, message: W::Request) -> Result<(), End> {
        let (node, request) = W::read(message);
        if self.node.is_none() {
            self.node = node;
        }
        let kind = ResourceType::from_type_url(&request.type_url);
        if kind.is_some_and(ResourceType::is_debug) {
            return self.on_debug(&request).await;
        }
        if kind == Some(ResourceType::Health) {
            return Ok(());
        }
        let proxy = self.proxy()?;
        if request.type_url == type_url::SECRET && self.registration.client.caller.is_none() {
            // Secrets are never answered without an authenticated caller.
            return Ok(());
        }
        self.on_request(request, &proxy).await
    }

    async fn on_request(
        &mut self,
        request: session::Request,
        proxy: &SharedProxy,
    ) -> Result<(), End> {
        let url = request.type_url.clone();
        let error = request.error.clone();
        let client = Arc::clone(&self.registration.client);
        let verdict = client
            .session
            .lock()
            .request(request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let metrics = Arc::clone(self.hub.metrics());
        if verdict.stale {
            metrics
                .expired_nonces
                .get_or_create(&TypeLabel::of(&url))
                .inc();
        }
        if verdict.rejected {
            metrics.reject(&url);
            tracing::warn!(proxy = %proxy.name, type_url = url, error = error.as_deref().unwrap_or_default(), "the proxy refused a response");
        }
        let Some(wanted) = verdict.answer else {
            return Ok(());
        };
        tokio::select! {
            () = self.hub.until_ready() => {}
            () = self.hub.until_stopping() => return Err(Status::unavailable("the control plane is shutting down").into()),
        }
        let Some(config) = self.hub.current() else {
            return Ok(());
        };
        let started = Instant::now();
        let response = client.session.lock().answer(&url, &wanted, &*config, proxy);
        metrics
            .push_time
            .get_or_create(&TypeLabel::of(&url))
            .observe(started.elapsed().as_secs_f64());
        match response {
            Some(response) => self.send(response).await,
            None => Ok(()),
        }
    }

    /// Tells the proxy what changed, type by type in push order.
    async fn on_update(&mut self) -> Result<(), End> {
        let client = Arc::clone(&self.registration.client);
        let (Some(pending), Some(proxy), Some(config)) = (
            client.take_pending(),
            client.proxy.get(),
            self.hub.current(),
        ) else {
            return Ok(());
        };
        let metrics = Arc::clone(self.hub.metrics());
        metrics.queue.observe(pending.since.elapsed().as_secs_f64());
        let touched = config.affected(proxy, &pending.affected);
        let mut forced = BTreeSet::new();
        let mut sent = false;
        let types = client.session.lock().types();
        for url in types {
            let started = Instant::now();
            let response = client
                .session
                .lock()
                .push(&url, &touched, &mut forced, &*config, proxy);
            if let Some(response) = response {
                metrics
                    .push_time
                    .get_or_create(&TypeLabel::of(&url))
                    .observe(started.elapsed().as_secs_f64());
                self.send(response).await?;
                sent = true;
            }
        }
        if sent {
            metrics
                .convergence
                .observe(pending.since.elapsed().as_secs_f64());
        }
        Ok(())
    }

    /// Answers a debug request once; it never becomes a subscription, and its ack is not answered.
    async fn on_debug(&mut self, request: &session::Request) -> Result<(), End> {
        if !request.nonce.is_empty() {
            return Ok(());
        }
        let Some(caller) = &self.registration.client.caller else {
            return Err(Status::unauthenticated("authentication required").into());
        };
        let names = match &request.asked {
            session::Asked::Delta { subscribe, .. } => subscribe,
            session::Asked::Sotw(names) => names,
        };
        let resources = self.debug.resources(&request.type_url, names, caller)?;
        let version = self
            .hub
            .current()
            .map(|config| config.version().to_owned())
            .unwrap_or_default();
        let nonce = format!("{version}{}", uuid::Uuid::new_v4());
        let response = session::Response {
            type_url: request.type_url.clone(),
            version,
            nonce,
            resources,
            removed: Vec::new(),
        };
        let control_plane =
            (request.type_url == type_url::DEBUG_SYNCZ).then(|| self.debug.control_plane());
        self.hand_over(W::write(response, control_plane)).await
    }

    /// The proxy of the stream, read from its node at the first need.
    fn proxy(&mut self) -> Result<SharedProxy, End> {
        let client = &self.registration.client;
        if let Some(proxy) = client.proxy.get() {
            return Ok(Arc::clone(proxy));
        }
        let node = self
            .node
            .as_ref()
            .ok_or_else(|| Status::invalid_argument("the first request carries no node"))?;
        let proxy = Arc::new(identity::proxy(node, client.caller.as_ref())?);
        self.connected = Some(
            self.hub
                .metrics()
                .connected(proxy.istio_version.as_deref().unwrap_or("unknown")),
        );
        tracing::info!(proxy = %proxy.name, remote = %client.connection.remote, "xDS client connected");
        Ok(Arc::clone(client.proxy.get_or_init(|| proxy)))
    }

    async fn send(&self, response: session::Response) -> Result<(), End> {
        let label = TypeLabel::of(&response.type_url);
        let bytes: usize = response
            .resources
            .iter()
            .map(|resource| resource.body.len())
            .sum();
        tracing::debug!(
            type_url = response.type_url,
            resources = response.resources.len(),
            removed = response.removed.len(),
            bytes,
            "push"
        );
        let metrics = self.hub.metrics();
        metrics.pushes.get_or_create(&label).inc();
        #[allow(clippy::cast_precision_loss, reason = "a size for a histogram")]
        metrics
            .config_size
            .get_or_create(&label)
            .observe(bytes as f64);
        let started = Instant::now();
        self.hand_over(W::write(response, None)).await?;
        metrics.send_time.observe(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Waits for the transport, but not beyond the server's stop.
    async fn hand_over(&self, message: Option<Frames>) -> Result<(), End> {
        let message = message.ok_or_else(|| {
            Status::resource_exhausted("the response is larger than a gRPC message may be")
        })?;
        tokio::select! {
            sent = self.sender.send(Ok(message)) => sent.map_err(|_| End::Gone),
            () = self.hub.until_stopping() => Err(Status::unavailable("the control plane is shutting down").into()),
        }
    }
}

#[cfg(test)]
mod tests;
