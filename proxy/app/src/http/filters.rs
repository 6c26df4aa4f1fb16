//! The filters of a connection manager, in the order of its chain.

use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures_util::future::select_all;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body;
use lateen_proxy_admit::{
    Admission, Csrf, HeaderChange, HealthVerdict, append_headers, csrf, health, inject,
    rate_limit_headers, rbac,
};
use lateen_proxy_model::{
    Balance, BucketView, ClusterRef, CorsPolicy, CsrfPolicy, Dial, Fault, FilterOverride,
    HealthFilter, HttpFilter, Permit, RbacFilter, ResetReason, RouteAction, RouteTable,
};
use lateen_proxy_relay::http::{
    AnswerBody, ChainFilter, ClientBody, Exchange, LocalReply, RequestBody, ServiceCalls, Upstreams,
};
use lateen_proxy_route::{Chosen, Cors, CorsGrant, Found, choose_cluster, cors};
use lateen_proxy_telemetry::Flags;
use serde_json::{Map, Value};

use super::admission::{self, Sampled};
use super::bodies::{self, AnswerHead, BodyStep};
use super::ext_proc::{self, Processing};
use super::request::{find_route, view};
use super::{ext_authz, forward_proxy, jwt, rate_limits};

/// Namespaces of what filters note.
static RBAC: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("envoy.filters.http.rbac"));
const COMMON: &str = "envoy.common";

/// What filters left to be done with the answer.
#[derive(Debug, Default)]
pub(crate) struct WayBack<'t> {
    /// In the order of the chain; the answer meets them from the last to the first.
    steps: Vec<Step<'t>>,
}

#[derive(Debug)]
enum Step<'t> {
    Cors(CorsGrant<'t>),
    Bucket(BucketView),
    /// A health check of the proxy itself (its cluster), or any request while checks are made to fail.
    Health {
        own: Option<HeaderValue>,
        failing: bool,
    },
    Headers(rate_limits::Added),
    Changes(Vec<HeaderChange>),
    Sampled(Sampled),
    Processing(Box<Processing>),
    /// A filter that needs the whole head, or changes the body.
    Body(BodyStep),
}

/// Where a request goes, which a filter may have chosen anew.
pub(crate) struct Routed<'t> {
    /// The table.
    pub(crate) table: &'t RouteTable,
    /// Virtual host and route.
    pub(crate) found: Found<'t>,
    /// The draw of the request.
    pub(crate) random: u64,
}

