//! From a routed request to an answer's head: endpoints are tried until one answers for good.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use lateen_proxy_model::{
    ActiveHealth, ActiveRequest, Balance, Choice, Cluster, ClusterKind, ClusterRef, Dial, Endpoint,
    HeaderCase, HttpProtocol, Outcome, RawUpstream, ResetReason, RetryPolicy, RouteForward,
    ScaledTime, SendFailure, SubsetCriteria, Target, UpstreamConnection,
};

use super::client_body::ClientBody;
use super::exchange::Exchange;
use super::interim;
use super::limits::{Expired, Limits};
use super::load;
use super::look_up::look_up;
use super::mirror;
use super::number::number;
use super::peer::Exchanged;
use super::pipe::pipe;
use super::reply::LocalReply;
use super::request_body::{Progress, REPLAY_LIMIT, Replay, ReplayOwner, RequestBody};
use super::retry::{Retries, Verdict};
use super::switches::Switch;
use super::upgrade::ClientEnd;
use super::worker::KnownCluster;

static ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
static EXPECTED_TIMEOUT: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
static CHECK_FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");
static ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Bytes of an answer that are read only to keep its connection.
const DISCARD: u64 = 64 * 1024;
/// Time for that.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// The rooms that come after routing.
#[derive(Debug)]
pub struct Upstreams<L, D> {
    /// Chooses endpoints.
    pub balance: Rc<L>,
    /// Reaches them.
    pub dial: Rc<D>,
}

impl<L, D> Clone for Upstreams<L, D> {
    fn clone(&self) -> Self {
        Self {
            balance: Rc::clone(&self.balance),
            dial: Rc::clone(&self.dial),
        }
    }
}

/// What routing decided.
#[derive(Clone, Copy, Debug)]
pub struct ForwardPlan<'a> {
    /// Cluster.
    pub slot: &'a ClusterRef,
    /// The route's forwarding part.
    pub forward: &'a RouteForward,
    /// Retries in force.
    pub retry: Option<&'a RetryPolicy>,
    /// Time for the whole; `None` is no limit.
    pub timeout: Option<Duration>,
    /// Time for one try.
    pub per_try: Option<Duration>,
    /// Time for the stream, from its begin.
    pub stream: Option<Duration>,
    /// Headers of the inside may steer retries.
    pub steered: bool,
    /// The client's expected time is sent on.
    pub keep_expected: bool,
    /// The client's `grpc-timeout` is replaced by the expected time.
    pub tell_grpc: bool,
    /// `x-envoy-` headers are left to the inside: none is made here.
    pub quiet: bool,
    /// The host becomes the endpoint's own name.
    pub auto_host: bool,
    /// `x-envoy-attempt-count` is sent.
    pub attempt_count: bool,
    /// `x-envoy-attempt-count` is sent downstream.
    pub attempt_count_in_response: bool,
    /// Hash of the request, for clusters that balance by it.
    pub hash: Option<u64>,
    /// Labels that the endpoint must have, for clusters with subsets.
    pub subset: Option<&'a SubsetCriteria>,
}

impl ForwardPlan<'_> {
    fn tells_expected(&self) -> bool {
        !self.quiet && !self.keep_expected
    }
}

/// Adds the host that a request came with to `x-forwarded-host`.
pub fn append_forwarded_host(headers: &mut HeaderMap, host: &str) {
    if host.is_empty() {
        return;
    }
    let before = headers.get(&FORWARDED_HOST).and_then(|it| it.to_str().ok());
    let text = match before.filter(|before| !before.is_empty()) {
        // A proxy before may have told it already.
        Some(before) if before.rsplit(',').next().map(str::trim) == Some(host) => return,
        Some(before) => format!("{before},{host}"),
        None => host.to_owned(),
    };
    if let Ok(text) = HeaderValue::try_from(text) {
        headers.insert(&FORWARDED_HOST, text);
    }
}

/// The request's body, as often as it may be needed.
enum Payload {
    Empty,
    Once(Option<(ClientBody, Rc<Progress>)>),
    Piped(Option<RequestBody>),
    Replay(Rc<Replay>),
}

