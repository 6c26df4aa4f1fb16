//! Interim answers (1xx) of an upstream, passed on to a client of HTTP/1 as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Request, StatusCode, Version};

use super::exchange::Exchange;

/// Has the upstream's interim answers written to the client. Without `proxy_100_continue` nobody asks for them.
pub(super) fn forward<B>(exchange: &Exchange, request: &mut Request<B>) {
    if exchange.version != Version::HTTP_11 {
        return;
    }
    let Some(signals) = exchange.conn.signals.get() else {
        return;
    };
    let signals = Arc::clone(signals);
    let told = AtomicBool::new(false);
    hyper::ext::on_informational(request, move |answer| {
        // A client is told once that it may go on.
        if answer.status() == StatusCode::CONTINUE && told.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Some(head) = head(answer.status(), answer.headers()) {
            signals.interim(&head);
        }
    });
}

/// Continue, Processing and Early Hints; others mean nothing to a proxy's client. Reasons are Envoy's.
fn head(status: StatusCode, headers: &http::HeaderMap) -> Option<Vec<u8>> {
    let reason = match status.as_u16() {
        100 => "Continue",
        102 | 103 => "Unknown",
        _ => return None,
    };
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).into_bytes();
    for (name, value) in headers {
        if matches!(
            name.as_str(),
            "connection" | "transfer-encoding" | "content-length"
        ) {
            continue;
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    Some(head)
}
