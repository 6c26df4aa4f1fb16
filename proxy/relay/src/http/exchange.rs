//! One request and its answer: what is known of it, told to telemetry when it ends, however it ends.

use std::any::Any;
use std::borrow::Cow;
use std::cell::Cell;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri, Version};
use lateen_proxy_model::{
    ActiveRequest, ClusterRef, DynamicMetadata, PeerView, RequestFacts, Route, RouteStats,
    SessionHost, UpstreamConnection,
};
use lateen_proxy_telemetry::{
    Exchange as ExchangeRecord, Flags, HttpRecord, LogType, Peer, Protocol, Side,
};
use serde_json::{Map, Value};

use super::anew::Anew;
use super::changed::{AnswerChanges, BodyLink};
use super::connection::Connection;
use super::counters::Ended;
use super::grpc::MessageCounter;
use super::peer::Exchanged;
use super::reply::LocalReply;
use super::request_body::{Progress, ReplayOwner};
use super::route_counters::RouteEnded;
use super::switches::{On, Switch};
use super::trace::MaybeTraced;
use super::upgrade::Upgrade;
use super::worker::KnownCluster;

static NO_METADATA: DynamicMetadata = DynamicMetadata::NONE;

/// One request on its way through. Dropped before an answer was made, it tells that the client went away.
#[derive(Debug)]
pub struct Exchange {
    pub(crate) conn: Rc<Connection>,
    start: SystemTime,
    pub(crate) begun: Instant,
    pub(crate) method: Method,
    uri: Uri,
    pub(crate) authority: HeaderValue,
    pub(crate) version: Version,
    /// The request has no body.
    pub bodiless: bool,
    pub(crate) grpc: bool,
    /// The client, as forwarding headers or the connection say.
    pub(crate) remote: SocketAddr,
    request_headers: Vec<(HeaderName, HeaderValue)>,
    response_headers: Option<HeaderMap>,
    response_trailers: Option<HeaderMap>,
    pub(crate) flags: Flags,
    pub(crate) details: Option<Cow<'static, str>>,
    pub(crate) transport: Option<Arc<str>>,
    pub(crate) cluster: Option<Rc<KnownCluster>>,
    pub(crate) active: Option<ActiveRequest>,
    pub(crate) upstream: Option<Arc<UpstreamConnection>>,
    upstream_host: Option<SocketAddr>,
    route: Option<Arc<Route>>,
    /// Where the request is counted beside its cluster, and as what.
    counted: Option<(Arc<RouteStats>, usize)>,
    pub(crate) peer: Option<Arc<Peer>>,
    pub(crate) exchanged: Exchanged,
    /// Switches of the chain that are on for the route.
    pub(crate) on: On,
    pub(crate) attempts: u32,
    pub(crate) status: Cell<u16>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) progress: Option<Rc<Progress>>,
    /// Body bytes that arrived, where a filter changes the body.
    arrived: Option<Rc<Cell<u64>>>,
    pub(crate) sent: u64,
    pub(crate) sent_messages: Option<MessageCounter>,
    pub(crate) response_begun: Option<Instant>,
    /// Keeps the request's body for copies while it is under way.
    pub(crate) replay: Option<ReplayOwner>,
    /// Time from the end of the request to the end of the answer.
    pub(crate) timeout: Option<Duration>,
    /// Time without any byte.
    pub(crate) idle: Option<Duration>,
    /// Time from the begin of the request to the end of the answer.
    pub(crate) stream_limit: Option<Duration>,
    /// What counts as long as the request is under way.
    held: Option<Box<dyn Any>>,
    /// Bytes a second of the answer.
    pub(crate) rate: Option<NonZeroU64>,
    /// The client is of the inside.
    pub(crate) internal: bool,
    /// The request's id, where the answer tells it.
    pub(crate) request_id: Option<HeaderValue>,
    /// The request's headers, where changes of answers may ask for them.
    pub(crate) kept_headers: Option<Box<HeaderMap>>,
    /// An upgrade that was asked for.
    pub(crate) upgrade: Option<Box<Upgrade>>,
    /// Trailers end here.
    pub(crate) drop_trailers: bool,
    /// HTTP/1.0 without `keep-alive`: the answer is the connection's last.
    pub(crate) last: bool,
    /// The answer's end was reached; an exchange that ends before was given up by the client.
    pub(crate) complete: bool,
    health_check: bool,
    pub(crate) traced: MaybeTraced,
    /// The endpoint that the request's session wants.
    pub session: Option<Box<SessionHost>>,
    /// What filters do to the answer's body.
    pub(crate) changes: Option<Box<AnswerChanges>>,
    /// What is kept for a request that may begin anew.
    pub(crate) anew: Option<Box<Anew>>,
    /// What filters found out, for later filters, matchers and logs.
    pub metadata: DynamicMetadata,
}

