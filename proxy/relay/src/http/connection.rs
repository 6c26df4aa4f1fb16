//! One downstream connection: its facts, its streams, and the server that speaks its protocol.

use std::cell::{Cell, OnceCell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use lateen_proxy_model::{
    ClientAddr, CodecType, DynamicMetadata, Handshake, HeaderCase, HttpManager, LocalAddr,
    LocalLimiter, OriginalDst, PeerView, RequestFacts, ScaledTime, ShedPoint, UpstreamSource,
};
use lateen_proxy_tls::{PeerCertificate, Rewind};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::Notify;

use super::chain::HttpChain;
use super::frames::FrameBudget;
use super::http1::{Guard, HeadRules, Signals, refuse};
use super::life::{Life, Turn};

/// What an HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams a client may have reset before they were looked at.
const MAX_PENDING_RESETS: usize = 50;
/// Streams we may have reset because the client broke the protocol (MadeYouReset).
const MAX_LOCAL_RESETS: usize = 256;
/// Concurrent streams when the configuration does not say.
const MAX_STREAMS: u32 = 1024;
/// Flow control of one stream, bytes.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// Flow control of a connection, bytes.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes buffered towards one stream's client.
const SEND_BUFFER: usize = 256 * 1024;
/// Bytes that wait for a client of HTTP/1 who does not read.
const BUFFER: usize = 256 * 1024;
/// Closed streams after which the share of early resets counts (S15; Envoy's default).
const RESET_SAMPLE: u32 = 500;
/// A reset within this time of the stream's start is early.
const EARLY: Duration = Duration::from_secs(1);

/// The protocol of a connection, where it is known before its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownProtocol {
    /// HTTP/1.1 or 1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// What is known of a connection when HTTP begins.
#[derive(Clone, Debug)]
pub struct ConnectionFacts {
    /// Where upstream connections come from in place of the cluster's own address.
    pub source: Option<UpstreamSource>,
    /// The client's address.
    pub client: ClientAddr,
    /// The address of the socket's other end, whatever the PROXY protocol says.
    pub direct: SocketAddr,
    /// Our end.
    pub local: LocalAddr,
    /// Where the client wanted to go.
    pub destination: OriginalDst,
    /// What the PROXY protocol said beside addresses.
    pub proxied: Option<Arc<DynamicMetadata>>,
    /// The client's verified certificate.
    pub peer: Option<PeerCertificate>,
    /// The connection came in TLS.
    pub tls: bool,
    /// What its handshake agreed on.
    pub handshake: Option<Arc<Handshake>>,
    /// Server name asked for.
    pub sni: Option<Arc<str>>,
    /// Protocol by ALPN or inspection; `None` is found out by the first bytes.
    pub protocol: Option<KnownProtocol>,
}

impl ConnectionFacts {
    /// The client's verified certificate, as policies see it.
    pub fn peer_view(&self) -> Option<PeerView<'_>> {
        self.peer.as_ref().map(|peer| PeerView {
            uris: &peer.uris,
            dns: &peer.dns,
            subject: &peer.subject,
            der: peer.shown.leaf(),
        })
    }
}

impl RequestFacts for ConnectionFacts {
    fn client(&self) -> Option<SocketAddr> {
        Some(self.client.0)
    }

    fn destination(&self) -> Option<SocketAddr> {
        Some(self.destination.0)
    }

    fn tls(&self) -> bool {
        self.tls
    }

    fn sni(&self) -> Option<&str> {
        self.sni.as_deref()
    }

    fn peer(&self) -> Option<PeerView<'_>> {
        self.peer_view()
    }

    fn metadata(&self) -> &DynamicMetadata {
        static NONE: DynamicMetadata = DynamicMetadata::NONE;
        self.proxied.as_deref().unwrap_or(&NONE)
    }
}

/// When connections shall end; the state of `listen`, seen through a trait.
pub trait DrainSignal {
    /// Resolves when connections shall end with their current work; stays so.
    fn draining(&mut self) -> impl Future<Output = ()>;

    /// Resolves when idle connections shall end too; stays so.
    fn closing(&mut self) -> impl Future<Output = ()>;
}

