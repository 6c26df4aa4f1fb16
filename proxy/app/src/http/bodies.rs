//! Filters that change bodies, wait for them, or need the whole head of an answer.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use lateen_proxy_admit::{
    AsItIs, CodingChoice, FromBase64, GrpcWeb, advertise, compress_answer, compress_request,
    decompress, grpc_web_request, has_session, session_host, take_accept, tell_session,
};
use lateen_proxy_model::{
    BodyChange, Coding, Compressor, CompressorRoute, Decompressor, FilterOverride, HttpFilter,
    MutationFilter, MutationLevels, SessionHost, StatefulSession,
};
use lateen_proxy_relay::http::{
    BodyLink, ChainFilter, ClientBody, Exchange, FilterCounters, LocalReply, ReadAhead,
    explain_to_grpc, path,
};
use lateen_proxy_telemetry::Flags;

/// Bytes of a body that is no gRPC which a gRPC-Web client is told of.
const EXPLAINED: usize = 16 * 1024;

/// What a filter left to be done with an answer whose whole head it needs.
#[derive(Debug)]
pub(super) enum BodyStep {
    GrpcWeb(GrpcWeb),
    Compress(Compressing),
    Decompress(Arc<Decompressor>, FilterCounters),
    Mutate(Mutating),
    Session(Arc<StatefulSession>, Option<SessionHost>),
}

/// A compressor and what the request said.
#[derive(Debug)]
pub(super) struct Compressing {
    config: Arc<Compressor>,
    route: Option<Arc<CompressorRoute>>,
    accept: Option<HeaderValue>,
    counters: FilterCounters,
}

/// Changes of headers, of the filter and of the levels above the request.
#[derive(Debug)]
pub(super) struct Mutating {
    own: Arc<MutationFilter>,
    levels: Option<MutationLevels>,
    /// The request's headers, where a value may be made of them.
    request: Option<HeaderMap>,
}

/// An answer's head on its way, and what its body goes through.
pub(super) struct AnswerHead<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a mut HeaderMap,
    /// There is no body.
    pub(super) ended: bool,
    /// In the order that the body meets them.
    pub(super) links: &'a mut Vec<BodyLink>,
}

/// Does a filter's part with a request; what is given is its part with the answer.
pub(super) fn on_request(
    exchange: &mut Exchange,
    filter: &ChainFilter,
    (parts, body): (&mut Parts, &mut ClientBody),
    own: Option<&FilterOverride>,
) -> Option<BodyStep> {
    match &filter.entry.filter {
        HttpFilter::GrpcWeb => grpc_web(parts, body).map(BodyStep::GrpcWeb),
        HttpFilter::Compress(config) => {
            let route = match own {
                Some(FilterOverride::Compress(route)) => Some(Arc::clone(route)),
                _ => None,
            };
            let counters = filter.counters();
            let ended = body.is_end_stream();
            let coding = coding(config, route.as_deref());
            let count = |place| filter.count(place);
            let encode = compress_request(config, &coding, &mut parts.headers, ended, count);
            if let Some(encode) = encode {
                body.change(link(encode, &counters, (2, 3)));
            }
            let accept = take_accept(config, route.as_deref(), &mut parts.headers);
            Some(BodyStep::Compress(Compressing {
                config: Arc::clone(config),
                route,
                accept,
                counters,
            }))
        }
        HttpFilter::Decompress(config) => {
            let counters = filter.counters();
            advertise(config, &mut parts.headers);
            let head = (&mut parts.headers, body.is_end_stream());
            let decode = decompress(config, &config.request, head, |place| filter.count(place));
            if let Some(decode) = decode {
                body.change(link(decode, &counters, (3, 2)));
            }
            Some(BodyStep::Decompress(Arc::clone(config), counters))
        }
        HttpFilter::Mutate(config) => {
            let levels = match own {
                Some(FilterOverride::Mutate(levels)) => Some(levels.clone()),
                _ => None,
            };
            let mut step = Mutating {
                own: Arc::clone(config),
                levels,
                request: None,
            };
            step.change(exchange, &mut parts.headers, |one| &one.request);
            let all = || step.in_order().flat_map(|one| &one.response);
            if all().any(|one| one.has_templates()) {
                step.request = Some(parts.headers.clone());
            }
            Some(BodyStep::Mutate(step))
        }
        HttpFilter::Session(config) => {
            let config = match own {
                Some(FilterOverride::Session(own)) => own.as_ref()?,
                _ => config,
            };
            if !has_session(config, path(parts)) {
                return None;
            }
            let host = session_host(config, &parts.headers, SystemTime::now());
            exchange.session = host.map(Box::new);
            Some(BodyStep::Session(Arc::clone(config), host))
        }
        _ => None,
    }
}

fn coding(config: &Compressor, route: Option<&CompressorRoute>) -> Coding {
    let route = route.and_then(|route| route.coding);
    route.unwrap_or(config.coding)
}

/// A change, with the places of its counters of bytes in and bytes out.
fn link(
    change: impl BodyChange + 'static,
    counters: &FilterCounters,
    (taken, given): (usize, usize),
) -> BodyLink {
    let counters = counters.counter(taken).zip(counters.counter(given));
    let counters = counters.map(|(taken, given)| (taken.clone(), given.clone()));
    BodyLink::new(Box::new(change), counters)
}

fn grpc_web(parts: &mut Parts, body: &mut ClientBody) -> Option<GrpcWeb> {
    let web = grpc_web_request(&mut parts.headers)?;
    if !body.is_end_stream() {
        let change: Box<dyn BodyChange> = match web.text {
            true => Box::<FromBase64>::default(),
            false => Box::<AsItIs>::default(),
        };
        body.change(BodyLink::new(change, None));
    }
    Some(web)
}

