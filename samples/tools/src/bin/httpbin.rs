//! A server that answers what it is asked to.
//!
//! `/status/503`, `/delay/2`, `/headers`, `/get`, `/anything/…`, `/post`, `/bytes/1000`, `/ip`, and `/flaky`, which fails
//! every other time with 503.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use serde_json::{Value, json};

const MAX_BODY: usize = 1 << 20;
const MAX_BYTES: usize = 16 << 20;
const MAX_DELAY: f64 = 60.0;

static FLAKY: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let app = Router::new()
        .route("/status/{code}", any(status))
        .route("/delay/{seconds}", any(delay))
        .route(
            "/headers",
            get(|headers: HeaderMap| async move { Json(json!({"headers": texts(&headers)})) }),
        )
        .route("/bytes/{count}", get(bytes))
        .route("/ip", get(ip))
        .route("/flaky", any(flaky))
        .fallback(echo);
    lateen_bookinfo::serve("httpbin", 8080, app).await
}

async fn status(Path(code): Path<u16>) -> Response {
    StatusCode::from_u16(code)
        .unwrap_or(StatusCode::BAD_REQUEST)
        .into_response()
}

async fn delay(Path(seconds): Path<f64>, request: Request) -> Response {
    if seconds.is_finite() && seconds > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(seconds.min(MAX_DELAY))).await;
    }
    echo(request).await
}

async fn bytes(Path(count): Path<usize>) -> Response {
    vec![b'x'; count.min(MAX_BYTES)].into_response()
}

async fn ip(request: Request) -> Response {
    let origin = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|info| info.0.ip().to_string());
    let forwarded = request
        .headers()
        .get("x-forwarded-for")
        .and_then(|value| value.to_str().ok().map(str::to_owned));
    Json(json!({"origin": forwarded.or(origin)})).into_response()
}

/// Fails first, then answers, in turn.
async fn flaky() -> Response {
    let call = FLAKY.fetch_add(1, Ordering::Relaxed);
    let status = if call.is_multiple_of(2) {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, Json(json!({"call": call}))).into_response()
}

async fn echo(request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    Json(json!({
        "method": parts.method.as_str(),
        "url": parts.uri.to_string(),
        "version": format!("{:?}", parts.version),
        "headers": texts(&parts.headers),
        "data": String::from_utf8_lossy(&body),
        "pod": std::env::var("HOSTNAME").unwrap_or_default(),
    }))
    .into_response()
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        all.insert(name.to_string(), json!(values));
    }
    all
}
