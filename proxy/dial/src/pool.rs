//! Pools of one worker.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ahash::RandomState;
use http::{Request, Response, Version};
use http_body::Body;
use lateen_proxy_model::{
    ActiveHealth, Cluster, ClusterRef, Dial, Endpoint, EndpointSet, HttpProtocol, ResetReason,
    SendFailure, Target, UpstreamConnection, UpstreamSource,
};
use tokio::sync::oneshot;

use crate::body::ResponseBody;
use crate::guard::{PoolGuard, RequestGuard};
use crate::http1::{self, Http1};
use crate::http2::{self, Http2};
use crate::raw;
use crate::sweep;

/// The upstream connections of one worker. `B` is the body of requests.
pub struct Pools<B> {
    pub(crate) inner: Rc<Inner<B>>,
}

pub(crate) struct Inner<B> {
    pub(crate) pools: RefCell<HashMap<Key, Rc<Pool<B>>, RandomState>>,
    pub(crate) sweeping: Cell<bool>,
    /// Whether endpoints speak HTTP/2, as handshakes agreed on it, where clusters leave it to them.
    pub(crate) learned: RefCell<HashMap<Key, bool, RandomState>>,
}

/// What two requests must share to share connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    cluster: u64,
    endpoint: u64,
    transport: usize,
    http2: bool,
    istio_alpn: bool,
    /// Only where the host goes into the handshake.
    host: Option<Box<str>>,
    /// Only where the PROXY protocol says who the client is.
    downstream: Option<(SocketAddr, SocketAddr)>,
    source: Option<UpstreamSource>,
    high: bool,
    /// Only where every downstream connection has its own.
    connection: u64,
}

/// Tells a request that waits for an HTTP/2 connection how it went.
pub(crate) type Joining = oneshot::Sender<Result<(), SendFailure>>;

/// The connections of one key.
pub(crate) struct Pool<B> {
    pub(crate) slot: ClusterRef,
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) cluster: RefCell<Arc<Cluster>>,
    /// Counts changes of the cluster: connections made before one are not used again.
    pub(crate) generation: Cell<u64>,
    /// The endpoints among which this pool's own was last seen.
    pub(crate) seen: RefCell<Option<Arc<EndpointSet>>>,
    /// Connections open or being opened.
    pub(crate) open: Cell<u32>,
    /// Idle HTTP/1.1 connections, the latest used last.
    pub(crate) idle: RefCell<Vec<Http1<B>>>,
    /// Requests that wait for an HTTP/1.1 connection; `None` tells one to look again.
    pub(crate) waiting: RefCell<VecDeque<oneshot::Sender<Option<Http1<B>>>>>,
    /// HTTP/2 connections that take new streams.
    pub(crate) shared: RefCell<Vec<Rc<Http2<B>>>>,
    /// Requests that wait for the HTTP/2 connection under way, which exists while this is `Some`.
    pub(crate) joining: RefCell<Option<Vec<Joining>>>,
    /// For requests of high priority.
    pub(crate) high: bool,
    _counted: PoolGuard,
}

impl<B> Default for Pools<B> {
    fn default() -> Self {
        Self {
            inner: Rc::new(Inner {
                pools: RefCell::default(),
                sweeping: Cell::new(false),
                learned: RefCell::default(),
            }),
        }
    }
}

impl<B> fmt::Debug for Pools<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools")
            .field("pools", &self.inner.pools.borrow().len())
            .finish()
    }
}

impl<B> Dial<B> for Pools<B>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Body = ResponseBody<B>;

    async fn send(
        &self,
        target: Target<'_>,
        request: Request<B>,
    ) -> Result<(Response<ResponseBody<B>>, Arc<UpstreamConnection>), SendFailure> {
        if let Some(raw) = request.extensions().get().copied() {
            note_use(&target);
            return Box::pin(raw::send(target, request, raw)).await;
        }
        let Ok(counted) = RequestGuard::enter(target.cluster, target.high) else {
            return Err(overflow());
        };
        let auto = target.cluster.http == HttpProtocol::Auto;
        let version = match auto {
            true => Box::pin(self.agreed(&target)).await?,
            false => upstream_version(&target),
        };
        let Some(pool) = self.pool(&target, version) else {
            return Err(SendFailure {
                reason: ResetReason::NoPool,
                ..overflow()
            });
        };
        note_use(&target);
        let sent = match version {
            Version::HTTP_2 => http2::send(pool, target, request, counted).await,
            _ => http1::send(pool, target, request, counted).await,
        };
        if auto && sent.is_err() {
            // The endpoint may have changed its mind.
            self.forget(&target);
        }
        sent
    }
}

