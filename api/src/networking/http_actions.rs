//! What a route does with an HTTP request besides forwarding it.

use std::collections::BTreeMap;

use super::destination::Destination;
use super::http_match::StringMatch;
use crate::proto::{Bytes, Duration, message, oneof, proto_enum};

message! {
    /// Changes of headers of requests and responses.
    Headers {
        /// Changes before a request is forwarded.
        request: Option<HeaderOperations>,
        /// Changes before a response is returned.
        response: Option<HeaderOperations>,
    }
}

message! {
    /// Changes of headers.
    HeaderOperations {
        /// Headers to overwrite.
        set: BTreeMap<String, String>,
        /// Values to append.
        add: BTreeMap<String, String>,
        /// Headers to remove.
        remove: Vec<String>,
    }
}

message! {
    /// A redirect as the answer.
    HttpRedirect {
        /// The new path.
        uri: String,
        /// The new authority.
        authority: String,
        /// The new scheme, `http` or `https`.
        scheme: String,
        /// The status; 0 means 301.
        redirect_code: u32,
        /// What replaces the matched prefix of the path.
        prefix_rewrite: String,
    }
    oneof {
        /// The new port.
        redirect_port: RedirectPort,
    }
}

oneof! {
    /// The port of a redirect.
    RedirectPort {
        /// This one.
        port: Port(u32),
        /// One that follows from the request.
        derive_port: DerivePort(RedirectPortSelection),
    }
}

proto_enum! {
    /// How a redirect's port follows from the request.
    RedirectPortSelection {
        /// 80 for http, 443 for https.
        ProtocolDefault = "FROM_PROTOCOL_DEFAULT" 0,
        /// The port that the request came in on.
        RequestPort = "FROM_REQUEST_PORT" 1,
    }
}

message! {
    /// A fixed response as the answer.
    HttpDirectResponse {
        /// The status.
        status: u32,
        /// The body; none means an empty one.
        body: Option<HttpBody>,
    }
}

message! {
    /// The body of a fixed response.
    HttpBody {}
    oneof {
        /// The content.
        specifier: HttpBodyContent,
    }
}

oneof! {
    /// The content of a body.
    HttpBodyContent {
        /// Text.
        string: Text(String),
        /// Bytes, in base64.
        bytes: Bytes(Bytes),
    }
}

message! {
    /// A VirtualService that holds further routes.
    Delegate {
        /// Its name.
        name: String,
        /// Its namespace; empty means that of the delegating object.
        namespace: String,
    }
}

message! {
    /// Changes of a request's path and authority.
    HttpRewrite {
        /// What replaces the matched prefix, or the whole path of an exact match.
        uri: String,
        /// The new authority.
        authority: String,
        /// A change of the path by an expression.
        uri_regex_rewrite: Option<RegexRewrite>,
    }
}

message! {
    /// A change of a text by an expression.
    RegexRewrite {
        /// The RE2 expression.
        r#match: String,
        /// The replacement, in which `\1` names a group.
        rewrite: String,
    }
}

message! {
    /// When and how often a request is tried again.
    HttpRetry {
        /// The number of tries after the first; 0 turns retries off.
        attempts: i32,
        /// The longest time for each try; none means the route's timeout.
        per_try_timeout: Option<Duration>,
        /// Conditions and status codes, separated by commas; empty means the mesh default.
        retry_on: String,
        /// Whether a retry may go to another locality.
        retry_remote_localities: Option<bool>,
        /// Whether a retry avoids endpoints that were tried before; none means yes.
        retry_ignore_previous_hosts: Option<bool>,
        /// The base of the pause between tries; none means 25 ms.
        backoff: Option<Duration>,
    }
}

message! {
    /// Cross-origin rules.
    CorsPolicy {
        /// Deprecated: origins, compared as a whole.
        allow_origin: Vec<String>,
        /// Origins that are allowed.
        allow_origins: Vec<StringMatch>,
        /// Methods that are allowed.
        allow_methods: Vec<String>,
        /// Request headers that are allowed.
        allow_headers: Vec<String>,
        /// Response headers that a page may see.
        expose_headers: Vec<String>,
        /// How long a browser may keep the answer to a preflight.
        max_age: Option<Duration>,
        /// Whether credentials may be sent.
        allow_credentials: Option<bool>,
        /// What happens to preflights of other origins.
        unmatched_preflights: UnmatchedPreflights,
    }
}

proto_enum! {
    /// What happens to preflight requests that no rule allows.
    UnmatchedPreflights {
        /// The default: forwarded.
        Unspecified = "UNSPECIFIED" 0,
        /// Forwarded to the service.
        Forward = "FORWARD" 1,
        /// Answered without the service.
        Ignore = "IGNORE" 2,
    }
}

message! {
    /// Faults to inject into requests.
    HttpFaultInjection {
        /// A pause before forwarding.
        delay: Option<HttpDelay>,
        /// An error instead of forwarding.
        abort: Option<HttpAbort>,
    }
}

message! {
    /// A pause before requests are forwarded.
    HttpDelay {
        /// Deprecated: whole percents of requests.
        percent: i32,
        /// The share of requests; none means all if `percent` is not set.
        percentage: Option<Percent>,
    }
    oneof {
        /// How long the pause is.
        http_delay_type: HttpDelayDuration,
    }
}

oneof! {
    /// The length of an injected pause.
    HttpDelayDuration {
        /// Always the same.
        fixed_delay: Fixed(Duration),
        /// Declared by the API, served by no implementation.
        exponential_delay: Exponential(Duration),
    }
}

message! {
    /// An error instead of an answer.
    HttpAbort {
        /// The share of requests; none means all.
        percentage: Option<Percent>,
    }
    oneof {
        /// Which error.
        error_type: HttpAbortError,
    }
}

oneof! {
    /// An injected error.
    HttpAbortError {
        /// An HTTP status.
        http_status: HttpStatus(i32),
        /// A gRPC status by name.
        grpc_status: GrpcStatus(String),
        /// Declared by the API, served by no implementation.
        http2_error: Http2Error(String),
    }
}

message! {
    /// A copy of requests to another destination.
    HttpMirrorPolicy {
        /// Where the copies go.
        destination: Option<Destination>,
        /// The share of requests; none means all.
        percentage: Option<Percent>,
    }
}

message! {
    /// A share in percent, 0.0 to 100.0.
    Percent {
        /// The percents.
        value: f64,
    }
}
