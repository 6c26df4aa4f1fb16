//! Calls of filters to services, over the same balancing and pools as requests.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use lateen_proxy_model::{
    ANSWER_LIMIT, ActiveRequest, Balance, Call, CallAnswer, CallFailure, CallStream, Choice,
    ClusterKind, ClusterRef, Dial, Outcome, Received, ResetReason, Target,
};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::exchange::is_grpc;
use super::forward::Upstreams;
use super::number::number;
use super::reply::grpc_status as http_grpc_status;
use super::request_body::RequestBody;
use super::worker::{KnownCluster, Worker};

static INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
static EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// The way from a filter to the services it asks.
#[derive(Debug)]
pub struct ServiceCalls<L, D> {
    upstreams: Upstreams<L, D>,
    worker: Rc<Worker>,
    addresses: Option<(SocketAddr, SocketAddr)>,
}

/// A call whose body is sent and answered piece by piece.
pub struct ServiceStream<B> {
    sender: Option<mpsc::UnboundedSender<Bytes>>,
    state: State<B>,
}

type Opening<B> = Pin<Box<dyn Future<Output = Result<Response<B>, CallFailure>>>>;

enum State<B> {
    Opening(Opening<B>),
    Open(Pin<Box<B>>, HeaderMap),
    Ended,
}

impl<L, D> Clone for ServiceCalls<L, D> {
    fn clone(&self) -> Self {
        Self {
            upstreams: self.upstreams.clone(),
            worker: Rc::clone(&self.worker),
            addresses: self.addresses,
        }
    }
}

impl<L, D> ServiceCalls<L, D> {
    /// Calls on behalf of a connection.
    pub fn of(upstreams: &Upstreams<L, D>, connection: &Connection) -> Self {
        let facts = &connection.facts;
        Self {
            addresses: Some((facts.client.0, facts.destination.0)),
            ..Self::new(upstreams.clone(), Rc::clone(&connection.chain.worker))
        }
    }

    /// Calls that nothing downstream asked for.
    pub fn new(upstreams: Upstreams<L, D>, worker: Rc<Worker>) -> Self {
        Self {
            upstreams,
            worker,
            addresses: None,
        }
    }

    fn known(&self, cluster: &ClusterRef) -> Result<Rc<KnownCluster>, CallFailure> {
        self.worker.cluster(cluster).ok_or(CallFailure::NoCluster)
    }
}

impl<L, D> ServiceCalls<L, D>
where
    L: Balance,
    D: Dial<RequestBody>,
{
    async fn send(
        &self,
        slot: &ClusterRef,
        known: &KnownCluster,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<D::Body>, ActiveRequest), CallFailure> {
        request
            .headers_mut()
            .insert(&INTERNAL, HeaderValue::from_static("true"));
        let choice = Choice {
            original_dst: self.addresses.map(|(_, destination)| destination),
            ..Choice::default()
        };
        let balance = &self.upstreams.balance;
        let member = match &known.cluster.kind {
            ClusterKind::Aggregate { .. } => balance.member(&known.cluster),
            _ => None,
        };
        let (slot, cluster) = match &member {
            Some((slot, cluster)) => (slot, cluster),
            None => (slot, &known.cluster),
        };
        let endpoint = balance.choose(slot, cluster, &choice);
        let endpoint = endpoint.ok_or(CallFailure::NoEndpoint)?;
        let active = ActiveRequest::on(Arc::clone(&endpoint));
        let host = request.headers().get(header::HOST).cloned();
        let target = Target {
            slot,
            cluster,
            endpoint: &endpoint,
            // Clusters that follow the downstream's protocol get what the call needs.
            downstream: match is_grpc(request.headers()) {
                true => Version::HTTP_2,
                false => Version::HTTP_11,
            },
            istio_alpn: false,
            host: host.as_ref().and_then(|host| host.to_str().ok()),
            downstream_addresses: self.addresses,
            source: None,
            high: false,
            connection: 0,
        };
        match self.upstreams.dial.send(target, request).await {
            Ok((response, _)) => {
                let outcome = match response.status().is_server_error() {
                    true => Outcome::ServerError,
                    false => Outcome::Success,
                };
                balance.report(cluster, &endpoint, outcome);
                Ok((response, active))
            }
            Err(failure) => {
                if failure.reason != ResetReason::Overflow {
                    balance.report(cluster, &endpoint, Outcome::LocalFailure);
                }
                Err(CallFailure::Reset(failure.reason))
            }
        }
    }
}

