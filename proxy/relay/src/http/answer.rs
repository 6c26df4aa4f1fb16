//! The way back: an upstream's answer, or a reply made here, to the client.

use std::borrow::Cow;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::ext::ReasonPhrase;
use lateen_proxy_model::ResetReason;
use lateen_proxy_telemetry::Flags;
use tokio::time::Sleep;

use super::changed::{Changed, Source};
use super::exchange::Exchange;
use super::grpc::MessageCounter;
use super::pipe::BodyStream;
use super::reply::{LocalReply, reset_flags};
use super::sanitize::append_via;
use super::switches::Switch;
use super::throttle::Throttle;
use super::{local_reply, upgrade};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The body of an answer. The exchange ends with it: at its end, at an upstream's reset, or when the client goes away.
#[derive(Debug)]
pub struct DownstreamBody<U> {
    kind: Kind<U>,
    exchange: Option<Box<Exchange>>,
    timer: Option<Pin<Box<Sleep>>>,
    active: Instant,
    /// The upstream's body has given all it has.
    done: bool,
    /// What slows the body down.
    throttle: Option<Box<Throttle>>,
}

#[derive(Debug)]
enum Kind<U> {
    Empty,
    Full(Bytes),
    Upstream(U),
    /// Filters change it.
    Changed(Box<Changed<U>>),
}

