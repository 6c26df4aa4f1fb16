//! HTTP/1.1: one request at a time on a connection, the latest used first.

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use lateen_proxy_model::{HeaderCase, HttpProtocol, SendFailure, Target, UpstreamConnection};
use tokio::sync::oneshot;

use crate::body::{Lease, ResponseBody};
use crate::connect::{self, Plan};
use crate::failure::reset_reason;
use crate::guard::{ConnectionGuard, PendingGuard, RequestGuard};
use crate::pool::{Pool, overflow};
use crate::stream::UpstreamStream;

/// Bytes of an answer that wait for a client who does not read.
const BUFFER: usize = 256 * 1024;

/// A connection that is not in use.
pub(crate) struct Http1<B> {
    sender: SendRequest<B>,
    connection: Arc<UpstreamConnection>,
    generation: u64,
    requests: u32,
    until: Option<Instant>,
    pub(crate) since: Instant,
}

type Answer<B> = (Response<ResponseBody<B>>, Arc<UpstreamConnection>);

/// Sends over an idle connection, or a new one. A request that an idle connection gives back, because it was closed
/// meanwhile, goes over the next one.
pub(crate) async fn send<B>(
    pool: Rc<Pool<B>>,
    target: Target<'_>,
    mut request: Request<B>,
    counted: Option<RequestGuard>,
) -> Result<Answer<B>, SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    *request.version_mut() = Version::HTTP_11;
    let connect = request.method() == Method::CONNECT;
    if target.cluster.http == HttpProtocol::Auto {
        frame(&mut request);
    }
    if target.cluster.codec.http1.absolute_target && !connect {
        let (_, tls) = target.cluster.transport(&target.endpoint.metadata);
        absolute_target(&mut request, tls.is_some());
    }
    loop {
        let (mut conn, fresh) = match pool.take_idle() {
            Some(idle) => (idle, false),
            // Connecting is rare and its state large: it must not weigh on every request.
            None => (Box::pin(acquire(&pool, &target)).await?, true),
        };
        conn.requests = conn.requests.saturating_add(1);
        match conn.sender.try_send_request(request).await {
            Ok(response) => {
                let connection = Arc::clone(&conn.connection);
                let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS
                    || (connect && response.status().is_success());
                // A switched connection belongs to the two ends now.
                let lease = (!switched).then(|| Lease::http1(conn, Rc::clone(&pool), counted));
                return Ok((
                    response.map(|body: Incoming| ResponseBody::new(body, lease)),
                    connection,
                ));
            }
            Err(mut error) => match error.take_message() {
                Some(unsent) if !fresh => request = unsent,
                unsent => {
                    return Err(SendFailure {
                        reason: reset_reason(error.error()),
                        transport: None,
                        started: unsent.is_none(),
                        connection: Some(conn.connection),
                    });
                }
            },
        }
    }
}

/// Says what body comes, where the method alone would say something else.
fn frame<B: Body>(request: &mut Request<B>) {
    if request.headers().contains_key(header::CONTENT_LENGTH)
        || *request.method() == Method::CONNECT
    {
        return;
    }
    let bodiless = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::DELETE | Method::TRACE
    );
    let (name, value) = match (request.body().is_end_stream(), bodiless) {
        (true, false) => (header::CONTENT_LENGTH, "0"),
        (false, true) => (header::TRANSFER_ENCODING, "chunked"),
        _ => return,
    };
    let value = http::HeaderValue::from_static(value);
    request.headers_mut().insert(name, value);
}

