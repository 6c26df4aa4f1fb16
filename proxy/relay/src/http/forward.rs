//! From a routed request to an answer's head: endpoints are tried until one answers for good.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Version};
use http_body::Body;
use hyper::upgrade::OnUpgrade;
use lateen_proxy_model::{
    Balance, ClusterRef, Dial, HeaderCase, HttpProtocol, ResetReason, RetryPolicy, RouteForward,
    ScaledTime, SubsetCriteria,
};

use super::client_body::ClientBody;
use super::exchange::Exchange;
use super::limits::Limits;
use super::mirror;
use super::number::number;
use super::reply::LocalReply;
use super::request_body::{REPLAY_LIMIT, RequestBody};
use super::retry::Retries;
use super::switches::Switch;
use super::tries::{Payload, Tries};
use super::upgrade::Upgrade;
use super::worker::KnownCluster;

pub(crate) static ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
pub(crate) static EXPECTED_TIMEOUT: HeaderName =
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
static SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

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
    pub(crate) fn tells_expected(&self) -> bool {
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
    let followed = upgrade.is_none() && plan.forward.internal_redirect.is_some();
    let keep = retries.may_come() || !plan.forward.mirrors.is_empty() || followed;
    if followed {
        exchange.keep_head(&parts);
    }
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
    let outcome = match tries.hedges() {
        false => limits.guard(pin!(tries.run(exchange, parts))).await,
        true => {
            let hedged = Box::pin(tries.run_hedged(exchange, parts));
            limits.guard(pin!(hedged)).await
        }
    };
    let mut outcome = outcome.map_err(LocalReply::from).flatten();
    tell_attempts(exchange, &plan, &mut outcome);
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

/// How many tries there were, for the client and for a request that begins anew.
fn tell_attempts<B>(
    exchange: &mut Exchange,
    plan: &ForwardPlan<'_>,
    outcome: &mut Result<Response<B>, LocalReply>,
) {
    let attempts = || number(u128::from(exchange.attempts));
    if plan.attempt_count_in_response {
        let headers = match outcome {
            Ok(response) => response.headers_mut(),
            Err(reply) => &mut reply.headers,
        };
        headers.insert(&ATTEMPT_COUNT, attempts());
    }
    if plan.attempt_count {
        let attempts = attempts();
        let head = exchange.anew.as_mut().and_then(|anew| anew.head.as_mut());
        if let Some(head) = head {
            head.headers.insert(&ATTEMPT_COUNT, attempts);
        }
    }
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
    exchange.upgrade = Upgrade::take(&mut parts.extensions);
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
