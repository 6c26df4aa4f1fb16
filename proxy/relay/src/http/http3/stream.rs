//! One request's stream.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use quinn::{RecvStream, SendStream, VarInt};

use super::body::{Home, Http3Body};
use super::connection::Server;
use super::frame::{Frames, Part, StreamError};
use super::qpack::FieldsError;
use super::tunnel::{Tunnel, TunnelIo};
use super::{answer, code, head, qpack};
use crate::http::connection::Connection;
use crate::http::http1::{Refusal, refuse_stream};

/// Longest wait until the client has all of an answer, while its connection ends.
const LINGER: Duration = Duration::from_secs(5);

/// Why a stream has no request.
enum NoRequest {
    /// The client is told no answer, but this code.
    Stream(VarInt),
    /// It ends the connection.
    Connection(VarInt, &'static str),
    /// There is an answer.
    Refused(Refusal),
    /// The client gave it up.
    Gone,
}

/// Reads a request, has it answered, and sends the answer.
pub(super) async fn serve<H, F, B>(
    server: &Server,
    (mut send, recv): (SendStream, RecvStream),
    handle: &H,
) where
    H: Fn(Rc<Connection>, Request<Http3Body>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + 'static,
{
    let begun = Instant::now();
    let manager = &server.connection.chain.manager;
    let mut frames = Frames::request(recv, manager.max_headers_bytes);
    let limit = manager
        .request_headers_timeout
        .or(manager.stream_idle_timeout);
    let read = read_head(server, &mut frames);
    let read = match limit {
        None => read.await,
        Some(limit) => match tokio::time::timeout(limit, read).await {
            Ok(read) => read,
            Err(_) if manager.request_headers_timeout.is_some() => {
                Err(NoRequest::Refused(Refusal::HeaderTimeout))
            }
            Err(_) => Err(NoRequest::Refused(Refusal::StreamIdle)),
        },
    };
    match read {
        Ok(request) => answered(server, (send, frames), request, handle).await,
        Err(why) => {
            server.wasted();
            refused(server, &mut send, &mut frames, why, begun).await;
        }
    }
}

async fn read_head(server: &Server, frames: &mut Frames) -> Result<Request<()>, NoRequest> {
    let manager = &server.connection.chain.manager;
    let block = match frames.next().await {
        Ok(Part::Fields(block)) => block,
        Ok(Part::End) => return Err(NoRequest::Stream(code::REQUEST_INCOMPLETE)),
        Ok(_) => {
            let why = "a request that does not begin with its headers";
            return Err(NoRequest::Connection(code::FRAME_UNEXPECTED, why));
        }
        Err(StreamError::Connection(code, why)) => return Err(NoRequest::Connection(code, why)),
        Err(StreamError::TooLarge) => return Err(too_large()),
        Err(StreamError::Message(_)) => return Err(server.malformed("no frame")),
        Err(StreamError::Gone(_)) => return Err(NoRequest::Gone),
    };
    let fields = qpack::decode(&block, manager.max_headers_bytes).map_err(|error| match error {
        FieldsError::TooLarge => too_large(),
        FieldsError::Broken => {
            let why = "headers that cannot be read";
            NoRequest::Connection(code::QPACK_DECOMPRESSION_FAILED, why)
        }
    })?;
    head::request(fields, manager.http3.allow_extended_connect).map_err(|why| server.malformed(why))
}

fn too_large() -> NoRequest {
    NoRequest::Refused(Refusal::HeadersTooLarge)
}

impl Server {
    fn malformed(&self, why: &'static str) -> NoRequest {
        tracing::debug!(client = %self.connection.client(), why, "malformed request");
        match self.connection.chain.manager.http3.keep_malformed {
            true => NoRequest::Stream(code::MESSAGE_ERROR),
            false => NoRequest::Connection(code::GENERAL_PROTOCOL_ERROR, why),
        }
    }
}

async fn refused(
    server: &Server,
    send: &mut SendStream,
    frames: &mut Frames,
    why: NoRequest,
    begun: Instant,
) {
    match why {
        NoRequest::Gone => {
            let _ = send.reset(code::REQUEST_CANCELLED);
        }
        NoRequest::Stream(code) => {
            let _ = send.reset(code);
            frames.stop(code);
        }
        NoRequest::Connection(code, why) => server.quic.close(code, why.as_bytes()),
        NoRequest::Refused(refusal) => {
            let response = refuse_stream(refusal, &server.connection, begun);
            let body = response.body().clone();
            let response = response.map(http_body_util::Full::new);
            if answer::head(send, response, &Method::GET).await.is_ok() {
                let _ = answer::body(send, http_body_util::Full::new(body)).await;
                let _ = send.finish();
            }
            frames.stop(code::NO_ERROR);
        }
    }
}

/// Has a request answered; a client that goes away ends it.
async fn answered<H, F, B>(
    server: &Server,
    (mut send, frames): (SendStream, Frames),
    request: Request<()>,
    handle: &H,
) where
    H: Fn(Rc<Connection>, Request<Http3Body>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + 'static,
{
    let home = Home::default();
    let manager = &server.connection.chain.manager;
    let tunnels = request.method() == Method::CONNECT;
    let method = request.method().clone();
    let left = head::length(request.headers());
    let of = (server.quic.clone(), manager.max_headers_bytes);
    let mut body = Http3Body::new(frames, Rc::clone(&home), left, of);
    let (mut request, mut put) = (request, None);
    if tunnels {
        body.leave();
        let (tunnel, place) = Tunnel::new();
        request.extensions_mut().insert(tunnel.clone());
        put = Some((tunnel, place));
    } else {
        body.look().await;
    }
    let answer = handle(Rc::clone(&server.connection), request.map(|()| body));
    let stopped = send.stopped();
    let sent = {
        let work = async {
            let response = answer.await;
            let rest = answer::head(&mut send, response, &method).await?;
            match rest {
                Some(body) => answer::body(&mut send, body).await,
                None => Ok(true),
            }
        };
        let mut work = std::pin::pin!(work);
        tokio::select! {
            sent = work.as_mut() => sent.unwrap_or(false),
            _ = stopped => false,
        }
    };
    let frames = home.take();
    if let Some((tunnel, place)) = put
        && sent
        && tunnel.is_taken()
    {
        if let Some(frames) = frames {
            let _ = place.send(TunnelIo::new(frames, send));
        }
        return;
    }
    if sent {
        let _ = send.finish();
    } else {
        answer::reset(&mut send);
    }
    if let Some(mut frames) = frames {
        frames.stop(code::NO_ERROR);
    }
    if sent && server.is_closing() {
        let _ = tokio::time::timeout(LINGER, send.stopped()).await;
    }
}