impl Exchange {
    /// The answer as the client gets it.
    pub fn answer<U>(mut self: Box<Self>, mut response: Response<U>) -> Response<DownstreamBody<U>>
    where
        U: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
    {
        let switched = self.is_switched(response.status());
        let protocol = switched.then(|| response.headers().get(header::UPGRADE).cloned());
        strip_hop(response.headers_mut());
        self.finish_head(&mut response);
        let Some(protocol) = protocol else {
            if self.upgrade.is_some() && self.version < Version::HTTP_2 {
                // Its client may have begun to speak the other protocol.
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            return response.map(|body| {
                if let Some(changes) = self.changes.take() {
                    if changes.emptied {
                        return DownstreamBody::new(Kind::Full(Bytes::new()), self);
                    }
                    let changed = Changed::new(Source::Upstream(body), changes.links);
                    return DownstreamBody::new(Kind::Changed(Box::new(changed)), self);
                }
                let done = body.is_end_stream();
                let mut body = DownstreamBody::new(Kind::Upstream(body), self);
                body.done = done;
                body
            });
        };
        if self.version >= Version::HTTP_2 {
            // An extended CONNECT is accepted by a plain success (RFC 8441 section 5).
            *response.status_mut() = StatusCode::OK;
            self.status.set(200);
        } else if let Some(protocol) = protocol {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, protocol);
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let upstream = hyper::upgrade::on(&mut response);
        if let Some(signals) = self.conn.signals.get() {
            signals.upgrade();
        }
        let (parts, body) = response.into_parts();
        if let Some(asked) = self.upgrade.take() {
            match asked.connect_end {
                Some(writer) => {
                    upgrade::bridge(self, asked.end, BodyStream::new(body, writer));
                }
                None => upgrade::splice(self, asked.end, upstream),
            }
        }
        Response::from_parts(parts, DownstreamBody::nothing())
    }

    /// A reply made here, as the client gets it.
    pub fn reply<U>(mut self: Box<Self>, mut reply: LocalReply) -> Response<DownstreamBody<U>> {
        let mut changes = self.changes.take();
        let made = changes.as_mut().and_then(|changes| changes.made.take());
        if made.is_none() {
            self.shape(&mut reply);
        }
        let keep = self.conn.chain.manager.http1.keep_refused;
        let closes = (reply.closes() && !keep)
            || self.is_malformed()
            || self.upgrade.is_some()
            || self.method == Method::CONNECT;
        self.upgrade = None;
        let delayed = reply.flags.contains(Flags::DELAY_INJECTED);
        let mut response = made.unwrap_or_else(|| reply.into_response(self.grpc));
        self.finish_head(&mut response);
        // What is still to come of the request would be read only to be thrown away.
        let complete = match &self.progress {
            Some(progress) => progress.ended.get().is_some(),
            None => self.bodiless || delayed,
        };
        if (closes || !complete) && self.version < Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        let links = changes.map(|changes| changes.links).unwrap_or_default();
        if links.is_empty() {
            return response.map(|body| DownstreamBody::new(Kind::Full(body), self));
        }
        response.map(|body| {
            let changed = Changed::new(Source::Full(body), links);
            DownstreamBody::new(Kind::Changed(Box::new(changed)), self)
        })
    }

    /// A reply made here as filters see it on its way; [`Exchange::change_answer`] takes what they made of it.
    pub fn shown(&mut self, reply: &LocalReply) -> Response<Bytes> {
        let mut reply = reply.clone();
        self.shape(&mut reply);
        reply.into_response(self.grpc)
    }

    /// Notes the reply, and gives it the form that the connection manager wants.
    fn shape(&mut self, reply: &mut LocalReply) {
        self.flags.insert(reply.flags);
        self.details = Some(reply.details.clone());
        self.transport.clone_from(&reply.transport);
        let chain = Rc::clone(&self.conn.chain);
        if let Some(rules) = &chain.manager.head.local_replies {
            let request = self.kept_headers.take().unwrap_or_default();
            local_reply::apply(rules, self, &request, reply);
        }
    }

    /// What every answer says of this hop.
    fn finish_head<B>(&mut self, response: &mut Response<B>) {
        *response.version_mut() = Version::HTTP_11;
        self.note_status(response.status());
        if self.version < Version::HTTP_2 {
            own_reason(response);
        }
        let chain = &self.conn.chain;
        let headers = response.headers_mut();
        let head = &chain.manager.head;
        if let Some(name) = &chain.manager.server_name
            && !(head.server_if_absent && headers.contains_key(header::SERVER))
        {
            headers.insert(header::SERVER, name.clone());
        }
        if let Some(via) = &head.via {
            append_via(headers, via);
        }
        if head.request_id_in_response
            && let Some(id) = &self.request_id
        {
            headers.insert(&REQUEST_ID, id.clone());
        }
        if chain.exchange.downstream
            && self.has(Switch::PeerMetadata)
            && let Some(own) = &chain.worker.own
        {
            own.answer(&self.exchanged, headers);
        }
        let http2 = self.version >= Version::HTTP_2;
        let last = !http2 && (self.last || self.conn.is_last());
        if (last || self.conn.overloaded(http2)) && !http2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.trace_answer(response.headers_mut());
        self.keep_response(response.headers());
    }

    fn is_switched(&self, status: StatusCode) -> bool {
        self.upgrade.is_some()
            && (status == StatusCode::SWITCHING_PROTOCOLS
                || (self.method == Method::CONNECT && status.is_success()))
    }

    pub(crate) fn note_spliced(&mut self, received: u64, sent: u64) {
        self.sent = sent;
        let progress = super::request_body::Progress::new(false);
        progress.received.set(received);
        self.progress = Some(progress);
    }

    fn cut_short(&mut self, flags: Flags, details: impl Into<Cow<'static, str>>) {
        self.flags.insert(flags);
        self.details = Some(details.into());
        self.complete = true;
    }
}

/// The reason beside the status is this proxy's, whatever the upstream said.
fn own_reason<B>(response: &mut Response<B>) {
    let status = response.status();
    let extensions = response.extensions_mut();
    extensions.remove::<ReasonPhrase>();
    if status == StatusCode::IM_A_TEAPOT || status.canonical_reason().is_none() {
        extensions.insert(ReasonPhrase::from_static(b"Unknown"));
    }
}

/// The headers of the upstream's hop, with those that its `Connection` names.
fn strip_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| HeaderName::try_from(token.trim()).ok())
            .filter(|name| name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    let hop = |name: &HeaderName| {
        matches!(*name, header::TRANSFER_ENCODING | header::UPGRADE)
            || *name == KEEP_ALIVE
            || *name == PROXY_CONNECTION
    };
    if headers.keys().any(hop) {
        for name in [
            &header::TRANSFER_ENCODING,
            &header::UPGRADE,
            &KEEP_ALIVE,
            &PROXY_CONNECTION,
        ] {
            headers.remove(name);
        }
    }
}

impl<U> DownstreamBody<U> {
    fn new(kind: Kind<U>, exchange: Box<Exchange>) -> Self {
        let throttle = exchange.rate.map(Throttle::new).map(Box::new);
        Self {
            kind,
            active: exchange.response_begun.unwrap_or(exchange.begun),
            exchange: Some(exchange),
            timer: None,
            done: false,
            throttle,
        }
    }

    fn nothing() -> Self {
        Self {
            kind: Kind::Empty,
            exchange: None,
            timer: None,
            active: Instant::now(),
            done: true,
            throttle: None,
        }
    }