impl<B: 'static> Pools<B> {
    /// Connections open now, in all pools.
    pub fn open(&self) -> usize {
        let pools = self.inner.pools.borrow();
        pools.values().map(|pool| pool.open.get() as usize).sum()
    }

    /// `None` when there are too many pools.
    pub(crate) fn pool(&self, target: &Target<'_>, version: Version) -> Option<Rc<Pool<B>>> {
        let key = self.key(target, version);
        if let Some(pool) = self.inner.pools.borrow().get(&key) {
            pool.renew(target.cluster);
            return Some(Rc::clone(pool));
        }
        let counted = PoolGuard::enter(target.cluster, target.high)?;
        let pool = Rc::new(Pool {
            slot: Arc::clone(target.slot),
            endpoint: Arc::clone(target.endpoint),
            cluster: RefCell::new(Arc::clone(target.cluster)),
            generation: Cell::new(0),
            seen: RefCell::default(),
            open: Cell::new(0),
            idle: RefCell::default(),
            waiting: RefCell::default(),
            shared: RefCell::default(),
            joining: RefCell::default(),
            high: target.high,
            _counted: counted,
        });
        self.inner.pools.borrow_mut().insert(key, Rc::clone(&pool));
        sweep::start(&self.inner);
        Some(pool)
    }

    /// What requests must share with this one to share its connections.
    pub(crate) fn key(&self, target: &Target<'_>, version: Version) -> Key {
        let (transport, tls) = target.cluster.transport(&target.endpoint.metadata);
        let named = tls.is_some_and(|tls| tls.auto_sni || tls.auto_san);
        Key {
            cluster: target.slot.id(),
            endpoint: target.endpoint.id,
            transport,
            http2: version == Version::HTTP_2,
            istio_alpn: target.istio_alpn,
            host: target.host.filter(|_| named).map(Into::into),
            downstream: (target.cluster.proxy_protocol).and(target.downstream_addresses),
            source: target.source,
            high: target.high,
            connection: match target.cluster.options.per_downstream {
                true => target.connection,
                false => 0,
            },
        }
    }
}

impl<B> Pool<B> {
    /// Connections of an earlier value of the cluster finish what they carry and are not used again.
    fn renew(&self, cluster: &Arc<Cluster>) {
        if Arc::ptr_eq(&self.cluster.borrow(), cluster) {
            return;
        }
        self.cluster.replace(Arc::clone(cluster));
        self.generation.set(self.generation.get().wrapping_add(1));
        self.clear();
    }

    /// Closes idle connections and takes no new streams on the shared ones.
    pub(crate) fn clear(&self) {
        let idle = self.idle.take();
        let shared = self.shared.take();
        drop((idle, shared));
    }

    /// Active checks fail, and connections are to end then.
    fn has_failed(&self) -> bool {
        self.cluster.borrow().options.close_on_failure
            && self.endpoint.found.has(ActiveHealth::FAILED)
    }

    /// When a connection made now takes no more requests.
    pub(crate) fn until(&self) -> Option<Instant> {
        let cluster = self.cluster.borrow();
        let longest = cluster.options.max_duration?;
        let more = cluster.options.max_duration_jitter / 100.0 * fastrand::f64();
        Some(Instant::now() + longest + longest.mul_f64(more))
    }

    /// Closes what has been idle for too long, and what the other side closed.
    pub(crate) fn expire(&self, now: Instant) {
        let limit = self.cluster.borrow().idle_timeout;
        if self.has_failed() {
            self.clear();
        }
        let fresh = |since: Instant| limit.is_none_or(|limit| now.duration_since(since) < limit);
        let mut idle = self.idle.take();
        idle.retain(|entry| !entry.is_closed() && !entry.is_old(now) && fresh(entry.since));
        idle.append(&mut self.idle.borrow_mut());
        self.idle.replace(idle);
        let mut shared = self.shared.take();
        shared.retain(|entry| {
            let usable = !entry.is_closed() && !entry.is_old(now);
            usable && (entry.is_busy() || fresh(entry.since.get()))
        });
        shared.append(&mut self.shared.borrow_mut());
        self.shared.replace(shared);
    }
}

/// A cluster that is used is checked more often; a plain load first, as the line is shared.
fn note_use(target: &Target<'_>) {
    let shared = &target.cluster.shared;
    if shared.used.load(Ordering::Relaxed) == 0 {
        shared.used.store(1, Ordering::Relaxed);
    }
}

/// A circuit breaker's limit is reached.
pub(crate) fn overflow() -> SendFailure {
    SendFailure {
        reason: ResetReason::Overflow,
        transport: None,
        started: false,
        connection: None,
    }
}

fn upstream_version(target: &Target<'_>) -> Version {
    match (&target.cluster.http, target.downstream) {
        (HttpProtocol::Http2, _) | (HttpProtocol::Downstream, Version::HTTP_2) => Version::HTTP_2,
        _ => Version::HTTP_11,
    }
}
