//! A proxy's HTTP side and an upstream on one thread.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lateen_proxy_balance::Balancer;
use lateen_proxy_dial::Pools;
use lateen_proxy_model::*;
use lateen_proxy_relay::http::{
    Connection, ConnectionFacts, DrainSignal, HttpChain, RequestBody, Shedding, Upstreams, Worker,
    serve_connection,
};
use lateen_proxy_telemetry::{
    AccessLog, Format, LogSinks, Metrics, MetricsConfig, Peer, PeerFields, Side,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) type UpstreamBody = UnsyncBoxBody<Bytes, std::io::Error>;
pub(crate) type Answer = Pin<Box<dyn Future<Output = Response<UpstreamBody>>>>;

/// What the log shows of a request, in this order.
const LOG: &str =
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_RECEIVED% %BYTES_SENT%";

/// Runs `test` on a worker's runtime.
pub(crate) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(Duration::from_secs(30), test())
            .await
            .expect("the test ends in time");
    });
}

/// A proxy with one route table.
pub(crate) struct Mesh {
    pub(crate) address: SocketAddr,
    pub(crate) drain: watch::Sender<u8>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pools: Rc<Pools<RequestBody>>,
    pub(crate) served: Rc<Cell<usize>>,
    log: tempfile::NamedTempFile,
    sinks: LogSinks,
}

struct Phases(watch::Receiver<u8>);

impl DrainSignal for Phases {
    async fn draining(&mut self) {
        self.reach(1).await;
    }

    async fn closing(&mut self) {
        self.reach(2).await;
    }
}

