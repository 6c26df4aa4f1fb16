//! Requests that cannot be read: what their clients are told and what is logged, as Envoy does.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderValue, Response, StatusCode};
use lateen_proxy_telemetry::{Exchange as ExchangeRecord, Flags, HttpRecord, Protocol};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::connection::Connection;

/// Bytes that are read after an answer that ends a connection, so that the answer is not lost by a reset.
const LINGER_BYTES: usize = 256 * 1024;

/// Why a request was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Refusal {
    /// No request of HTTP/1.
    Unreadable,
    /// Control bytes.
    InvalidCharacters,
    /// Both framings.
    LengthAndChunks,
    /// A coding that is not `chunked` alone.
    TransferEncoding,
    /// A target of another scheme.
    InvalidScheme,
    /// HTTP/1.0 where it is not served, or a version nobody speaks.
    LowVersion,
    HeadersTooLarge,
    TooManyHeaders,
    /// The head did not come in time.
    HeaderTimeout,
    /// Nothing came on a stream for too long.
    StreamIdle,
    /// The client went away in the middle of a head.
    Cut,
}

struct Words {
    status: u16,
    reason: &'static str,
    body: &'static str,
    flags: Flags,
    details: &'static str,
}

impl Refusal {
    fn words(self) -> Words {
        let bad = |details| (400, "Bad Request", "Bad Request", details);
        let (status, reason, body, details) = match self {
            Self::Unreadable => bad("http1.codec_error"),
            Self::InvalidCharacters => bad("http1.invalid_characters"),
            Self::LengthAndChunks => bad("http1.content_length_and_chunked_not_allowed"),
            Self::InvalidScheme => bad("http1.invalid_scheme"),
            Self::TransferEncoding => (
                501,
                "Not Implemented",
                "Not Implemented",
                "http1.invalid_transfer_encoding",
            ),
            Self::LowVersion => (426, "Upgrade Required", "Upgrade Required", "low_version"),
            Self::HeadersTooLarge => too_large("http1.headers_too_large"),
            Self::TooManyHeaders => too_large("http1.too_many_headers"),
            Self::HeaderTimeout => (
                408,
                "Request Timeout",
                "request header timeout",
                "request_header_timeout",
            ),
            Self::StreamIdle => (
                408,
                "Request Timeout",
                "stream timeout",
                "stream_idle_timeout",
            ),
            Self::Cut => (0, "", "", "downstream_remote_disconnect"),
        };
        let flags = match self {
            Self::HeaderTimeout => Flags::NONE,
            Self::StreamIdle => Flags::STREAM_IDLE,
            Self::Cut => Flags::DOWNSTREAM_CLOSED,
            _ => Flags::DOWNSTREAM_PROTOCOL,
        };
        Words {
            status,
            reason,
            body,
            flags,
            details,
        }
    }
}

fn too_large(details: &'static str) -> (u16, &'static str, &'static str, &'static str) {
    let reason = "Request Header Fields Too Large";
    (431, reason, reason, details)
}

/// Answers and logs a request that was not read, if there is one, and ends the connection.
pub(in crate::http) async fn refuse<I>(mut io: I, refusal: Option<Refusal>, connection: &Connection)
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let begun = Instant::now();
    let wait = connection.chain.manager.delayed_close.unwrap_or_default();
    let wait = wait.max(Duration::from_millis(1));
    if let Some(refusal) = refusal {
        let words = refusal.words();
        log(connection, &words, begun, Protocol::Http11);
        if words.status == 0 {
            return;
        }
        let answer = answer(connection, &words);
        let written = async {
            io.write_all(answer.as_bytes()).await?;
            io.flush().await
        };
        // A client that does not take its answer does not get it.
        if !matches!(tokio::time::timeout(wait, written).await, Ok(Ok(()))) {
            return;
        }
    }
    if connection.chain.manager.delayed_close.is_some() {
        // What was said is said; the client ends its side when it has read it.
        let _ = tokio::time::timeout(wait, io.shutdown()).await;
        let _ = tokio::time::timeout(wait, linger(&mut io)).await;
    }
}

/// Logs a request that was not read from a stream of HTTP/3, and gives its answer.
pub(in crate::http) fn refuse_stream(
    refusal: Refusal,
    connection: &Connection,
    begun: Instant,
) -> Response<Bytes> {
    let words = refusal.words();
    log(connection, &words, begun, Protocol::Http3);
    let mut response = Response::new(Bytes::from_static(words.body.as_bytes()));
    *response.status_mut() = StatusCode::from_u16(words.status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    if !words.body.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if let Some(server) = &connection.chain.manager.server_name {
        headers.insert(SERVER, server.clone());
    }
    response
}

/// Reads what the client still sends, for a while: closing a socket with unread bytes takes the answer back.
async fn linger(io: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 2048];
    let mut left = LINGER_BYTES;
    while let Ok(count @ 1..) = io.read(&mut buffer).await {
        left = left.saturating_sub(count);
        if left == 0 {
            return;
        }
    }
}

fn answer(connection: &Connection, words: &Words) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let server = connection.chain.manager.server_name.as_ref();
    let server = server
        .and_then(|name| name.to_str().ok())
        .unwrap_or("envoy");
    let Words {
        status,
        reason,
        body,
        ..
    } = words;
    let length = body.len();
    format!(
        "HTTP/1.1 {status} {reason}\r\ncontent-length: {length}\r\ncontent-type: text/plain\r\n\
         date: {date}\r\nserver: {server}\r\nconnection: close\r\n\r\n{body}"
    )
}

/// Logs a stream of HTTP/3 that has no request, and no answer either.
pub(in crate::http) fn log_unread(
    connection: &Connection,
    begun: Instant,
    (flags, details): (Flags, &'static str),
) {
    let words = Words {
        status: 0,
        reason: "",
        body: "",
        flags,
        details,
    };
    log(connection, &words, begun, Protocol::Http3);
}

fn log(connection: &Connection, words: &Words, begun: Instant, protocol: Protocol) {
    let chain = &connection.chain;
    if chain.logs.is_empty() {
        return;
    }
    let facts = &connection.facts;
    let record = HttpRecord {
        exchange: ExchangeRecord {
            side: chain.side,
            start: SystemTime::now(),
            duration: begun.elapsed(),
            flags: words.flags,
            bytes_sent: words.body.len() as u64,
            details: Some(words.details).filter(|text| !text.is_empty()),
            downstream_local: Some(facts.destination.0),
            downstream_remote: Some(facts.client.0),
            downstream_direct_remote: Some(facts.client.0),
            sni: facts.sni.as_deref(),
            ..ExchangeRecord::default()
        },
        protocol,
        status: words.status,
        ..HttpRecord::default()
    };
    for log in &chain.logs {
        log.http(&record);
    }
}
