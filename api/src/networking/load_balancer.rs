//! How an endpoint of a service is chosen.

use super::locality::{LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting};
use crate::proto::{Duration, message, oneof, proto_enum};

message! {
    /// How an endpoint of a service is chosen.
    LoadBalancerSettings {
        /// Preference by locality, instead of the mesh's setting.
        locality_lb_setting: Option<LocalityLoadBalancerSetting>,
        /// Preference for the own zone, instead of the mesh's setting.
        zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
        /// Deprecated: how long a new endpoint takes to its full share.
        warmup_duration_secs: Option<Duration>,
        /// How a new endpoint comes to its full share.
        warmup: Option<Warmup>,
    }
    oneof {
        /// The rule; none means LEAST_REQUEST.
        lb_policy: LoadBalancerPolicy,
    }
}

oneof! {
    /// The rule by which an endpoint is chosen.
    LoadBalancerPolicy {
        /// One of the plain rules.
        simple: Simple(SimpleLoadBalancer),
        /// The same endpoint for the same key.
        consistent_hash: ConsistentHash(ConsistentHash),
        /// By what endpoints report of their load.
        backend_utilization: BackendUtilization(BackendUtilization),
    }
}

proto_enum! {
    /// A plain rule.
    SimpleLoadBalancer {
        /// The default, LEAST_REQUEST.
        Unspecified = "UNSPECIFIED" 0,
        /// Deprecated name of LEAST_REQUEST.
        LeastConn = "LEAST_CONN" 1,
        /// Any endpoint.
        Random = "RANDOM" 2,
        /// The address that the client asked for.
        Passthrough = "PASSTHROUGH" 3,
        /// In turn.
        RoundRobin = "ROUND_ROBIN" 4,
        /// Of two at random, the one with fewer requests.
        LeastRequest = "LEAST_REQUEST" 5,
    }
}

message! {
    /// The same endpoint for the same key.
    ConsistentHash {
        /// Deprecated: the least size of the hash ring.
        minimum_ring_size: u64,
    }
    oneof {
        /// What is hashed.
        hash_key: HashKey,
        /// How endpoints are laid out; none means a ring.
        hash_algorithm: HashAlgorithm,
    }
}

oneof! {
    /// What is hashed to choose an endpoint.
    HashKey {
        /// A request header.
        http_header_name: HttpHeaderName(String),
        /// A cookie, made if it is missing and has a ttl.
        http_cookie: HttpCookie(HttpCookie),
        /// The client's address.
        use_source_ip: UseSourceIp(bool),
        /// A query parameter.
        http_query_parameter_name: HttpQueryParameterName(String),
    }
}

oneof! {
    /// How endpoints are laid out for consistent hashing.
    HashAlgorithm {
        /// A ring.
        ring_hash: RingHash(RingHash),
        /// A table.
        maglev: Maglev(Maglev),
    }
}

message! {
    /// A hash ring.
    RingHash {
        /// The least number of places on it; 0 means 1024.
        minimum_ring_size: u64,
    }
}

message! {
    /// A Maglev table.
    Maglev {
        /// The number of places, a prime; 0 means 65537.
        table_size: u64,
    }
}

message! {
    /// A cookie that keeps a client at an endpoint.
    HttpCookie {
        /// Its name.
        name: String,
        /// Its path.
        path: String,
        /// Its lifetime; none means that it is not made, zero that it lasts for the session.
        ttl: Option<Duration>,
        /// Further attributes.
        attributes: Vec<HttpCookieAttribute>,
    }
}

message! {
    /// An attribute of a cookie.
    HttpCookieAttribute {
        /// Its name.
        name: String,
        /// Its value, empty for a flag.
        value: String,
    }
}

message! {
    /// Choice by what endpoints report of their load.
    BackendUtilization {
        /// The time between changes of weights.
        weight_update_period: Option<Duration>,
        /// How long an endpoint reports before its report counts.
        weight_stabilization_period: Option<Duration>,
        /// How long a report counts.
        weight_expiration_period: Option<Duration>,
        /// How much errors take from an endpoint's weight, in percent.
        error_utilization_penalty_percent: Option<f64>,
        /// The reported metrics that count.
        metric_names_for_computing_utilization: Vec<String>,
    }
}

message! {
    /// How a new endpoint comes to its full share.
    Warmup {
        /// How long it takes.
        duration: Option<Duration>,
        /// The share to begin with, in percent; none means 10.
        minimum_percent: Option<f64>,
        /// The curve of the rise; none means 1, a straight line.
        aggression: Option<f64>,
    }
}