/// Walks the chain: each filter may change the request, hold it, or end it with an answer of its own. Without filters
/// this is one look.
#[expect(clippy::too_many_lines, reason = "one arm a filter")]
pub(crate) async fn run<'t, L, D>(
    exchange: &mut Exchange,
    upstreams: &Upstreams<L, D>,
    routed: &mut Routed<'t>,
    (parts, body): (&mut Parts, &mut ClientBody),
    back: &mut WayBack<'t>,
) -> Result<Permit, LocalReply>
where
    L: Balance + 'static,
    D: Dial<RequestBody> + 'static,
    D::Body: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
{
    let mut admission = Admission::begin();
    if exchange.connection().chain.filters.is_empty() {
        return Ok(admission.conclude());
    }
    let connection = exchange.connection().clone();
    for filter in &connection.chain.filters {
        let filled;
        let filter = if matches!(filter.entry.filter, HttpFilter::Discovered(_)) {
            filled = connection.chain.discovered(filter);
            filled.as_deref().ok_or_else(no_settings)?
        } else {
            filter
        };
        let overrides = routed.found.overrides(routed.random);
        let Some(own) = filter.entry.setting(overrides) else {
            continue;
        };
        let passed = match &filter.entry.filter {
            HttpFilter::Fault(fault) => {
                let fault = match own {
                    Some(FilterOverride::Fault(fault)) => fault.as_deref(),
                    _ => fault.as_deref(),
                };
                let cluster = meant(&routed.found, routed.random);
                faults(exchange, &mut admission, parts, (fault, cluster)).await
            }
            HttpFilter::Cors => {
                let policy = match own {
                    Some(FilterOverride::Cors(policy)) => policy.as_deref(),
                    _ => routed.found.cors(),
                };
                cross_origin(exchange, &routed.found, parts, policy, back)
            }
            HttpFilter::Csrf(policy) => {
                let policy = match own {
                    Some(FilterOverride::Csrf(policy)) => policy,
                    _ => policy,
                };
                unforged(exchange, filter, parts, policy)
            }
            HttpFilter::Rbac(rules) => {
                let rules = match own {
                    Some(FilterOverride::Rbac(rules)) => rules.as_deref(),
                    _ => Some(&**rules),
                };
                access(exchange, filter, parts, rules)
            }
            HttpFilter::Jwt(jwt) => {
                let calls = ServiceCalls::of(upstreams, &connection);
                let authenticated =
                    Box::pin(jwt::run(exchange, filter, parts, (jwt, own), &calls)).await;
                authenticated.map(|anew| routed.refresh(exchange, parts, anew))
            }
            HttpFilter::ExtAuthz(authz) => {
                let calls = ServiceCalls::of(upstreams, &connection);
                let request = (&mut *parts, &mut *body);
                let asked = Box::pin(ext_authz::run(
                    exchange,
                    filter,
                    request,
                    (authz, own),
                    &calls,
                ))
                .await;
                asked.map(|allowed| {
                    if !allowed.response.is_empty() {
                        back.steps.push(Step::Changes(allowed.response));
                    }
                    routed.refresh(exchange, parts, allowed.clear_route);
                })
            }
            HttpFilter::LocalRateLimit(limit) => {
                let limit = match own {
                    Some(FilterOverride::LocalRateLimit(limit)) => limit,
                    _ => limit,
                };
                let place = (&routed.found, routed.random);
                let (bucket, passed) = rate_limits::local(exchange, place, parts, limit);
                back.steps.extend(bucket.map(Step::Bucket));
                passed
            }
            HttpFilter::RateLimit(limit) => {
                let calls = ServiceCalls::of(upstreams, &connection);
                let place = (&routed.found, routed.random);
                let asked = rate_limits::global(exchange, place, parts, (limit, own), &calls);
                // A call is large, and most requests make none.
                let (added, passed) = Box::pin(asked).await;
                back.steps.extend(added.map(Step::Headers));
                passed
            }
            HttpFilter::AdmissionControl(control) => {
                let entered = admission::enter(exchange, filter, control);
                entered.map(|sampled| back.steps.extend(sampled.map(Step::Sampled)))
            }
            HttpFilter::ExtProc(proc) => {
                let calls = ServiceCalls::of(upstreams, &connection);
                let request = (&mut *parts, &mut *body);
                let processed =
                    Box::pin(ext_proc::run(exchange, filter, request, (proc, own), calls)).await;
                processed.map(|passed| {
                    if let Some(passed) = passed {
                        let step = Box::new(passed.processing);
                        back.steps.push(Step::Processing(step));
                        routed.refresh(exchange, parts, passed.clear_route);
                    }
                })
            }
            HttpFilter::ForwardProxy(proxy) => {
                let place = (&routed.found, routed.random);
                Box::pin(forward_proxy::run(exchange, place, parts, (proxy, own))).await
            }
            HttpFilter::HealthCheck(own) => checked(exchange, parts, own, back),
            HttpFilter::Buffer(most) => {
                let most = match own {
                    Some(FilterOverride::Buffer(own)) => *own,
                    _ => Some(*most),
                };
                Box::pin(bodies::buffer(exchange, parts, body, most)).await
            }
            HttpFilter::GrpcWeb
            | HttpFilter::Compress(_)
            | HttpFilter::Decompress(_)
            | HttpFilter::Mutate(_)
            | HttpFilter::Session(_) => {
                let step = bodies::on_request(exchange, filter, (parts, body), own);
                back.steps.extend(step.map(Step::Body));
                Ok(())
            }
            // Not in the list: they do nothing here.
            HttpFilter::Discovered(_)
            | HttpFilter::GrpcStats
            | HttpFilter::IstioAlpn
            | HttpFilter::PeerMetadata { .. }
            | HttpFilter::Stats(_) => Ok(()),
        };
        passed.inspect_err(|_| aim(exchange, &routed.found, parts, routed.random))?;
    }
    Ok(admission.conclude())
}

