//! External processing: a service sees the exchange on its way and changes it, or ends it with an answer of its own.

mod pipe;
mod session;

use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use envoy_types::pb::envoy::service::ext_proc::v3::CommonResponse;
use envoy_types::pb::envoy::service::ext_proc::v3::common_response::ResponseStatus;
use futures_util::FutureExt;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body::Body;
use http_body_util::BodyExt;
use lateen_proxy_admit::{BadMutation, ProcessedHead, changed_body, fits_length, told_metadata};
use lateen_proxy_model::{
    BodyMode, Call, ExtProc, ExtProcOverride, FilterOverride, RequestFacts, ResetReason,
    RouteCacheAction,
};
use lateen_proxy_relay::http::{
    AnswerBody, ChainFilter, ClientBody, Exchange, LocalReply, OwnBody, ReadAhead, path, scheme,
    set_path,
};
use lateen_proxy_telemetry::Flags;

use self::pipe::{Ahead, Pipe, Whole, pipe};
use self::session::{CLEAR_DISABLED, CLEAR_IGNORED, Half, Shared, start};

/// Bytes of a body that are kept in one piece. Envoy's default buffer limit.
const LIMIT: usize = 1024 * 1024;

/// How often it is looked whether a body has arrived; its connection gets its turn in between.
const LOOKS: usize = 4;

/// The answer's way, when the request has passed.
pub(crate) struct Processing {
    half: Half,
    /// The request's body is still under way.
    piped: bool,
}

/// What the request's way left.
pub(crate) struct Passed {
    pub(crate) processing: Processing,
    /// The route is to be chosen anew.
    pub(crate) clear_route: bool,
}

impl std::fmt::Debug for Processing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processing").finish_non_exhaustive()
    }
}

/// Processes a request. `None` when the route switches it off.
pub(crate) async fn run<C>(
    exchange: &mut Exchange,
    filter: &ChainFilter,
    (parts, body): (&mut Parts, &mut ClientBody),
    (proc, own): (&Arc<ExtProc>, Option<&FilterOverride>),
    calls: C,
) -> Result<Option<Passed>, LocalReply>
where
    C: Call + 'static,
    C::Stream: 'static,
{
    let route = match own {
        Some(FilterOverride::ExtProc(ExtProcOverride::Disabled)) => return Ok(None),
        Some(FilterOverride::ExtProc(ExtProcOverride::Route(route))) => Some(route),
        _ => None,
    };
    let shared = Shared::new(proc, route, filter.counters());
    let told = told_metadata(shared.forwarded(), exchange.metadata());
    shared.context.replace(told);
    let (request, response) = start(&shared, calls);
    let mut way = RequestWay {
        exchange,
        parts,
        body,
        clear_route: false,
        piped: false,
    };
    let outcome = way.walk(request).await;
    if outcome.is_err() {
        // What arrived in the meantime need not be cut off.
        way.arrived().await;
    }
    let (clear_route, piped) = (way.clear_route, way.piped);
    for (namespace, values) in shared.take_noted() {
        exchange.note(&namespace, values);
    }
    outcome?;
    Ok(Some(Passed {
        processing: Processing {
            half: response,
            piped,
        },
        clear_route,
    }))
}

struct RequestWay<'a> {
    exchange: &'a mut Exchange,
    parts: &'a mut Parts,
    body: &'a mut ClientBody,
    clear_route: bool,
    piped: bool,
}

