//! The life of a request, in travel order.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use lateen_proxy_model::{
    Balance, ClusterChoice, Dial, EscapedSlashes, Permit, RequestView, ResetReason, RouteAction,
    RouteSource, RouteTable, WeightedDraw,
};
use lateen_proxy_relay::http::{
    AnswerBody, ClientBody, Connection, DownstreamBody, Exchange, ForwardPlan, KnownTable,
    LocalReply, RequestBody, Upstreams, append_forwarded_host, check, early, forward,
    forwarded_scheme, normal_host, path, scheme, set_path, strip_hop, trust,
};
use lateen_proxy_route::{
    Answer, BadPath, ByName, Decision, Found, HashAddresses, HashResult, NewHost, Target,
    cut_fragment, decide, find, fixed_draw, has_escaped_slash, hash, normalize_path,
};

use super::filters::{self, Routed, WayBack};
use super::internal_redirect::{Led, Trail};

static ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// Nobody asks for the request's headers then.
static NO_HEADERS: std::sync::LazyLock<http::HeaderMap> =
    std::sync::LazyLock::new(http::HeaderMap::new);

/// Longest wait for a route table that is not known yet.
const TABLE_WAIT: Duration = Duration::from_secs(15);

/// Answers one request.
pub(crate) async fn handle<L, D, B>(
    upstreams: Upstreams<L, D>,
    connection: Rc<Connection>,
    request: Request<B>,
) -> Response<DownstreamBody<AnswerBody<D::Body>>>
where
    B: Body + Into<ClientBody>,
    L: Balance + 'static,
    D: Dial<RequestBody> + 'static,
    D::Body: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
{
    let (parts, body) = request.into_parts();
    let body = body.into();
    let mut exchange = Exchange::begin(connection, &parts);
    exchange.bodiless = body.is_end_stream();
    let mut trail = Trail::default();
    // On the heap, the stages' state is written once; by value, hyper would move kilobytes of it twice a request and keep
    // room for it on idle connections.
    let mut stage = Box::pin(stages(&mut exchange, &upstreams, (parts, body), &mut trail));
    loop {
        match stage.await {
            Ok(Passed::Answered(response)) => return exchange.answer(response),
            Err(reply) => return exchange.reply(reply),
            Ok(Passed::Led(led)) => {
                exchange = exchange.begin_anew(&led.request.0, led.https);
                exchange.bodiless = led.request.1.is_end_stream();
                stage = Box::pin(stages(&mut exchange, &upstreams, led.request, &mut trail));
            }
        }
    }
}

/// Where the stages came to.
enum Passed<B> {
    /// An answer.
    Answered(Response<B>),
    /// A redirect that is followed.
    Led(Box<Led>),
}

