//! HTTP/2: streams share connections.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::ext::Protocol;
use hyper_util::rt::{TokioIo, TokioTimer};
use lateen_proxy_model::{Keepalive, ResetReason, SendFailure, Target, UpstreamConnection};
use tokio::sync::oneshot;

use crate::body::{Lease, ResponseBody};
use crate::connect::{self, Plan};
use crate::exec::LocalExec;
use crate::failure::reset_reason;
use crate::guard::{ConnectionGuard, PendingGuard, RequestGuard};
use crate::pool::{Pool, overflow};
use crate::stream::UpstreamStream;

/// Flow control of one stream, bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Flow control of a connection, bytes.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of the table of compressed headers.
const HEADER_TABLE: u32 = 4096;
/// Pings when the configuration does not say: a connection that went away without a word must not take requests.
const KEEPALIVE: Keepalive = Keepalive {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(20),
};
/// Streams on a connection when neither the cluster nor the endpoint says less.
const MAX_STREAMS: u32 = 1024;

/// A connection and the streams on it.
pub(crate) struct Http2<B> {
    sender: RefCell<SendRequest<B>>,
    connection: Arc<UpstreamConnection>,
    streams: Cell<u32>,
    requests: Cell<u32>,
    until: Option<Instant>,
    pub(crate) since: Cell<Instant>,
}

/// A stream, counted on its connection for as long as it lives.
pub(crate) struct Stream<B>(Rc<Http2<B>>);

type Answer<B> = (Response<ResponseBody<B>>, Arc<UpstreamConnection>);

/// Sends over a connection with room, or a new one.
pub(crate) async fn send<B>(
    pool: Rc<Pool<B>>,
    target: Target<'_>,
    request: Request<B>,
    counted: Option<RequestGuard>,
) -> Result<Answer<B>, SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (_, tls) = target.cluster.transport(&target.endpoint.metadata);
    let mut request = request;
    let upgrade = extended_connect(&mut request);
    let mut request = absolute(request, tls.is_some())?;
    loop {
        let stream = match pool.with_room() {
            Some(stream) => stream,
            None => {
                Box::pin(join(&pool, &target)).await?;
                continue;
            }
        };
        let conn = &stream.0;
        let answer = conn.sender.borrow_mut().try_send_request(request);
        match answer.await {
            Ok(mut response) => {
                let connection = Arc::clone(&conn.connection);
                if let Some(upgrade) = upgrade
                    && response.status().is_success()
                {
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    response.headers_mut().insert(header::UPGRADE, upgrade);
                }
                let lease = Lease::http2(stream, counted);
                return Ok((
                    response.map(|body: Incoming| ResponseBody::new(body, Some(lease))),
                    connection,
                ));
            }
            Err(mut error) => match error.take_message() {
                // The connection was on its way out and never saw the request.
                Some(unsent) => {
                    pool.forget(conn);
                    request = unsent;
                }
                None => {
                    return Err(SendFailure {
                        reason: reset_reason(error.error()),
                        transport: None,
                        started: true,
                        connection: Some(Arc::clone(&conn.connection)),
                    });
                }
            },
        }
    }
}

impl<B> Http2<B> {
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.borrow().is_closed()
    }

    pub(crate) fn is_old(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.streams.get() > 0
    }
}

impl<B> Stream<B> {
    fn on(connection: Rc<Http2<B>>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        connection
            .requests
            .set(connection.requests.get().saturating_add(1));
        Self(connection)
    }
}

impl<B> Drop for Stream<B> {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get().saturating_sub(1));
        if self.0.streams.get() == 0 {
            self.0.since.set(Instant::now());
        }
    }
}

impl<B> Pool<B> {
    /// A stream on the first connection that has room. Connections at their last request are taken out.
    fn with_room(&self) -> Option<Stream<B>> {
        let cluster = self.cluster.borrow();
        let streams = cluster.max_concurrent_streams.unwrap_or(MAX_STREAMS);
        let requests = cluster.max_requests_per_connection.unwrap_or(u32::MAX);
        let mut shared = self.shared.borrow_mut();
        shared.retain(|conn| {
            let old = conn.until.is_some() && conn.is_old(Instant::now());
            !conn.is_closed() && !old && conn.requests.get() < requests
        });
        let conn = shared.iter().find(|conn| conn.streams.get() < streams)?;
        Some(Stream::on(Rc::clone(conn)))
    }

    fn forget(&self, conn: &Rc<Http2<B>>) {
        self.shared
            .borrow_mut()
            .retain(|other| !Rc::ptr_eq(conn, other));
    }
}

