//! The body of a request.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::frame::{Frames, Part, StreamError};
use super::{code, head, qpack};

/// Where a body leaves the client's side of its stream, so that it can be ended after the answer.
pub(super) type Home = Rc<RefCell<Option<Frames>>>;

/// A request's body as it comes.
pub struct Http3Body {
    frames: Option<Frames>,
    home: Home,
    /// Read before the body was asked for.
    first: Option<Result<Part, StreamError>>,
    /// Bytes still to come, where their number was declared.
    left: Option<u64>,
    limit: usize,
    /// Ends the connection when the client breaks the protocol.
    quic: quinn::Connection,
    ended: bool,
    /// Set when the client sent something else than a request's body.
    broken: Rc<Cell<bool>>,
}

impl Http3Body {
    /// `left` is the declared length.
    pub(super) fn new(
        frames: Frames,
        home: Home,
        left: Option<u64>,
        (quic, limit): (quinn::Connection, usize),
    ) -> Self {
        Self {
            frames: Some(frames),
            home,
            first: None,
            left,
            limit,
            quic,
            ended: false,
            broken: Rc::default(),
        }
    }

    /// Tells later whether the client broke the rules of bodies.
    pub(super) fn broken(&self) -> Rc<Cell<bool>> {
        Rc::clone(&self.broken)
    }

    /// Looks whether the end is there already: a request without a body is known by that. False when there should be a
    /// body.
    pub(super) async fn look(&mut self) -> bool {
        let Some(frames) = &mut self.frames else {
            return true;
        };
        let seen = std::future::poll_fn(|cx| {
            Poll::Ready(match frames.poll_next(cx) {
                Poll::Ready(part) => Some(part),
                Poll::Pending => None,
            })
        });
        match seen.await {
            Some(Ok(Part::End)) => {
                self.ended = true;
                return self.left.unwrap_or(0) == 0;
            }
            seen => self.first = seen,
        }
        true
    }

    /// Leaves the stream to a tunnel.
    pub(super) fn leave(&mut self) {
        self.ended = true;
    }

    fn take(
        &mut self,
        part: Result<Part, StreamError>,
    ) -> Option<Result<Frame<Bytes>, StreamError>> {
        let made = part.and_then(|part| self.frame(part));
        if let Err(error) = &made {
            self.ended = true;
            match error {
                StreamError::Connection(code, why) => self.quic.close(*code, why.as_bytes()),
                StreamError::Message(_) | StreamError::TooLarge => self.broken.set(true),
                StreamError::Gone(_) => {}
            }
        }
        made.transpose()
    }

    fn frame(&mut self, part: Part) -> Result<Option<Frame<Bytes>>, StreamError> {
        let short = self.left.is_some_and(|left| left > 0);
        match part {
            Part::Data(data) => {
                if let Some(left) = &mut self.left {
                    let rest = left.checked_sub(data.len() as u64);
                    *left = rest.ok_or(StreamError::Message("a body longer than declared"))?;
                }
                Ok(Some(Frame::data(data)))
            }
            Part::Fields(_) | Part::End if short => {
                Err(StreamError::Message("a body shorter than declared"))
            }
            Part::Fields(block) => {
                self.ended = true;
                let fields = qpack::decode(&block, self.limit).map_err(|error| match error {
                    qpack::FieldsError::Broken => StreamError::Connection(
                        code::QPACK_DECOMPRESSION_FAILED,
                        "trailers that cannot be read",
                    ),
                    qpack::FieldsError::TooLarge => StreamError::TooLarge,
                })?;
                let trailers = head::trailers(fields);
                let trailers = trailers.map_err(|it| StreamError::Message(it.why()))?;
                Ok(Some(Frame::trailers(trailers)))
            }
            Part::Settings(_) => Err(StreamError::Connection(
                code::FRAME_UNEXPECTED,
                "settings on a request's stream",
            )),
            Part::End => {
                self.ended = true;
                Ok(None)
            }
        }
    }
}

impl Body for Http3Body {
    type Data = Bytes;
    type Error = StreamError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let Some(frames) = &mut this.frames else {
            return Poll::Ready(None);
        };
        let part = match this.first.take() {
            Some(first) => first,
            None => std::task::ready!(frames.poll_next(cx)),
        };
        if matches!(part, Ok(Part::Data(_)))
            && let Poll::Ready(next) = frames.poll_next(cx)
        {
            // Whether these bytes are the last is known with them.
            this.first = Some(next);
        }
        let frame = this.take(part);
        if matches!(this.first, Some(Ok(Part::End))) && this.left.unwrap_or(0) == 0 {
            this.ended = true;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        match (self.ended, self.left) {
            (true, _) => SizeHint::with_exact(0),
            (false, Some(left)) => SizeHint::with_exact(left),
            (false, None) => SizeHint::default(),
        }
    }
}

impl Drop for Http3Body {
    fn drop(&mut self) {
        if let Some(frames) = self.frames.take() {
            self.home.replace(Some(frames));
        }
    }
}