impl<L, D> Call for ServiceCalls<L, D>
where
    L: Balance + 'static,
    D: Dial<RequestBody> + 'static,
    D::Body: Body<Data = Bytes, Error = ResetReason> + 'static,
{
    type Stream = ServiceStream<D::Body>;

    async fn call(
        &self,
        cluster: &ClusterRef,
        mut request: Request<Bytes>,
        limit: Option<Duration>,
    ) -> Result<CallAnswer, CallFailure> {
        let known = self.known(cluster)?;
        let limit = limit.filter(|limit| !limit.is_zero());
        if let Some(limit) = limit {
            let expected = number(limit.as_millis());
            request.headers_mut().insert(&EXPECTED_TIMEOUT, expected);
        }
        let begun = Instant::now();
        let whole = async {
            let request = request.map(RequestBody::whole);
            let (mut response, _active) = self.send(cluster, &known, request).await?;
            let time = number(begun.elapsed().as_millis());
            response.headers_mut().insert(&SERVICE_TIME, time);
            collect(response).await
        };
        match limit {
            None => whole.await,
            Some(limit) => tokio::time::timeout(limit, whole)
                .await
                .unwrap_or(Err(CallFailure::Timeout)),
        }
    }

    fn open(&self, cluster: &ClusterRef, head: Request<()>) -> Result<Self::Stream, CallFailure> {
        let known = self.known(cluster)?;
        let (sender, messages) = mpsc::unbounded_channel();
        let (calls, cluster) = (self.clone(), Arc::clone(cluster));
        let request = head.map(|()| RequestBody::messages(messages));
        let opening = async move {
            let sent = calls.send(&cluster, &known, request).await;
            sent.map(|(response, _)| response)
        };
        Ok(ServiceStream {
            sender: Some(sender),
            state: State::Opening(Box::pin(opening)),
        })
    }
}

async fn collect<B>(response: Response<B>) -> Result<CallAnswer, CallFailure>
where
    B: Body<Data = Bytes, Error = ResetReason>,
{
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    let mut data = BytesMut::new();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(CallFailure::Reset)?.into_data() {
            Ok(part) if data.len().saturating_add(part.remaining()) > ANSWER_LIMIT => {
                return Err(CallFailure::TooLong);
            }
            Ok(part) => data.extend_from_slice(&part),
            Err(other) => trailers = other.into_trailers().unwrap_or_default(),
        }
    }
    Ok(CallAnswer {
        status: head.status,
        headers: head.headers,
        body: data.freeze(),
        trailers,
    })
}

impl<B> CallStream for ServiceStream<B>
where
    B: Body<Data = Bytes, Error = ResetReason>,
{
    fn send(&mut self, data: Bytes) -> bool {
        self.sender
            .as_ref()
            .is_some_and(|sender| sender.send(data).is_ok())
    }

    fn finish(&mut self) {
        self.sender = None;
    }

    async fn receive(&mut self) -> Result<Received, CallFailure> {
        loop {
            match &mut self.state {
                State::Opening(opening) => match opening.await {
                    Ok(response) => {
                        let (head, body) = response.into_parts();
                        if head.status != StatusCode::OK {
                            self.state = State::Ended;
                            let code = HeaderValue::from(http_grpc_status(head.status));
                            let end = [(HeaderName::from_static("grpc-status"), code)];
                            return Ok(Received::End(HeaderMap::from_iter(end)));
                        }
                        self.state = State::Open(Box::pin(body), head.headers);
                    }
                    Err(failure) => {
                        self.state = State::Ended;
                        return Err(failure);
                    }
                },
                State::Open(body, head) => {
                    let end = match body.frame().await {
                        None => Ok(Received::End(std::mem::take(head))),
                        Some(Err(reason)) => Err(CallFailure::Reset(reason)),
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(data) => return Ok(Received::Data(data)),
                            Err(other) => {
                                Ok(Received::End(other.into_trailers().unwrap_or_default()))
                            }
                        },
                    };
                    self.state = State::Ended;
                    return end;
                }
                State::Ended => {
                    return Err(CallFailure::Reset(ResetReason::ConnectionTermination));
                }
            }
        }
    }
}

impl<B> std::fmt::Debug for ServiceStream<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceStream").finish_non_exhaustive()
    }
}
