//! One HTTP/1.1 request over a stream: probes, hooks, and the admin pages of proxies.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a request got no answer.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The connection broke or the answer was no HTTP.
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    /// The request could not be built.
    #[error("request: {0}")]
    Request(#[from] http::Error),
    /// The body broke off or was longer than allowed.
    #[error("body of the answer: {0}")]
    Body(String),
}

/// Sends a request without a body and reads the answer, of at most `limit` bytes.
///
/// # Errors
/// [`HttpError`] when there is no complete answer.
pub(crate) async fn exchange<S>(
    stream: S,
    method: Method,
    target: &str,
    headers: &[(String, String)],
    limit: usize,
) -> Result<(StatusCode, Bytes), HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        Ok((
            status,
            body.map_err(|e| HttpError::Body(e.to_string()))?.to_bytes(),
        ))
    }
    .await;
    driver.abort();
    answer
}
