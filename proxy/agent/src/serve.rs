//! Small HTTP servers of the pod's side: a few connections, short requests, whole answers.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// A whole answer.
pub type Answer = Response<Full<Bytes>>;

/// A request with its body read (at most [`MAX_REQUEST_BODY`]) and the caller's address.
pub struct Call {
    /// Head and body.
    pub request: Request<Bytes>,
    /// Who asks.
    pub from: SocketAddr,
}

/// Most bytes of a request's body: these servers take commands, not data.
pub const MAX_REQUEST_BODY: usize = 64 * 1024;
/// Connections served at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// A client that takes longer to say what it wants is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves until the task is dropped. Each call runs in a task of its connection.
pub async fn serve<H, F>(listener: TcpListener, handler: H)
where
    H: Fn(Call) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send,
{
    let handler = Arc::new(handler);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let handler = Arc::clone(&handler);
        tokio::spawn(async move {
            let service = service_fn(|request| answer(&*handler, request, from));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(32 * 1024)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, %from, "connection ended");
            }
            drop(place);
        });
    }
}

/// A plain-text answer.
#[must_use]
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    typed(status, "text/plain; charset=UTF-8", body)
}

/// An answer of this content type.
#[must_use]
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    answer
}

/// True for requests from this machine itself, IPv4 addresses inside IPv6 included.
#[must_use]
pub fn is_local(from: SocketAddr) -> bool {
    from.ip().to_canonical().is_loopback()
}

async fn answer<H, F>(
    handler: &H,
    request: Request<Incoming>,
    from: SocketAddr,
) -> Result<Answer, Infallible>
where
    H: Fn(Call) -> F,
    F: Future<Output = Answer>,
{
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_REQUEST_BODY).collect().await else {
        return Ok(text(
            StatusCode::PAYLOAD_TOO_LARGE,
            "request body is too large or broken\n",
        ));
    };
    let request = Request::from_parts(head, body.to_bytes());
    Ok(handler(Call { request, from }).await)
}