impl Routed<'_> {
    /// Chooses the route anew when a filter asks for it.
    fn refresh(&mut self, exchange: &mut Exchange, parts: &mut Parts, anew: bool) {
        if anew {
            self.found = find_route(exchange, self.table, parts, self.random);
            exchange.switch(parts, self.found.overrides(self.random));
        }
    }
}

/// Notes the cluster that a request would have gone to.
fn aim(exchange: &mut Exchange, found: &Found<'_>, parts: &Parts, random: u64) {
    if let Some(slot) = chosen_cluster(exchange, found, parts, random) {
        exchange.meant_for(&slot);
    }
}

/// The cluster that a request would go to.
pub(super) fn chosen_cluster(
    exchange: &Exchange,
    found: &Found<'_>,
    parts: &Parts,
    random: u64,
) -> Option<ClusterRef> {
    let RouteAction::Forward(forward) = &found.route?.action else {
        return None;
    };
    match choose_cluster(&forward.cluster, random)? {
        (Chosen::Slot(slot), _) => Some(slot.clone()),
        (Chosen::Header(name), _) => {
            let value = parts.headers.get(name).and_then(|it| it.to_str().ok());
            let worker = &exchange.connection().chain.worker;
            Some(worker.named_cluster(value.unwrap_or_default()))
        }
    }
}

/// The name of the cluster that a request would go to.
fn meant<'t>(found: &Found<'t>, random: u64) -> Option<&'t str> {
    let RouteAction::Forward(forward) = &found.route?.action else {
        return None;
    };
    match choose_cluster(&forward.cluster, random)? {
        (Chosen::Slot(slot), _) => Some(slot.name()),
        (Chosen::Header(_), _) => None,
    }
}

/// A discovered filter whose settings have not come.
fn no_settings() -> LocalReply {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    LocalReply::new(status, "", Flags::NO_FILTER_CONFIG, "")
}

/// Checks of the proxy's own health end here, or are marked on their way back.
fn checked(
    exchange: &mut Exchange,
    parts: &Parts,
    filter: &HealthFilter,
    back: &mut WayBack<'_>,
) -> Result<(), LocalReply> {
    let verdict = health(filter, &view(exchange, parts));
    let failing = filter.failing.load(Ordering::Relaxed);
    if verdict != HealthVerdict::Other {
        exchange.mark_health_check();
    }
    if verdict != HealthVerdict::Other || failing {
        let own = (verdict != HealthVerdict::Other).then(|| filter.own_cluster.clone());
        back.steps.push(Step::Health { own, failing });
    }
    let unwell = StatusCode::SERVICE_UNAVAILABLE;
    match verdict {
        HealthVerdict::Other | HealthVerdict::Pass => Ok(()),
        HealthVerdict::Well(details) => {
            Err(LocalReply::new(StatusCode::OK, "", Flags::NONE, details))
        }
        HealthVerdict::Unwell(details) => Err(LocalReply::new(unwell, "", Flags::NONE, details)),
        HealthVerdict::Failing => Err(LocalReply::new(
            unwell,
            "",
            Flags::LOCAL_HEALTH_CHECK,
            "health_check_failed",
        )),
    }
}

/// Faults may hold the request, or end it.
async fn faults(
    exchange: &mut Exchange,
    admission: &mut Admission,
    parts: &Parts,
    (fault, cluster): (Option<&Fault>, Option<&str>),
) -> Result<(), LocalReply> {
    let Some(fault) = fault else {
        return Ok(());
    };
    let injected = inject(fault, &view(exchange, parts), cluster, || {
        fastrand::u32(..1_000_000)
    });
    if injected.is_nothing() {
        return Ok(());
    }
    let Some(active) = injected.enter(fault) else {
        return Ok(());
    };
    exchange.hold(active);
    if let Some(rate) = injected.rate {
        exchange.slow_down(rate);
    }
    if let Some(delay) = injected.delay {
        exchange.delayed();
        admission.held(delay);
        tokio::time::sleep(delay).await;
    }
    match injected.abort {
        Some(abort) => {
            let mut reply = LocalReply::fault(abort, admission.was_held());
            if let Some(body) = &fault.abort_body {
                reply.body = body.clone();
            }
            Err(reply)
        }
        None => Ok(()),
    }
}