/// What every try of a request shares.
struct Tries<'a, L, D> {
    plan: &'a ForwardPlan<'a>,
    upstreams: &'a Upstreams<L, D>,
    cluster: &'a Rc<KnownCluster>,
    retries: Retries<'a>,
    payload: Payload,
    /// The cluster that takes the request for one that is made of others.
    member: Option<(ClusterRef, Arc<Cluster>)>,
    /// The body goes on as bytes.
    raw: Option<RawUpstream>,
}

/// How one try failed.
enum Failed {
    Reset(SendFailure),
    TimedOut,
    Idle,
}

type Answered<B> = (Response<B>, Arc<UpstreamConnection>);

/// Sends a request on and gives the answer's head, or the reply that takes its place. `upgrade` is the protocol of an
/// upgrade that [`super::strip_hop`] found.
pub async fn forward<L, D>(
    exchange: &mut Exchange,
    upstreams: &Upstreams<L, D>,
    plan: ForwardPlan<'_>,
    request: (Parts, ClientBody),
    upgrade: Option<&str>,
) -> Result<Response<D::Body>, LocalReply>
where
    L: Balance + 'static,
    D: Dial<RequestBody> + 'static,
    D::Body: Body<Data = Bytes, Error = ResetReason> + 'static,
{
    let (mut parts, body) = request;
    let Some(cluster) = exchange.conn.chain.worker.cluster(plan.slot) else {
        return Err(LocalReply::no_cluster(plan.forward.cluster_not_found));
    };
    exchange.cluster = Some(Rc::clone(&cluster));
    if let Some(protocol) = upgrade {
        allow_upgrade(exchange, &plan, protocol, &mut parts)?;
    }
    finish_head(exchange, &plan, &cluster, &mut parts);
    let high = plan.forward.high;
    let retries = match upgrade {
        Some(_) => Retries::none(),
        None => Retries::new(
            plan.retry,
            high,
            &mut parts,
            (exchange.authority(), plan.steered),
        ),
    };
    let http2 = match cluster.cluster.http {
        HttpProtocol::Http1 => false,
        // What HTTP/1 would need besides is added when it is known to be spoken.
        HttpProtocol::Http2 | HttpProtocol::Auto => true,
        _ => exchange.version == Version::HTTP_2,
    };
    exchange.drop_trailers = drops_trailers(exchange, &cluster, http2);
    let keep = retries.may_come() || !plan.forward.mirrors.is_empty();
    let limit = plan.forward.buffer_limit.unwrap_or(REPLAY_LIMIT);
    let end = plan.forward.connect.filter(|end| match &parts.method {
        &Method::CONNECT => upgrade.is_some(),
        method => end.post && method == Method::POST,
    });
    let payload = match end {
        Some(_) if upgrade.is_some() => Payload::piped(exchange),
        _ => Payload::new(exchange, body, keep.then_some(limit)),
    };
    mirror::send_all(exchange, upstreams, &plan, &parts, payload.replay());
    if !http2 && upgrade.is_none() {
        frame_body(&mut parts, matches!(payload, Payload::Empty));
    }
    let limits = limits(exchange, &plan);
    let mut tries = Tries {
        plan: &plan,
        upstreams,
        cluster: &cluster,
        retries,
        payload,
        member: None,
        raw: end.map(|end| end.upstream),
    };
    let outcome = limits.guard(pin!(tries.run(exchange, parts))).await;
    let mut outcome = outcome.map_err(LocalReply::from).flatten();
    if plan.attempt_count_in_response {
        let headers = match &mut outcome {
            Ok(response) => response.headers_mut(),
            Err(reply) => &mut reply.headers,
        };
        headers.insert(&ATTEMPT_COUNT, number(u128::from(exchange.attempts)));
    }
    let mut response = match outcome {
        Err(_) if exchange.is_malformed() => return Err(LocalReply::malformed()),
        Err(reply) => return Err(exchange.unreadable().unwrap_or(reply)),
        outcome => outcome?,
    };
    let since = exchange.progress.as_ref().and_then(|it| it.ended.get());
    let time = since.unwrap_or(exchange.begun).elapsed().as_millis();
    if upgrade.is_none() && !plan.quiet {
        response.headers_mut().insert(&SERVICE_TIME, number(time));
    }
    Ok(response)
}