impl RequestFacts for Exchange {
    fn client(&self) -> Option<SocketAddr> {
        Some(self.conn.client())
    }

    fn remote(&self) -> Option<SocketAddr> {
        Some(self.remote)
    }

    fn destination(&self) -> Option<SocketAddr> {
        Some(self.conn.facts.destination.0)
    }

    fn tls(&self) -> bool {
        self.conn.facts.tls
    }

    fn sni(&self) -> Option<&str> {
        self.conn.facts.sni.as_deref()
    }

    fn peer(&self) -> Option<PeerView<'_>> {
        self.conn.facts.peer_view()
    }

    fn metadata(&self) -> &DynamicMetadata {
        &self.metadata
    }

    fn route_metadata(&self) -> &DynamicMetadata {
        let route = self.route.as_ref();
        let metadata = route.and_then(|route| route.metadata.as_deref());
        metadata.unwrap_or(&NO_METADATA)
    }
}

impl Exchange {
    /// The client, as forwarding headers or the connection say; and both ends of the connection.
    pub fn addresses(&self) -> (SocketAddr, (SocketAddr, SocketAddr)) {
        let facts = &self.conn.facts;
        (self.remote, (facts.client.0, facts.destination.0))
    }

    /// Begins with a request's head as it came.
    pub fn begin(conn: Rc<Connection>, parts: &Parts) -> Box<Self> {
        conn.begin_stream();
        Self::on_stream(conn, parts)
    }

    /// The same on a stream that has begun.
    pub(crate) fn on_stream(conn: Rc<Connection>, parts: &Parts) -> Box<Self> {
        if let Some(counters) = &conn.chain.counters {
            counters.begin(parts.version);
        }
        let grpc = is_grpc(&parts.headers);
        let on = conn.chain.switches.on();
        let count = grpc && on.has(Switch::GrpcStats);
        let client = conn.client();
        Box::new(Self {
            start: SystemTime::now(),
            begun: Instant::now(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            authority: HeaderValue::from_static(""),
            version: parts.version,
            bodiless: false,
            grpc,
            remote: client,
            request_headers: Vec::new(),
            response_headers: None,
            response_trailers: None,
            flags: Flags::NONE,
            details: None,
            transport: None,
            cluster: None,
            active: None,
            upstream: None,
            upstream_host: None,
            route: None,
            counted: None,
            peer: None,
            exchanged: Exchanged::default(),
            on,
            attempts: 0,
            status: Cell::new(0),
            grpc_status: None,
            progress: None,
            arrived: None,
            sent: 0,
            sent_messages: count.then(MessageCounter::default),
            response_begun: None,
            replay: None,
            timeout: None,
            idle: None,
            stream_limit: None,
            held: None,
            rate: None,
            internal: false,
            request_id: None,
            kept_headers: None,
            upgrade: None,
            drop_trailers: false,
            last: parts.version < Version::HTTP_11 && !keeps_alive(&parts.headers),
            complete: false,
            metadata: (conn.facts.proxied.as_deref()).cloned().unwrap_or_default(),
            health_check: false,
            traced: None,
            session: None,
            changes: None,
            anew: None,
            conn,
        })
    }

    /// Takes over what is known of the stream from the exchange before.
    pub(crate) fn begin_as(&mut self, before: &mut Self) {
        self.start = before.start;
        self.remote = before.remote;
        self.internal = before.internal;
        self.health_check = before.health_check;
        self.request_id = before.request_id.take();
        self.exchanged = std::mem::take(&mut before.exchanged);
        self.peer.clone_from(&before.peer);
        self.last = before.last;
    }

    /// Since the stream began.
    fn age(&self) -> Duration {
        let first = self.anew.as_ref().and_then(|anew| anew.first);
        first.unwrap_or(self.begun).elapsed()
    }

    /// Where the request would have gone, for an answer made before it got there.
    pub fn meant_for(&mut self, slot: &ClusterRef) {
        self.cluster = self.conn.chain.worker.cluster(slot);
    }

    /// The connection the request came on.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.conn
    }