/// Puts an answer to a gRPC-Web client that is no gRPC into headers, as far as its body goes; none of that is sent, which is
/// said where it is an upstream's.
pub(super) async fn explain<B>(
    response: Option<&mut Response<B>>,
    made: Option<&mut Response<Bytes>>,
) -> bool
where
    B: Body<Data = Bytes> + Unpin,
{
    if let Some(made) = made
        && !made.body().is_empty()
        && GrpcWeb::is_foreign(made.headers())
    {
        let text = std::mem::take(made.body_mut());
        to_headers(made, &text);
    }
    let Some(response) = response else {
        return false;
    };
    if response.body().is_end_stream() || !GrpcWeb::is_foreign(response.headers()) {
        return false;
    }
    let mut text = BytesMut::new();
    while text.len() < EXPLAINED
        && let Some(Ok(frame)) = response.body_mut().frame().await
    {
        if let Ok(data) = frame.into_data() {
            let room = EXPLAINED.saturating_sub(text.len());
            text.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
    }
    to_headers(response, &text);
    true
}

fn to_headers<B>(response: &mut Response<B>, text: &[u8]) {
    let status = response.status();
    let headers = response.headers_mut();
    explain_to_grpc(status, text, headers);
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
}

/// Waits for the whole request, of `most` bytes at most.
pub(super) async fn buffer(
    exchange: &mut Exchange,
    parts: &mut Parts,
    body: &mut ClientBody,
    most: Option<u32>,
) -> Result<(), LocalReply> {
    let Some(most) = most.filter(|_| !body.is_end_stream()) else {
        return Ok(());
    };
    let most = most as usize;
    let read = body.read_ahead(most.saturating_add(1)).await;
    let read = read.map_err(|error| match error.failure() {
        Some(failure) => LocalReply::unreadable(failure),
        None => LocalReply::bad_request("downstream_remote_disconnect"),
    })?;
    let length = body.read().remaining();
    if read == ReadAhead::Limit || length > most {
        exchange.read_part(length);
        return Err(LocalReply::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "Payload Too Large",
            Flags::NONE,
            "request_payload_too_large",
        ));
    }
    exchange.read_whole(length);
    let known = parts.headers.entry(CONTENT_LENGTH);
    known.or_insert_with(|| HeaderValue::from(length));
    Ok(())
}

impl BodyStep {
    /// Does the filter's part with an answer. `all` are the steps of the chain, in its order.
    pub(super) fn apply<'s>(
        &'s self,
        exchange: &Exchange,
        head: &mut AnswerHead<'_>,
        all: impl Iterator<Item = &'s Self>,
    ) {
        match self {
            Self::GrpcWeb(web) => {
                if !head.ended && !GrpcWeb::is_foreign(head.headers) {
                    head.headers.remove(CONTENT_LENGTH);
                    head.links.push(BodyLink::new(Box::new(web.change()), None));
                }
                web.answer(head.headers);
            }
            Self::Compress(step) => {
                let compressors: Vec<_> = all
                    .filter_map(|other| match other {
                        Self::Compress(other) => Some((
                            &*other.config,
                            coding(&other.config, other.route.as_deref()),
                        )),
                        _ => None,
                    })
                    .collect();
                step.apply(head, &compressors);
            }
            Self::Decompress(config, counters) => {
                let answer = (&mut *head.headers, head.ended);
                let count = |place: usize| counters.count(place.saturating_add(4));
                if let Some(decode) = decompress(config, &config.response, answer, count) {
                    head.links.push(link(decode, counters, (7, 6)));
                }
            }
            Self::Mutate(step) => step.change(exchange, head.headers, |one| &one.response),
            Self::Session(session, host) => {
                if let Some(used) = exchange.endpoint() {
                    let named = host.map(|host| host.address);
                    tell_session(session, named, used, head.headers, SystemTime::now());
                }
            }
        }
    }
}

impl Compressing {
    fn apply(&self, head: &mut AnswerHead<'_>, compressors: &[(&Compressor, Coding)]) {
        let choice = CodingChoice {
            accept: self.accept.as_ref().map(HeaderValue::as_bytes),
            compressors,
        };
        let settings = (&*self.config, self.route.as_deref());
        let answer = (head.status, &mut *head.headers, head.ended);
        let encode = compress_answer(settings, &choice, answer, |place| {
            self.counters.count(place)
        });
        if let Some(encode) = encode {
            head.links.push(link(encode, &self.counters, (7, 8)));
        }
    }
}

impl Mutating {
    /// The filter's own changes come first.
    fn in_order(&self) -> impl Iterator<Item = &MutationFilter> {
        let levels = self.levels.as_ref().map_or(&[][..], |levels| &levels.0);
        let (first, last) = match self.own.specific_last {
            true => (None, Some(levels.iter().rev())),
            false => (Some(levels.iter()), None),
        };
        let levels = first
            .into_iter()
            .flatten()
            .chain(last.into_iter().flatten());
        std::iter::once(&*self.own).chain(levels.map(|level| &**level))
    }

    fn change(
        &self,
        exchange: &Exchange,
        headers: &mut HeaderMap,
        which: impl Fn(&MutationFilter) -> &Vec<lateen_proxy_model::HeaderMutations>,
    ) {
        let expander = exchange.expander(self.request.as_ref());
        for one in self.in_order() {
            for changes in which(one) {
                changes.apply(headers, &expander);
            }
        }
    }
}
