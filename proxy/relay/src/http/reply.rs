//! Answers made here, as Envoy words them.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use lateen_proxy_model::{BodyFailure, FaultAbort, ResetReason, SendFailure};
use lateen_proxy_telemetry::Flags;

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// An answer made by this proxy. A gRPC request gets it as trailers-only answer: HTTP 200 with `grpc-status`.
#[derive(Clone, Debug)]
pub struct LocalReply(Box<ReplyParts>);

/// What a [`LocalReply`] is made of.
#[derive(Clone, Debug)]
pub struct ReplyParts {
    /// Status.
    pub status: StatusCode,
    /// Body, `text/plain`; may be empty.
    pub body: Bytes,
    /// Headers beyond type and length.
    pub headers: HeaderMap,
    /// Response flags.
    pub flags: Flags,
    /// Response code details.
    pub details: Cow<'static, str>,
    /// What an upstream's transport said.
    pub transport: Option<Arc<str>>,
    /// The gRPC status, where the HTTP status does not say it.
    pub grpc: Option<u32>,
    /// gRPC requests get it as it is too.
    pub plain: bool,
}

impl Deref for LocalReply {
    type Target = ReplyParts;

    fn deref(&self) -> &ReplyParts {
        &self.0
    }
}

impl DerefMut for LocalReply {
    fn deref_mut(&mut self) -> &mut ReplyParts {
        &mut self.0
    }
}

