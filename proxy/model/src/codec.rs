//! How HTTP/1 and HTTP/2 are spoken on a connection: Envoy's protocol options.

use std::time::Duration;

use http::HeaderValue;

/// Which protocol a listener's connections speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CodecType {
    /// What ALPN or the first bytes say.
    #[default]
    Auto,
    /// HTTP/1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
    /// HTTP/3, over QUIC.
    Http3,
}

/// How names of headers are written in HTTP/1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeaderCase {
    /// Lower case.
    #[default]
    Lower,
    /// `X-Like-This`.
    Title,
    /// As the message came from this side; the other side gets it so.
    Preserve,
}

/// HTTP/1. Envoy's `Http1ProtocolOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http1Options {
    /// HTTP/1.0 requests are accepted.
    pub accept_http_10: bool,
    /// Host of HTTP/1.0 requests that name none.
    pub default_host: Option<HeaderValue>,
    /// Names of headers.
    pub case: HeaderCase,
    /// Trailers pass; else they are dropped.
    pub enable_trailers: bool,
    /// A length beside chunks is dropped; else such a request is refused.
    pub allow_chunked_length: bool,
    /// Any token is a method.
    pub allow_custom_methods: bool,
    /// A request that is refused does not end its connection, where its end is known.
    pub keep_refused: bool,
    /// Requests to the upstream have an absolute target.
    pub absolute_target: bool,
}

/// HTTP/2. Envoy's `Http2ProtocolOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http2Options {
    /// Concurrent streams that the peer may open.
    pub max_concurrent_streams: Option<u32>,
    /// Flow control of a stream, bytes.
    pub initial_stream_window: Option<u32>,
    /// Flow control of a connection, bytes.
    pub initial_connection_window: Option<u32>,
    /// Bytes of the table of compressed headers.
    pub header_table_size: Option<u32>,
    /// Extended CONNECT (RFC 8441).
    pub allow_connect: bool,
    /// Pings.
    pub keepalive: Option<Keepalive>,
    /// Budgets against floods.
    pub floods: FloodLimits,
}

/// HTTP/3. Envoy's `Http3ProtocolOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Http3Options {
    /// Extended CONNECT (RFC 9220).
    pub allow_extended_connect: bool,
    /// A malformed request ends its stream; else its connection.
    pub keep_malformed: bool,
}

/// Pings on an HTTP/2 connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Between two pings.
    pub interval: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// What a client may cost without doing anything (S17); defaults are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimits {
    /// DATA, HEADERS and CONTINUATION frames in a row without payload and without ending a stream.
    pub empty_frames: u32,
    /// PRIORITY frames for each stream that was opened.
    pub priority_per_stream: u32,
}

impl Default for FloodLimits {
    fn default() -> Self {
        Self {
            empty_frames: 1,
            priority_per_stream: 100,
        }
    }
}

/// How HTTP is spoken to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCodec {
    /// HTTP/1.
    pub http1: Http1Options,
    /// HTTP/2.
    pub http2: Http2Options,
    /// Headers of an answer, at most.
    pub max_headers_count: u32,
    /// Bytes of an answer's headers, at most.
    pub max_headers_bytes: u32,
}

impl Default for UpstreamCodec {
    fn default() -> Self {
        Self {
            http1: Http1Options::default(),
            http2: Http2Options::default(),
            max_headers_count: 100,
            max_headers_bytes: 60 * 1024,
        }
    }
}