/// Whether trailers end here: HTTP/1 passes them only where both sides say so.
fn drops_trailers(exchange: &Exchange, cluster: &KnownCluster, http2: bool) -> bool {
    let upstream = !http2 && !cluster.cluster.codec.http1.enable_trailers;
    let downstream =
        exchange.version < Version::HTTP_2 && !exchange.conn.chain.manager.http1.enable_trailers;
    upstream || downstream
}

fn limits(exchange: &mut Exchange, plan: &ForwardPlan<'_>) -> Limits {
    let manager = &exchange.conn.chain.manager;
    let positive = |time: Option<Duration>| time.filter(|time| !time.is_zero());
    let idle = plan.forward.idle_timeout.or(manager.stream_idle_timeout);
    let request = positive(manager.request_timeout);
    exchange.timeout = positive(plan.timeout);
    exchange.idle = positive(idle).map(|idle| exchange.conn.scaled(ScaledTime::StreamIdle, idle));
    exchange.stream_limit = plan.stream;
    Limits {
        stream: plan.stream,
        begun: exchange.begun,
        progress: exchange.progress.clone(),
        total: exchange.timeout,
        idle: exchange.idle,
        request,
    }
}

/// Gives an allowed upgrade its headers back.
fn allow_upgrade(
    exchange: &mut Exchange,
    plan: &ForwardPlan<'_>,
    protocol: &str,
    parts: &mut Parts,
) -> Result<(), LocalReply> {
    let manager = &exchange.conn.chain.manager;
    let mut routes = plan.forward.upgrades.iter();
    let allowed = match routes.find(|(name, _)| &**name == protocol) {
        Some((_, allowed)) => *allowed,
        None => manager.upgrades.iter().any(|name| &**name == protocol),
    };
    if !allowed {
        return Err(LocalReply::upgrade_refused());
    }
    if protocol != "connect"
        && let Ok(name) = HeaderValue::from_str(protocol)
    {
        parts.headers.insert(header::UPGRADE, name);
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    exchange.upgrade = ClientEnd::take(&mut parts.extensions);
    Ok(())
}

/// Says in HTTP/1's headers what body comes, where the method alone would say something else.
fn frame_body(parts: &mut Parts, empty: bool) {
    if parts.headers.contains_key(header::CONTENT_LENGTH) {
        return;
    }
    let bodiless = matches!(
        parts.method,
        Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT | Method::TRACE
    );
    if empty && !bodiless {
        let none = HeaderValue::from_static("0");
        parts.headers.insert(header::CONTENT_LENGTH, none);
    } else if !empty && bodiless && parts.method != Method::CONNECT {
        let chunked = HeaderValue::from_static("chunked");
        parts.headers.insert(header::TRANSFER_ENCODING, chunked);
    }
}

/// What all tries say alike.
fn finish_head(
    exchange: &mut Exchange,
    plan: &ForwardPlan<'_>,
    cluster: &KnownCluster,
    parts: &mut Parts,
) {
    match exchange.conn.chain.manager.http1.case {
        // How names were written is kept there.
        HeaderCase::Preserve => drop(parts.extensions.remove::<OnUpgrade>()),
        _ => parts.extensions.clear(),
    }
    if let Some(stream) = plan.stream.filter(|_| exchange.grpc)
        && let Ok(text) = HeaderValue::try_from(format!("{}m", stream.as_millis()))
    {
        parts.headers.insert(&GRPC_TIMEOUT, text);
    }
    if let Some(timeout) = plan.timeout.filter(|_| plan.tells_expected()) {
        parts
            .headers
            .insert(&EXPECTED_TIMEOUT, number(timeout.as_millis()));
    }
    let chain = &exchange.conn.chain;
    let external = chain.exchange.skip_external && cluster.cluster.service.external;
    if chain.exchange.upstream
        && exchange.has(Switch::PeerMetadata)
        && !external
        && let Some(own) = &chain.worker.own
    {
        own.send(&mut parts.headers);
    }
    exchange.keep_request(parts);
}

impl Payload {
    /// `keep`: bytes kept so that the body can be sent again.
    fn new(exchange: &mut Exchange, body: ClientBody, keep: Option<usize>) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        let count = exchange.grpc && exchange.has(Switch::GrpcStats);
        let progress = Progress::new(count);
        progress.drop_trailers.set(exchange.drop_trailers);
        exchange.progress = Some(Rc::clone(&progress));
        let Some(limit) = keep else {
            return Self::Once(Some((body, progress)));
        };
        let replay = Replay::new(body, progress, limit);
        exchange.replay = Some(ReplayOwner(Rc::clone(&replay)));
        Self::Replay(replay)
    }

    /// What the client sends once its CONNECT is answered.
    fn piped(exchange: &mut Exchange) -> Self {
        let (writer, body) = pipe();
        exchange.connect_end = Some(writer);
        Self::Piped(Some(RequestBody::piped(body)))
    }

    fn replay(&self) -> Option<&Rc<Replay>> {
        match self {
            Self::Replay(replay) => Some(replay),
            Self::Empty | Self::Once(_) | Self::Piped(_) => None,
        }
    }

    fn can_repeat(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(_) | Self::Piped(_) => false,
            Self::Replay(replay) => replay.is_whole(),
        }
    }

    fn next(&mut self) -> RequestBody {
        match self {
            Self::Empty => RequestBody::empty(),
            Self::Once(body) => match body.take() {
                Some((body, progress)) => RequestBody::once(body, progress),
                None => RequestBody::empty(),
            },
            Self::Piped(body) => body.take().unwrap_or_else(RequestBody::empty),
            Self::Replay(replay) => replay.attempt(),
        }
    }
}

