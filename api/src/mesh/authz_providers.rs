//! Providers of authorization decisions.

use std::collections::BTreeMap;

use crate::proto::{Duration, message};

message! {
    /// Authorization over HTTP.
    ExtAuthzHttpProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// How long an answer may take; none means 600 s.
        timeout: Option<Duration>,
        /// What goes before the request's path.
        path_prefix: String,
        /// Whether requests pass when the provider fails.
        fail_open: bool,
        /// Whether a new route is looked up after an answer that changes headers.
        clear_route_cache: bool,
        /// The status when the provider fails; empty means 403.
        status_on_error: String,
        /// Deprecated name of `include_request_headers_in_check`.
        include_headers_in_check: Vec<String>,
        /// Request headers to send.
        include_request_headers_in_check: Vec<String>,
        /// Fixed headers to send.
        include_additional_headers_in_check: BTreeMap<String, String>,
        /// How much of the body to send; none sends nothing.
        include_request_body_in_check: Option<ExtAuthzRequestBody>,
        /// Headers of the answer that go on to the service.
        headers_to_upstream_on_allow: Vec<String>,
        /// Headers of the answer that go to the client when it is refused.
        headers_to_downstream_on_deny: Vec<String>,
        /// Headers of the answer that go to the client when it is allowed.
        headers_to_downstream_on_allow: Vec<String>,
    }
}

message! {
    /// Authorization over gRPC.
    ExtAuthzGrpcProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// How long an answer may take; none means 600 s.
        timeout: Option<Duration>,
        /// Whether requests pass when the provider fails.
        fail_open: bool,
        /// Whether a new route is looked up after an answer that changes headers.
        clear_route_cache: bool,
        /// The status when the provider fails; empty means 403.
        status_on_error: String,
        /// How much of the body to send; none sends nothing.
        include_request_body_in_check: Option<ExtAuthzRequestBody>,
    }
}

message! {
    /// The part of a request's body that is sent for authorization.
    ExtAuthzRequestBody {
        /// The most bytes.
        max_request_bytes: u32,
        /// Whether a longer body is cut; otherwise its request gets status 413.
        allow_partial_message: bool,
        /// Whether it is sent as bytes rather than text.
        pack_as_bytes: bool,
    }
}
