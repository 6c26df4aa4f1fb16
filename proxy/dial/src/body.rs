//! The body of an answer, which gives its connection back when it ends.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use lateen_proxy_model::ResetReason;

use crate::failure::reset_reason;
use crate::guard::RequestGuard;
use crate::http1::Http1;
use crate::http2::Stream;
use crate::pool::Pool;
use crate::raw::RawBody;

/// The body of an upstream's answer. Dropped before its end, it resets the stream or closes the connection.
pub struct ResponseBody<B: 'static> {
    inner: Inner,
    lease: Option<Lease<B>>,
}

enum Inner {
    Http(Incoming),
    Raw(Box<RawBody>),
}

/// What a body holds until its end.
pub(crate) struct Lease<B> {
    hold: Hold<B>,
    _counted: Option<RequestGuard>,
}

enum Hold<B> {
    Http1(Http1<B>, Rc<Pool<B>>),
    Http2(#[expect(dead_code, reason = "held for its drop")] Stream<B>),
}

impl<B> Lease<B> {
    pub(crate) fn http1(conn: Http1<B>, pool: Rc<Pool<B>>, counted: Option<RequestGuard>) -> Self {
        Self {
            hold: Hold::Http1(conn, pool),
            _counted: counted,
        }
    }

    pub(crate) fn http2(stream: Stream<B>, counted: Option<RequestGuard>) -> Self {
        Self {
            hold: Hold::Http2(stream),
            _counted: counted,
        }
    }
}

impl<B: 'static> ResponseBody<B> {
    pub(crate) fn new(inner: Incoming, lease: Option<Lease<B>>) -> Self {
        let inner = Inner::Http(inner);
        let mut body = Self { inner, lease };
        body.release_at_end();
        body
    }

    pub(crate) fn raw(body: RawBody) -> Self {
        Self {
            inner: Inner::Raw(Box::new(body)),
            lease: None,
        }
    }

    fn release_at_end(&mut self) {
        if self.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(Lease {
            hold: Hold::Http1(conn, pool),
            ..
        }) = self.lease.take()
        {
            conn.release(pool);
        }
    }
}

impl<B: 'static> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = ResetReason;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        let body = self.get_mut();
        let frame = match &mut body.inner {
            Inner::Http(inner) => std::task::ready!(Pin::new(inner).poll_frame(cx)),
            Inner::Raw(raw) => {
                let next = raw.poll(cx);
                return next.map(|next| next.map(|bytes| bytes.map(Frame::data)));
            }
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                body.release_at_end();
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                body.lease = None;
                Some(Err(reset_reason(&error)))
            }
            None => {
                body.release();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Http(inner) => inner.is_end_stream(),
            Inner::Raw(raw) => raw.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Http(inner) => inner.size_hint(),
            Inner::Raw(_) => SizeHint::default(),
        }
    }
}

impl<B: 'static> Unpin for ResponseBody<B> {}
