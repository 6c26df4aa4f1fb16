//! Rate limits in the chain of HTTP filters.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use lateen_proxy_admit::{
    DescriptorFacts, Limit, LimitAnswer, LocalLimit, append_headers, ask_limit, descriptors,
    local_rate_limit, retry_after,
};
use lateen_proxy_model::{
    BucketView, Call, Descriptor, FilterOverride, GlobalRateLimit, LocalLimiter, LocalRateLimit,
    RateLimit, RequestOrigin, RequestView, RouteAction, RouteRateLimits, VirtualHostLimits,
};
use lateen_proxy_relay::cells::Cells;
use lateen_proxy_relay::http::{Exchange, LocalReply};
use lateen_proxy_route::{Chosen, Found, choose_cluster};

use super::request::view;

static INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
static RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");

/// gRPC status of a caller that asks for too much.
const RESOURCE_EXHAUSTED: u32 = 8;

/// Asks the local limits; the bucket is for the headers of the answer.
pub(super) fn local(
    exchange: &Exchange,
    (found, random): (&Found<'_>, u64),
    parts: &mut Parts,
    config: &Arc<LocalRateLimit>,
) -> (Option<BucketView>, Result<(), LocalReply>) {
    let Some(shared) = &config.limiter else {
        return (None, Ok(()));
    };
    let connection = exchange.connection();
    let own: Option<Rc<LocalLimiter>> = config.per_connection.then(|| connection.limiter(shared));
    let limiter = own.as_deref().unwrap_or(shared);
    let limit = {
        let place = Place {
            exchange,
            found,
            random,
        };
        let asked = || {
            let request = view(exchange, parts);
            let own = config.limits.as_deref();
            place.descriptors(request, own, config.host_limits, |it| {
                it.stage == config.stage
            })
        };
        let chance = (|| fastrand::u32(..1_000_000), Instant::now());
        let cells = Cells(connection.chain.worker.recorder.stats());
        local_rate_limit(config, limiter, asked, chance, &cells)
    };
    match limit {
        LocalLimit::Off => (None, Ok(())),
        LocalLimit::Pass(shown) => (shown, Ok(())),
        LocalLimit::NotEnforced(shown) => {
            let expander = exchange.expander(None);
            config.request_headers.apply(&mut parts.headers, &expander);
            (shown, Ok(()))
        }
        LocalLimit::Refused { bucket, shown } => {
            let grpc = config.resource_exhausted.then_some(RESOURCE_EXHAUSTED);
            let mut reply = LocalReply::locally_limited(config.status, grpc);
            let expander = exchange.expander(Some(&parts.headers));
            config.response_headers.apply(&mut reply.headers, &expander);
            retry_after(config, bucket.as_ref(), &mut reply.headers);
            (bucket.filter(|_| shown), Err(reply))
        }
    }
}

/// Asks a service; the headers are for the answer, made here or not.
pub(super) async fn global<C: Call>(
    exchange: &mut Exchange,
    (found, random): (&Found<'_>, u64),
    parts: &mut Parts,
    (config, own): (&GlobalRateLimit, Option<&FilterOverride>),
    calls: &C,
) -> (Option<Added>, Result<(), LocalReply>) {
    let route = match own {
        Some(FilterOverride::RateLimit(route)) => Some(&**route),
        _ => None,
    };
    let draw = || fastrand::u32(..1_000_000);
    if !config.enabled.holds(draw()) || !concerns(config, parts) {
        return (None, Ok(()));
    }
    let Some(RouteAction::Forward(forward)) = found.route.map(|route| &route.action) else {
        return (None, Ok(()));
    };
    let answer = {
        let place = Place {
            exchange,
            found,
            random,
        };
        let own = route.and_then(|route| route.limits.as_deref());
        let own = own.or(config.limits.as_deref());
        let host = route.map_or(VirtualHostLimits::Override, |route| route.host_limits);
        let asked = place.descriptors(view(exchange, parts), own, host, |it| {
            it.stage == config.stage
        });
        if asked.is_empty() {
            return (None, Ok(()));
        }
        let domain = route.and_then(|route| route.domain.as_deref());
        let domain = domain.unwrap_or(&config.domain);
        ask_limit(calls, (&config.service, config.timeout), domain, &asked).await
    };
    let mut added = answer.response_headers.clone();
    if config.headers && answer.limit != Limit::Error {
        answer.limit_headers(&mut added);
    }
    if let Some(metadata) = &answer.metadata {
        exchange.note(&config.namespace, metadata.clone());
    }
    let cluster = match choose_cluster(&forward.cluster, random) {
        Some((Chosen::Slot(slot), _)) => Some(&**slot.name()),
        Some((Chosen::Header(_), _)) | None => None,
    };
    let count = |name| count(exchange, cluster, &config.stat_prefix, name);
    match answer.limit {
        Limit::Over => {
            count("over_limit");
            if config.ratelimited {
                added.push((RATE_LIMITED.clone(), HeaderValue::from_static("true")));
            }
            if config.enforced.holds(draw()) {
                let mut reply = refusal(config, &answer, &mut added);
                let expander = exchange.expander(Some(&parts.headers));
                config.response_headers.apply(&mut reply.headers, &expander);
                say_when(config, &answer, &mut reply.headers);
                return (Some(added), Err(reply));
            }
        }
        Limit::Ok => count("ok"),
        Limit::Error => {
            count("error");
            if config.deny_on_failure.holds(draw()) {
                let reply = LocalReply::rate_limit_failed(config.status_on_error);
                return (Some(added), Err(reply));
            }
            count("failure_mode_allowed");
        }
    }
    append_headers(&mut parts.headers, &answer.request_headers);
    (Some(added), Ok(()))
}

/// Headers that an answer gets.
pub(super) type Added = Vec<(HeaderName, HeaderValue)>;

fn refusal(config: &GlobalRateLimit, answer: &LimitAnswer, added: &mut Added) -> LocalReply {
    let grpc = config.resource_exhausted.then_some(RESOURCE_EXHAUSTED);
    let mut reply = LocalReply::rate_limited(config.status, answer.body.clone(), grpc);
    let headers = &mut reply.headers;
    for (name, value) in added.drain(..) {
        headers.append(name, value);
    }
    reply
}

fn say_when(config: &GlobalRateLimit, answer: &LimitAnswer, headers: &mut HeaderMap) {
    if config.retry_after
        && config.status == StatusCode::TOO_MANY_REQUESTS
        && !headers.contains_key(RETRY_AFTER)
        && let Some(seconds) = answer.retry_after()
    {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

/// Whether the filter looks at a request.
fn concerns(config: &GlobalRateLimit, parts: &Parts) -> bool {
    let internal = parts
        .headers
        .get(&INTERNAL)
        .is_some_and(|value| value == "true");
    match config.only {
        None => true,
        Some(RequestOrigin::Internal) => internal,
        Some(RequestOrigin::External) => !internal,
    }
}

/// Counts for the cluster that a request is for.
fn count(exchange: &Exchange, cluster: Option<&str>, prefix: &str, name: &str) {
    let Some(cluster) = cluster else {
        return;
    };
    let name = match prefix {
        "" => format!("ratelimit.{name}"),
        prefix => format!("ratelimit.{prefix}.{name}"),
    };
    let stats = exchange.connection().chain.worker.recorder.stats();
    stats
        .counter_of("cluster", ("cluster_name", cluster), &name)
        .inc();
}

/// Where a request stands when a limit is asked.
pub(super) struct Place<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) found: &'a Found<'a>,
    pub(super) random: u64,
}

impl<'a> Place<'a> {
    /// The descriptors of a request: by the filter's own limits where it has some, or else by the route's.
    pub(super) fn descriptors(
        &self,
        request: RequestView<'a>,
        own: Option<&'a [RateLimit]>,
        host: VirtualHostLimits,
        wanted: impl Fn(&RateLimit) -> bool,
    ) -> Vec<Descriptor<'a>> {
        let Some(RouteAction::Forward(forward)) = self.found.route.map(|route| &route.action)
        else {
            let facts = self.facts(request, None);
            return descriptors(own.into_iter().flatten(), &facts, |_| true);
        };
        let cluster = choose_cluster(&forward.cluster, self.random);
        let facts = self.facts(
            request,
            match cluster {
                Some((Chosen::Slot(slot), _)) => Some(&**slot.name()),
                Some((Chosen::Header(_), _)) | None => None,
            },
        );
        if let Some(own) = own {
            return descriptors(own.iter(), &facts, |_| true);
        }
        let limits: Option<&RouteRateLimits> = forward.rate_limits.as_deref();
        let limits = limits.into_iter().flat_map(|limits| limits.in_force(host));
        descriptors(limits, &facts, wanted)
    }

    fn facts(&self, request: RequestView<'a>, cluster: Option<&'a str>) -> DescriptorFacts<'a> {
        DescriptorFacts {
            request,
            source_cluster: &self.exchange.connection().chain.worker.service_cluster,
            destination_cluster: cluster,
        }
    }
}