impl Phases {
    async fn reach(&mut self, phase: u8) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Mesh {
    /// A proxy with these routes and this connection manager.
    pub(crate) async fn start(routes: Vec<Route>, change: impl FnOnce(&mut HttpManager)) -> Self {
        Self::start_side(routes, Side::Outbound, change).await
    }

    pub(crate) async fn start_side(
        routes: Vec<Route>,
        side: Side,
        change: impl FnOnce(&mut HttpManager),
    ) -> Self {
        Self::start_tls(routes, side, None, change).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_tls(
        routes: Vec<Route>,
        side: Side,
        tls: Option<Arc<ServerTls>>,
        change: impl FnOnce(&mut HttpManager),
    ) -> Self {
        Self::start_shedding(routes, side, (tls, None), change).await
    }

    /// The same in a process that may be overloaded.
    pub(crate) async fn start_shedding(
        routes: Vec<Route>,
        side: Side,
        (tls, overload): (Option<Arc<ServerTls>>, Option<Shedding>),
        change: impl FnOnce(&mut HttpManager),
    ) -> Self {
        let mut manager = manager(table(routes));
        change(&mut manager);
        let metrics = metrics();
        let own = PeerFields {
            workload: "proxy-v1".into(),
            ..PeerFields::default()
        };
        let own = lateen_proxy_relay::http::OwnMetadata::new("me", &own);
        let mut worker = Worker::new(metrics.recorder(), own);
        worker.overload = overload;
        let worker = Rc::new(worker);
        let log = tempfile::NamedTempFile::new().unwrap();
        let sinks = LogSinks::new(metrics.stats().counter("dropped"));
        let sink = sinks.open(log.path().to_str().unwrap()).unwrap();
        let format = Arc::new(Format::text(&format!("{LOG}\n")).unwrap());
        let logs = vec![AccessLog::new(format, sink.writer())];
        let chain = Rc::new(HttpChain::new(Arc::new(manager), worker, side, logs));
        let pools = Rc::new(Pools::default());
        let upstreams = Upstreams {
            balance: Rc::new(Balancer::system(Instant::now())),
            dial: Rc::clone(&pools),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (drain, phase) = watch::channel(0);
        let served = Rc::new(Cell::new(0));
        let ended = Rc::clone(&served);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, client) = listener.accept().await.unwrap();
                let mut facts = facts(client, address);
                let (chain, upstreams) = (Rc::clone(&chain), upstreams.clone());
                let (phases, ended) = (Phases(phase.clone()), Rc::clone(&ended));
                let tls = tls.clone();
                let handle = move |connection, request| {
                    crate::request::handle(upstreams.clone(), connection, request)
                };
                tokio::task::spawn_local(async move {
                    match tls {
                        None => {
                            let connection = Rc::new(Connection::new(chain, facts));
                            serve_connection(stream, connection, phases, handle).await;
                        }
                        // On the heap: connections without TLS keep no room for it.
                        Some(tls) => {
                            Box::pin(async move {
                                // A client that refuses our certificate ends the handshake.
                                let Ok((stream, peer, handshake)) =
                                    lateen_proxy_tls::accept(&tls, stream, None).await
                                else {
                                    return;
                                };
                                let agreed = stream.get_ref().1.alpn_protocol();
                                assert!(agreed.is_some(), "the client offers what istio.alpn says");
                                facts.tls = true;
                                facts.peer = peer;
                                facts.handshake = Some(Arc::new(handshake));
                                facts.sni = stream.get_ref().1.server_name().map(Into::into);
                                let connection = Rc::new(Connection::new(chain, facts));
                                serve_connection(stream, connection, phases, handle).await;
                            })
                            .await
                        }
                    }
                    ended.set(ended.get() + 1);
                });
            }
        });
        Self {
            address,
            drain,
            metrics,
            pools,
            served,
            log,
            sinks,
        }
    }

    /// An HTTP/1.1 connection to the proxy.
    pub(crate) async fn http1<B>(&self) -> hyper::client::conn::http1::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::task::spawn_local(driver.with_upgrades());
        sender
    }

    /// An HTTP/2 connection to the proxy.
    pub(crate) async fn http2<B>(&self) -> hyper::client::conn::http2::SendRequest<B>
    where
        B: http_body::Body<Data = Bytes> + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (sender, driver) = hyper::client::conn::http2::handshake(Local, TokioIo::new(stream))
            .await
            .unwrap();
        tokio::task::spawn_local(driver);
        sender
    }

    /// One GET with these headers: status, headers and body of the answer.
    pub(crate) async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let mut request = Request::get(path).header("host", "app");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        collect(self.http1().await.send_request(request).await.unwrap()).await
    }

    /// Lines of the access log, once there are `count`.
    pub(crate) async fn log(&self, count: usize) -> Vec<String> {
        loop {
            self.sinks.flush();
            let text = std::fs::read_to_string(self.log.path()).unwrap();
            if text.lines().count() >= count {
                return text.lines().map(str::to_owned).collect();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

fn metrics() -> Arc<Metrics> {
    Metrics::new(MetricsConfig {
        local: Arc::new(Peer::new(PeerFields::default())),
        principal: None,
        version: "test".into(),
        max_series: 100,
    })
}

fn facts(client: SocketAddr, local: SocketAddr) -> ConnectionFacts {
    ConnectionFacts {
        source: None,
        client: ClientAddr(client),
        direct: client,
        proxied: None,
        local: LocalAddr(local),
        destination: OriginalDst(local),
        peer: None,
        tls: false,
        handshake: None,
        sni: None,
        protocol: None,
    }
}

pub(crate) async fn collect(response: Response<Incoming>) -> Response<Bytes> {
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

/// An upstream whose answers `answer` gives; what it was asked is kept.
#[derive(Clone)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Rc<RefCell<Vec<http::request::Parts>>>,
    pub(crate) connections: Rc<Cell<usize>>,
}

impl Upstream {
    pub(crate) async fn start<F>(http2: bool, answer: F) -> Self
    where
        F: Fn(Request<Incoming>, usize) -> Answer + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            seen: Rc::default(),
            connections: Rc::default(),
        };
        let (own, answer) = (this.clone(), Rc::new(answer));
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                own.connections.set(own.connections.get() + 1);
                let (seen, answer) = (Rc::clone(&own.seen), Rc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    seen.borrow_mut().push(parts.clone());
                    let turn = seen.borrow().len() - 1;
                    let answer = answer(Request::from_parts(parts, body), turn);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let io = TokioIo::new(stream);
                tokio::task::spawn_local(async move {
                    let _ = match http2 {
                        true => {
                            hyper::server::conn::http2::Builder::new(Local)
                                .serve_connection(io, service)
                                .await
                        }
                        false => {
                            hyper::server::conn::http1::Builder::new()
                                .serve_connection(io, service)
                                .with_upgrades()
                                .await
                        }
                    };
                });
            }
        });
        this
    }

    /// Answers with these statuses in turn, the last one for ever; the body is the status.
    pub(crate) async fn statuses(statuses: &'static [u16]) -> Self {
        Self::start(false, move |_, turn| {
            let status = statuses.get(turn).or(statuses.last()).copied().unwrap();
            Box::pin(async move { text(status, &status.to_string()) })
        })
        .await
    }

    pub(crate) fn asked(&self) -> usize {
        self.seen.borrow().len()
    }

    pub(crate) fn header(&self, turn: usize, name: &str) -> Option<String> {
        let seen = self.seen.borrow();
        let value = seen.get(turn)?.headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    }

    /// A cluster with this upstream as its only endpoint.
    pub(crate) fn cluster(&self) -> Cluster {
        cluster(&[self.address])
    }
}