/// The stages of a request; a reply made here ends them.
async fn stages<L, D>(
    exchange: &mut Exchange,
    upstreams: &Upstreams<L, D>,
    (mut parts, mut body): (Parts, ClientBody),
    trail: &mut Trail,
) -> Result<Passed<AnswerBody<D::Body>>, LocalReply>
where
    L: Balance + 'static,
    D: Dial<RequestBody> + 'static,
    D::Body: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
{
    let upgrade = match trail.count {
        0 => canonical(exchange, &mut parts)?,
        _ => canonical_anew(exchange, &mut parts)?,
    };
    let table = route_table(exchange).await?;
    let random = fastrand::u64(..);
    let found = find_route(exchange, &table, &parts, random);
    let mut routed = Routed {
        table: &table,
        random: settled_draw(exchange, &found, &parts, random),
        found,
    };
    exchange.switch(&mut parts, routed.found.overrides(routed.random));
    exchange.trace(&mut parts);
    exchange.log_start();
    let worker = Rc::clone(&exchange.connection().chain.worker);
    let lookup = |name: &str| worker.named_cluster(name);
    let names = ByName::new(&lookup);
    let mut back = WayBack::default();
    let mut led = None;
    // Pinned where they are made: awaited by value, kilobytes would be moved, and kept twice.
    let outcome = {
        let outcome = pin!(async {
            let request = (&mut parts, &mut body);
            let permit = filters::run(exchange, upstreams, &mut routed, request, &mut back).await?;
            let draw = (routed.random, &names);
            let target = decided(exchange, permit, &routed.found, &parts, draw)?;
            let auto_host = rewrite(exchange, &target, &mut parts)?;
            let kept = target
                .response_has_templates()
                .then(|| parts.headers.clone());
            let hashed = hashed(exchange, &target, &parts);
            let plan = plan(exchange, &target, &parts, (auto_host, hashed.hash));
            let request = (parts, body);
            let mut outcome = {
                let sent = pin!(forward(
                    exchange,
                    upstreams,
                    plan,
                    request,
                    upgrade.as_deref()
                ));
                match back.interruption() {
                    None => sent.await,
                    Some(interrupted) => tokio::select! {
                        reply = interrupted => Err(reply),
                        outcome = sent => outcome,
                    },
                }
            };
            if let Ok(response) = &outcome {
                led = followed(exchange, trail, (&target, random), response);
            }
            if let Some(led) = &led {
                exchange.lead(outcome?, &led.request.0);
                // Nobody sees it: the request goes on.
                return Err(LocalReply::no_route());
            }
            if let Ok(response) = &outcome {
                exchange.note_status(response.status());
            }
            let headers = match &mut outcome {
                Ok(response) => {
                    for cookie in hashed.cookies {
                        response.headers_mut().append(SET_COOKIE, cookie);
                    }
                    response.headers_mut()
                }
                Err(reply) => &mut reply.headers,
            };
            let expander = exchange.expander(Some(kept.as_ref().unwrap_or(&NO_HEADERS)));
            target.finish_response(headers, &expander);
            outcome
        });
        outcome.await
    };
    if let Some(led) = led {
        return Ok(Passed::Led(led));
    }
    back.finish(exchange, outcome).await.map(Passed::Answered)
}

/// Where an answer leads, when it is a redirect that the route follows.
fn followed<B>(
    exchange: &mut Exchange,
    trail: &mut Trail,
    (target, random): (&Target<'_>, u64),
    response: &Response<B>,
) -> Option<Box<Led>> {
    let policy = target.forward.internal_redirect.as_deref()?;
    if !policy.takes(response.status()) {
        return None;
    }
    let from = (policy, &target.route.name);
    trail.follow(exchange, from, (target.table, random), response)
}

/// Makes a request fit to be trusted. `Some` is the protocol of an upgrade.
fn canonical(exchange: &mut Exchange, parts: &mut Parts) -> Result<Option<Box<str>>, LocalReply> {
    exchange.shed()?;
    check(exchange, parts)?;
    early(exchange, parts);
    canonical_path(exchange, parts)?;
    let upgrade = strip_hop(parts)?;
    trust(exchange, parts)?;
    Ok(upgrade)
}

/// The same where a redirect made the request, which was trusted before and is no upgrade.
fn canonical_anew(
    exchange: &mut Exchange,
    parts: &mut Parts,
) -> Result<Option<Box<str>>, LocalReply> {
    check(exchange, parts)?;
    normal_host(exchange, parts);
    canonical_path(exchange, parts)?;
    exchange.keep_request(parts);
    Ok(None)
}

/// What the relay is to do with the request.
fn plan<'t>(
    exchange: &Exchange,
    target: &Target<'t>,
    parts: &Parts,
    (auto_host, hash): (bool, Option<u64>),
) -> ForwardPlan<'t> {
    let manager = &exchange.connection().chain.manager;
    let steered = exchange.is_internal() || target.steers();
    let keep_expected = manager.router.respect_expected;
    let request = view(exchange, parts);
    let times = target.times(
        &request,
        steered,
        keep_expected,
        manager.max_stream_duration,
    );
    ForwardPlan {
        slot: target.cluster,
        forward: target.forward,
        retry: target.retry().map(|policy| &**policy),
        timeout: times.total,
        per_try: times.per_try,
        stream: times.stream,
        steered,
        keep_expected: times.keep_expected,
        tell_grpc: times.tell_grpc,
        quiet: manager.router.quiet,
        auto_host,
        attempt_count: target.host.include_attempt_count,
        attempt_count_in_response: target.host.attempt_count_in_response,
        hash,
        subset: match target.weighted {
            Some(weighted) => weighted.subset.as_deref(),
            None => target.forward.subset.as_deref(),
        },
    }
}

