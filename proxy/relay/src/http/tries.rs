//! The tries of one request: endpoints are chosen and asked until one answers for good.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::BodyExt;
use lateen_proxy_model::{
    ActiveHealth, ActiveRequest, Balance, Choice, Cluster, ClusterKind, ClusterRef, Dial, Endpoint,
    Outcome, RawUpstream, ResetReason, SendFailure, Target, UpstreamConnection, UpstreamSource,
};

use super::client_body::ClientBody;
use super::exchange::Exchange;
use super::forward::{
    ATTEMPT_COUNT, EXPECTED_TIMEOUT, ForwardPlan, GRPC_TIMEOUT, Upstreams, append_forwarded_host,
};
use super::interim;
use super::limits::{Expired, Limits};
use super::load;
use super::look_up::look_up;
use super::number::number;
use super::peer::Exchanged;
use super::pipe::pipe;
use super::reply::LocalReply;
use super::request_body::{Progress, Replay, ReplayOwner, RequestBody};
use super::retry::{Retries, Verdict};
use super::switches::Switch;
use super::worker::KnownCluster;

static CHECK_FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");
static ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// Bytes of an answer that are read only to keep its connection.
const DISCARD: u64 = 64 * 1024;
/// Time for that.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// The request's body, as often as it may be needed.
pub(crate) enum Payload {
    Empty,
    Once(Option<(ClientBody, Rc<Progress>)>),
    Piped(Option<RequestBody>),
    Replay(Rc<Replay>),
}

/// What every try of a request shares.
pub(crate) struct Tries<'a, L, D> {
    pub(crate) plan: &'a ForwardPlan<'a>,
    pub(crate) upstreams: &'a Upstreams<L, D>,
    pub(crate) cluster: &'a Rc<KnownCluster>,
    pub(crate) retries: Retries<'a>,
    pub(crate) payload: Payload,
    /// The cluster that takes the request for one that is made of others.
    pub(crate) member: Option<(ClusterRef, Arc<Cluster>)>,
    /// The body goes on as bytes.
    pub(crate) raw: Option<RawUpstream>,
}

/// How one try failed.
pub(crate) enum Failed {
    Reset(SendFailure),
    TimedOut,
    Idle,
}

pub(crate) type Answered<B> = (Response<B>, Arc<UpstreamConnection>);

impl Payload {
    /// `keep`: bytes kept so that the body can be sent again.
    pub(crate) fn new(exchange: &mut Exchange, body: ClientBody, keep: Option<usize>) -> Self {
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
    pub(crate) fn piped(exchange: &mut Exchange) -> Self {
        let (writer, body) = pipe();
        if let Some(upgrade) = &mut exchange.upgrade {
            upgrade.connect_end = Some(writer);
        }
        Self::Piped(Some(RequestBody::piped(body)))
    }

    pub(crate) fn replay(&self) -> Option<&Rc<Replay>> {
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

/// What every try says of the request to the pools.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    downstream: Version,
    istio_alpn: bool,
    addresses: (SocketAddr, SocketAddr),
    source: Option<UpstreamSource>,
    connection: u64,
}

impl Facts {
    pub(crate) fn of(exchange: &Exchange) -> Self {
        let facts = &exchange.conn.facts;
        Self {
            downstream: exchange.version,
            istio_alpn: exchange.has(Switch::IstioAlpn),
            addresses: (facts.client.0, facts.destination.0),
            source: facts.source,
            connection: Rc::as_ptr(&exchange.conn) as usize as u64,
        }
    }

    pub(crate) fn target<'t>(
        self,
        plan: &ForwardPlan<'t>,
        (slot, cluster): (&'t ClusterRef, &'t Arc<Cluster>),
        endpoint: &'t Arc<Endpoint>,
        host: Option<&'t str>,
    ) -> Target<'t> {
        Target {
            slot,
            cluster,
            endpoint,
            downstream: self.downstream,
            istio_alpn: self.istio_alpn,
            host,
            downstream_addresses: Some(self.addresses),
            source: self.source,
            high: plan.forward.high,
            connection: self.connection,
        }
    }
}

/// The name that TLS asks for, where the cluster takes it from the request.
pub(crate) fn host_of(cluster: &Cluster, headers: &HeaderMap) -> Option<HeaderValue> {
    let options = &cluster.options;
    let sni = options.sni_header.as_ref().unwrap_or(&header::HOST);
    let host = headers.get(sni).or_else(|| headers.get(header::HOST));
    host.cloned()
}