/// Waits for the connection under way, or starts one. It is made by a task of its own, so that it outlives the request
/// that asked first.
async fn join<B>(pool: &Rc<Pool<B>>, target: &Target<'_>) -> Result<(), SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(_pending) = PendingGuard::enter(target) else {
        return Err(overflow());
    };
    let (done, waiting) = oneshot::channel();
    let first = match &mut *pool.joining.borrow_mut() {
        Some(others) => {
            others.push(done);
            None
        }
        none => Some(none.insert(vec![done]).len()),
    };
    if first.is_some() {
        let plan = Plan::new(target, Some(Version::HTTP_2));
        let pool = Rc::clone(pool);
        tokio::task::spawn_local(async move {
            let outcome = open(&pool, &plan).await;
            let waiting = pool.joining.take().unwrap_or_default();
            for one in waiting {
                // A request that went away meanwhile does not listen.
                let _ = one.send(outcome.clone());
            }
        });
    }
    waiting.await.unwrap_or(Err(SendFailure {
        reason: ResetReason::ConnectionTermination,
        transport: None,
        started: false,
        connection: None,
    }))
}

async fn open<B>(pool: &Rc<Pool<B>>, plan: &Plan) -> Result<(), SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let first = pool.open.get() == 0;
    let guard = ConnectionGuard::enter(&plan.cluster, &plan.endpoint, pool.high, first);
    let Some(guard) = guard else {
        return Err(overflow());
    };
    let made = connect::connect(plan).await?;
    adopt(pool, plan, made, guard).await
}

/// Takes a connection in, which may have been made to find out which protocol its endpoint speaks.
pub(crate) async fn adopt<B>(
    pool: &Rc<Pool<B>>,
    plan: &Plan,
    (stream, connection): (UpstreamStream, UpstreamConnection),
    guard: ConnectionGuard,
) -> Result<(), SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let generation = pool.generation.get();
    let connection = Arc::new(connection);
    let codec = &plan.cluster.codec;
    let two = &codec.http2;
    let keepalive = two.keepalive.unwrap_or(KEEPALIVE);
    let handshake = Builder::new(LocalExec)
        .timer(TokioTimer::new())
        .max_header_list_size(codec.max_headers_bytes)
        .initial_stream_window_size(two.initial_stream_window.unwrap_or(STREAM_WINDOW))
        .initial_connection_window_size(two.initial_connection_window.unwrap_or(CONNECTION_WINDOW))
        .header_table_size(two.header_table_size.unwrap_or(HEADER_TABLE))
        .keep_alive_interval(keepalive.interval)
        .keep_alive_timeout(keepalive.timeout)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, driver) = handshake.map_err(|error| SendFailure {
        reason: reset_reason(&error),
        transport: None,
        started: false,
        connection: Some(Arc::clone(&connection)),
    })?;
    pool.open.set(pool.open.get().saturating_add(1));
    let counted = Rc::clone(pool);
    tokio::task::spawn_local(async move {
        let _guard = guard;
        if let Err(error) = driver.await {
            tracing::debug!(%error, "upstream HTTP/2 connection ended");
        }
        counted.open.set(counted.open.get().saturating_sub(1));
    });
    if generation == pool.generation.get() {
        pool.shared.borrow_mut().push(Rc::new(Http2 {
            sender: RefCell::new(sender),
            connection,
            streams: Cell::new(0),
            requests: Cell::new(0),
            until: pool.until(),
            since: Cell::new(Instant::now()),
        }));
    }
    Ok(())
}

/// An upgrade becomes an extended CONNECT (RFC 8441); its answer becomes one of HTTP/1 again.
fn extended_connect<B>(request: &mut Request<B>) -> Option<HeaderValue> {
    let upgrade = request.headers_mut().remove(header::UPGRADE)?;
    request.headers_mut().remove(header::CONNECTION);
    let protocol = Protocol::from(upgrade.to_str().ok()?);
    request.extensions_mut().insert(protocol);
    *request.method_mut() = Method::CONNECT;
    Some(upgrade)
}

/// HTTP/2 carries scheme and authority in the target, not in `Host`.
fn absolute<B>(mut request: Request<B>, tls: bool) -> Result<Request<B>, SendFailure> {
    let headers = request.headers_mut();
    let host = headers.remove(header::HOST);
    *request.version_mut() = Version::HTTP_2;
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if request.method() != Method::CONNECT || request.extensions().get::<Protocol>().is_some() {
        parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
        if parts.path_and_query.is_none() {
            parts.path_and_query = Some(PathAndQuery::from_static("/"));
        }
    }
    parts.authority = authority.or(parts.authority);
    match Uri::from_parts(parts) {
        Ok(uri) => {
            *request.uri_mut() = uri;
            Ok(request)
        }
        Err(_) => Err(SendFailure {
            reason: ResetReason::ProtocolError,
            transport: None,
            started: false,
            connection: None,
        }),
    }
}