impl LocalReply {
    /// A reply with a text.
    pub fn new(
        status: StatusCode,
        body: &'static str,
        flags: Flags,
        details: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(ReplyParts {
            status,
            body: Bytes::from_static(body.as_bytes()),
            headers: HeaderMap::new(),
            flags,
            details: details.into(),
            transport: None,
            grpc: None,
            plain: false,
        }))
    }

    /// An answer that the route or a policy gives, as it is, also to gRPC requests.
    pub fn own(status: StatusCode, headers: HeaderMap, body: Bytes, details: &'static str) -> Self {
        let mut reply = Self::new(status, "", Flags::NONE, details);
        reply.body = body;
        reply.headers = headers;
        reply.plain = true;
        reply
    }

    /// A request that cannot be understood: 400.
    pub fn bad_request(details: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "", Flags::NONE, details)
    }

    /// More headers than are read (S16); HTTP/1 has counted them before.
    pub(crate) fn too_many_headers() -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(
            status,
            "",
            Flags::DOWNSTREAM_PROTOCOL,
            "http2.too_many_headers",
        )
    }

    /// A host that cannot be one.
    pub(crate) fn bad_authority() -> Self {
        let (status, flags) = (StatusCode::BAD_REQUEST, Flags::DOWNSTREAM_PROTOCOL);
        Self::new(status, "Bad Request", flags, "http.invalid_authority")
    }

    /// A body that cannot be read.
    pub(crate) fn malformed() -> Self {
        let (status, flags) = (StatusCode::BAD_REQUEST, Flags::DOWNSTREAM_PROTOCOL);
        Self::new(status, "Bad Request", flags, "http1.codec_error")
    }

    /// A body that a filter cannot read.
    pub fn unreadable(failure: BodyFailure) -> Self {
        Self::new(failure.status, failure.text, Flags::NONE, failure.details)
    }

    /// No virtual host or route.
    pub fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "",
            Flags::NO_ROUTE,
            "route_not_found",
        )
    }

    /// The route's cluster does not exist.
    pub fn no_cluster(status: StatusCode) -> Self {
        Self::new(status, "", Flags::NO_CLUSTER, "cluster_not_found")
    }

    /// No endpoint may be chosen.
    pub fn no_healthy_upstream() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no healthy upstream",
            Flags::NO_HEALTHY_UPSTREAM,
            "no_healthy_upstream",
        )
    }

    /// The route's timeout passed.
    pub fn upstream_timeout(details: &'static str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream request timeout",
            Flags::UPSTREAM_TIMEOUT,
            details,
        )
    }

    /// Nothing moved on the stream for too long.
    pub fn stream_idle(request_complete: bool) -> Self {
        let status = match request_complete {
            true => StatusCode::GATEWAY_TIMEOUT,
            false => StatusCode::REQUEST_TIMEOUT,
        };
        Self::new(
            status,
            "stream timeout",
            Flags::STREAM_IDLE,
            "stream_idle_timeout",
        )
    }

    /// The stream lived longer than it may.
    pub fn stream_duration(request_complete: bool) -> Self {
        let status = match request_complete {
            true => StatusCode::GATEWAY_TIMEOUT,
            false => StatusCode::REQUEST_TIMEOUT,
        };
        let mut reply = Self::new(
            status,
            "downstream duration timeout",
            Flags::NONE,
            "max_duration_timeout",
        );
        reply.grpc = Some(4);
        reply
    }

    /// The client took too long to send its request.
    pub fn request_timeout() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "request timeout",
            Flags::NONE,
            "request_overall_timeout",
        )
    }

    /// An upgrade that is not allowed.
    pub fn upgrade_refused() -> Self {
        Self::new(StatusCode::FORBIDDEN, "", Flags::NONE, "upgrade_failed")
    }

    /// An injected abort.
    pub fn fault(abort: FaultAbort, delayed: bool) -> Self {
        let (status, grpc) = match abort {
            FaultAbort::Http(status) => (status, None),
            FaultAbort::Grpc(code) => (StatusCode::OK, Some(code)),
        };
        let mut reply = Self::new(
            status,
            "fault filter abort",
            Flags::FAULT_INJECTED,
            "fault_filter_abort",
        );
        if delayed {
            reply.flags.insert(Flags::DELAY_INJECTED);
        }
        reply.grpc = grpc;
        reply
    }

    /// A local rate limit refuses the request.
    pub fn locally_limited(status: StatusCode, grpc: Option<u32>) -> Self {
        let text = "local_rate_limited";
        let mut reply = Self::new(status, text, Flags::RATE_LIMITED, text);
        reply.grpc = grpc;
        reply
    }

    /// A rate limit service refuses the request.
    pub fn rate_limited(status: StatusCode, body: Bytes, grpc: Option<u32>) -> Self {
        let mut reply = Self::new(status, "", Flags::RATE_LIMITED, "request_rate_limited");
        reply.body = body;
        reply.grpc = grpc;
        reply
    }

    /// A rate limit service failed, and requests do not pass without it.
    pub fn rate_limit_failed(status: StatusCode) -> Self {
        Self::new(status, "", Flags::RATE_LIMIT_ERROR, "rate_limiter_error")
    }

    /// The process is overloaded.
    pub fn overloaded() -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "envoy overloaded", Flags::NONE, "overload")
    }

    /// No answer came from the upstream.
    pub fn reset(failure: &SendFailure, retried: bool) -> Self {
        if failure.reason == ResetReason::NoPool {
            return Self::no_healthy_upstream();
        }
        let reason = failure.reason.text();
        let which = if retried {
            "retried and the latest reset reason"
        } else {
            "reset reason"
        };
        let body =
            format!("upstream connect error or disconnect/reset before headers. {which}: {reason}");
        let mut details = format!("upstream_reset_before_response_started{{{reason}");
        if let Some(transport) = &failure.transport {
            details.push('|');
            details.push_str(transport);
        }
        details.push('}');
        let details = details.replace(char::is_whitespace, "_");
        let mut reply = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "",
            reset_flags(failure.reason),
            details,
        );
        if failure.reason == ResetReason::Overflow {
            reply
                .headers
                .insert(&OVERLOADED, HeaderValue::from_static("true"));
        }
        if failure.reason == ResetReason::ProtocolError {
            reply.status = StatusCode::BAD_GATEWAY;
        }
        reply.body = body.into();
        reply.transport = failure.transport.clone();
        reply
    }

    /// The gRPC status that a client gets; `None` where it gets the HTTP status. `grpc`: the request was gRPC.
    pub fn grpc_code(&self, grpc: bool) -> Option<u32> {
        (grpc && !self.plain).then(|| self.grpc.unwrap_or_else(|| grpc_status(self.status)))
    }

    /// Whether what may follow on the connection cannot be trusted to be a request.
    pub(crate) fn closes(&self) -> bool {
        matches!(
            &*self.details,
            "path_normalization_failed"
                | "missing_host_header"
                | "empty_host_header"
                | "upgrade_failed"
                | "http.invalid_authority"
                | "request_payload_too_large"
        ) && !self.status.is_redirection()
    }

    /// The head and body as sent. `grpc`: the request was gRPC.
    pub(crate) fn into_response(self, grpc: bool) -> Response<Bytes> {
        let parts = *self.0;
        let mut response = Response::new(Bytes::new());
        let plain_status = !grpc || parts.plain;
        if plain_status {
            *response.status_mut() = parts.status;
        }
        *response.headers_mut() = parts.headers;
        let headers = response.headers_mut();
        if !plain_status {
            let code = parts.grpc.unwrap_or_else(|| grpc_status(parts.status));
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            );
            headers.insert(&GRPC_STATUS, HeaderValue::from(code));
            if !parts.body.is_empty()
                && let Ok(message) = HeaderValue::try_from(percent_encode(&parts.body))
            {
                headers.insert(&GRPC_MESSAGE, message);
            }
            return response;
        }
        if !parts.body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(parts.body.len()));
            headers
                .entry(header::CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("text/plain"));
            *response.body_mut() = parts.body;
        }
        response
    }
}

