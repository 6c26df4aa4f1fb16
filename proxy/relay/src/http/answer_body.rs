//! Bodies of answers on their way through filters.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use lateen_proxy_model::ResetReason;

/// A body that a filter makes.
pub type OwnBody = Pin<Box<dyn Body<Data = Bytes, Error = ResetReason>>>;

/// The body of an answer: the upstream's, or what a filter made of it.
pub enum AnswerBody<U> {
    /// As it came.
    Upstream(U),
    /// A filter's.
    Own(OwnBody),
}

impl<U> AnswerBody<U>
where
    U: Body<Data = Bytes, Error = ResetReason> + 'static,
{
    /// The body behind one type, to be wrapped.
    pub fn into_own(self) -> OwnBody {
        match self {
            Self::Upstream(body) => Box::pin(body),
            Self::Own(body) => body,
        }
    }
}

impl<U> std::fmt::Debug for AnswerBody<U> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerBody").finish_non_exhaustive()
    }
}

impl<U> Body for AnswerBody<U>
where
    U: Body<Data = Bytes, Error = ResetReason> + Unpin,
{
    type Data = Bytes;
    type Error = ResetReason;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        match self.get_mut() {
            Self::Upstream(body) => Pin::new(body).poll_frame(cx),
            Self::Own(body) => body.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstream(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstream(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}