/// A short answer is read to its end, so that its connection can be used again; a long one is given up.
fn discard<B>(body: B)
where
    B: Body<Data = Bytes, Error = ResetReason> + 'static,
{
    if body.is_end_stream() || body.size_hint().exact().is_none_or(|size| size > DISCARD) {
        return;
    }
    tokio::task::spawn_local(async move {
        let mut body = std::pin::pin!(body);
        let rest = async { while let Some(Ok(_)) = body.frame().await {} };
        // Nobody waits for it: when it does not come, the connection goes.
        let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
    });
}

impl<'a, L, D> Tries<'a, L, D>
where
    L: Balance,
    D: Dial<RequestBody>,
    D::Body: Body<Data = Bytes, Error = ResetReason> + 'static,
{
    async fn run(
        &mut self,
        exchange: &mut Exchange,
        mut parts: Parts,
    ) -> Result<Response<D::Body>, LocalReply> {
        loop {
            if let ClusterKind::Aggregate { .. } = &self.cluster.cluster.kind {
                self.member = self.upstreams.balance.member(&self.cluster.cluster);
            }
            if let ClusterKind::Forward { .. } = &self.of().1.kind {
                let looked_up = Box::pin(look_up(self.of().1, &parts.headers)).await;
                if let Err(details) = looked_up {
                    exchange.attempts = exchange.attempts.max(1);
                    let mut reply = LocalReply::no_healthy_upstream();
                    reply.details = details;
                    return Err(reply);
                }
            }
            let Some(endpoint) = self.choose(exchange, &parts) else {
                exchange.attempts = exchange.attempts.max(1);
                let mut reply = LocalReply::no_healthy_upstream();
                let session = exchange.session.as_deref().filter(|it| it.strict);
                if let Some(status) = session.and_then(|session| session.status) {
                    reply.status = status;
                }
                return Err(reply);
            };
            self.retries.note_tried(endpoint.id);
            exchange.attempts += 1;
            exchange.on_endpoint(ActiveRequest::on(Arc::clone(&endpoint)));
            let head = match self.retries.may_come() {
                true => parts.clone(),
                false => std::mem::replace(&mut parts, Request::new(()).into_parts().0),
            };
            let mut head = head;
            exchange.inject(&mut head.headers);
            let outcome = self.one(exchange, &endpoint, head).await;
            self.report(&endpoint, &outcome);
            let (verdict, result) = match outcome {
                Ok((response, connection)) => {
                    exchange.upstream = Some(connection);
                    (
                        self.judge(|it, on| it.on_response(&response, on)),
                        Ok(response),
                    )
                }
                Err(Failed::Reset(failure)) => {
                    exchange.upstream.clone_from(&failure.connection);
                    let verdict = self.judge(|it, on| it.on_reset(&failure, on));
                    (
                        verdict,
                        Err(LocalReply::reset(&failure, exchange.attempts > 1)),
                    )
                }
                Err(Failed::TimedOut) => {
                    let verdict = self.judge(Retries::on_try_timeout);
                    let reply = LocalReply::upstream_timeout("upstream_per_try_timeout");
                    (verdict, Err(reply))
                }
                Err(Failed::Idle) => {
                    let verdict = self.judge(Retries::on_try_timeout);
                    let reply = LocalReply::upstream_timeout("upstream_per_try_idle_timeout");
                    (verdict, Err(reply))
                }
            };
            match verdict {
                Verdict::Again => {
                    let status = result.as_ref().ok().map(|it| it.status().as_u16());
                    exchange.end_attempt(status);
                    if let Ok(response) = result {
                        discard(response.into_body());
                    }
                    tokio::time::sleep(self.retries.wait()).await;
                }
                Verdict::Limited(flag) => {
                    exchange.flags.insert(flag);
                    return self.accept(exchange, result);
                }
                Verdict::Keep => return self.accept(exchange, result),
            }
        }
    }

    /// Reads what the upstream's head says of it.
    fn accept(
        &self,
        exchange: &mut Exchange,
        result: Result<Response<D::Body>, LocalReply>,
    ) -> Result<Response<D::Body>, LocalReply> {
        let mut response = result?;
        exchange.response_begun = Some(Instant::now());
        exchange.details = Some("via_upstream".into());
        let chain = &exchange.conn.chain;
        if chain.exchange.upstream && exchange.has(Switch::PeerMetadata) {
            let said = Exchanged::take(response.headers_mut());
            exchange.peer = chain.worker.peers.find(&said);
        }
        Ok(response)
    }

    /// How long the upstream may take for this try.
    fn expected(&self, exchange: &Exchange) -> Option<Duration> {
        let total = self.plan.timeout.map(|total| match exchange.attempts {
            1 => total,
            _ => total.saturating_sub(exchange.begun.elapsed()),
        });
        // Zero would be no limit.
        let total = total.map(|total| total.max(Duration::from_millis(1)));
        match (total, self.plan.per_try) {
            (Some(total), Some(per_try)) => Some(total.min(per_try)),
            (total, per_try) => total.or(per_try),
        }
    }

    fn choose(&self, exchange: &Exchange, parts: &Parts) -> Option<Arc<Endpoint>> {
        let (tried, selection_attempts) = self.retries.avoid();
        let choice = Choice {
            original_dst: Some(exchange.conn.facts.destination.0),
            tried,
            selection_attempts,
            hash: self.plan.hash,
            subset: self.plan.subset,
            headers: Some(&parts.headers),
            server_name: None,
            // A retry may go anywhere.
            session: exchange
                .session
                .as_deref()
                .copied()
                .filter(|_| exchange.attempts == 0),
        };
        let (slot, cluster) = self.of();
        self.upstreams.balance.choose(slot, cluster, &choice)
    }

    async fn one(
        &mut self,
        exchange: &Exchange,
        endpoint: &Arc<Endpoint>,
        mut head: Parts,
    ) -> Result<Answered<D::Body>, Failed> {
        if self.plan.attempt_count {
            head.headers
                .insert(&ATTEMPT_COUNT, number(u128::from(exchange.attempts)));
        }
        if let Some(expected) = self.expected(exchange) {
            if self.plan.tells_expected() {
                head.headers
                    .insert(&EXPECTED_TIMEOUT, number(expected.as_millis()));
            }
            if self.plan.tell_grpc {
                let text = HeaderValue::try_from(format!("{}m", expected.as_millis()));
                if let Ok(text) = text {
                    head.headers.insert(&GRPC_TIMEOUT, text);
                }
            }
        }
        if self.plan.auto_host
            && let Some(name) = &endpoint.hostname
            && let Ok(name) = HeaderValue::from_str(name)
        {
            if self.plan.forward.append_forwarded_host {
                append_forwarded_host(&mut head.headers, exchange.authority());
            }
            head.headers
                .insert(&ORIGINAL_HOST, exchange.authority.clone());
            head.headers.insert(header::HOST, name);
        }
        let facts = &exchange.conn.facts;
        let request = self.payload.next();
        let (slot, cluster) = self.of();
        let options = &cluster.options;
        let sni = options.sni_header.as_ref().unwrap_or(&header::HOST);
        let host = head
            .headers
            .get(sni)
            .or_else(|| head.headers.get(header::HOST));
        let host = host.cloned();
        let target = Target {
            slot,
            cluster,
            endpoint,
            downstream: exchange.version,
            istio_alpn: exchange.has(Switch::IstioAlpn),
            host: host.as_ref().and_then(|host| host.to_str().ok()),
            downstream_addresses: Some((facts.client.0, facts.destination.0)),
            source: facts.source,
            high: self.plan.forward.high,
            connection: Rc::as_ptr(&exchange.conn) as usize as u64,
        };
        let mut request = Request::from_parts(head, request);
        if let Some(raw) = self.raw {
            request.extensions_mut().insert(raw);
        }
        if exchange.conn.chain.manager.proxy_100_continue {
            interim::forward(exchange, &mut request);
        }
        let send = pin!(self.upstreams.dial.send(target, request));
        let limits = Limits {
            begun: Instant::now(),
            progress: exchange.progress.clone(),
            total: self.plan.per_try,
            idle: self.plan.retry.and_then(|policy| policy.per_try_idle),
            request: None,
            stream: None,
        };
        match limits.guard(send).await {
            Ok(sent) => sent.map_err(Failed::Reset),
            Err(Expired::Idle { .. }) => Err(Failed::Idle),
            Err(_) => Err(Failed::TimedOut),
        }
    }

    fn judge(
        &mut self,
        verdict: impl FnOnce(&mut Retries<'a>, &Rc<KnownCluster>) -> Verdict,
    ) -> Verdict {
        if !self.payload.can_repeat() {
            return Verdict::Keep;
        }
        verdict(&mut self.retries, self.cluster)
    }

    fn report(&self, endpoint: &Endpoint, outcome: &Result<Answered<D::Body>, Failed>) {
        count(endpoint, outcome);
        if let Ok((response, _)) = outcome {
            self.heed(endpoint, response.headers());
        }
        let outcome = match outcome {
            Ok((response, _)) => match response.status() {
                StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT => Outcome::GatewayError,
                status if status.is_server_error() => Outcome::ServerError,
                _ => Outcome::Success,
            },
            Err(Failed::Reset(failure))
                if matches!(
                    failure.reason,
                    ResetReason::Overflow | ResetReason::NoPool | ResetReason::LocalReset
                ) =>
            {
                return;
            }
            Err(_) => Outcome::LocalFailure,
        };
        let balance = &self.upstreams.balance;
        balance.report(self.of().1, endpoint, outcome);
    }
}

impl<L, D> Tries<'_, L, D> {
    /// The cluster that takes the request.
    fn of(&self) -> (&ClusterRef, &Arc<Cluster>) {
        match &self.member {
            Some((slot, cluster)) => (slot, cluster),
            None => (self.plan.slot, &self.cluster.cluster),
        }
    }
}

