//! Checks by HTTP request, and by gRPC.

use std::future::Future;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use lateen_proxy_model::{GrpcCheck, HttpCheck};

use super::Kept;
use super::judge::Finding;
use super::tcp::holds;
use crate::connect::{self, Plan};

static AGENT: HeaderValue = HeaderValue::from_static("Envoy/HC");
static DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");
static FAIL: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");
static SERVICE: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");
static STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Bytes of a body that is read only to keep its connection.
const DISCARD: usize = 64 * 1024;
/// Path of the health service.
const CHECK: &str = "/grpc.health.v1.Health/Check";

/// A connection between checks.
pub(super) enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

#[derive(Clone, Copy)]
struct Exec;

impl<F> hyper::rt::Executor<F> for Exec
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        tokio::spawn(task);
    }
}

impl Client {
    async fn open(plan: &Plan, http2: bool) -> Option<Self> {
        let mut plan = plan.clone();
        plan.version = Some(if http2 {
            Version::HTTP_2
        } else {
            Version::HTTP_11
        });
        let (stream, _) = connect::connect(&plan).await.ok()?;
        let stream = TokioIo::new(stream);
        if !http2 {
            let (sender, driver) = http1::handshake(stream).await.ok()?;
            tokio::spawn(driver);
            return Some(Self::Http1(sender));
        }
        let mut builder = http2::Builder::new(Exec);
        builder.timer(TokioTimer::new());
        let (sender, driver) = builder.handshake(stream).await.ok()?;
        tokio::spawn(driver);
        Some(Self::Http2(sender))
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Option<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await.ok()?;
                sender.send_request(request).await.ok()
            }
            Self::Http2(sender) => {
                sender.ready().await.ok()?;
                sender.send_request(request).await.ok()
            }
        }
    }
}

async fn send(
    plan: &Plan,
    http2: bool,
    kept: &mut Kept,
    request: Request<Full<Bytes>>,
) -> Option<(Client, Response<Incoming>)> {
    // A kept connection may have ended between checks.
    if let Kept::Http(client) = std::mem::replace(kept, Kept::None) {
        let mut client = *client;
        if let Some(response) = client.send(request.clone()).await {
            return Some((client, response));
        }
    }
    let mut client = Client::open(plan, http2).await?;
    let response = client.send(request).await?;
    Some((client, response))
}

pub(super) async fn ask(plan: &Plan, check: &HttpCheck, kept: &mut Kept) -> Finding {
    let Some(request) = request(plan, check) else {
        return Finding::Network;
    };
    let Some((client, response)) = send(plan, check.http2, kept, request).await else {
        return Finding::Network;
    };
    let (head, mut body) = response.into_parts();
    let wanted = if check.receive.is_empty() {
        DISCARD
    } else {
        check.buffer
    };
    let mut seen = Vec::new();
    while seen.len() < wanted {
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    seen.extend_from_slice(&data);
                }
            }
            Some(Err(_)) => return Finding::Network,
            None => break,
        }
    }
    seen.truncate(wanted);
    let finding = judge(check, head.status.as_u16(), &head.headers, &seen);
    if finding == (Finding::Well { degraded: false }) {
        *kept = Kept::Http(Box::new(client));
    }
    finding
}

/// What an answer says.
pub(super) fn judge(check: &HttpCheck, status: u16, headers: &HeaderMap, body: &[u8]) -> Finding {
    let within = |ranges: &[RangeInclusive<u16>]| ranges.iter().any(|one| one.contains(&status));
    let expected = match &*check.expected {
        [] => status == 200,
        ranges => within(ranges),
    };
    if !expected {
        return Finding::Refused {
            retriable: within(&check.retriable),
            excluded: headers.contains_key(&FAIL),
        };
    }
    if !check.receive.is_empty() && !holds(body, &check.receive) {
        return Finding::Refused {
            retriable: false,
            excluded: headers.contains_key(&FAIL),
        };
    }
    if let Some(matcher) = &check.service {
        let name = headers.get(&SERVICE).and_then(|name| name.to_str().ok());
        if !name.is_some_and(|name| matcher.matches(name)) {
            return Finding::WrongService;
        }
    }
    Finding::Well {
        degraded: headers.contains_key(&DEGRADED),
    }
}

fn request(plan: &Plan, check: &HttpCheck) -> Option<Request<Full<Bytes>>> {
    let authority = authority(plan, &check.host);
    let mut request = Request::new(Full::new(Bytes::copy_from_slice(&check.send)));
    *request.method_mut() = check.method.clone();
    *request.uri_mut() = uri(&authority, &check.path, check.http2)?;
    let headers = request.headers_mut();
    if !check.http2 {
        headers.insert(HOST, HeaderValue::from_str(&authority).ok()?);
    }
    headers.insert(USER_AGENT, AGENT.clone());
    for name in check.add.keys() {
        headers.remove(name);
    }
    for (name, value) in &check.add {
        headers.append(name, value.clone());
    }
    for name in &check.remove {
        headers.remove(name);
    }
    Some(request)
}

fn uri(authority: &str, path: &str, http2: bool) -> Option<Uri> {
    let builder = Uri::builder().path_and_query(path);
    let builder = if http2 {
        builder.scheme("http").authority(authority)
    } else {
        builder
    };
    builder.build().ok()
}

/// The host that a check names: the endpoint's own for checks, the check's, or the cluster.
fn authority(plan: &Plan, given: &str) -> String {
    let own = plan.endpoint.check.as_ref();
    match own.and_then(|own| own.hostname.as_deref()) {
        Some(name) => name.to_owned(),
        None if !given.is_empty() => given.to_owned(),
        None => plan.cluster.name.to_string(),
    }
}

pub(super) async fn ask_grpc(plan: &Plan, check: &GrpcCheck, kept: &mut Kept) -> Finding {
    let refused = Finding::Refused {
        retriable: false,
        excluded: false,
    };
    let mut message = Vec::new();
    if !check.service.is_empty() {
        // Field 1, a text.
        message.push(0x0a);
        prost::encoding::encode_varint(check.service.len() as u64, &mut message);
        message.extend_from_slice(check.service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or_default();
    let mut framed = vec![0];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    let mut request = Request::new(Full::new(Bytes::from(framed)));
    *request.method_mut() = Method::POST;
    let Some(uri) = uri(&authority(plan, &check.authority), CHECK, true) else {
        return Finding::Network;
    };
    *request.uri_mut() = uri;
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, AGENT.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    for (name, value) in &check.metadata {
        headers.append(name, value.clone());
    }
    let Some((client, response)) = send(plan, true, kept, request).await else {
        return Finding::Network;
    };
    let is_ok = response.status().is_success();
    let mut status = response.headers().get(&STATUS).cloned();
    let Ok(body) = response.into_body().collect().await else {
        return Finding::Network;
    };
    if let Some(trailers) = body.trailers() {
        status = trailers.get(&STATUS).cloned().or(status);
    }
    // The frame's five bytes, then field 1 with the number of SERVING.
    let serving = body.to_bytes().get(5..).is_some_and(|it| it == [0x08, 1]);
    if is_ok && serving && status.is_some_and(|status| status == "0") {
        *kept = Kept::Http(Box::new(client));
        Finding::Well { degraded: false }
    } else {
        refused
    }
}
