//! One request's stream.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use lateen_proxy_telemetry::Flags;
use quinn::{RecvStream, SendStream, VarInt};

use super::body::{Home, Http3Body};
use super::connection::Server;
use super::frame::{Frames, Part, StreamError};
use super::head::Malformed;
use super::qpack::FieldsError;
use super::tunnel::{Tunnel, TunnelIo};
use super::{answer, code, head, qpack};
use crate::http::connection::Connection;
use crate::http::http1::{Refusal, log_unread, refuse_stream};

/// Longest wait until the client has all of an answer, while its connection ends.
const LINGER: Duration = Duration::from_secs(5);

/// Why a stream has no request.
enum NoRequest {
    /// The stream ends with this code.
    Stream(VarInt, &'static str),
    /// It ends the connection.
    Connection(VarInt, &'static str),
    /// There is an answer.
    Refused(Refusal),
    /// The client gave it up.
    Gone,
}

const INVALID: &str = "http3.invalid_header_field";

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
    let broken = |code| NoRequest::Connection(code, "");
    let block = match frames.next().await {
        Ok(Part::Fields(block)) => block,
        // An end is no begin either.
        Ok(_) => return Err(broken(code::FRAME_UNEXPECTED)),
        Err(StreamError::Connection(code, _)) => return Err(broken(code)),
        Err(StreamError::TooLarge) => return Err(too_large()),
        Err(StreamError::Message(why)) => return Err(server.malformed(why.into())),
        Err(StreamError::Gone(_)) => return Err(NoRequest::Gone),
    };
    let fields = qpack::decode(&block, manager.max_headers_bytes).map_err(|error| match error {
        FieldsError::TooLarge => too_large(),
        FieldsError::Broken => broken(code::QPACK_DECOMPRESSION_FAILED),
    })?;
    let regular = fields.iter().filter(|field| !field.is_pseudo()).count();
    if regular > manager.max_headers_count as usize {
        return Err(NoRequest::Stream(
            code::EXCESSIVE_LOAD,
            "http3.too_many_headers",
        ));
    }
    head::request(fields, manager.http3.allow_extended_connect).map_err(|why| server.malformed(why))
}

fn too_large() -> NoRequest {
    NoRequest::Stream(code::EXCESSIVE_LOAD, "http3.headers_too_large")
}

impl Server {
    /// What becomes of a malformed request; the codes are Envoy's.
    fn malformed(&self, what: Malformed) -> NoRequest {
        let why = what.why();
        tracing::debug!(client = %self.connection.client(), why, "malformed request");
        let keep = self.connection.chain.manager.http3.keep_malformed;
        match what {
            Malformed::Message(_) if !keep => NoRequest::Connection(code::FRAME_ERROR, INVALID),
            Malformed::Message(_) | Malformed::Order(_) => {
                NoRequest::Stream(code::GENERAL_PROTOCOL_ERROR, INVALID)
            }
            Malformed::Path => NoRequest::Stream(code::NO_ERROR, INVALID),
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
    let log = |details: &'static str| {
        let flags = match details {
            "" => Flags::NONE,
            _ => Flags::DOWNSTREAM_PROTOCOL,
        };
        log_unread(&server.connection, begun, (flags, details));
    };
    match why {
        NoRequest::Gone => {
            let _ = send.reset(code::REQUEST_CANCELLED);
        }
        NoRequest::Stream(code, details) => {
            log(details);
            let _ = send.reset(code);
            frames.stop(code);
        }
        NoRequest::Connection(code, details) => {
            log(details);
            server.quic.close(code, b"");
        }
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
    } else if !body.look().await {
        drop(body);
        let begun = Instant::now();
        let why = "http3.inconsistent_content_length";
        let flags = Flags::DOWNSTREAM_PROTOCOL;
        log_unread(&server.connection, begun, (flags, why));
        let _ = send.reset(code::GENERAL_PROTOCOL_ERROR);
        return;
    }
    let broken = body.broken();
    let answer = handle(Rc::clone(&server.connection), request.map(|()| body));
    let stopped = send.stopped();
    let malformed = Rc::clone(&broken);
    let sent = {
        let work = async {
            let response = answer.await;
            if malformed.get() {
                return Ok(false);
            }
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
    if broken.get() {
        let _ = send.reset(code::GENERAL_PROTOCOL_ERROR);
    } else if sent {
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