/// The request line names scheme and host too, where they make an address.
fn absolute_target<B>(request: &mut Request<B>, tls: bool) {
    let host = request.headers().get(header::HOST);
    let Some(authority) = host.and_then(|host| Authority::try_from(host.as_bytes()).ok()) else {
        return;
    };
    let mut parts = request.uri().clone().into_parts();
    parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

impl<B> Http1<B> {
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) fn is_old(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl<B: 'static> Http1<B> {
    /// Back to the pool once the connection is ready for the next request.
    pub(crate) fn release(mut self, pool: Rc<Pool<B>>) {
        if self.sender.is_ready() {
            pool.put(self);
        } else if !self.sender.is_closed() {
            tokio::task::spawn_local(async move {
                if self.sender.ready().await.is_ok() {
                    pool.put(self);
                }
            });
        }
    }
}

impl<B> Pool<B> {
    fn take_idle(&self) -> Option<Http1<B>> {
        let mut idle = self.idle.borrow_mut();
        while let Some(entry) = idle.pop() {
            let old = entry.until.is_some() && entry.is_old(Instant::now());
            if !entry.is_closed() && !old {
                return Some(entry);
            }
        }
        None
    }

    fn put(&self, mut conn: Http1<B>) {
        let limit = self.cluster.borrow().max_requests_per_connection;
        if conn.generation != self.generation.get()
            || limit.is_some_and(|limit| conn.requests >= limit)
        {
            return;
        }
        loop {
            let Some(waiting) = self.waiting.borrow_mut().pop_front() else {
                break;
            };
            match waiting.send(Some(conn)) {
                Ok(()) => return,
                Err(Some(back)) => conn = back,
                Err(None) => return,
            }
        }
        conn.since = Instant::now();
        self.idle.borrow_mut().push(conn);
    }

    /// A connection is gone: a request that waited for one may open the next.
    fn closed(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        loop {
            let Some(waiting) = self.waiting.borrow_mut().pop_front() else {
                return;
            };
            if waiting.send(None).is_ok() {
                return;
            }
        }
    }
}

/// Counts a pool's connection for as long as it lives.
struct Open<B>(
    Rc<Pool<B>>,
    #[expect(dead_code, reason = "held for its drop")] ConnectionGuard,
);

impl<B> Drop for Open<B> {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// A new connection, or, at the cluster's limit, the next one that comes free.
async fn acquire<B>(pool: &Rc<Pool<B>>, target: &Target<'_>) -> Result<Http1<B>, SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(_pending) = PendingGuard::enter(target) else {
        return Err(overflow());
    };
    loop {
        if let Some(idle) = pool.take_idle() {
            return Ok(idle);
        }
        let first = pool.open.get() == 0;
        let guard = ConnectionGuard::enter(target.cluster, target.endpoint, target.high, first);
        if let Some(guard) = guard {
            pool.open.set(pool.open.get().saturating_add(1));
            let plan = Plan::new(target, Some(Version::HTTP_11));
            preconnect(pool, &plan);
            return open(&plan, Open(Rc::clone(pool), guard)).await;
        }
        let (free, waiting) = oneshot::channel();
        pool.waiting.borrow_mut().push_back(free);
        if let Ok(Some(conn)) = waiting.await {
            return Ok(conn);
        }
    }
}

/// Opens connections ahead of need, as far as the cluster asks for it and its limits allow.
fn preconnect<B>(pool: &Rc<Pool<B>>, plan: &Plan)
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let ratio = plan.cluster.options.preconnect;
    if ratio <= 1.0 {
        return;
    }
    let idle = pool.idle.borrow().len();
    let busy = (pool.open.get() as usize).saturating_sub(idle);
    let wanted = (busy as f64 * ratio).ceil() as usize;
    for _ in (pool.open.get() as usize)..wanted {
        let guard = ConnectionGuard::enter(&plan.cluster, &plan.endpoint, pool.high, false);
        let Some(guard) = guard else {
            return;
        };
        pool.open.set(pool.open.get().saturating_add(1));
        let (pool, plan) = (Rc::clone(pool), plan.clone());
        tokio::task::spawn_local(async move {
            if let Ok(conn) = open(&plan, Open(Rc::clone(&pool), guard)).await {
                pool.put(conn);
            }
        });
    }
}

async fn open<B>(plan: &Plan, open: Open<B>) -> Result<Http1<B>, SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let made = connect::connect(plan).await?;
    handshake(plan, made, open).await
}

/// Takes a connection in that was made to find out which protocol its endpoint speaks.
pub(crate) async fn adopt<B>(
    pool: &Rc<Pool<B>>,
    plan: &Plan,
    (stream, mut connection): (UpstreamStream, UpstreamConnection),
    guard: ConnectionGuard,
) -> Result<(), SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pool.open.set(pool.open.get().saturating_add(1));
    connection.version = Version::HTTP_11;
    let open = Open(Rc::clone(pool), guard);
    pool.put(handshake(plan, (stream, connection), open).await?);
    Ok(())
}

async fn handshake<B>(
    plan: &Plan,
    (stream, connection): (UpstreamStream, UpstreamConnection),
    open: Open<B>,
) -> Result<Http1<B>, SendFailure>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let connection = Arc::new(connection);
    let codec = &plan.cluster.codec;
    let handshake = Builder::new()
        .max_headers(codec.max_headers_count as usize)
        .max_header_size(codec.max_headers_bytes as usize)
        .max_buf_size(BUFFER.max(codec.max_headers_bytes as usize + 8192))
        .preserve_header_case(codec.http1.case == HeaderCase::Preserve)
        .title_case_headers(codec.http1.case == HeaderCase::Title)
        .handshake(TokioIo::new(stream))
        .await;
    let (sender, driver) = handshake.map_err(|error| SendFailure {
        reason: reset_reason(&error),
        transport: None,
        started: false,
        connection: Some(Arc::clone(&connection)),
    })?;
    let generation = open.0.generation.get();
    let until = open.0.until();
    tokio::task::spawn_local(async move {
        let _open = open;
        if let Err(error) = driver.with_upgrades().await {
            tracing::debug!(%error, "upstream HTTP/1.1 connection ended");
        }
    });
    Ok(Http1 {
        sender,
        connection,
        generation,
        requests: 0,
        until,
        since: Instant::now(),
    })
}