/// One downstream connection, shared by its streams.
#[derive(Debug)]
pub struct Connection {
    /// The filter chain.
    pub chain: Rc<HttpChain>,
    /// Facts.
    pub facts: ConnectionFacts,
    pub(crate) principal: Option<Arc<str>>,
    streams: Cell<u32>,
    requests: Cell<u32>,
    idle_since: Cell<Instant>,
    draining: Cell<bool>,
    closed: Cell<u32>,
    early_resets: Cell<u32>,
    abuse: Notify,
    /// Of HTTP/1 connections.
    pub(crate) signals: OnceCell<Arc<Signals>>,
    /// The connection ends once its streams have.
    last: Notify,
    limiters: RefCell<Vec<(Arc<LocalLimiter>, Rc<LocalLimiter>)>>,
    pub(crate) client_text: OnceCell<Option<HeaderValue>>,
    pub(crate) certificate_text: OnceCell<Option<HeaderValue>>,
}

impl Connection {
    /// A connection without streams.
    pub fn new(chain: Rc<HttpChain>, facts: ConnectionFacts) -> Self {
        if let Some(counters) = &chain.counters {
            counters.connected(chain.manager.codec == CodecType::Http3);
        }
        let identity = facts.peer.as_ref().and_then(|peer| peer.identity.as_ref());
        Self {
            principal: identity.map(|identity| Arc::clone(&identity.0)),
            chain,
            facts,
            streams: Cell::new(0),
            requests: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            draining: Cell::new(false),
            closed: Cell::new(0),
            early_resets: Cell::new(0),
            abuse: Notify::new(),
            signals: OnceCell::new(),
            last: Notify::new(),
            limiters: RefCell::default(),
            client_text: OnceCell::new(),
            certificate_text: OnceCell::new(),
        }
    }

    /// This connection's own buckets of a limit that each connection has for itself.
    pub fn limiter(&self, shared: &Arc<LocalLimiter>) -> Rc<LocalLimiter> {
        let mut limiters = self.limiters.borrow_mut();
        if let Some((_, own)) = limiters.iter().find(|(it, _)| Arc::ptr_eq(it, shared)) {
            return Rc::clone(own);
        }
        let own = Rc::new(shared.anew(Instant::now()));
        limiters.push((Arc::clone(shared), Rc::clone(&own)));
        own
    }

    /// The client's address.
    pub fn client(&self) -> SocketAddr {
        self.facts.client.0
    }

    pub(crate) fn begin_stream(&self) {
        if let Some(signals) = self.signals.get() {
            signals.begin();
        }
        self.streams.set(self.streams.get().saturating_add(1));
        self.requests.set(self.requests.get().saturating_add(1));
    }

    /// `reset`: the client gave the stream up.
    pub(crate) fn end_stream(&self, age: Duration, reset: bool) {
        self.streams.set(self.streams.get().saturating_sub(1));
        if self.streams.get() == 0 {
            self.idle_since.set(Instant::now());
        }
        self.closed.set(self.closed.get().saturating_add(1));
        if let Some(signals) = self.signals.get() {
            signals.end();
        }
        if reset && age < EARLY {
            let early = self.early_resets.get().saturating_add(1);
            self.early_resets.set(early);
            if self.closed.get() >= RESET_SAMPLE && early >= self.closed.get() / 2 {
                self.abuse.notify_one();
            }
        }
    }

    /// Whether an answer tells an HTTP/1.1 client that it is the connection's last.
    pub(crate) fn is_last(&self) -> bool {
        let limit = self.chain.manager.max_requests_per_connection;
        self.draining.get() || limit.is_some_and(|limit| self.requests.get() >= limit)
    }

    /// Whether overload ends the connection with this answer. An HTTP/2 connection is told here.
    pub(crate) fn overloaded(&self, http2: bool) -> bool {
        let ends = (self.chain.overload.as_ref())
            .is_some_and(|it| it.ends_connection(&self.chain.worker.recorder));
        if ends && http2 {
            self.last.notify_one();
        }
        ends
    }

    /// A time limit as overload leaves it.
    pub(crate) fn scaled(&self, which: ScaledTime, limit: Duration) -> Duration {
        match &self.chain.overload {
            Some(overload) => overload.state.time(which, limit),
            None => limit,
        }
    }

    /// Answers tell clients from now on that they are the connection's last.
    pub(super) fn drain(&self) {
        self.draining.set(true);
    }

    pub(super) fn drains(&self) -> bool {
        self.draining.get()
    }

    /// Resolves when overload ended the connection with an answer.
    pub(super) async fn ended(&self) {
        self.last.notified().await;
    }

    /// Resolves when the client must be cut off.
    pub(super) async fn abused(&self) {
        self.abuse.notified().await;
    }