/// Requests that another site made a browser send are refused.
fn unforged(
    exchange: &Exchange,
    filter: &ChainFilter,
    parts: &Parts,
    policy: &CsrfPolicy,
) -> Result<(), LocalReply> {
    match csrf(policy, &view(exchange, parts), || {
        fastrand::u32(..1_000_000)
    }) {
        Csrf::Pass => Ok(()),
        Csrf::Valid => {
            filter.count(2);
            Ok(())
        }
        Csrf::Invalid { unknown, refused } => {
            filter.count(usize::from(!unknown));
            let status = StatusCode::FORBIDDEN;
            let reply = || {
                LocalReply::new(
                    status,
                    "Invalid origin",
                    Flags::NONE,
                    "csrf_origin_mismatch",
                )
            };
            match refused {
                true => Err(reply()),
                false => Ok(()),
            }
        }
    }
}

/// Role-based access control.
fn access(
    exchange: &mut Exchange,
    filter: &ChainFilter,
    parts: &Parts,
    rules: Option<&RbacFilter>,
) -> Result<(), LocalReply> {
    let Some(rules) = rules else {
        return Ok(());
    };
    let outcome = rbac(rules, &view(exchange, parts));
    for noted in outcome.notes(rules) {
        exchange.metadata.share(&RBAC, noted);
    }
    if let Some(noted) = outcome.noted() {
        let hint = Map::from_iter([("access_log_hint".to_owned(), Value::from(noted))]);
        exchange.note(COMMON, hint);
    }
    if let Some(shadow) = &outcome.shadow {
        filter.count(if shadow.allowed { 2 } else { 3 });
    }
    match outcome.enforced {
        Some(verdict) if !verdict.allowed => {
            filter.count(1);
            Err(LocalReply::new(
                StatusCode::FORBIDDEN,
                "RBAC: access denied",
                Flags::NONE,
                verdict.details(),
            ))
        }
        Some(_) => {
            filter.count(0);
            Ok(())
        }
        None => Ok(()),
    }
}

/// The cross-origin policy: a pre-flight ends here, another request may take a grant along.
fn cross_origin<'t>(
    exchange: &Exchange,
    found: &Found<'t>,
    parts: &Parts,
    policy: Option<&'t CorsPolicy>,
    back: &mut WayBack<'t>,
) -> Result<(), LocalReply> {
    // Only forwarding routes have a policy.
    let forwards = matches!(
        found.route.map(|route| &route.action),
        Some(RouteAction::Forward(_))
    );
    let holds = |it: &&CorsPolicy| it.holds(|| fastrand::u32(..1_000_000));
    let Some(policy) = policy.filter(|_| forwards).filter(holds) else {
        return Ok(());
    };
    match cors(policy, &view(exchange, parts)) {
        Cors::Pass => Ok(()),
        Cors::Granted(grant) => {
            back.steps.push(Step::Cors(grant));
            Ok(())
        }
        Cors::Preflight(headers) => Err(LocalReply::own(
            StatusCode::OK,
            headers,
            Bytes::new(),
            "cors_response",
        )),
    }
}

impl<'t> WayBack<'t> {
    /// Resolves when a filter ends the exchange while the request is under way; `None` when none can.
    pub(crate) fn interruption(&self) -> Option<impl Future<Output = LocalReply> + use<>> {
        let steps = self.steps.iter().filter_map(|step| match step {
            Step::Processing(processing) => processing.interruption().map(Box::pin),
            _ => None,
        });
        let all: Vec<_> = steps.collect();
        (!all.is_empty()).then_some(async { select_all(all).await.0 })
    }