/// A short answer is read to its end, so that its connection can be used again; a long one is given up.
pub(crate) fn discard<B>(body: B)
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
    pub(crate) async fn run(
        &mut self,
        exchange: &mut Exchange,
        mut parts: Parts,
    ) -> Result<Response<D::Body>, LocalReply> {
        loop {
            self.aim(exchange, &parts).await?;
            let Some(endpoint) = self.choose(exchange, &parts) else {
                return Err(self.nobody(exchange));
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

    /// Finds out which cluster takes the request, and where a host that it names is.
    pub(crate) async fn aim(
        &mut self,
        exchange: &mut Exchange,
        parts: &Parts,
    ) -> Result<(), LocalReply> {
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
        Ok(())
    }

    /// Whether tries that take too long go on.
    pub(crate) fn hedges(&self) -> bool {
        let limited = self.plan.per_try.is_some()
            || self
                .plan
                .retry
                .is_some_and(|policy| policy.per_try_idle.is_some());
        limited && self.retries.hedges(self.plan.forward.hedge)
    }

    /// No endpoint may take the request.
    pub(crate) fn nobody(&self, exchange: &mut Exchange) -> LocalReply {
        exchange.attempts = exchange.attempts.max(1);
        let mut reply = LocalReply::no_healthy_upstream();
        let session = exchange.session.as_deref().filter(|it| it.strict);
        if let Some(status) = session.and_then(|session| session.status) {
            reply.status = status;
        }
        reply
    }

    /// Reads what the upstream's head says of it.
    pub(crate) fn accept(
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
        // A try that goes on may take all the time there is.
        let hedged = self.retries.hedges(self.plan.forward.hedge);
        match (total, self.plan.per_try.filter(|_| !hedged)) {
            (Some(total), Some(per_try)) => Some(total.min(per_try)),
            (total, per_try) => total.or(per_try),
        }
    }

    pub(crate) fn choose(&self, exchange: &Exchange, parts: &Parts) -> Option<Arc<Endpoint>> {
        let (tried, avoid, selection_attempts) = self.retries.avoid();
        let choice = Choice {
            original_dst: Some(exchange.conn.facts.destination.0),
            tried,
            avoid,
            priorities: self.retries.priorities(),
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
        head: Parts,
    ) -> Result<Answered<D::Body>, Failed> {
        let request = self.prepare(exchange, endpoint, head);
        let (slot, cluster) = self.of();
        let host = host_of(cluster, request.headers());
        let host = host.as_ref().and_then(|host| host.to_str().ok());
        let target = Facts::of(exchange).target(self.plan, (slot, cluster), endpoint, host);
        let send = pin!(self.upstreams.dial.send(target, request));
        match self.try_limits(exchange).guard(send).await {
            Ok(sent) => sent.map_err(Failed::Reset),
            Err(Expired::Idle { .. }) => Err(Failed::Idle),
            Err(_) => Err(Failed::TimedOut),
        }
    }

    /// Time for one try.
    pub(crate) fn try_limits(&self, exchange: &Exchange) -> Limits {
        Limits {
            begun: Instant::now(),
            progress: exchange.progress.clone(),
            total: self.plan.per_try,
            idle: self.plan.retry.and_then(|policy| policy.per_try_idle),
            request: None,
            stream: None,
        }
    }

    /// The request as this try sends it.
    pub(crate) fn prepare(
        &mut self,
        exchange: &Exchange,
        endpoint: &Arc<Endpoint>,
        mut head: Parts,
    ) -> Request<RequestBody> {
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
        let mut request = Request::from_parts(head, self.payload.next());
        if let Some(raw) = self.raw {
            request.extensions_mut().insert(raw);
        }
        if exchange.conn.chain.manager.proxy_100_continue {
            interim::forward(exchange, &mut request);
        }
        request
    }

    pub(crate) fn judge(
        &mut self,
        verdict: impl FnOnce(&mut Retries<'a>, &Rc<KnownCluster>) -> Verdict,
    ) -> Verdict {
        if !self.payload.can_repeat() {
            return Verdict::Keep;
        }
        verdict(&mut self.retries, self.cluster)
    }

    pub(crate) fn report(&self, endpoint: &Endpoint, outcome: &Result<Answered<D::Body>, Failed>) {
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
    pub(crate) fn of(&self) -> (&ClusterRef, &Arc<Cluster>) {
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
pub(crate) fn count<B>(endpoint: &Endpoint, outcome: &Result<Answered<B>, Failed>) {
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