    pub(crate) fn route(&self) -> Option<&Arc<Route>> {
        self.route.as_ref()
    }

    pub(crate) fn start(&self) -> SystemTime {
        self.start
    }

    pub(crate) fn upstream_address(&self) -> Option<SocketAddr> {
        self.upstream_host
    }

    /// Bytes of the request's body so far.
    pub(crate) fn received(&self) -> u64 {
        let before = self.anew.as_ref().map_or(0, |anew| anew.received);
        if let Some(arrived) = &self.arrived {
            return before.saturating_add(arrived.get());
        }
        let progress = self.progress.as_deref();
        let own = progress.map_or(0, |progress| progress.received.get());
        before.saturating_add(own)
    }

    /// The request is a health check: it is not traced, and logs may leave it out.
    pub fn mark_health_check(&mut self) {
        self.health_check = true;
        self.leave_untraced();
    }

    /// Whether it is one.
    pub fn is_health_check(&self) -> bool {
        self.health_check
    }

    /// Whether the request is gRPC.
    pub fn is_grpc(&self) -> bool {
        self.grpc
    }

    /// Forgets the route, for the access log.
    pub fn leave_route(&mut self) {
        self.route = None;
    }

    /// Notes the route, for the access log.
    pub fn take_route(&mut self, route: &Arc<Route>) {
        self.route = Some(Arc::clone(route));
    }

    /// Notes where the request is counted beside its cluster, and as which kind.
    pub fn count_in(&mut self, counted: Option<(Arc<RouteStats>, usize)>) {
        self.counted = counted;
    }

    /// `Host` or `:authority`.
    pub fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// Notes that a filter has read the whole body, of so many bytes.
    pub fn read_whole(&mut self, bytes: usize) {
        self.progress = Some(Progress::whole(bytes as u64));
    }

    /// Whether the answer's trailers end here.
    pub fn drops_trailers(&self) -> bool {
        self.drop_trailers
    }

    /// Changes the method, which logs show.
    pub fn set_method(&mut self, parts: &mut Parts, method: Method) {
        self.method = method.clone();
        parts.method = method;
    }

    /// Counts of the body what arrives; a filter makes another of it.
    pub fn count_arrived(&mut self) -> Rc<Cell<u64>> {
        Rc::clone(self.arrived.get_or_insert_default())
    }

    /// Notes that a filter has read so many bytes of the body, and no more.
    pub fn read_part(&mut self, bytes: usize) {
        let progress = Progress::new(false);
        progress.received.set(bytes as u64);
        self.progress = Some(progress);
    }