    /// Does what filters left to be done with the answer, made here or not: the last filter's part first.
    pub(crate) async fn finish<U>(
        self,
        exchange: &mut Exchange,
        outcome: Result<Response<U>, LocalReply>,
    ) -> Result<Response<AnswerBody<U>>, LocalReply>
    where
        U: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
    {
        if self.steps.iter().any(|step| matches!(step, Step::Body(_))) {
            return Box::pin(self.finish_bodies(exchange, outcome)).await;
        }
        let mut outcome = outcome.map(|response| response.map(AnswerBody::Upstream));
        for step in self.steps.into_iter().rev() {
            outcome = match step {
                Step::Sampled(sampled) => sampled.answered(exchange, outcome),
                Step::Processing(processing) => {
                    Box::pin(processing.finish(exchange, outcome)).await
                }
                step => {
                    step.apply(match &mut outcome {
                        Ok(response) => response.headers_mut(),
                        Err(reply) => &mut reply.headers,
                    });
                    outcome
                }
            };
        }
        outcome
    }

    /// The same where a step looks at the whole head or changes the body: a reply made here gets its form first.
    async fn finish_bodies<U>(
        mut self,
        exchange: &mut Exchange,
        outcome: Result<Response<U>, LocalReply>,
    ) -> Result<Response<AnswerBody<U>>, LocalReply>
    where
        U: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
    {
        let mut outcome = outcome.map(|response| response.map(AnswerBody::Upstream));
        let (mut links, mut emptied) = (Vec::new(), false);
        let mut made = match &outcome {
            Ok(_) => None,
            Err(reply) => Some(exchange.shown(reply)),
        };
        for place in (0..self.steps.len()).rev() {
            outcome = match self.take_whole(place) {
                Some(Step::Sampled(sampled)) => sampled.answered(exchange, outcome),
                Some(Step::Processing(processing)) => {
                    Box::pin(processing.finish(exchange, outcome)).await
                }
                _ => outcome,
            };
            let Some(step) = self.steps.get(place) else {
                continue;
            };
            if let Step::Body(BodyStep::GrpcWeb(_)) = step {
                emptied |= bodies::explain(outcome.as_mut().ok(), made.as_mut()).await;
            }
            let ended = emptied || exchange.is_upgrading();
            let mut head = match (&mut outcome, &mut made) {
                (Ok(response), _) => AnswerHead {
                    ended: ended || response.body().is_end_stream(),
                    status: response.status(),
                    headers: response.headers_mut(),
                    links: &mut links,
                },
                (Err(_), Some(made)) => AnswerHead {
                    ended: ended || made.body().is_empty(),
                    status: made.status(),
                    headers: made.headers_mut(),
                    links: &mut links,
                },
                (Err(_), None) => continue,
            };
            match step {
                Step::Body(own) => own.apply(exchange, &mut head, self.bodies()),
                other => other.apply(head.headers),
            }
        }
        exchange.change_answer(links, made, emptied);
        outcome
    }

    /// A step that takes the whole answer over.
    fn take_whole(&mut self, place: usize) -> Option<Step<'t>> {
        let step = self.steps.get_mut(place)?;
        matches!(step, Step::Sampled(_) | Step::Processing(_))
            .then(|| std::mem::replace(step, Step::Changes(Vec::new())))
    }

    /// The steps that change bodies, in the order of the chain.
    fn bodies(&self) -> impl Iterator<Item = &BodyStep> {
        self.steps.iter().filter_map(|step| match step {
            Step::Body(step) => Some(step),
            _ => None,
        })
    }
}

impl Step<'_> {
    fn apply(&self, headers: &mut HeaderMap) {
        match self {
            Self::Cors(grant) => grant.apply(headers),
            Self::Bucket(bucket) => rate_limit_headers(bucket, headers),
            Self::Health { own, failing } => {
                if let Some(own) = own {
                    headers.insert("x-envoy-upstream-healthchecked-cluster", own.clone());
                }
                if *failing {
                    let value = HeaderValue::from_static("true");
                    headers.insert("x-envoy-immediate-health-check-fail", value);
                }
            }
            Self::Changes(changes) => ext_authz::finish(changes, headers),
            Self::Headers(added) => append_headers(headers, added),
            // They need more than the headers.
            Self::Sampled(_) | Self::Processing(_) | Self::Body(_) => {}
        }
    }
}
