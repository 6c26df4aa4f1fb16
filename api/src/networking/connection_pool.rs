//! Limits and times of connections, and the removal of failing endpoints.

use crate::proto::{Duration, message, proto_enum};

message! {
    /// Limits and times of connections to a service.
    ConnectionPoolSettings {
        /// Settings of every connection.
        tcp: Option<TcpSettings>,
        /// Settings of HTTP connections.
        http: Option<HttpSettings>,
    }
}

message! {
    /// Settings of every connection.
    TcpSettings {
        /// The most connections to a host; 0 means no limit.
        max_connections: i32,
        /// How long a connection may take to be made; none means the mesh default.
        connect_timeout: Option<Duration>,
        /// TCP keep-alive.
        tcp_keepalive: Option<TcpKeepalive>,
        /// How long a connection may live.
        max_connection_duration: Option<Duration>,
        /// How long a connection may be idle; none means one hour.
        idle_timeout: Option<Duration>,
    }
}

message! {
    /// TCP keep-alive; what is unset is the system's default.
    TcpKeepalive {
        /// Probes without an answer until a connection counts as dead.
        probes: u32,
        /// The idle time before the first probe.
        time: Option<Duration>,
        /// The time between probes.
        interval: Option<Duration>,
    }
}

message! {
    /// Settings of HTTP connections.
    HttpSettings {
        /// The most requests that wait for a connection; 0 means no limit.
        http1_max_pending_requests: i32,
        /// The most requests at a time; 0 means no limit.
        http2_max_requests: i32,
        /// The most requests on one connection; 0 means no limit, 1 turns keep-alive off.
        max_requests_per_connection: i32,
        /// The most retries at a time; 0 means no limit.
        max_retries: i32,
        /// How long a connection without requests is kept; none means one hour.
        idle_timeout: Option<Duration>,
        /// Whether HTTP/1.1 becomes HTTP/2 on the way.
        h2_upgrade_policy: H2UpgradePolicy,
        /// Whether the client's protocol is used to the service.
        use_client_protocol: bool,
        /// The most streams on an HTTP/2 connection; 0 means the protocol's limit.
        max_concurrent_streams: i32,
        /// HTTP/2 pings on idle connections.
        http2_keep_alive: Option<HttpKeepAlive>,
    }
}

message! {
    /// HTTP/2 pings.
    HttpKeepAlive {
        /// The time between pings.
        interval: Option<Duration>,
        /// How long an answer may take.
        timeout: Option<Duration>,
    }
}

proto_enum! {
    /// Whether HTTP/1.1 becomes HTTP/2 on the way to a service.
    H2UpgradePolicy {
        /// As the mesh says.
        Default = "DEFAULT" 0,
        /// No.
        DoNotUpgrade = "DO_NOT_UPGRADE" 1,
        /// Yes.
        Upgrade = "UPGRADE" 2,
    }
}

message! {
    /// When an endpoint is left out for a while. What is unset has Envoy's default.
    OutlierDetection {
        /// Deprecated: errors in a row.
        consecutive_errors: i32,
        /// Whether failures on this side are counted apart from the service's.
        split_external_local_origin_errors: bool,
        /// Failures on this side in a row; 0 turns the detector off.
        consecutive_local_origin_failures: Option<u32>,
        /// Statuses 502, 503 and 504 in a row; 0 or none turns the detector off.
        consecutive_gateway_errors: Option<u32>,
        /// Statuses 5xx in a row; none means 5, 0 turns the detector off.
        consecutive_5xx_errors: Option<u32>,
        /// The time between looks; none means 10 s.
        interval: Option<Duration>,
        /// The shortest time that an endpoint is left out; none means 30 s.
        base_ejection_time: Option<Duration>,
        /// The most endpoints left out, in percent; 0 means 10.
        max_ejection_percent: i32,
        /// The least healthy endpoints in percent, below which all are used again.
        min_health_percent: i32,
        /// Statuses that count as errors; empty means 5xx.
        outlier_detection_http_error_codes: Vec<u32>,
    }
}
