//! Calls from filters to services of their own: authorisation, rate limits, key sets, processing.

use std::future::Future;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::Authority;
use http::{Method, Request, StatusCode};

use crate::cluster::ClusterRef;
use crate::upstream::ResetReason;

/// Bytes of an answer that are kept; a longer one fails the call.
pub const ANSWER_LIMIT: usize = 4 * 1024 * 1024;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// A service's answer.
#[derive(Clone, Debug)]
pub struct CallAnswer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Trailers; empty without any.
    pub trailers: HeaderMap,
}

/// Why a service gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The cluster is not known.
    #[error("no such cluster")]
    NoCluster,
    /// The cluster has no endpoint that may be chosen.
    #[error("no healthy upstream")]
    NoEndpoint,
    /// No answer in time.
    #[error("timeout")]
    Timeout,
    /// The connection failed.
    #[error("{0}")]
    Reset(ResetReason),
    /// The answer is longer than [`ANSWER_LIMIT`].
    #[error("the answer is too long")]
    TooLong,
}

/// Calls services by the clusters that name them.
pub trait Call {
    /// A stream of messages both ways.
    type Stream: CallStream;

    /// Sends `request` (path as URI, `Host` as header) and gives the whole answer. `limit` is for all of it.
    fn call(
        &self,
        cluster: &ClusterRef,
        request: Request<Bytes>,
        limit: Option<Duration>,
    ) -> impl Future<Output = Result<CallAnswer, CallFailure>>;

    /// Opens a stream: the head is sent at once, the body is what [`CallStream::send`] gives.
    fn open(&self, cluster: &ClusterRef, head: Request<()>) -> Result<Self::Stream, CallFailure>;
}

/// A stream of bytes both ways, for gRPC services that are called so. Dropping it ends the call.
pub trait CallStream {
    /// Sends bytes; they are kept until they can be sent. `false` when the service has ended the stream.
    fn send(&mut self, data: Bytes) -> bool;

    /// Ends our direction.
    fn finish(&mut self);

    /// The next bytes of the service; the last are followed by its trailers (or its head, when it sent no body).
    fn receive(&mut self) -> impl Future<Output = Result<Received, CallFailure>>;
}

/// What a service sent on a stream.
#[derive(Clone, Debug)]
pub enum Received {
    /// Some bytes.
    Data(Bytes),
    /// The end, with the trailers.
    End(HeaderMap),
}

/// A gRPC call that did not end with `OK`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("gRPC status {code}: {message}")]
pub struct GrpcFailure {
    /// Status code; 14 when no answer came, 4 when it came too late.
    pub code: u32,
    /// Message, percent-encoded as it came.
    pub message: String,
}

impl From<CallFailure> for GrpcFailure {
    fn from(failure: CallFailure) -> Self {
        let code = match failure {
            CallFailure::Timeout => 4,
            CallFailure::TooLong => 8,
            _ => 14,
        };
        Self {
            code,
            message: failure.to_string(),
        }
    }
}

/// A unary gRPC call: `path` such as `/envoy.service.auth.v3.Authorization/Check`, `message` as encoded by protobuf.
/// `metadata` goes into the head; `authority` is the host, for which Envoy takes the cluster's name.
///
/// # Errors
/// When the service answers with another status than `OK`, or not at all.
pub async fn grpc_call<C: Call>(
    service: &C,
    cluster: &ClusterRef,
    path: &'static str,
    message: &[u8],
    settings: GrpcSettings<'_>,
) -> Result<Bytes, GrpcFailure> {
    let mut request = Request::new(grpc_frame(message));
    *request.uri_mut() = http::Uri::from_static(path);
    grpc_head(&mut request, cluster, settings);
    let answer = service.call(cluster, request, settings.timeout).await?;
    unary_answer(answer)
}

/// How a gRPC service is called.
#[derive(Clone, Copy, Debug, Default)]
pub struct GrpcSettings<'a> {
    /// Time for the whole call.
    pub timeout: Option<Duration>,
    /// `:authority`; the cluster's name without one.
    pub authority: Option<&'a HeaderValue>,
    /// Metadata sent along.
    pub metadata: &'a [(HeaderName, HeaderValue)],
}

