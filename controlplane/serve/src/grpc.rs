//! The gRPC server: ADS and the certificate service on one port, dispatched by path.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Server;
use tower_service::Service;

use crate::listen::Incoming;

/// Longest life of a connection unless set otherwise; clients then connect again, maybe to another replica.
pub const MAX_AGE: Duration = Duration::from_secs(30 * 60);
/// Time that streams get to end on a connection that is too old; clients open them again on the next.
const AGE_GRACE: Duration = Duration::from_secs(10);
/// Time between two HTTP/2 pings, and how long an answer may take.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// Streams of one connection.
const MAX_STREAMS: u32 = 1024;
/// Largest header list, in bytes.
const MAX_HEADERS: u32 = 64 * 1024;

/// Two services by their names; a path of neither is answered UNIMPLEMENTED.
#[derive(Clone)]
pub struct Pair<A, B> {
    first: A,
    second: B,
}

impl<A, B> Pair<A, B> {
    /// Both on one port.
    pub fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

/// A service that answers nothing, for a port with one service alone.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl NamedService for Nothing {
    const NAME: &'static str = "";
}

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(unimplemented()))
    }
}

impl<A, B> Service<Request<Body>> for Pair<A, B>
where
    A: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
    B: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + NamedService,
    A::Future: Send + 'static,
    B::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = request.uri().path().split('/').nth(1).unwrap_or_default();
        if service == A::NAME {
            Box::pin(self.first.call(request))
        } else if service == B::NAME {
            Box::pin(self.second.call(request))
        } else {
            Box::pin(ready(Ok(unimplemented())))
        }
    }
}

fn unimplemented() -> Response<Body> {
    Status::unimplemented("no such service on this port").into_http()
}

/// Serves until `stop` resolves; streams under way are left to end by themselves. Connections end after `max_age`.
///
/// # Errors
/// What the transport says when it fails.
pub async fn serve<S>(
    incoming: Incoming,
    service: S,
    max_age: Duration,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .max_connection_age(max_age)
        .max_connection_age_grace(AGE_GRACE)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADERS)
        .serve_with_incoming_shutdown(service, incoming, stop)
        .await
        .map_err(io::Error::other)
}