    fn note(&mut self, frame: &Frame<Bytes>) {
        let Some(exchange) = &mut self.exchange else {
            return;
        };
        if exchange.idle.is_some() {
            self.active = Instant::now();
        }
        if let Some(data) = frame.data_ref() {
            exchange.sent = exchange.sent.saturating_add(data.len() as u64);
            if let Some(counter) = &mut exchange.sent_messages {
                MessageCounter::feed(counter, data);
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            exchange.keep_trailers(trailers);
        }
    }

    /// Ends the exchange because the upstream, or time, cut the answer short.
    fn cut(&mut self, flags: Flags, details: String) {
        if let Some(exchange) = &mut self.exchange {
            exchange.cut_short(flags, details);
        }
        self.exchange = None;
    }

    /// When the answer must have come further.
    fn due(&self) -> Option<(Instant, Flags, &'static str)> {
        let exchange = self.exchange.as_ref()?;
        let progress = exchange.progress.as_ref();
        let ended = match progress {
            Some(progress) => progress.ended.get(),
            None => Some(exchange.begun),
        };
        let total = ended
            .zip(exchange.timeout)
            .and_then(|(ended, limit)| ended.checked_add(limit))
            .map(|at| (at, Flags::UPSTREAM_TIMEOUT, "response_timeout"));
        let active = progress.map_or(self.active, |it| it.active.get().max(self.active));
        let idle = exchange
            .idle
            .and_then(|limit| active.checked_add(limit))
            .map(|at| (at, Flags::STREAM_IDLE, "stream_idle_timeout"));
        let stream = exchange
            .stream_limit
            .and_then(|limit| exchange.begun.checked_add(limit))
            .map(|at| (at, Flags::NONE, "max_duration_timeout"));
        [total, idle, stream]
            .into_iter()
            .flatten()
            .min_by_key(|(at, ..)| *at)
    }

    /// Whether a time limit was reached while nothing came.
    fn poll_limits(&mut self, cx: &mut Context<'_>) -> Poll<ResetReason> {
        loop {
            let Some((at, flags, details)) = self.due() else {
                return Poll::Pending;
            };
            if at <= Instant::now() {
                self.cut(flags, details.to_owned());
                return Poll::Ready(ResetReason::LocalReset);
            }
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
            if timer.deadline() != at.into() {
                timer.as_mut().reset(at.into());
            }
            std::task::ready!(timer.as_mut().poll(cx));
        }
    }
}

impl<U> Body for DownstreamBody<U>
where
    U: Body<Data = Bytes, Error = ResetReason> + Unpin,
{
    type Data = Bytes;
    type Error = ResetReason;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        let this = self.get_mut();
        if let Some(throttle) = &mut this.throttle {
            std::task::ready!(throttle.poll_ready(cx));
            if let Some(rest) = throttle.take_rest() {
                let frame = Frame::data(rest);
                this.note(&frame);
                return Poll::Ready(Some(Ok(frame)));
            }
        }
        let frame = match &mut this.kind {
            Kind::Empty => None,
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
            }
            Kind::Upstream(body) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return this.poll_limits(cx).map(|reason| Some(Err(reason)));
                }
            },
            Kind::Changed(body) => match body.poll(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    return this.poll_limits(cx).map(|reason| Some(Err(reason)));
                }
            },
        };
        match &mut this.kind {
            Kind::Upstream(body) => this.done = body.is_end_stream(),
            Kind::Changed(body) => {
                this.done = body.is_done();
                if let Some(trailers) = body.trailers()
                    && let Some(exchange) = &mut this.exchange
                {
                    exchange.keep_trailers(&trailers);
                }
            }
            Kind::Empty | Kind::Full(_) => {}
        }
        let dropped = (this.exchange.as_ref()).is_some_and(|exchange| exchange.drop_trailers);
        let frame =
            frame.filter(|frame| !(dropped && matches!(frame, Ok(frame) if frame.is_trailers())));
        let frame = match (&mut this.throttle, frame) {
            (Some(throttle), Some(Ok(frame))) => Some(Ok(throttle.first(frame))),
            (_, frame) => frame,
        };
        match &frame {
            Some(Ok(frame)) => {
                this.note(frame);
                // Nothing follows, and HTTP/1 does not ask again.
                if frame.is_trailers() {
                    this.end();
                }
            }
            Some(Err(reason)) => {
                let details = format!("upstream_reset_after_response_started{{{reason}}}");
                this.cut(reset_flags(*reason), details.replace(' ', "_"));
            }
            None => this.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        if self.throttle.as_ref().is_some_and(|it| it.has_rest()) {
            return false;
        }
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Upstream(body) => body.is_end_stream(),
            Kind::Changed(body) => body.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Upstream(body) => body.size_hint(),
            Kind::Changed(_) => SizeHint::default(),
        }
    }
}

impl<U> Drop for DownstreamBody<U> {
    /// hyper drops a body without a last poll once it has what its length promised, and does not poll one that may not
    /// be sent at all.
    fn drop(&mut self) {
        if self.done || !matches!(self.kind, Kind::Upstream(_) | Kind::Changed(_)) {
            self.end();
        }
    }
}

impl<U> DownstreamBody<U> {
    fn end(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.complete = true;
        }
    }
}