/// The draw for weighted clusters: chance, unless the route takes it from the request.
fn settled_draw(exchange: &Exchange, found: &Found<'_>, parts: &Parts, random: u64) -> u64 {
    let Some(RouteAction::Forward(forward)) = found.route.map(|route| &route.action) else {
        return random;
    };
    let ClusterChoice::Weighted { total, draw, .. } = &forward.cluster else {
        return random;
    };
    let value = match draw {
        WeightedDraw::Random => None,
        WeightedDraw::Header(name) => {
            let text = parts.headers.get(name).and_then(|it| it.to_str().ok());
            text.and_then(|text| text.parse().ok())
        }
        WeightedDraw::Hash => {
            let addresses = hash_addresses(exchange);
            hash(&forward.hash, &view(exchange, parts), &addresses).hash
        }
    };
    value.map_or(random, |value| fixed_draw(random, value, *total))
}

fn hash_addresses(exchange: &Exchange) -> HashAddresses {
    let (remote, connection) = exchange.addresses();
    HashAddresses { remote, connection }
}

/// One form of the path for everything that reads it (S1, S2).
fn canonical_path(exchange: &Exchange, parts: &mut Parts) -> Result<(), LocalReply> {
    if parts.method == http::Method::CONNECT {
        return Ok(());
    }
    let manager = &exchange.connection().chain.manager;
    let original = path(parts);
    let refused = || LocalReply::bad_request("path_normalization_failed");
    let cut = cut_fragment(original);
    if cut.is_some() && manager.reject_fragment {
        return Err(refused());
    }
    let kept = cut.unwrap_or(original);
    let escaped = manager.head.escaped_slashes;
    let has_escaped = escaped != EscapedSlashes::Normalize && has_escaped_slash(kept);
    if has_escaped && escaped == EscapedSlashes::Reject {
        return Err(refused());
    }
    let canonical = normalize_path(manager.paths, kept).map_err(|bad| match bad {
        BadPath::NotAbsolute => LocalReply::bad_request("absolute_path_rejected"),
        BadPath::Nul => refused(),
    })?;
    if has_escaped {
        let mut headers = http::HeaderMap::new();
        if let Ok(place) = HeaderValue::try_from(&*canonical) {
            headers.insert(http::header::LOCATION, place);
        }
        let status = http::StatusCode::TEMPORARY_REDIRECT;
        let details = "path_normalization_failed";
        return Err(LocalReply::own(status, headers, Bytes::new(), details));
    }
    if *canonical != *original {
        let canonical = canonical.into_owned();
        set_path(parts, canonical)?;
    }
    Ok(())
}

/// The connection manager's routes; a table that RDS has not sent yet is waited for.
async fn route_table(exchange: &Exchange) -> Result<Rc<KnownTable>, LocalReply> {
    let chain = &exchange.connection().chain;
    let slot = match &chain.manager.routes {
        RouteSource::Inline(table) => return Ok(chain.inline_table(table)),
        RouteSource::Rds(slot) => slot,
    };
    if let Some(table) = chain.worker.table(slot) {
        return Ok(table);
    }
    // Whoever stores the table wakes those who wait for it.
    let known = tokio::time::timeout(TABLE_WAIT, slot.known()).await;
    known
        .ok()
        .and_then(|()| chain.worker.table(slot))
        .ok_or_else(LocalReply::no_route)
}