    /// Since when no request has been under way; now, while one is.
    pub(super) fn quiet_since(&self) -> Instant {
        match self.streams.get() {
            0 => self.idle_since.get(),
            _ => Instant::now(),
        }
    }

    /// When the connection has been idle for its limit, at the earliest.
    pub(super) fn idle_deadline(&self) -> Option<Instant> {
        let manager = &self.chain.manager;
        let limit = self.scaled(ScaledTime::ConnectionIdle, manager.idle_timeout?);
        // A head that has begun to come has a limit of its own, and an answer when it is over.
        let head = match self.signals.get() {
            Some(signals) if !signals.is_at_rest() => manager.request_headers_timeout,
            _ => None,
        };
        self.quiet_since()
            .checked_add(limit)?
            .checked_add(head.unwrap_or_default())
    }

    pub(super) fn is_idle_since(&self, now: Instant) -> bool {
        self.streams.get() == 0 && self.idle_deadline().is_some_and(|at| at <= now)
    }

    /// Whether nothing has been under way for so long, and nothing has begun to come.
    pub(super) fn rests(&self, time: Duration, now: Instant) -> bool {
        let quiet = now.saturating_duration_since(self.quiet_since());
        quiet >= time
            && self
                .signals
                .get()
                .is_some_and(|signals| signals.is_at_rest())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(counters) = &self.chain.counters {
            counters.disconnected(self.chain.manager.codec == CodecType::Http3);
        }
    }
}

/// Serves a connection until it ends. `handle` answers one request; it is dropped when the client goes away.
pub async fn serve_connection<I, H, F, B>(
    io: I,
    connection: Rc<Connection>,
    mut drain: impl DrainSignal,
    handle: H,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Rc<Connection>, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let known = match connection.chain.manager.codec {
        CodecType::Auto | CodecType::Http3 => connection.facts.protocol,
        CodecType::Http1 => Some(KnownProtocol::Http1),
        CodecType::Http2 => Some(KnownProtocol::Http2),
    };
    let detected = match known {
        Some(known) => Some((known, Rewind::new(bytes::Bytes::new(), io))),
        None => tokio::select! {
            detected = Box::pin(detect(io, &connection)) => detected,
            () = drain.closing() => None,
        },
    };
    let Some((protocol, mut io)) = detected else {
        return;
    };
    let overload = connection.chain.overload.as_ref();
    if overload.is_some_and(|it| it.sheds(ShedPoint::Codec)) {
        return;
    }
    let mut life = Life::new(&connection, drain, protocol == KnownProtocol::Http1);
    if protocol == KnownProtocol::Http2 {
        return Box::pin(serve_http2(io, &connection, life, handle)).await;
    }
    let handle = Rc::new(handle);
    // What hyper needs for requests is on the heap, and given back while none come for a while.
    while let Some(resting) = Box::pin(serve_http1(io, &connection, &mut life, &handle)).await {
        match life.rest(resting).await {
            Some(begun) => io = begun,
            None => return,
        }
    }
}