pub(crate) fn text(status: u16, body: &str) -> Response<UpstreamBody> {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let mut response = Response::new(boxed(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

pub(crate) fn boxed<B>(body: B) -> UpstreamBody
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    body.map_err(|error| std::io::Error::other(error.to_string()))
        .boxed_unsync()
}

pub(crate) fn cluster(addresses: &[SocketAddr]) -> Cluster {
    let endpoint = |address: &SocketAddr| {
        let metadata = EndpointMetadata::default();
        Arc::new(Endpoint::new(*address, 1, Health::Healthy, metadata))
    };
    let set = EndpointSet::new(vec![LocalityEndpoints {
        locality: Default::default(),
        priority: 0,
        weight: 0,
        endpoints: addresses.iter().map(endpoint).collect(),
    }]);
    let kind = ClusterKind::Endpoints(Slot::filled("app", Arc::new(set)));
    Cluster {
        panic_threshold: 0,
        connect_timeout: Duration::from_secs(1),
        http: HttpProtocol::Downstream,
        idle_timeout: None,
        service: ServiceInfo {
            host: "app.default.svc.cluster.local".into(),
            name: "app".into(),
            namespace: "default".into(),
            external: false,
        },
        ..Cluster::new("outbound|80||app.default.svc.cluster.local", kind)
    }
}

pub(crate) fn slot(cluster: Cluster) -> ClusterRef {
    Slot::filled(Arc::clone(&cluster.name), Arc::new(cluster))
}

pub(crate) fn to(slot: ClusterRef) -> RouteForward {
    RouteForward::to(ClusterChoice::One(slot))
}

pub(crate) fn route(forward: RouteForward) -> Route {
    acting(RouteAction::Forward(Box::new(forward)))
}

pub(crate) fn acting(action: RouteAction) -> Route {
    Route {
        tracing: None,
        name: "default".into(),
        matches: RouteMatch::on(PathMatcher::Prefix {
            value: "/".into(),
            ignore_case: false,
        }),
        action,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        overrides: Overrides::NONE,
        cors: None,
        metadata: None,
    }
}

fn table(routes: Vec<Route>) -> RouteTable {
    RouteTable {
        hosts: vec![Arc::new(VirtualHost {
            name: "any".into(),
            routes: routes.into_iter().map(Arc::new).collect(),
            include_attempt_count: true,
            ..VirtualHost::default()
        })],
        any: Some(0),
        ..RouteTable::default()
    }
}

pub(crate) fn retry(on: RetryOn, retries: u32) -> Option<Arc<RetryPolicy>> {
    Some(Arc::new(RetryPolicy {
        on,
        retries,
        avoid_previous_hosts: true,
        avoid_labels: Vec::new(),
        avoid_priorities: None,
        host_selection_attempts: 5,
        backoff: Backoff {
            base: Duration::from_millis(2),
            max: Duration::from_millis(10),
        },
        ..RetryPolicy::default()
    }))
}

fn manager(table: RouteTable) -> HttpManager {
    HttpManager {
        request_id: RequestIdTracing::default(),
        tracing: None,
        stat_prefix: "test".into(),
        routes: RouteSource::Inline(Arc::new(table)),
        filters: vec![
            FilterEntry::new("grpc_stats", HttpFilter::GrpcStats),
            FilterEntry::new("fault", HttpFilter::Fault(None)),
            FilterEntry::new("cors", HttpFilter::Cors),
            FilterEntry::new(
                "istio.stats",
                HttpFilter::Stats(StatsFilter {
                    host_header_fallback: true,
                    ..StatsFilter::default()
                }),
            ),
        ],
        server_name: Some(HeaderValue::from_static("istio-envoy")),
        use_remote_address: false,
        xff_trusted_hops: 0,
        forward_client_cert: ForwardClientCert::Sanitize,
        xfcc: XfccDetails::default(),
        paths: PathNormalization {
            normalize: true,
            merge_slashes: false,
            unescape_slashes: false,
        },
        reject_fragment: false,
        generate_request_id: true,
        preserve_external_request_id: false,
        upgrades: vec!["websocket".into()],
        proxy_100_continue: true,
        codec: Default::default(),
        http1: Default::default(),
        http2: Default::default(),
        http3: Default::default(),
        max_headers_bytes: 60 * 1024,
        max_headers_count: 100,
        delayed_close: Some(Duration::from_secs(1)),
        stream_idle_timeout: None,
        request_timeout: None,
        request_headers_timeout: None,
        idle_timeout: None,
        max_connection_duration: None,
        max_requests_per_connection: None,
        log_moments: Default::default(),
        access_log: Vec::new(),
        max_stream_duration: None,
        head: HeadOptions::default(),
        router: RouterOptions::default(),
    }
}
