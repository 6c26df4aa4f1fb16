//! Bodies on their way to an upstream.
//!
//! A request that may be tried again, or is mirrored, keeps what it sent up to [`REPLAY_LIMIT`]; beyond that it is sent
//! once. The body is polled by the attempt in force alone: an attempt that was given up reads no more.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use lateen_proxy_model::{BodyFailure, ResetReason};
use tokio::sync::mpsc;

use super::client_body::{ClientBody, ClientBodyError};
use super::grpc::MessageCounter;
use super::pipe::PipeBody;

/// Bytes kept for a replay. Envoy's default buffer limit.
pub(crate) const REPLAY_LIMIT: usize = 1024 * 1024;

/// The body of a request to an upstream.
pub struct RequestBody(Kind);

enum Kind {
    Empty,
    Whole(Option<Bytes>),
    Messages(mpsc::UnboundedReceiver<Bytes>),
    Piped(PipeBody),
    Once(ClientBody, Rc<Progress>),
    Replay {
        shared: Rc<Replay>,
        attempt: u32,
        next: usize,
        trailers_sent: bool,
    },
    Copy {
        shared: Rc<Replay>,
        next: usize,
        trailers_sent: bool,
    },
}

/// How far a request's body has come.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Body bytes that arrived.
    pub(crate) received: Cell<u64>,
    /// When the end arrived.
    pub(crate) ended: Cell<Option<Instant>>,
    /// When a frame arrived last.
    pub(crate) active: Cell<Instant>,
    /// The downstream went away in the middle.
    pub(crate) failed: Cell<bool>,
    /// It is not framed as it says.
    pub(crate) malformed: Cell<bool>,
    /// A filter could not read it.
    pub(crate) unreadable: Cell<Option<BodyFailure>>,
    /// Trailers are not passed on.
    pub(crate) drop_trailers: Cell<bool>,
    /// gRPC messages, where they are counted.
    pub(crate) messages: Cell<Option<MessageCounter>>,
    waiting: RefCell<Waiting>,
}

/// Who waits for a request's end: the limits of the whole, and those of tries beside each other.
#[derive(Debug, Default)]
struct Waiting {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Waiting {
    fn add(&mut self, waker: &Waker) {
        let known = |it: &Waker| it.will_wake(waker);
        match &self.first {
            Some(first) if known(first) || self.others.iter().any(known) => {}
            Some(_) => self.others.push(waker.clone()),
            None => self.first = Some(waker.clone()),
        }
    }
}

/// A body that can be sent more than once.
pub(crate) struct Replay {
    source: RefCell<ClientBody>,
    kept: RefCell<Kept>,
    attempt: Cell<u32>,
    progress: Rc<Progress>,
    limit: usize,
}

#[derive(Default)]
struct Kept {
    frames: Vec<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    /// Too much for the limit: what is gone cannot be sent again.
    lost: bool,
    copies: Vec<Waker>,
}

impl Progress {
    pub(crate) fn new(messages: bool) -> Rc<Self> {
        Rc::new(Self {
            received: Cell::new(0),
            ended: Cell::new(None),
            active: Cell::new(Instant::now()),
            failed: Cell::new(false),
            malformed: Cell::new(false),
            unreadable: Cell::new(None),
            drop_trailers: Cell::new(false),
            messages: Cell::new(messages.then(MessageCounter::default)),
            waiting: RefCell::default(),
        })
    }

    /// A body that has arrived.
    pub(crate) fn whole(bytes: u64) -> Rc<Self> {
        let progress = Self::new(false);
        progress.received.set(bytes);
        progress.end(Instant::now());
        progress
    }

    /// Resolves when the request has arrived whole.
    pub(crate) async fn ended(&self) -> Instant {
        std::future::poll_fn(|cx| match self.ended.get() {
            Some(at) => Poll::Ready(at),
            None => {
                self.waiting.borrow_mut().add(cx.waker());
                Poll::Pending
            }
        })
        .await
    }