    /// Leaves values for later filters, matchers and logs.
    pub fn note(&mut self, namespace: &str, values: Map<String, Value>) {
        if !values.is_empty() {
            self.metadata.merge(namespace, values);
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.uri.path_and_query().map_or("", |path| path.as_str())
    }

    /// Whether the client is of the inside, by the connection manager's list of addresses.
    pub fn is_internal(&self) -> bool {
        self.internal
    }

    /// Notes the status of the answer, for texts that name it.
    pub fn note_status(&self, status: http::StatusCode) {
        self.status.set(status.as_u16());
    }

    /// Keeps something as long as the request is under way.
    pub fn hold(&mut self, what: impl Any) {
        self.held = Some(Box::new(what));
    }

    /// Sends the answer no faster than so many bytes a second.
    pub fn slow_down(&mut self, rate: NonZeroU64) {
        self.rate = Some(rate);
    }

    /// Notes that an injected delay holds the request.
    pub fn delayed(&mut self) {
        self.flags.insert(Flags::DELAY_INJECTED);
    }

    /// Changes the host that the upstream sees, and logs show.
    pub fn set_host(&mut self, parts: &mut Parts, host: &HeaderValue) {
        parts.headers.insert(http::header::HOST, host.clone());
        self.authority = host.clone();
    }

    /// Keeps what logs show of the request, as it is now.
    pub fn keep_request(&mut self, parts: &Parts) {
        self.uri = parts.uri.clone();
        self.request_headers.clear();
        if self.conn.chain.all_headers_logged {
            let all = parts.headers.iter();
            let all = all.map(|(name, value)| (name.clone(), value.clone()));
            return self.request_headers.extend(all);
        }
        let kept = self.conn.chain.logged_headers.iter().filter_map(|name| {
            let value = parts.headers.get(name)?;
            Some((name.clone(), value.clone()))
        });
        self.request_headers.extend(kept);
        if self.conn.chain.manager.head.local_replies.is_some() {
            self.kept_headers = Some(Box::new(parts.headers.clone()));
        }
    }

    /// Logs the request before its end, where that is asked for.
    pub fn log_start(&self) {
        if self.conn.chain.manager.log_moments.start {
            self.log(LogType::Start);
        }
    }

    pub(crate) fn log(&self, log_type: LogType) {
        let record = self.record(log_type, self.age(), self.peer.as_ref());
        for log in &self.conn.chain.logs {
            log.http(&record);
        }
    }

    /// Keeps what logs show of the answer.
    pub(crate) fn keep_response(&mut self, headers: &HeaderMap) {
        if !self.conn.chain.logs.is_empty() {
            self.response_headers = Some(headers.clone());
        }
        if self.grpc {
            self.note_grpc_status(headers);
        }
    }

    /// Keeps what logs show of the answer's end.
    pub(crate) fn keep_trailers(&mut self, trailers: &HeaderMap) {
        if !self.conn.chain.logs.is_empty() {
            self.response_trailers = Some(trailers.clone());
        }
        if self.grpc {
            self.note_grpc_status(trailers);
        }
    }

    /// `grpc-status` stands in the trailers, or in the head of an answer without body.
    pub(crate) fn note_grpc_status(&mut self, headers: &HeaderMap) {
        let status = headers.get("grpc-status");
        if let Some(status) = status.and_then(|status| status.to_str().ok()) {
            self.grpc_status = status.parse().ok();
        }
    }

    /// The endpoint of the attempt in force.
    pub(crate) fn on_endpoint(&mut self, active: ActiveRequest) {
        self.upstream_host = Some(active.endpoint().address);
        self.active = Some(active);
    }

    /// The request's body broke the rules of its framing.
    pub(crate) fn is_malformed(&self) -> bool {
        (self.progress.as_ref()).is_some_and(|progress| progress.malformed.get())
    }

    /// What is answered when a filter could not read the request's body.
    pub(crate) fn unreadable(&self) -> Option<LocalReply> {
        let failure = self.progress.as_ref()?.unreadable.get()?;
        Some(LocalReply::unreadable(failure))
    }

    /// Whether the answer may hand the connection over to another protocol.
    pub fn is_upgrading(&self) -> bool {
        self.upgrade.is_some()
    }

    /// The endpoint of the last try.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.upstream_host
    }

