//! External authorisation of connections, compiled.

use std::time::Duration;

use crate::filter_stats::FilterStats;
use crate::global_rate_limit::GrpcService;
use crate::metadata_matcher::MetadataMatcher;

/// The network filter: a service is asked when the first bytes of a connection arrive.
#[derive(Debug)]
pub struct NetworkAuthz {
    /// Who is asked.
    pub service: GrpcService,
    /// Time for the answer.
    pub timeout: Option<Duration>,
    /// Without an answer connections go on.
    pub failure_mode_allow: bool,
    /// The client's certificate is sent along.
    pub peer_certificate: bool,
    /// The server name that was asked for is sent along.
    pub tls_session: bool,
    /// Only connections with this metadata are asked about.
    pub enabled_metadata: Option<MetadataMatcher>,
    /// Namespaces of dynamic metadata that are sent along.
    pub metadata_namespaces: Vec<Box<str>>,
    /// Answers are counted and noted, and change nothing.
    pub shadow: bool,
    /// Counters, by the places of [`NetworkAuthz::COUNTERS`].
    pub stats: FilterStats<7>,
}

impl NetworkAuthz {
    /// Names of its counters.
    pub const COUNTERS: [&str; 7] = [
        "total",
        "ok",
        "denied",
        "error",
        "cx_closed",
        "failure_mode_allowed",
        "disabled",
    ];
}
