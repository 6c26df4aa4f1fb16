//! Calls from one service to the next.

use std::fmt;
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderName, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Headers a service passes on so that one trace covers all calls and routing sees the signed-in user.
const FORWARDED: [HeaderName; 19] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("x-b3-traceid"),
    HeaderName::from_static("x-b3-spanid"),
    HeaderName::from_static("x-b3-parentspanid"),
    HeaderName::from_static("x-b3-sampled"),
    HeaderName::from_static("x-b3-flags"),
    HeaderName::from_static("b3"),
    HeaderName::from_static("x-datadog-trace-id"),
    HeaderName::from_static("x-datadog-parent-id"),
    HeaderName::from_static("x-datadog-sampling-priority"),
    HeaderName::from_static("sw8"),
    HeaderName::from_static("x-ot-span-context"),
    HeaderName::from_static("grpc-trace-bin"),
    HeaderName::from_static("x-cloud-trace-context"),
    HeaderName::from_static("end-user"),
    AUTHORIZATION,
    USER_AGENT,
];
const MAX_ANSWER: usize = 1 << 20;

/// Why a call gave no answer.
#[derive(Debug)]
pub enum CallError {
    /// The answer's status is not 200.
    Status(StatusCode),
    /// No answer in time.
    TimedOut,
    /// No connection, a broken answer, or one that is too long.
    Failed(String),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Calls one other service.
#[derive(Clone, Debug)]
pub struct Caller {
    client: Client<HttpConnector, Empty<Bytes>>,
    base: String,
}

impl Caller {
    /// The service `default_host`, or what the variable `<name>_HOSTNAME` says, on `<name>_SERVICE_PORT` (9080), in the
    /// domain of `SERVICES_DOMAIN`.
    pub fn from_env(name: &str, default_host: &str) -> Self {
        let host =
            std::env::var(format!("{name}_HOSTNAME")).unwrap_or_else(|_| default_host.to_owned());
        // A container platform may set NAME_SERVICE_PORT; anything that is no port is ignored.
        let port = std::env::var(format!("{name}_SERVICE_PORT"))
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(9080u16);
        let domain = match std::env::var("SERVICES_DOMAIN") {
            Ok(domain) if !domain.is_empty() => format!(".{domain}"),
            _ => String::new(),
        };
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            client,
            base: format!("http://{host}{domain}:{port}"),
        }
    }

    /// The JSON at `path`, asked for with the tracing headers and user of `headers`.
    pub async fn json(
        &self,
        path: &str,
        headers: &HeaderMap,
        limit: Duration,
    ) -> Result<serde_json::Value, CallError> {
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}{path}", self.base));
        for name in &FORWARDED {
            for value in headers.get_all(name) {
                request = request.header(name, value);
            }
        }
        for value in headers.get_all(COOKIE) {
            request = request.header(COOKIE, value);
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| CallError::Failed(error.to_string()))?;
        tokio::time::timeout(limit, self.send(request))
            .await
            .unwrap_or(Err(CallError::TimedOut))
    }

    async fn send(&self, request: Request<Empty<Bytes>>) -> Result<serde_json::Value, CallError> {
        let answer = self
            .client
            .request(request)
            .await
            .map_err(|error| CallError::Failed(error.to_string()))?;
        if answer.status() != StatusCode::OK {
            return Err(CallError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let bytes = body
            .map_err(|error| CallError::Failed(error.to_string()))?
            .to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| CallError::Failed(error.to_string()))
    }
}