/// Makes the head of a gRPC request.
pub fn grpc_head<B>(request: &mut Request<B>, cluster: &ClusterRef, settings: GrpcSettings<'_>) {
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    let authority = settings
        .authority
        .cloned()
        .or_else(|| default_authority(cluster.name()));
    if let Some(authority) = authority {
        headers.insert(HOST, authority);
    }
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some(timeout) = settings.timeout {
        // Eight digits are the most that may be sent (gRPC over HTTP/2, "Timeout").
        let millis = timeout.as_millis().min(99_999_999);
        if let Ok(text) = HeaderValue::try_from(format!("{millis}m")) {
            headers.insert(&GRPC_TIMEOUT, text);
        }
    }
    for (name, value) in settings.metadata {
        headers.append(name, value.clone());
    }
}

/// The cluster's name, or the host in it where the name is no authority, such as `outbound|80||a.b`.
fn default_authority(name: &str) -> Option<HeaderValue> {
    let host = match Authority::try_from(name) {
        Ok(_) => name,
        Err(_) => name.rsplit('|').next().unwrap_or_default(),
    };
    HeaderValue::from_str(host).ok()
}

/// A message with the frame that gRPC gives it.
pub fn grpc_frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len().saturating_add(5));
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// Takes the first whole message off `data`; `None` while there is none. `Err` for a compressed one, which was not asked
/// for.
///
/// # Errors
/// When the frame is compressed or too long.
pub fn take_grpc_message(data: &mut BytesMut) -> Result<Option<Bytes>, GrpcFailure> {
    let Some(([flag, length @ ..], _)) = data.split_first_chunk::<5>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if *flag != 0 || length > ANSWER_LIMIT {
        return Err(GrpcFailure {
            code: 13,
            message: "a frame that cannot be read".to_owned(),
        });
    }
    if data.len() < length.saturating_add(5) {
        return Ok(None);
    }
    let mut frame = data.split_to(length + 5);
    Ok(Some(frame.split_off(5).freeze()))
}

/// The gRPC status in trailers, or in the head of an answer without body.
pub fn grpc_outcome(headers: &HeaderMap) -> Option<Result<(), GrpcFailure>> {
    let code = headers.get(&GRPC_STATUS)?.to_str().ok();
    let code = code.and_then(|code| code.parse().ok()).unwrap_or(2);
    if code == 0 {
        return Some(Ok(()));
    }
    let message = headers.get(&GRPC_MESSAGE);
    let message = message.and_then(|message| message.to_str().ok());
    Some(Err(GrpcFailure {
        code,
        message: message.unwrap_or_default().to_owned(),
    }))
}

fn unary_answer(answer: CallAnswer) -> Result<Bytes, GrpcFailure> {
    let failed = |code, message: &str| GrpcFailure {
        code,
        message: message.to_owned(),
    };
    if answer.status != StatusCode::OK {
        let code = match answer.status.as_u16() {
            400 => 13,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => 14,
            _ => 2,
        };
        return Err(failed(code, "no gRPC answer"));
    }
    grpc_outcome(&answer.trailers)
        .or_else(|| grpc_outcome(&answer.headers))
        .unwrap_or_else(|| Err(failed(2, "no gRPC status")))?;
    let mut data = BytesMut::from(answer.body);
    take_grpc_message(&mut data)?.ok_or_else(|| failed(13, "no message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &[u8], status: &'static str) -> CallAnswer {
        let trailers = [(GRPC_STATUS.clone(), HeaderValue::from_static(status))];
        CallAnswer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::copy_from_slice(body),
            trailers: HeaderMap::from_iter(trailers),
        }
    }

    #[test]
    fn unary_answers_need_a_status_and_a_whole_message() {
        let framed = grpc_frame(b"hello");
        assert_eq!(unary_answer(answer(&framed, "0")).unwrap(), "hello");
        assert_eq!(unary_answer(answer(&framed, "7")).unwrap_err().code, 7);
        assert_eq!(
            unary_answer(answer(&framed[..7], "0")).unwrap_err().code,
            13
        );
        assert_eq!(
            unary_answer(answer(b"\x01\0\0\0\0", "0")).unwrap_err().code,
            13
        );
        let mut none = answer(&framed, "0");
        none.trailers.clear();
        assert_eq!(unary_answer(none).unwrap_err().code, 2);
    }

    #[test]
    fn messages_are_taken_one_by_one() {
        let mut data = BytesMut::new();
        data.extend_from_slice(&grpc_frame(b"a"));
        data.extend_from_slice(&grpc_frame(b"bc")[..6]);
        assert_eq!(take_grpc_message(&mut data).unwrap().unwrap(), "a");
        assert!(take_grpc_message(&mut data).unwrap().is_none());
        data.extend_from_slice(b"c");
        assert_eq!(take_grpc_message(&mut data).unwrap().unwrap(), "bc");
    }
}
