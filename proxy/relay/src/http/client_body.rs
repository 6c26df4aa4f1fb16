//! The body of a client's request, of which filters may have read a part.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use lateen_proxy_model::{BodyFailure, ResetReason};

use super::answer_body::OwnBody;
use super::changed::BodyLink;
use super::http3::{Http3Body, StreamError};

/// A request's body. What a filter read of it is kept and goes before the rest.
pub struct ClientBody {
    rest: Source,
    /// Nothing for requests whose body no filter asks for.
    read: Option<Box<Read>>,
}

/// Where the rest comes from.
enum Source {
    Client(Incoming),
    /// The client, by HTTP/3.
    Http3(Box<Http3Body>),
    /// A filter, which has the client's.
    Own(OwnBody),
    /// A filter changes all of it.
    Changed(Box<(ClientBody, BodyLink)>),
    /// Nowhere: it was replaced.
    Gone,
}

/// Why a body came to no end.
#[derive(Debug, thiserror::Error)]
pub enum ClientBodyError {
    /// The client went away or broke the protocol.
    #[error(transparent)]
    Client(#[from] hyper::Error),
    /// The same of HTTP/3.
    #[error(transparent)]
    Http3(#[from] StreamError),
    /// A filter gave it up.
    #[error("{0}")]
    Own(ResetReason),
    /// A filter cannot read it.
    #[error(transparent)]
    Unreadable(#[from] BodyFailure),
}

impl ClientBodyError {
    /// What a filter said of it.
    pub fn failure(&self) -> Option<BodyFailure> {
        match self {
            Self::Unreadable(failure) => Some(*failure),
            _ => None,
        }
    }
}

/// What was read ahead.
#[derive(Default)]
struct Read {
    data: VecDeque<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    /// The end was reached.
    whole: bool,
    /// It is not what was declared.
    replaced: bool,
}

/// How far [`ClientBody::read_ahead`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAhead {
    /// The whole body is there.
    Whole,
    /// The limit was reached before its end.
    Limit,
}

impl From<Incoming> for ClientBody {
    fn from(rest: Incoming) -> Self {
        Self {
            rest: Source::Client(rest),
            read: None,
        }
    }
}

impl From<Http3Body> for ClientBody {
    fn from(rest: Http3Body) -> Self {
        Self {
            rest: Source::Http3(Box::new(rest)),
            read: None,
        }
    }
}

impl ClientBody {
    /// A body that is all here.
    pub(crate) fn kept(frames: Vec<Bytes>, trailers: Option<HeaderMap>) -> Self {
        let read = (!frames.is_empty() || trailers.is_some()).then(|| {
            Box::new(Read {
                bytes: frames.iter().map(Bytes::len).sum(),
                data: frames.into(),
                trailers,
                whole: true,
                // Its length is sent where the head tells it.
                replaced: true,
            })
        });
        Self {
            rest: Source::Gone,
            read,
        }
    }

    /// Takes all of it away; nothing of it is left to be sent.
    pub fn replace_by_nothing(&mut self) {
        *self = Self::kept(Vec::new(), None);
    }

    /// Reads until the end, or until `limit` bytes or more are there.
    ///
    /// # Errors
    /// When the client went away or broke the protocol.
    pub async fn read_ahead(&mut self, limit: usize) -> Result<ReadAhead, ClientBodyError> {
        let read = self.read.get_or_insert_default();
        while !read.whole {
            // What arrived together with the last bytes is the end, not more than the limit.
            if read.bytes >= limit && !self.rest.is_end_stream() {
                return Ok(ReadAhead::Limit);
            }
            match self.rest.frame().await {
                None => read.whole = true,
                Some(frame) => match frame?.into_data() {
                    Ok(data) => {
                        read.bytes = read.bytes.saturating_add(data.remaining());
                        read.data.push_back(data);
                    }
                    Err(other) => read.trailers = other.into_trailers().ok(),
                },
            }
        }
        Ok(match read.bytes > limit {
            true => ReadAhead::Limit,
            false => ReadAhead::Whole,
        })
    }

    /// What was read ahead, in one piece.
    pub fn read(&self) -> Bytes {
        let Some(read) = &self.read else {
            return Bytes::new();
        };
        match read.data.len() {
            0 => Bytes::new(),
            1 => read.data.front().cloned().unwrap_or_default(),
            _ => {
                let mut all = BytesMut::with_capacity(read.bytes);
                for data in &read.data {
                    all.extend_from_slice(data);
                }
                all.freeze()
            }
        }
    }

    /// Trailers that were read ahead.
    pub fn read_trailers(&mut self) -> Option<&mut HeaderMap> {
        self.read.as_mut()?.trailers.as_mut()
    }

    /// Its length is no longer the declared one.
    pub fn forget_length(&mut self) {
        self.read.get_or_insert_default();
    }

    /// Puts `data` in the place of all of it.
    pub fn replace_all(&mut self, data: Bytes) {
        self.rest = Source::Gone;
        self.read = None;
        self.replace(data);
        if let Some(read) = &mut self.read {
            read.whole = true;
        }
    }

    /// Lets a filter make the body: it gets the client's and gives its own.
    pub fn through(&mut self, make: impl FnOnce(Self) -> OwnBody) {
        let own = std::mem::replace(
            self,
            Self {
                rest: Source::Gone,
                read: None,
            },
        );
        self.rest = Source::Own(make(own));
    }

    /// Has all of it, what was read ahead too, go through a change.
    pub fn change(&mut self, link: BodyLink) {
        let inner = Self {
            rest: std::mem::replace(&mut self.rest, Source::Gone),
            read: self.read.take(),
        };
        self.rest = Source::Changed(Box::new((inner, link)));
    }

    /// Bytes that the client sent so far of a body that filters change.
    pub(crate) fn taken(&self) -> Option<u64> {
        match &self.rest {
            Source::Changed(changed) => {
                let (inner, link) = &**changed;
                inner.taken().or(Some(link.taken()))
            }
            _ => None,
        }
    }

    /// Puts `data` in the place of what was read ahead.
    pub fn replace(&mut self, data: Bytes) {
        let read = self.read.get_or_insert_default();
        read.bytes = data.len();
        read.replaced = true;
        read.data.clear();
        if !data.is_empty() {
            read.data.push_back(data);
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        let this = self.get_mut();
        if let Some(read) = &mut this.read {
            if let Some(data) = read.data.pop_front() {
                read.replaced = false;
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if read.whole {
                read.replaced = false;
                let trailers = read.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
        }
        Pin::new(&mut this.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.read {
            Some(read) if !read.data.is_empty() || read.trailers.is_some() => false,
            // What was replaced by nothing is still a body.
            Some(read) if read.whole => !read.replaced,
            _ => self.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.read {
            None => self.rest.size_hint(),
            Some(read) if read.whole && !read.replaced => {
                SizeHint::with_exact(read.data.iter().map(|data| data.len() as u64).sum())
            }
            Some(_) => SizeHint::default(),
        }
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        match self.get_mut() {
            Self::Client(body) => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Http3(body) => {
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Own(body) => {
                let frame = std::task::ready!(body.as_mut().poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(ClientBodyError::Own)))
            }
            Self::Changed(changed) => {
                let (body, link) = &mut **changed;
                link.poll(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
            }
            Self::Gone => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body) => body.is_end_stream(),
            Self::Http3(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
            Self::Gone => true,
            Self::Changed(changed) => changed.1.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(body) => body.size_hint(),
            Self::Http3(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
            Self::Gone => SizeHint::with_exact(0),
            Self::Changed(_) => SizeHint::default(),
        }
    }
}
