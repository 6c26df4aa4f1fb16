//! The gRPC transport of an ADS stream: requests decoded one by one, responses sent in pieces as the client takes them.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use lateen_xds::ads::Frames;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::Codec;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

/// Largest request that is read, in bytes.
const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// Responses that wait for the transport of one stream.
const QUEUE: usize = 2;

/// What a stream sends: responses, and a status if it ends for a reason.
pub(crate) type Sender = mpsc::Sender<Result<Frames, Status>>;

/// The requests in a body.
pub(crate) fn requests<T: prost::Message + Default + Send + 'static>(body: Body) -> Streaming<T> {
    Streaming::new_request(
        ProstCodec::<T, T>::default().decoder(),
        body,
        None,
        Some(MAX_REQUEST),
    )
}

/// A response whose body sends what comes through the sender.
pub(crate) fn response() -> (Sender, Response<Body>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let body = Body::new(ResponseBody {
        receiver,
        current: None,
        ended: false,
    });
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    (sender, response)
}

struct ResponseBody {
    receiver: mpsc::Receiver<Result<Frames, Status>>,
    current: Option<Frames>,
    ended: bool,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(piece) = self.current.as_mut().and_then(Iterator::next) {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            self.current = None;
            match self.receiver.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frames))) => self.current = Some(frames),
                Poll::Ready(Some(Err(status))) => return self.end(&status),
                Poll::Ready(None) => return self.end(&Status::ok("")),
            }
        }
    }
}

impl ResponseBody {
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.ended = true;
        let mut trailers = HeaderMap::new();
        let written = status
            .add_header(&mut trailers)
            .map(|()| Frame::trailers(trailers));
        Poll::Ready(Some(written))
    }
}