impl<L, D> Tries<'_, L, D>
where
    L: Balance,
{
    /// What an answer says of its endpoint besides.
    fn heed(&self, endpoint: &Endpoint, headers: &HeaderMap) {
        let cluster = self.of().1;
        if cluster.health_check.is_some() && headers.contains_key(&CHECK_FAIL) {
            endpoint
                .found
                .set(ActiveHealth::FAILED | ActiveHealth::EXCLUDED);
            let failures = &cluster.shared.checks().passive_failure;
            failures.fetch_add(1, Ordering::Relaxed);
            self.upstreams.balance.failed(cluster);
        }
        if cluster.balancing.reported.is_some()
            && let Some(report) = load::read(headers)
        {
            self.upstreams.balance.load(cluster, endpoint, &report);
        }
    }
}

/// The endpoint's own totals.
fn count<B>(endpoint: &Endpoint, outcome: &Result<Answered<B>, Failed>) {
    let stats = &endpoint.stats;
    let bump = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    if let Err(Failed::Reset(failure)) = outcome
        && matches!(failure.reason, ResetReason::Overflow | ResetReason::NoPool)
    {
        return;
    }
    bump(&stats.rq_total);
    match outcome {
        Ok((response, _)) if response.status().is_server_error() => bump(&stats.rq_error),
        Ok(_) => bump(&stats.rq_success),
        Err(Failed::TimedOut | Failed::Idle) => {
            bump(&stats.rq_timeout);
            bump(&stats.rq_error)
        }
        Err(Failed::Reset(_)) => bump(&stats.rq_error),
    };
}