    /// Has the answer's body go through changes, in this order. `made` is an answer made here, as filters changed it;
    /// with `emptied` nothing of the body is sent.
    pub fn change_answer(
        &mut self,
        links: Vec<BodyLink>,
        made: Option<Response<Bytes>>,
        emptied: bool,
    ) {
        if !links.is_empty() || made.is_some() || emptied {
            self.changes = Some(Box::new(AnswerChanges {
                links,
                made,
                emptied,
            }));
        }
    }

    fn report(&mut self) {
        if !self.complete {
            self.flags.insert(Flags::DOWNSTREAM_CLOSED);
            self.details = Some("downstream_remote_disconnect".into());
        }
        let duration = self.age();
        self.end_trace();
        if !self.anew.as_ref().is_some_and(|anew| anew.over) {
            self.conn.end_stream(duration, !self.complete);
        }
        self.count(duration);
        let chain = &self.conn.chain;
        let measured = chain.stats.is_some() && self.has(Switch::Stats);
        if !measured && chain.logs.is_empty() {
            return;
        }
        let peer = self.peer.clone().or_else(|| self.endpoint_peer());
        let record = self.record(LogType::End, duration, peer.as_ref());
        if measured {
            chain.worker.recorder.http(&record);
        }
        for log in &chain.logs {
            log.http(&record);
        }
    }

    /// Envoy's own counters, where they are kept.
    fn count(&self, duration: Duration) {
        let chain = &self.conn.chain;
        // A redirect that is followed is an answer to nobody.
        let over = self.anew.as_ref().is_some_and(|anew| anew.over);
        let status = if over { 0 } else { self.status.get() };
        if let Some(counters) = &chain.counters {
            counters.end(status, self.complete, duration);
        }
        let cluster = self.cluster.as_deref();
        if let Some(counters) = cluster.and_then(|cluster| cluster.counters.as_ref()) {
            let ended = Ended {
                status,
                attempts: self.attempts,
                timed_out: self.flags.contains(Flags::UPSTREAM_TIMEOUT),
                overflow: self.flags.contains(Flags::UPSTREAM_OVERFLOW),
                none_healthy: self.flags.contains(Flags::NO_HEALTHY_UPSTREAM),
                time: self.upstream_time(duration),
            };
            counters.end(chain.worker.recorder.stats(), ended);
        }
        if let (Some((stats, kind)), Some(_)) = (&self.counted, cluster) {
            let ended = RouteEnded {
                status: self.status.get(),
                attempts: self.attempts,
                sent: self.upstream.is_some(),
                timed_out: self.flags.contains(Flags::UPSTREAM_TIMEOUT),
                limited: self.flags.contains(Flags::RETRIES_EXHAUSTED),
                overflow: self.attempts > 0 && self.flags.contains(Flags::UPSTREAM_OVERFLOW),
                time: self.upstream_time(duration),
            };
            let counters = chain.worker.route(stats);
            counters.end(chain.worker.recorder.stats(), *kind, ended);
        }
    }