/// Serves requests until the connection ends, or rests: then it is given back.
async fn serve_http1<I, D, H, F, B>(
    io: Rewind<I>,
    connection: &Rc<Connection>,
    life: &mut Life<'_, D>,
    handle: &Rc<H>,
) -> Option<I>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: DrainSignal,
    H: Fn(Rc<Connection>, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let guard = guard(io, connection);
    let left = guard.left();
    let (shared, handle) = (Rc::clone(connection), Rc::clone(handle));
    let service = service_fn(move |request| {
        let answer = handle(Rc::clone(&shared), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut rests = false;
    {
        let server = http1_builder(&connection.chain.manager)
            .serve_connection(TokioIo::new(guard), service)
            .with_upgrades();
        let mut server = pin!(server);
        match life.watch(server.as_mut()).await {
            Turn::Done(outcome) => {
                note_end(connection, outcome);
            }
            Turn::Shut => {
                server.as_mut().graceful_shutdown();
                note_end(connection, server.await);
            }
            Turn::Abused => {}
            Turn::Rest => rests = true,
        }
    }
    let left = left()?;
    if rests {
        return Some(left.io.into_parts().1);
    }
    if left.refusal.is_some() || left.unread {
        Box::pin(refuse(left.io, left.refusal, connection)).await;
    }
    None
}

fn guard<I>(io: I, connection: &Connection) -> Guard<I> {
    let signals = Arc::clone(connection.signals.get_or_init(Arc::default));
    let manager = &connection.chain.manager;
    Guard::new(
        io,
        signals,
        head_rules(manager),
        manager.request_headers_timeout,
        manager.proxy_100_continue,
    )
}

async fn serve_http2<I, D, H, F, B>(
    io: Rewind<I>,
    connection: &Rc<Connection>,
    mut life: Life<'_, D>,
    handle: H,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: DrainSignal,
    H: Fn(Rc<Connection>, Request<Incoming>) -> F + 'static,
    F: Future<Output = Response<B>> + 'static,
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let shared = Rc::clone(connection);
    let service = service_fn(move |request| {
        let answer = handle(Rc::clone(&shared), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let io = FrameBudget::new(io, connection.chain.manager.http2.floods);
    let left = io.left();
    let broken = {
        let server = http2_builder(connection).serve_connection(TokioIo::new(io), service);
        let mut server = pin!(server);
        match life.watch(server.as_mut()).await {
            Turn::Done(outcome) => note_end(connection, outcome),
            Turn::Shut => {
                server.as_mut().graceful_shutdown();
                note_end(connection, server.await)
            }
            Turn::Abused | Turn::Rest => false,
        }
    };
    if broken && let Some(io) = left() {
        Box::pin(refuse(*io, None, connection)).await;
    }
}

/// Whether a connection ended before its time.
fn note_end(connection: &Connection, outcome: Result<(), hyper::Error>) -> bool {
    match outcome {
        Ok(()) => false,
        Err(error) => {
            tracing::debug!(client = %connection.client(), %error, "downstream connection ended");
            true
        }
    }
}

fn head_rules(manager: &HttpManager) -> HeadRules {
    HeadRules {
        max_bytes: manager.max_headers_bytes,
        max_headers: manager.max_headers_count as usize,
        accept_http_10: manager.http1.accept_http_10,
        allow_chunked_length: manager.http1.allow_chunked_length,
        allow_custom_methods: manager.http1.allow_custom_methods,
    }
}

/// Sizes, times and framing are the guard's to judge.
fn http1_builder(manager: &HttpManager) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(manager.max_headers_count as usize)
        .max_buf_size(BUFFER.max(manager.max_headers_bytes + 8192))
        .preserve_header_case(manager.http1.case == HeaderCase::Preserve)
        .title_case_headers(manager.http1.case == HeaderCase::Title);
    builder
}

fn http2_builder(connection: &Connection) -> http2::Builder<LocalExec> {
    let manager = &connection.chain.manager;
    let two = &manager.http2;
    let mut builder = http2::Builder::new(LocalExec);
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(manager.max_headers_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(manager.http2.max_concurrent_streams.unwrap_or(MAX_STREAMS))
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .initial_stream_window_size(two.initial_stream_window.unwrap_or(STREAM_WINDOW))
        .initial_connection_window_size(two.initial_connection_window.unwrap_or(CONNECTION_WINDOW))
        .max_send_buf_size(SEND_BUFFER);
    if let Some(keepalive) = two.keepalive {
        builder
            .keep_alive_interval(keepalive.interval)
            .keep_alive_timeout(keepalive.timeout);
    }
    if two.allow_connect {
        builder.enable_connect_protocol();
    }
    builder
}

/// Runs HTTP/2 streams on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExec;

impl<F> hyper::rt::Executor<F> for LocalExec
where
    F: Future + 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// Reads until the first bytes are no HTTP/2 preface any more, or all of it.
async fn detect<I>(mut io: I, connection: &Connection) -> Option<(KnownProtocol, Rewind<I>)>
where
    I: AsyncRead + Unpin,
{
    let manager = &connection.chain.manager;
    let limit = manager.request_headers_timeout.or(manager.idle_timeout);
    let mut head = bytes::BytesMut::with_capacity(PREFACE.len());
    let read = async {
        loop {
            // The buffer is as long as the preface: no more than that is taken from the stream.
            let mut limited = (&mut io).take((PREFACE.len() - head.len()) as u64);
            let count = limited.read_buf(&mut head).await.ok()?;
            if !PREFACE.starts_with(&head) {
                return Some(KnownProtocol::Http1);
            }
            if head.len() == PREFACE.len() {
                return Some(KnownProtocol::Http2);
            }
            if count == 0 {
                return None;
            }
        }
    };
    let protocol = match limit {
        Some(limit) => tokio::time::timeout(limit, read).await.ok().flatten(),
        None => read.await,
    }?;
    Some((protocol, Rewind::new(head.freeze(), io)))
}