/// The response flag of a reset.
pub(crate) fn reset_flags(reason: ResetReason) -> Flags {
    match reason {
        ResetReason::Overflow => Flags::UPSTREAM_OVERFLOW,
        ResetReason::NoPool => Flags::NO_HEALTHY_UPSTREAM,
        ResetReason::ConnectFailure | ResetReason::ConnectTimeout => {
            Flags::UPSTREAM_CONNECT_FAILURE
        }
        ResetReason::ConnectionTermination => Flags::UPSTREAM_CLOSED,
        ResetReason::RemoteReset | ResetReason::RemoteRefused => Flags::UPSTREAM_RESET,
        ResetReason::ProtocolError => Flags::UPSTREAM_PROTOCOL,
        ResetReason::LocalReset => Flags::LOCAL_RESET,
    }
}

/// Says in `headers` what an answer that is no gRPC means to a gRPC client.
pub fn explain_to_grpc(status: StatusCode, text: &[u8], headers: &mut HeaderMap) {
    headers.insert(&GRPC_STATUS, HeaderValue::from(grpc_status(status)));
    if let Ok(message) = HeaderValue::try_from(percent_encode(text)) {
        headers.insert(&GRPC_MESSAGE, message);
    }
}

/// The gRPC status that stands for an HTTP status (gRPC: HTTP to gRPC status code mapping).
pub(crate) fn grpc_status(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// `grpc-message` carries printable ASCII; everything else and `%` is percent-encoded.
fn percent_encode(text: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.push(char::from(*byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_worded_as_envoy_words_them() {
        let failure = SendFailure {
            reason: ResetReason::ConnectFailure,
            transport: Some("delayed connect error: Connection refused".into()),
            started: false,
            connection: None,
        };
        let reply = LocalReply::reset(&failure, false);
        assert_eq!(
            reply.body,
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure"
        );
        assert_eq!(
            reply.details,
            "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"
        );
        assert_eq!(reply.flags, Flags::UPSTREAM_CONNECT_FAILURE);
    }

    #[test]
    fn grpc_requests_get_trailers_only() {
        let response = LocalReply::no_healthy_upstream().into_response(true);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "no healthy upstream");
        assert!(response.body().is_empty());
        let fault = LocalReply::fault(FaultAbort::Grpc(5), false).into_response(true);
        assert_eq!(fault.headers()["grpc-status"], "5");
    }
}
