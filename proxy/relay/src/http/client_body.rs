//! The body of a client's request, of which filters may have read a part.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// A request's body. What a filter read of it is kept and goes before the rest.
pub struct ClientBody {
    rest: Incoming,
    /// Nothing for requests whose body no filter asks for.
    read: Option<Box<Read>>,
}

/// What was read ahead.
#[derive(Default)]
struct Read {
    data: VecDeque<Bytes>,
    bytes: usize,
    trailers: Option<HeaderMap>,
    /// The end was reached.
    whole: bool,
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
        Self { rest, read: None }
    }
}

impl ClientBody {
    /// Reads until the end, or until `limit` bytes or more are there.
    ///
    /// # Errors
    /// When the client went away or broke the protocol.
    pub async fn read_ahead(&mut self, limit: usize) -> Result<ReadAhead, hyper::Error> {
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

    /// Puts `data` in the place of what was read ahead.
    pub fn replace(&mut self, data: Bytes) {
        let read = self.read.get_or_insert_default();
        read.bytes = data.len();
        read.data.clear();
        if !data.is_empty() {
            read.data.push_back(data);
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        if let Some(read) = &mut this.read {
            if let Some(data) = read.data.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if read.whole {
                let trailers = read.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            }
        }
        Pin::new(&mut this.rest).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.read {
            Some(read) if !read.data.is_empty() || read.trailers.is_some() => false,
            Some(read) if read.whole => true,
            _ => self.rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.read {
            None => self.rest.size_hint(),
            Some(read) if read.whole => {
                SizeHint::with_exact(read.data.iter().map(|data| data.len() as u64).sum())
            }
            Some(_) => SizeHint::default(),
        }
    }
}