    /// The request as it is now.
    pub(crate) fn record_now(&self) -> HttpRecord<'_> {
        self.record(LogType::End, self.age(), self.peer.as_ref())
    }

    /// From the request's end to the end.
    fn upstream_time(&self, duration: Duration) -> Duration {
        let ended = (self.progress.as_deref()).and_then(|progress| progress.ended.get());
        let request = ended.map_or(Duration::ZERO, |ended| ended.duration_since(self.begun));
        duration.saturating_sub(request)
    }

    /// Without metadata exchange, the endpoint's own metadata says who the server is.
    fn endpoint_peer(&self) -> Option<Arc<Peer>> {
        if self.conn.chain.side == Side::Inbound {
            return None;
        }
        let active = self.active.as_ref()?;
        self.conn.chain.worker.endpoint_peer(active.endpoint())
    }

    fn record<'a>(
        &'a self,
        log_type: LogType,
        duration: Duration,
        peer: Option<&'a Arc<Peer>>,
    ) -> HttpRecord<'a> {
        let facts = &self.conn.facts;
        let chain = &self.conn.chain;
        let inbound = chain.side == Side::Inbound;
        let upstream = self.upstream.as_deref();
        let upstream_peer = upstream.and_then(|it| it.peer.as_ref());
        let cluster = self.cluster.as_deref();
        let progress = self.progress.as_deref();
        HttpRecord {
            exchange: ExchangeRecord {
                log_type,
                tls: facts.tls,
                side: chain.side,
                start: self.start,
                duration,
                flags: self.flags,
                bytes_received: self.received(),
                bytes_sent: self.sent,
                details: self.details.as_deref(),
                upstream_failure: self.transport.as_deref(),
                upstream_host: self.upstream_host,
                upstream_local: upstream.and_then(|it| it.local),
                cluster: match self.anew.as_ref().and_then(|anew| anew.shown.as_ref()) {
                    None => cluster.map(|it| &*it.cluster.name),
                    Some(shown) => shown.as_ref().map(|it| &*it.cluster.name),
                },
                downstream_local: Some(facts.destination.0),
                downstream_remote: Some(self.remote),
                downstream_direct_remote: Some(facts.direct),
                sni: facts.sni.as_deref(),
                route: self.route.as_ref().map(|route| &*route.name),
                peer,
                metric_overrides: chain.stats.as_ref().and_then(|it| it.overrides.as_ref()),
                metadata: Some(&self.metadata),
                trace: self
                    .trace_context()
                    .map(|context| (context.trace_id, context.span_id)),
                certificate: facts.peer_view(),
                downstream_tls: facts.handshake.as_deref(),
                upstream_tls: upstream.and_then(|it| it.handshake.as_deref()),
                peer_principal: match inbound {
                    true => self.conn.principal.as_ref(),
                    false => upstream_peer.map(|peer| &peer.0),
                },
                service: cluster.map(|it| &it.service),
                mtls: match inbound {
                    true => facts.tls && self.conn.principal.is_some(),
                    false => upstream_peer.is_some(),
                },
                ..ExchangeRecord::default()
            },
            method: self.method.as_str(),
            path: self.path(),
            authority: self.authority.to_str().ok(),
            protocol: self.version.into(),
            upstream_protocol: upstream.map(|it| Protocol::from(it.version)),
            status: self.status.get(),
            grpc: self.grpc,
            grpc_status: self.grpc_status,
            grpc_messages: self.sent_messages.map(|sent| {
                let received = progress.and_then(|progress| progress.messages.get());
                (received.map_or(0, |counter| counter.count), sent.count)
            }),
            attempts: self.attempts,
            request_duration: progress
                .and_then(|progress| progress.ended.get())
                .map(|ended| ended.duration_since(self.begun)),
            response_duration: self
                .response_begun
                .map(|begun| begun.duration_since(self.begun)),
            request_headers: Some(&self.request_headers),
            response_headers: self.response_headers.as_ref().map(|it| it as _),
            traceable: self.is_traceable(),
            health_check: self.health_check,
            response_trailers: self.response_trailers.as_ref().map(|it| it as _),
            host_header_fallback: chain
                .stats
                .as_ref()
                .is_some_and(|stats| stats.host_header_fallback),
            ..HttpRecord::default()
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.report();
    }
}

/// Whether a message is gRPC by its content type.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .map_or(&[][..], |it| it.as_bytes());
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether a client of HTTP/1.0 wants to keep its connection.
fn keeps_alive(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(http::header::CONNECTION).iter();
    values.any(|value| {
        let value = value.to_str().unwrap_or_default();
        value
            .split(',')
            .any(|token| token.trim().eq_ignore_ascii_case("keep-alive"))
    })
}