/// A request as matchers see it.
pub(super) fn view<'a>(exchange: &'a Exchange, parts: &'a Parts) -> RequestView<'a> {
    RequestView {
        method: parts.method.as_str(),
        scheme: scheme(exchange, parts),
        authority: exchange.authority(),
        path: path(parts),
        headers: &parts.headers,
        facts: exchange,
    }
}

/// Virtual host and route.
pub(super) fn find_route<'t>(
    exchange: &mut Exchange,
    table: &'t RouteTable,
    parts: &Parts,
    random: u64,
) -> Found<'t> {
    let found = {
        let request = view(exchange, parts);
        let tls = forwarded_scheme(exchange, parts) == "https";
        find(table, &request, tls, random)
    };
    if let Some(route) = found.route {
        exchange.take_route(route);
        if let RouteAction::Forward(forward) = &route.action
            && let Some(stats) = &forward.stats
        {
            let kind = stats.kind(&view(exchange, parts));
            exchange.count_in(Some((Arc::clone(stats), kind)));
        }
    }
    found
}

fn decided<'t>(
    exchange: &Exchange,
    permit: Permit,
    found: &Found<'t>,
    parts: &Parts,
    (random, names): (u64, &'t ByName<'t>),
) -> Result<Target<'t>, LocalReply> {
    let request = view(exchange, parts);
    match decide(permit, found, &request, random, names) {
        Decision::Forward(target) => Ok(target),
        Decision::Answer(answer) => Err(direct(exchange, &answer, &request)),
        Decision::NotFound => Err(LocalReply::no_route()),
    }
}

fn direct(exchange: &Exchange, answer: &Answer<'_>, request: &RequestView<'_>) -> LocalReply {
    let mut headers = http::HeaderMap::new();
    if answer.status == http::StatusCode::CREATED {
        let place = format!("{}://{}{}", request.scheme, request.authority, request.path);
        if let Ok(place) = HeaderValue::try_from(place) {
            headers.insert(http::header::LOCATION, place);
        }
    }
    let mut body = answer.body.clone();
    if let Some(format) = answer.format {
        let (text, kind) = exchange.formatted(format, request.headers, &headers, &body);
        body = text.into();
        headers.extend(kind.map(|kind| (http::header::CONTENT_TYPE, kind)));
    }
    answer.finish_response(&mut headers, &exchange.expander(Some(request.headers)));
    let mut reply = LocalReply::own(answer.status, headers, body, "direct_response");
    reply.plain = false;
    reply
}

/// The route's changes of headers, path and host. Whether the host is the endpoint's own, which is not known yet.
fn rewrite(
    exchange: &mut Exchange,
    target: &Target<'_>,
    parts: &mut Parts,
) -> Result<bool, LocalReply> {
    // A URI is a reference count: the path can be read while the headers change.
    let uri = parts.uri.clone();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let expander = exchange.expander(None);
    let rewritten = target.finish_request(path, &mut parts.headers, &expander);
    if let Some(path) = rewritten.path {
        set_path(parts, path)?;
    }
    match rewritten.host {
        Some(NewHost::Value(host)) => {
            if let Ok(before) = HeaderValue::from_str(exchange.authority()) {
                parts.headers.insert(&ORIGINAL_HOST, before);
            }
            if target.forward.append_forwarded_host {
                append_forwarded_host(&mut parts.headers, exchange.authority());
            }
            exchange.set_host(parts, &host);
        }
        Some(NewHost::Auto) => return Ok(true),
        None => {}
    }
    Ok(false)
}

/// The request's hash, of what is sent on, where the cluster balances by it.
fn hashed(exchange: &Exchange, target: &Target<'_>, parts: &Parts) -> HashResult {
    let policies = &target.forward.hash;
    if policies.is_empty() {
        return HashResult::default();
    }
    let worker = &exchange.connection().chain.worker;
    let known = worker.cluster(target.cluster);
    if !known.is_some_and(|known| known.cluster.lb.is_hashed()) {
        return HashResult::default();
    }
    hash(policies, &view(exchange, parts), &hash_addresses(exchange))
}