impl RequestWay<'_> {
    async fn walk(&mut self, mut half: Half) -> Result<(), LocalReply> {
        let shared = Rc::clone(&half.shared);
        let modes = shared.modes.get();
        let empty = self.body.is_end_stream();
        let drops = shared.drops_length(modes.drops_request_length());
        if modes.request_headers {
            let shown = self.pseudo();
            let head = ProcessedHead {
                pseudo: shown,
                headers: &mut self.parts.headers,
            };
            let said = half.headers(&head, empty).await?;
            if drops {
                self.parts.headers.remove(header::CONTENT_LENGTH);
            }
            if let Some(said) = said.and_then(|said| said.response)
                && self.headers_said(&shared, said, drops).await?
            {
                return Ok(());
            }
        } else if drops {
            self.parts.headers.remove(header::CONTENT_LENGTH);
        }
        if drops && !empty {
            self.body.forget_length();
        }
        if empty || shared.is_done() {
            return Ok(());
        }
        self.walk_body(half, &shared).await
    }

    fn pseudo(&self) -> Vec<(&'static str, String)> {
        vec![
            (":authority", self.exchange.authority().to_owned()),
            (":path", path(self.parts).to_owned()),
            (":method", self.parts.method.to_string()),
            (":scheme", scheme(self.exchange, self.parts).to_owned()),
        ]
    }

    /// Whether the service is done with the request.
    async fn headers_said(
        &mut self,
        shared: &Rc<Shared>,
        mut said: CommonResponse,
        drops: bool,
    ) -> Result<bool, LocalReply> {
        let replaces = said.status() == ResponseStatus::ContinueAndReplace;
        let changes = said.header_mutation.is_some();
        self.change(shared, said.header_mutation.take(), !drops)?;
        match (shared.filter.route_cache, changes) {
            (_, false) if said.clear_route_cache => shared.counters.count(CLEAR_IGNORED),
            (RouteCacheAction::Retain, true) if said.clear_route_cache => {
                shared.counters.count(CLEAR_DISABLED);
            }
            (RouteCacheAction::Clear, true) => self.clear_route = true,
            (RouteCacheAction::Default, true) => self.clear_route |= said.clear_route_cache,
            _ => {}
        }
        if !replaces {
            return Ok(false);
        }
        let own = changed_body(said.body_mutation).map_err(|bad| shared.refused(bad))?;
        if let Some(own) = own {
            self.arrived().await;
            self.exchange.count_arrived();
            self.parts.headers.remove(header::CONTENT_LENGTH);
            self.body.replace_all(own.into());
        }
        Ok(true)
    }

    fn change(
        &mut self,
        shared: &Shared,
        change: Option<envoy_types::pb::envoy::service::ext_proc::v3::HeaderMutation>,
        length: bool,
    ) -> Result<(), LocalReply> {
        let Some(change) = change else {
            return Ok(());
        };
        let before = self.pseudo();
        let mut head = ProcessedHead {
            pseudo: before.clone(),
            headers: &mut self.parts.headers,
        };
        shared.change(change, &mut head, length)?;
        let after = head.pseudo;
        for ((name, before), (_, value)) in before.iter().zip(after) {
            if *before == value {
                continue;
            }
            match *name {
                ":authority" => {
                    if let Ok(host) = HeaderValue::try_from(value) {
                        self.exchange.set_host(self.parts, &host);
                    }
                }
                ":path" => set_path(self.parts, value)?,
                ":method" => {
                    if let Ok(method) = value.parse() {
                        self.exchange.set_method(self.parts, method);
                    }
                }
                _ => {
                    if let Ok(value) = HeaderValue::try_from(value) {
                        self.parts.headers.insert("x-forwarded-proto", value);
                    }
                }
            }
        }
        Ok(())
    }

    async fn walk_body(&mut self, mut half: Half, shared: &Rc<Shared>) -> Result<(), LocalReply> {
        let modes = shared.modes.get();
        let how = Pipe {
            pieces: modes.request_body == BodyMode::Streamed,
            trailers: modes.request_trailers && self.has_trailers(),
            late_end: shared.filter.observability && self.parts.version < Version::HTTP_2,
        };
        match modes.request_body {
            BodyMode::Streamed if !shared.filter.observability && self.arrived().await => {
                // It goes no further before it was seen.
                let (data, trailers) = (self.body.read(), self.body.read_trailers().is_some());
                let said = half.body(data.clone(), !trailers).await?;
                let said = said.and_then(|said| said.response).unwrap_or_default();
                let own = changed_body(said.body_mutation).map_err(|bad| shared.refused(bad))?;
                self.body.replace(own.map_or(data, Bytes::from));
                match self.body.read_trailers() {
                    Some(trailers) if how.trailers => half.trailers(trailers).await,
                    _ => Ok(()),
                }
            }
            BodyMode::None | BodyMode::Streamed => {
                if how.pieces || how.trailers {
                    self.pipe(half, how);
                }
                Ok(())
            }
            BodyMode::Buffered | BodyMode::BufferedPartial => {
                let read = self.body.read_ahead(LIMIT).await;
                let lost = |_| LocalReply::bad_request("downstream_remote_disconnect");
                let whole = read.map_err(lost)? == ReadAhead::Whole;
                if !whole && modes.request_body == BodyMode::Buffered {
                    return Err(LocalReply::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "Payload Too Large",
                        Flags::NONE,
                        "request_payload_too_large",
                    ));
                }
                let data = self.body.read();
                if whole {
                    self.exchange.read_whole(data.len());
                    self.exchange.count_arrived().set(data.len() as u64);
                }
                let trailers = self.body.read_trailers().is_some();
                // Its length may change from here on.
                self.body.replace(data.clone());
                let said = half.body(data, whole && !trailers).await?;
                if let Some(said) = said.and_then(|said| said.response) {
                    self.change(
                        shared,
                        said.header_mutation,
                        !shared.modes.get().drops_request_length(),
                    )?;
                    let own = changed_body(said.body_mutation);
                    if let Some(own) = own.map_err(|bad| shared.refused(bad))? {
                        if !fits_length(&self.parts.headers, own.len()) {
                            return Err(shared.refused(MISMATCH));
                        }
                        self.body.replace(own.into());
                    }
                }
                match self.body.read_trailers() {
                    Some(trailers) if how.trailers => half.trailers(trailers).await,
                    None if how.trailers && !whole => {
                        self.pipe(half, how);
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Whether the whole body has arrived by now.
    async fn arrived(&mut self) -> bool {
        for _ in 0..LOOKS {
            if let Some(read) = self.body.read_ahead(LIMIT).now_or_never() {
                let whole = matches!(read, Ok(ReadAhead::Whole));
                if whole {
                    let bytes = self.body.read().len();
                    self.exchange.read_whole(bytes);
                    self.exchange.count_arrived().set(bytes as u64);
                }
                return whole;
            }
            tokio::task::yield_now().await;
        }
        false
    }

    /// Whether trailers of the request are read at all.
    fn has_trailers(&self) -> bool {
        let http1 = &self.exchange.connection().chain.manager.http1;
        self.parts.version >= Version::HTTP_2 || http1.enable_trailers
    }

    fn pipe(&mut self, half: Half, how: Pipe) {
        self.piped = true;
        let arrived = self.exchange.count_arrived();
        self.body.through(|body| {
            let counted = body.map_frame(move |frame| {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                arrived.set(arrived.get().saturating_add(bytes));
                frame
            });
            pipe(half, counted, Bytes::new(), how)
        });
    }
}

/// A new body of another length than the head says.
const MISMATCH: BadMutation =
    BadMutation("mismatch between content length and the length of the mutated body");

impl Processing {
    /// Resolves when the service ended the exchange while the request's body was under way; `None` when it cannot.
    pub(crate) fn interruption(&self) -> Option<impl Future<Output = LocalReply> + use<>> {
        let shared = Rc::clone(&self.half.shared);
        self.piped
            .then_some(async move { shared.interrupted().await })
    }

    /// Processes the answer, or a reply in its place.
    pub(crate) async fn finish<U>(
        self,
        exchange: &mut Exchange,
        outcome: Result<Response<AnswerBody<U>>, LocalReply>,
    ) -> Result<Response<AnswerBody<U>>, LocalReply>
    where
        U: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
    {
        let shared = Rc::clone(&self.half.shared);
        if shared.is_done() {
            return outcome;
        }
        let told = told_metadata(shared.forwarded(), exchange.metadata());
        shared.context.replace(told);
        let done = match outcome {
            Ok(response) => {
                let trailers = !exchange.drops_trailers();
                self.answer(response, trailers).await
            }
            Err(reply) if exchange.is_grpc() && !reply.plain => Err(reply),
            Err(reply) => self.reply(reply).await,
        };
        for (namespace, values) in shared.take_noted() {
            exchange.note(&namespace, values);
        }
        done
    }

    async fn answer<U>(
        mut self,
        response: Response<AnswerBody<U>>,
        trailers: bool,
    ) -> Result<Response<AnswerBody<U>>, LocalReply>
    where
        U: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
    {
        let (mut parts, body) = response.into_parts();
        let empty = body.is_end_stream();
        let observed = self.half.shared.filter.observability;
        let modes = self.half.shared.modes.get();
        let drops = self.half.shared.drops_length(modes.drops_response_length());
        let replaced = self
            .head(&mut parts.status, &mut parts.headers, empty)
            .await?;
        if let Some(data) = replaced {
            parts.headers.remove(header::CONTENT_LENGTH);
            return Ok(Response::from_parts(
                parts,
                AnswerBody::Own(Box::pin(Whole::new(data, None))),
            ));
        }
        let modes = self.half.shared.modes.get();
        let how = Pipe {
            pieces: modes.response_body == BodyMode::Streamed,
            trailers: modes.response_trailers && trailers,
            late_end: observed && parts.version < Version::HTTP_2,
        };
        if empty
            || self.half.shared.is_done()
            || (modes.response_body == BodyMode::None && !how.trailers)
        {
            let body = match drops && !empty {
                true => AnswerBody::Own(Box::pin(Ahead {
                    data: Bytes::new(),
                    rest: body.into_own(),
                })),
                false => body,
            };
            return Ok(Response::from_parts(parts, body));
        }
        let body = match modes.response_body {
            BodyMode::None => pipe(self.half, body.into_own(), Bytes::new(), how),
            BodyMode::Streamed if self.half.shared.filter.observability => {
                pipe(self.half, body.into_own(), Bytes::new(), how)
            }
            BodyMode::Streamed => self.streamed(body.into_own(), how).await?,
            BodyMode::Buffered | BodyMode::BufferedPartial => {
                self.buffered(&mut parts, body.into_own(), how).await?
            }
        };
        Ok(Response::from_parts(parts, AnswerBody::Own(body)))
    }

    /// Shows the answer's head. A body that takes the place of its own ends the processing.
    async fn head(
        &mut self,
        status: &mut StatusCode,
        headers: &mut HeaderMap,
        empty: bool,
    ) -> Result<Option<Bytes>, LocalReply> {
        let shared = Rc::clone(&self.half.shared);
        let modes = shared.modes.get();
        let drops = shared.drops_length(modes.drops_response_length());
        if !modes.response_headers {
            if drops {
                headers.remove(header::CONTENT_LENGTH);
            }
            return Ok(None);
        }
        let mut head = ProcessedHead {
            pseudo: vec![(":status", status.as_str().to_owned())],
            headers,
        };
        let said = self.half.headers(&head, empty).await?;
        if drops {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        let Some(said) = said.and_then(|said| said.response) else {
            return Ok(None);
        };
        let replaces = said.status() == ResponseStatus::ContinueAndReplace;
        if let Some(change) = said.header_mutation {
            shared.change(change, &mut head, !drops)?;
        }
        take_status(&head, status);
        if !replaces {
            return Ok(None);
        }
        let own = changed_body(said.body_mutation).map_err(|bad| shared.refused(bad))?;
        Ok(own.map(Bytes::from))
    }

    async fn buffered(
        mut self,
        parts: &mut http::response::Parts,
        mut body: OwnBody,
        how: Pipe,
    ) -> Result<OwnBody, LocalReply> {
        let shared = Rc::clone(&self.half.shared);
        let mut data = BytesMut::new();
        let mut trailers = None;
        let whole = loop {
            let Some(frame) = body.frame().await else {
                break true;
            };
            match frame.map_err(cut_short)?.into_data() {
                Ok(part) => data.extend_from_slice(part.chunk()),
                Err(other) => trailers = other.into_trailers().ok(),
            }
            if data.len() > LIMIT {
                break false;
            }
        };
        let modes = shared.modes.get();
        if !whole && modes.response_body == BodyMode::Buffered {
            return Err(LocalReply::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal Server Error",
                Flags::NONE,
                "response_payload_too_large",
            ));
        }
        let mut data = data.freeze();
        let said = self
            .half
            .body(data.clone(), whole && trailers.is_none())
            .await?;
        if let Some(said) = said.and_then(|said| said.response) {
            self.body_said(said, (&mut parts.status, &mut parts.headers), &mut data)?;
        }
        if !whole {
            let pieces = Pipe {
                pieces: false,
                ..how
            };
            return Ok(pipe(self.half, body, data, pieces));
        }
        if let Some(trailers) = trailers.as_mut().filter(|_| how.trailers) {
            self.half.trailers(trailers).await?;
        }
        Ok(Box::pin(Whole::new(data, trailers)))
    }

    /// A body that has arrived by now is seen before the head goes on.
    async fn streamed(mut self, mut body: OwnBody, how: Pipe) -> Result<OwnBody, LocalReply> {
        let mut data = BytesMut::new();
        let mut trailers = None;
        let mut looks = 0;
        let whole = loop {
            if data.len() > LIMIT || looks == LOOKS {
                break false;
            }
            let Some(frame) = body.frame().now_or_never() else {
                looks += 1;
                tokio::task::yield_now().await;
                continue;
            };
            let Some(frame) = frame else {
                break true;
            };
            match frame.map_err(cut_short)?.into_data() {
                Ok(part) => data.extend_from_slice(part.chunk()),
                Err(other) => trailers = other.into_trailers().ok(),
            }
        };
        let data = data.freeze();
        if !whole {
            let rest = Ahead { data, rest: body };
            return Ok(pipe(self.half, rest, Bytes::new(), how));
        }
        let shared = Rc::clone(&self.half.shared);
        let said = self.half.body(data.clone(), trailers.is_none()).await?;
        let said = said.and_then(|said| said.response).unwrap_or_default();
        let own = changed_body(said.body_mutation).map_err(|bad| shared.refused(bad))?;
        if let Some(trailers) = trailers.as_mut().filter(|_| how.trailers) {
            self.half.trailers(trailers).await?;
        }
        let data = own.map_or(data, Bytes::from);
        Ok(Box::pin(Whole::new(data, trailers)))
    }

    fn body_said(
        &self,
        said: CommonResponse,
        (status, headers): (&mut StatusCode, &mut HeaderMap),
        data: &mut Bytes,
    ) -> Result<(), LocalReply> {
        let shared = &self.half.shared;
        if let Some(change) = said.header_mutation {
            let mut head = ProcessedHead {
                pseudo: vec![(":status", status.as_str().to_owned())],
                headers: &mut *headers,
            };
            let length = !shared.modes.get().drops_response_length();
            shared.change(change, &mut head, length)?;
            take_status(&head, status);
        }
        let own = changed_body(said.body_mutation).map_err(|bad| shared.refused(bad))?;
        if let Some(own) = own {
            if !fits_length(headers, own.len()) {
                return Err(shared.refused(MISMATCH));
            }
            *data = own.into();
        }
        Ok(())
    }

    /// A reply made here is processed like an answer; its body is there already.
    async fn reply<U>(
        mut self,
        mut reply: LocalReply,
    ) -> Result<Response<AnswerBody<U>>, LocalReply> {
        let mut headers = std::mem::take(&mut reply.headers);
        let mut status = reply.status;
        let mut body = std::mem::take(&mut reply.body);
        if !body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            let plain = HeaderValue::from_static("text/plain");
            headers.entry(header::CONTENT_TYPE).or_insert(plain);
        }
        let empty = body.is_empty();
        let replaced = self.head(&mut status, &mut headers, empty).await?;
        if let Some(data) = replaced {
            body = data;
        } else if !empty && self.half.shared.modes.get().response_body != BodyMode::None {
            let said = self.half.body(body.clone(), true).await?;
            if let Some(said) = said.and_then(|said| said.response) {
                self.body_said(said, (&mut status, &mut headers), &mut body)?;
            }
        }
        headers.remove(header::CONTENT_LENGTH);
        reply.headers = headers;
        reply.status = status;
        reply.body = body;
        Err(reply)
    }
}

fn take_status(head: &ProcessedHead<'_>, status: &mut StatusCode) {
    if let Some(own) = head.pseudo.first().and_then(|(_, text)| text.parse().ok()) {
        *status = own;
    }
}

/// The upstream went away while its body was read.
fn cut_short(reason: ResetReason) -> LocalReply {
    let details = format!("upstream_reset_after_response_started{{{reason}}}");
    let details = details.replace(' ', "_");
    LocalReply::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "",
        Flags::UPSTREAM_RESET,
        details,
    )
}
