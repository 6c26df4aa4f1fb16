//! The life of a request, in travel order.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use lateen_proxy_model::{
    Balance, Dial, HostRewrite, Permit, RequestView, ResetReason, RouteSource, RouteTable,
};
use lateen_proxy_relay::http::{
    ClientBody, Connection, DownstreamBody, Exchange, ForwardPlan, KnownTable, LocalReply,
    RequestBody, Upstreams, check, forward, path, scheme, set_path, strip_hop, trust,
};
use lateen_proxy_route::{
    Answer, BadPath, Decision, Found, HashAddresses, HashResult, Target, cut_fragment, decide,
    find, hash, normalize_path,
};

use super::filters::{self, Routed, WayBack};

static ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// Longest wait for a route table that is not known yet.
const TABLE_WAIT: Duration = Duration::from_secs(15);
/// Time between two looks for it.
const TABLE_LOOK: Duration = Duration::from_millis(5);

/// Answers one request.
pub(crate) async fn handle<L, D>(
    upstreams: Upstreams<L, D>,
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Response<DownstreamBody<D::Body>>
where
    L: Balance + 'static,
    D: Dial<RequestBody> + 'static,
    D::Body: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
{
    let (parts, body) = request.into_parts();
    let mut exchange = Exchange::begin(connection, &parts);
    exchange.bodiless = body.is_end_stream();
    // On the heap, the stages' state is written once; by value, hyper would move kilobytes of it twice a request and keep
    // room for it on idle connections.
    let body = ClientBody::from(body);
    let stages = Box::pin(stages(&mut exchange, &upstreams, parts, body));
    match stages.await {
        Ok(response) => exchange.answer(response),
        Err(reply) => exchange.reply(reply),
    }
}

/// The stages of a request; a reply made here ends them.
async fn stages<L, D>(
    exchange: &mut Exchange,
    upstreams: &Upstreams<L, D>,
    mut parts: Parts,
    mut body: ClientBody,
) -> Result<Response<D::Body>, LocalReply>
where
    L: Balance + 'static,
    D: Dial<RequestBody> + 'static,
    D::Body: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
{
    exchange.shed()?;
    check(exchange, &mut parts)?;
    canonical_path(exchange, &mut parts)?;
    let upgrade = strip_hop(&mut parts)?;
    trust(exchange, &mut parts);
    let table = route_table(exchange).await?;
    let random = fastrand::u64(..);
    let mut routed = Routed {
        table: &table,
        found: find_route(exchange, &table, &parts, random),
        random,
    };
    exchange.trace(&mut parts);
    let mut back = WayBack::default();
    let outcome = async {
        let request = (&mut parts, &mut body);
        let permit = filters::run(exchange, upstreams, &mut routed, request, &mut back).await?;
        let (target, timeout) = decided(exchange, permit, &routed.found, &parts, random)?;
        let auto_host = rewrite(exchange, &target, &mut parts)?;
        let hashed = hashed(exchange, &target, &parts);
        let plan = ForwardPlan {
            slot: target.cluster,
            forward: target.forward,
            retry: target.retry().map(|policy| &**policy),
            timeout,
            auto_host,
            attempt_count: target.host.include_attempt_count,
            hash: hashed.hash,
            subset: match target.weighted {
                Some(weighted) => weighted.subset.as_deref(),
                None => target.forward.subset.as_deref(),
            },
        };
        let request = (parts, body);
        let mut response = forward(exchange, upstreams, plan, request, upgrade.as_deref()).await?;
        finish(&mut response, &target, hashed.cookies);
        Ok(response)
    };
    let outcome = outcome.await;
    back.finish(outcome)
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
    let canonical = normalize_path(manager.paths, kept).map_err(|bad| match bad {
        BadPath::NotAbsolute => LocalReply::bad_request("absolute_path_rejected"),
        BadPath::Nul => refused(),
    })?;
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
    let known = async {
        loop {
            tokio::time::sleep(TABLE_LOOK).await;
            if let Some(table) = chain.worker.table(slot) {
                return table;
            }
        }
    };
    tokio::time::timeout(TABLE_WAIT, known)
        .await
        .map_err(|_| LocalReply::no_route())
}

/// A request as matchers see it.
pub(super) fn view<'a>(exchange: &'a Exchange, parts: &'a Parts) -> RequestView<'a> {
    RequestView {
        method: parts.method.as_str(),
        scheme: scheme(parts),
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
        find(table, &request, request.scheme == "https", random)
    };
    if let Some(route) = found.route {
        exchange.take_route(route);
    }
    found
}

fn decided<'t>(
    exchange: &Exchange,
    permit: Permit,
    found: &Found<'t>,
    parts: &Parts,
    random: u64,
) -> Result<(Target<'t>, Option<Duration>), LocalReply> {
    let request = view(exchange, parts);
    match decide(permit, found, &request, random) {
        Decision::Forward(target) => Ok((target, target.timeout(&request))),
        Decision::Answer(answer) => Err(direct(&answer, &request)),
        Decision::NotFound => Err(LocalReply::no_route()),
    }
}

fn direct(answer: &Answer<'_>, request: &RequestView<'_>) -> LocalReply {
    let mut headers = http::HeaderMap::new();
    if answer.status == http::StatusCode::CREATED {
        let place = format!("{}://{}{}", request.scheme, request.authority, request.path);
        if let Ok(place) = HeaderValue::try_from(place) {
            headers.insert(http::header::LOCATION, place);
        }
    }
    answer.finish_response(&mut headers);
    let mut reply = LocalReply::own(
        answer.status,
        headers,
        answer.body.clone(),
        "direct_response",
    );
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
    let rewritten = target.finish_request(path, &mut parts.headers);
    if let Some(path) = rewritten.path {
        set_path(parts, path)?;
    }
    match rewritten.host {
        Some(HostRewrite::Literal(host)) => {
            if let Ok(before) = HeaderValue::from_str(exchange.authority()) {
                parts.headers.insert(&ORIGINAL_HOST, before);
            }
            exchange.set_host(parts, host);
        }
        Some(HostRewrite::Auto) => return Ok(true),
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
    let (remote, connection) = exchange.addresses();
    let addresses = HashAddresses { remote, connection };
    hash(policies, &view(exchange, parts), &addresses)
}

/// The way back: cookies that were made, and header changes of the route.
fn finish<B>(response: &mut Response<B>, target: &Target<'_>, cookies: Vec<HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    target.finish_response(response.headers_mut());
}
