//! Bodies that filters change on their way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use lateen_proxy_model::{BodyChange, BodyFailure};
use lateen_proxy_telemetry::Counter;

/// A change, and how far the body has come in it.
#[derive(Debug)]
pub struct BodyLink {
    change: Box<dyn BodyChange>,
    /// Bytes in and bytes out.
    counters: Option<(Counter, Counter)>,
    /// Bytes in.
    taken: u64,
    /// Trailers as they came in, until somebody looks at them.
    seen: Option<HeaderMap>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Open,
    Ending(Option<HeaderMap>),
    Done,
}

/// What filters do to an answer's body.
#[derive(Debug, Default)]
pub(crate) struct AnswerChanges {
    /// In the order that the body meets them.
    pub(crate) links: Vec<BodyLink>,
    /// An answer made here as filters changed it.
    pub(crate) made: Option<Response<Bytes>>,
    /// Nothing of the body is sent.
    pub(crate) emptied: bool,
}

/// An answer's body on its way through the changes.
#[derive(Debug)]
pub(crate) struct Changed<U> {
    source: Source<U>,
    links: Vec<BodyLink>,
}

/// Where a changed body comes from.
#[derive(Debug)]
pub(crate) enum Source<U> {
    Full(Bytes),
    Upstream(U),
}

type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

impl BodyLink {
    /// A change; the counters count bytes in and bytes out.
    pub fn new(change: Box<dyn BodyChange>, counters: Option<(Counter, Counter)>) -> Self {
        Self {
            change,
            counters,
            taken: 0,
            seen: None,
            stage: Stage::Open,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The next frame that comes out.
    pub(crate) fn poll<E: From<BodyFailure>>(
        &mut self,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Polled<E>,
    ) -> Polled<E> {
        loop {
            if self.is_done() {
                return Poll::Ready(None);
            }
            match self.change.take() {
                Ok(Some(data)) if data.is_empty() => continue,
                Ok(Some(data)) => {
                    if let Some((_, out)) = &self.counters {
                        out.add(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(None) => {}
                Err(failure) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Some(Err(failure.into())));
                }
            }
            if let Stage::Ending(trailers) = &mut self.stage {
                let trailers = trailers.take();
                self.stage = Stage::Done;
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match ready!(source(cx)) {
                None => self.finish(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if let Some((taken, _)) = &self.counters {
                            taken.add(data.len() as u64);
                        }
                        self.taken = self.taken.saturating_add(data.len() as u64);
                        self.change.feed(data);
                    }
                    Err(frame) => self.finish(frame.into_trailers().ok()),
                },
                Some(Err(error)) => {
                    self.stage = Stage::Done;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) {
        self.seen.clone_from(&trailers);
        self.stage = Stage::Ending(self.change.finish(trailers));
    }
}

impl<U> Changed<U> {
    pub(crate) fn new(source: Source<U>, links: Vec<BodyLink>) -> Self {
        Self { source, links }
    }

    /// The last change has given all it has.
    pub(crate) fn is_done(&self) -> bool {
        self.links.last().is_none_or(BodyLink::is_done)
    }

    /// The upstream's trailers, once, after they came.
    pub(crate) fn trailers(&mut self) -> Option<HeaderMap> {
        self.links.first_mut()?.seen.take()
    }
}

impl<U, E> Changed<U>
where
    U: Body<Data = Bytes, Error = E> + Unpin,
    E: From<BodyFailure>,
{
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Polled<E> {
        walk(&mut self.source, &mut self.links, cx)
    }
}

/// What comes out of the last of `links`.
fn walk<U, E>(source: &mut Source<U>, links: &mut [BodyLink], cx: &mut Context<'_>) -> Polled<E>
where
    U: Body<Data = Bytes, Error = E> + Unpin,
    E: From<BodyFailure>,
{
    match links.split_last_mut() {
        Some((last, before)) => last.poll(cx, |cx| walk(source, before, cx)),
        None => match source {
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
        },
    }
}
