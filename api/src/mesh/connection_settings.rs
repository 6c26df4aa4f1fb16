//! Limits and normalisation of the connections that a proxy takes.

use crate::proto::{Duration, message, proto_enum};

message! {
    /// Limits and normalisation of the connections that a proxy takes. What is unset follows the profile.
    ConnectionSettings {
        /// Which defaults count.
        profile: ConnectionProfile,
        /// The buffer of a connection to a listener, in bytes.
        listener_per_connection_buffer_limit_bytes: Option<i32>,
        /// The buffer of a connection to an endpoint, in bytes.
        cluster_per_connection_buffer_limit_bytes: Option<i32>,
        /// How long a connection without requests is kept.
        http_idle_timeout: Option<Duration>,
        /// How long a request may take to arrive.
        http_request_timeout: Option<Duration>,
        /// How long a stream may be idle.
        http_stream_idle_timeout: Option<Duration>,
        /// How long a request's headers may take to arrive.
        http_request_headers_timeout: Option<Duration>,
        /// The most streams of an HTTP/2 connection.
        http_max_concurrent_streams: Option<i32>,
        /// The first window of an HTTP/2 stream, in bytes.
        http2_initial_stream_window_size: Option<i32>,
        /// The first window of an HTTP/2 connection, in bytes.
        http2_initial_connection_window_size: Option<i32>,
        /// What happens to headers with an underscore.
        http_headers_with_underscores_action: UnderscoresAction,
        /// Whether `//` in a path becomes `/`.
        http_merge_slashes: Option<bool>,
        /// What happens to `%2F` and `%5C` in a path.
        http_path_with_escaped_slashes_action: EscapedSlashesAction,
        /// The most connections of a listener.
        listener_connection_limit: Option<i32>,
        /// The most connections of the proxy.
        global_downstream_connection_limit: Option<i32>,
    }
}

proto_enum! {
    /// Which defaults count.
    ConnectionProfile {
        /// None: what Envoy does by itself.
        Unspecified = "PROFILE_UNSPECIFIED" 0,
        /// Those of a sidecar.
        Sidecar = "SIDECAR" 1,
        /// Those that Envoy advises at the edge; gateways only.
        Edge = "EDGE" 2,
    }
}

proto_enum! {
    /// What happens to headers with an underscore.
    UnderscoresAction {
        /// As the profile says.
        Unspecified = "HEADERS_WITH_UNDERSCORES_UNSPECIFIED" 0,
        /// They pass.
        Allow = "HEADERS_WITH_UNDERSCORES_ALLOW" 1 | "ALLOW",
        /// Their request is refused.
        RejectRequest = "HEADERS_WITH_UNDERSCORES_REJECT_REQUEST" 2 | "REJECT_REQUEST",
        /// They are dropped.
        DropHeader = "HEADERS_WITH_UNDERSCORES_DROP_HEADER" 3 | "DROP_HEADER",
    }
}

proto_enum! {
    /// What happens to escaped slashes in a path.
    EscapedSlashesAction {
        /// As the profile says.
        Unspecified = "PATH_WITH_ESCAPED_SLASHES_UNSPECIFIED" 0,
        /// They stay.
        KeepUnchanged = "PATH_WITH_ESCAPED_SLASHES_KEEP_UNCHANGED" 1 | "KEEP_UNCHANGED",
        /// Their request is refused.
        RejectRequest = "PATH_WITH_ESCAPED_SLASHES_REJECT_REQUEST" 2 | "REJECT_REQUEST",
        /// They are decoded and the client is sent there.
        UnescapeAndRedirect = "PATH_WITH_ESCAPED_SLASHES_UNESCAPE_AND_REDIRECT" 3 | "UNESCAPE_AND_REDIRECT",
        /// They are decoded.
        UnescapeAndForward = "PATH_WITH_ESCAPED_SLASHES_UNESCAPE_AND_FORWARD" 4 | "UNESCAPE_AND_FORWARD",
    }
}