    fn note(&self, frame: &Option<Result<Frame<Bytes>, ClientBodyError>>, last: bool) {
        let now = Instant::now();
        self.active.set(now);
        match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    let total = self.received.get().saturating_add(data.len() as u64);
                    self.received.set(total);
                    if let Some(mut counter) = self.messages.get() {
                        counter.feed(data);
                        self.messages.set(Some(counter));
                    }
                }
                if last {
                    self.end(now);
                }
            }
            Some(Err(error)) => {
                self.failed.set(true);
                self.malformed.set(is_malformed(error));
                self.unreadable.set(error.failure());
            }
            None => self.end(now),
        }
    }

    /// What counts is what the client sent, not what filters made of it.
    fn correct(&self, taken: Option<u64>) {
        if let Some(taken) = taken {
            self.received.set(taken);
        }
    }

    fn end(&self, now: Instant) {
        if self.ended.get().is_none() {
            self.ended.set(Some(now));
            let waiting = self.waiting.take();
            for waker in waiting.first.into_iter().chain(waiting.others) {
                waker.wake();
            }
        }
    }
}

/// Whether a body ended because its chunks cannot be read, and not because the client went away.
fn is_malformed(error: &ClientBodyError) -> bool {
    let ClientBodyError::Client(error) = error else {
        return false;
    };
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &std::io::Error| {
        matches!(
            cause.kind(),
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput
        )
    })
}

/// What is passed on: trailers may end here.
fn without_trailers(
    frame: Option<Result<Frame<Bytes>, ClientBodyError>>,
    drop: bool,
) -> Option<Result<Frame<Bytes>, ClientBodyError>> {
    frame.filter(|frame| !(drop && matches!(frame, Ok(frame) if frame.is_trailers())))
}

impl RequestBody {
    /// No body.
    pub fn empty() -> Self {
        Self(Kind::Empty)
    }

    /// A body made here, in one piece.
    pub fn whole(data: Bytes) -> Self {
        Self(match data.is_empty() {
            true => Kind::Empty,
            false => Kind::Whole(Some(data)),
        })
    }

    /// A body made here, piece by piece, until the sender is dropped.
    pub(crate) fn messages(messages: mpsc::UnboundedReceiver<Bytes>) -> Self {
        Self(Kind::Messages(messages))
    }

    /// A body that is written like a socket.
    pub(crate) fn piped(body: PipeBody) -> Self {
        Self(Kind::Piped(body))
    }

    /// A body that is sent once.
    pub(crate) fn once(body: ClientBody, progress: Rc<Progress>) -> Self {
        Self(Kind::Once(body, progress))
    }
}

impl Replay {
    /// Keeps at most `limit` bytes.
    pub(crate) fn new(source: ClientBody, progress: Rc<Progress>, limit: usize) -> Rc<Self> {
        Rc::new(Self {
            source: RefCell::new(source),
            kept: RefCell::default(),
            attempt: Cell::new(0),
            progress,
            limit,
        })
    }

    /// Whether all that was sent is still here.
    pub(crate) fn is_whole(&self) -> bool {
        !self.kept.borrow().lost && !self.progress.failed.get()
    }

    /// The body from its start, for the next attempt.
    pub(crate) fn attempt(self: &Rc<Self>) -> RequestBody {
        self.attempt.set(self.attempt.get().wrapping_add(1));
        RequestBody(Kind::Replay {
            shared: Rc::clone(self),
            attempt: self.attempt.get(),
            next: 0,
            trailers_sent: false,
        })
    }

    /// The body as a client's, when it came to its end and all of it is still here.
    pub(crate) fn again(&self) -> Option<ClientBody> {
        if !self.is_whole() || self.progress.ended.get().is_none() {
            return None;
        }
        let kept = self.kept.borrow();
        Some(ClientBody::kept(kept.frames.clone(), kept.trailers.clone()))
    }

    /// The body from its start, as the attempts move it on.
    pub(crate) fn copy(self: &Rc<Self>) -> RequestBody {
        RequestBody(Kind::Copy {
            shared: Rc::clone(self),
            next: 0,
            trailers_sent: false,
        })
    }

