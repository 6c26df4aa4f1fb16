//! Bodies that are processed on their way.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Told;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Said;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    BodyResponse, HeadersResponse, HttpBody, HttpTrailers, TrailersResponse,
};
use http::HeaderMap;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use lateen_proxy_admit::{ProcessedHead, changed_body, shown_headers};
use lateen_proxy_model::ResetReason;
use lateen_proxy_relay::http::{LocalReply, OwnBody};
use tokio::sync::mpsc;

use super::session::Half;

/// How a body is piped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pipe {
    /// Every piece is processed.
    pub(super) pieces: bool,
    /// Trailers are.
    pub(super) trailers: bool,
    /// The end is told by itself, as HTTP/1 has it where nothing is held back.
    pub(super) late_end: bool,
}

enum Piece {
    /// A frame; `true` is the last.
    Frame(Frame<Bytes>, bool),
    End,
}

/// A body that is processed while it is read. `first` goes ahead, untouched.
pub(super) fn pipe<B>(half: Half, source: B, first: Bytes, how: Pipe) -> OwnBody
where
    B: Body<Data = Bytes> + 'static,
{
    // One piece is under way and one waits.
    let (sender, pieces) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        let gone = sender.clone();
        tokio::select! {
            () = gone.closed() => {}
            () = run(half, source, first, how, sender) => {}
        }
    });
    Box::pin(Piped {
        pieces,
        ended: false,
    })
}

/// Nothing is sent at the end of what failed: the reader learns it so.
async fn run<B>(mut half: Half, source: B, first: Bytes, how: Pipe, sender: mpsc::Sender<Piece>)
where
    B: Body<Data = Bytes>,
{
    let mut source = pin!(source);
    if !first.is_empty()
        && sender
            .send(Piece::Frame(Frame::data(first), false))
            .await
            .is_err()
    {
        return;
    }
    let mut told_end = false;
    loop {
        let frame = match source.frame().await {
            None => break,
            Some(Err(_)) => return,
            Some(Ok(frame)) => frame,
        };
        let (frame, last) = match frame.into_data() {
            Ok(data) => {
                told_end = source.is_end_stream();
                let late = told_end && how.late_end;
                (
                    half.piece(data, told_end && !late, how.pieces)
                        .await
                        .map(Frame::data),
                    told_end,
                )
            }
            Err(other) => {
                let mut trailers = other.into_trailers().unwrap_or_default();
                let asked = match how.trailers {
                    true => half.trailers(&mut trailers).await,
                    false => Ok(()),
                };
                (asked.map(|()| Frame::trailers(trailers)), true)
            }
        };
        if last && how.late_end {
            // An observer has nothing to say to it.
            let _ = half.piece(Bytes::new(), true, how.pieces).await;
        }
        let sent = match frame {
            Ok(frame) => sender.send(Piece::Frame(frame, last)).await.is_ok(),
            Err(reply) => return half.shared.interrupt(reply),
        };
        if !sent {
            return;
        }
        if last {
            told_end = true;
        }
    }
    if how.pieces && !told_end {
        match half.piece(Bytes::new(), true, true).await {
            Ok(data) if data.is_empty() => {}
            Ok(data) => drop(sender.send(Piece::Frame(Frame::data(data), true)).await),
            Err(reply) => return half.shared.interrupt(reply),
        }
    }
    // Nobody reads any more when this fails.
    let _ = sender.send(Piece::End).await;
}

impl Half {
    async fn piece(&mut self, data: Bytes, end: bool, ask: bool) -> Result<Bytes, LocalReply> {
        if !ask {
            return Ok(data);
        }
        let changed = self.body(data.clone(), end).await?;
        let Some(said) = changed.and_then(|said| said.response) else {
            return Ok(data);
        };
        let own = changed_body(said.body_mutation).map_err(|bad| self.shared.refused(bad))?;
        Ok(own.map_or(data, Bytes::from))
    }

    /// Shows a body, or a piece of it.
    pub(super) async fn body(
        &mut self,
        data: Bytes,
        end_of_stream: bool,
    ) -> Result<Option<BodyResponse>, LocalReply> {
        let body = HttpBody {
            body: data.into(),
            end_of_stream,
            ..HttpBody::default()
        };
        let told = match self.is_request() {
            true => Told::RequestBody(body),
            false => Told::ResponseBody(body),
        };
        Ok(match self.ask(told).await? {
            Some(Said::RequestBody(said) | Said::ResponseBody(said)) => Some(said),
            _ => None,
        })
    }

    /// Shows trailers, and changes them.
    pub(super) async fn trailers(&mut self, trailers: &mut HeaderMap) -> Result<(), LocalReply> {
        let mut head = ProcessedHead {
            pseudo: Vec::new(),
            headers: trailers,
        };
        let shown = HttpTrailers {
            trailers: Some(shown_headers(&self.shared.filter, &head)),
        };
        let told = match self.is_request() {
            true => Told::RequestTrailers(shown),
            false => Told::ResponseTrailers(shown),
        };
        let said = match self.ask(told).await? {
            Some(Said::RequestTrailers(said) | Said::ResponseTrailers(said)) => said,
            _ => TrailersResponse::default(),
        };
        match said.header_mutation {
            Some(change) => self.shared.change(change, &mut head, false),
            None => Ok(()),
        }
    }

    /// Shows a head.
    pub(super) async fn headers(
        &mut self,
        head: &ProcessedHead<'_>,
        end_of_stream: bool,
    ) -> Result<Option<HeadersResponse>, LocalReply> {
        let shown = envoy_types::pb::envoy::service::ext_proc::v3::HttpHeaders {
            headers: Some(shown_headers(&self.shared.filter, head)),
            end_of_stream,
            ..Default::default()
        };
        let told = match self.is_request() {
            true => Told::RequestHeaders(shown),
            false => Told::ResponseHeaders(shown),
        };
        Ok(match self.ask(told).await? {
            Some(Said::RequestHeaders(said) | Said::ResponseHeaders(said)) => Some(said),
            _ => None,
        })
    }
}

/// What comes out of a pipe.
struct Piped {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

impl Body for Piped {
    type Data = Bytes;
    type Error = ResetReason;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        let this = self.get_mut();
        loop {
            if this.ended {
                return Poll::Ready(None);
            }
            match std::task::ready!(this.pieces.poll_recv(cx)) {
                Some(Piece::Frame(frame, last)) => {
                    this.ended = last;
                    // What was taken away altogether is no piece.
                    if frame.data_ref().is_none_or(|data| data.has_remaining()) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Piece::End) => this.ended = true,
                None => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(ResetReason::LocalReset)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// A body that is here, of a length that nobody was told.
pub(super) struct Whole {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// Somebody has asked: nothing at all is still a body.
    begun: bool,
}

impl Whole {
    pub(super) fn new(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self {
            data: (!data.is_empty()).then_some(data),
            trailers,
            begun: false,
        }
    }
}

impl Body for Whole {
    type Data = Bytes;
    type Error = ResetReason;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        self.begun = true;
        let data = self.data.take().map(Frame::data);
        let frame = data.or_else(|| self.trailers.take().map(Frame::trailers));
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.begun && self.data.is_none() && self.trailers.is_none()
    }
}

/// A body of which something was read.
pub(super) struct Ahead {
    pub(super) data: Bytes,
    pub(super) rest: OwnBody,
}

impl Body for Ahead {
    type Data = Bytes;
    type Error = ResetReason;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        if !self.data.is_empty() {
            let data = std::mem::take(&mut self.data);
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.rest.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.rest.is_end_stream()
    }
}