    fn poll_source(
        &self,
        cx: &mut Context<'_>,
        next: &mut usize,
        trailers_sent: &mut bool,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        if let Some(frame) = self.kept.borrow().frames.get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
        }
        if self.progress.ended.get().is_some() {
            return Poll::Ready(self.trailers(trailers_sent));
        }
        let mut source = self.source.borrow_mut();
        let frame = std::task::ready!(Pin::new(&mut *source).poll_frame(cx));
        self.progress.note(&frame, source.is_end_stream());
        self.progress.correct(source.taken());
        let frame = self.keep(without_trailers(frame, self.progress.drop_trailers.get()));
        if matches!(&frame, Some(Ok(frame)) if frame.is_trailers()) {
            *trailers_sent = true;
        }
        *next = self.kept.borrow().frames.len();
        Poll::Ready(frame)
    }

    fn keep(
        &self,
        frame: Option<Result<Frame<Bytes>, ClientBodyError>>,
    ) -> Option<Result<Frame<Bytes>, ResetReason>> {
        let mut kept = self.kept.borrow_mut();
        for copy in kept.copies.drain(..) {
            copy.wake();
        }
        match frame? {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    kept.bytes = kept.bytes.saturating_add(data.remaining());
                    if kept.bytes > self.limit {
                        kept.lost = true;
                        kept.frames = Vec::new();
                    } else {
                        kept.frames.push(data.clone());
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    kept.trailers = Some(trailers.clone());
                }
                Some(Ok(frame))
            }
            Err(_) => Some(Err(ResetReason::LocalReset)),
        }
    }

    fn poll_copy(
        &self,
        cx: &mut Context<'_>,
        next: &mut usize,
        trailers_sent: &mut bool,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        if !self.is_whole() {
            return Poll::Ready(Some(Err(ResetReason::LocalReset)));
        }
        let mut kept = self.kept.borrow_mut();
        if let Some(frame) = kept.frames.get(*next) {
            *next += 1;
            return Poll::Ready(Some(Ok(Frame::data(frame.clone()))));
        }
        if self.progress.ended.get().is_some() {
            drop(kept);
            return Poll::Ready(self.trailers(trailers_sent));
        }
        kept.copies.push(cx.waker().clone());
        Poll::Pending
    }

    fn trailers(&self, sent: &mut bool) -> Option<Result<Frame<Bytes>, ResetReason>> {
        if std::mem::replace(sent, true) {
            return None;
        }
        let trailers = self.kept.borrow().trailers.clone();
        trailers.map(|trailers| Ok(Frame::trailers(trailers)))
    }

    /// Nothing will move the body any more: copies must not wait for it.
    fn abandon(&self) {
        if self.progress.ended.get().is_none() {
            let mut kept = self.kept.borrow_mut();
            kept.lost = true;
            for copy in kept.copies.drain(..) {
                copy.wake();
            }
        }
    }
}

/// Held by the request itself: when it ends before its body did, copies end too.
pub(crate) struct ReplayOwner(pub(crate) Rc<Replay>);

impl std::fmt::Debug for ReplayOwner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplayOwner").finish_non_exhaustive()
    }
}

impl Drop for ReplayOwner {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = ResetReason;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        match &mut self.get_mut().0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Whole(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Kind::Messages(messages) => {
                let next = std::task::ready!(messages.poll_recv(cx));
                Poll::Ready(next.map(|data| Ok(Frame::data(data))))
            }
            Kind::Piped(body) => body.poll(cx),
            Kind::Once(body, progress) => {
                let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
                progress.note(&frame, body.is_end_stream());
                progress.correct(body.taken());
                let frame = without_trailers(frame, progress.drop_trailers.get());
                Poll::Ready(frame.map(|frame| frame.map_err(|_| ResetReason::LocalReset)))
            }
            Kind::Replay {
                shared,
                attempt,
                next,
                trailers_sent,
            } => {
                // One that was given up reads no more; what has arrived may be sent twice at once.
                if *attempt != shared.attempt.get() && shared.progress.ended.get().is_none() {
                    return Poll::Ready(Some(Err(ResetReason::LocalReset)));
                }
                shared.poll_source(cx, next, trailers_sent)
            }
            Kind::Copy {
                shared,
                next,
                trailers_sent,
            } => shared.poll_copy(cx, next, trailers_sent),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Whole(data) => data.is_none(),
            Kind::Messages(_) => false,
            Kind::Piped(body) => body.is_end(),
            Kind::Once(body, _) => body.is_end_stream(),
            Kind::Replay {
                shared,
                next,
                trailers_sent,
                ..
            }
            | Kind::Copy {
                shared,
                next,
                trailers_sent,
            } => {
                let kept = shared.kept.borrow();
                shared.progress.ended.get().is_some()
                    && *next >= kept.frames.len()
                    && (*trailers_sent || kept.trailers.is_none())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Once(body, _) => body.size_hint(),
            Kind::Whole(data) => {
                SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64))
            }
            Kind::Messages(_) | Kind::Piped(_) => SizeHint::default(),
            // The declared length stands in the headers; what is unknown is sent in chunks.
            Kind::Replay { .. } | Kind::Copy { .. } => SizeHint::default(),
        }
    }
}
