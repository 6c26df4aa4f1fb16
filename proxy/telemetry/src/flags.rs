//! Response flags: why a response or a connection was not plainly the upstream's.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// A set of Envoy's response flags (contract/telemetry.md §4). Shown as the short names joined by commas, `-` if empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

/// Short and long names, in the order in which a set prints them; a flag's bit is its place here.
const NAMES: [(&str, &str); 30] = [
    ("LH", "FailedLocalHealthCheck"),
    ("UH", "NoHealthyUpstream"),
    ("UT", "UpstreamRequestTimeout"),
    ("LR", "LocalReset"),
    ("UR", "UpstreamRemoteReset"),
    ("UF", "UpstreamConnectionFailure"),
    ("UC", "UpstreamConnectionTermination"),
    ("UO", "UpstreamOverflow"),
    ("NR", "NoRouteFound"),
    ("DI", "DelayInjected"),
    ("FI", "FaultInjected"),
    ("RL", "RateLimited"),
    ("UAEX", "UnauthorizedExternalService"),
    ("RLSE", "RateLimitServiceError"),
    ("DC", "DownstreamConnectionTermination"),
    ("URX", "UpstreamRetryLimitExceeded"),
    ("SI", "StreamIdleTimeout"),
    ("IH", "InvalidEnvoyRequestHeaders"),
    ("DPE", "DownstreamProtocolError"),
    ("UMSDR", "UpstreamMaxStreamDurationReached"),
    ("RFCF", "ResponseFromCacheFilter"),
    ("NFCF", "NoFilterConfigFound"),
    ("DT", "DurationTimeout"),
    ("UPE", "UpstreamProtocolError"),
    ("NC", "NoClusterFound"),
    ("OM", "OverloadManagerTerminated"),
    ("DF", "DnsResolutionFailed"),
    ("DO", "DropOverLoad"),
    ("DR", "DownstreamRemoteReset"),
    ("UDO", "UnconditionalDropOverload"),
];

impl Flags {
    /// No flag: the response is the upstream's own.
    pub const NONE: Self = Self(0);
    /// Every flag, for filters that ask for any.
    pub const ALL: Self = Self(u32::MAX);
    /// LH: the local health check failed.
    pub const LOCAL_HEALTH_CHECK: Self = Self(1);
    /// UH: no endpoint of the cluster is healthy.
    pub const NO_HEALTHY_UPSTREAM: Self = Self(1 << 1);
    /// UT: the upstream did not answer within the route's timeout.
    pub const UPSTREAM_TIMEOUT: Self = Self(1 << 2);
    /// LR: this proxy reset the stream.
    pub const LOCAL_RESET: Self = Self(1 << 3);
    /// UR: the upstream reset the stream.
    pub const UPSTREAM_RESET: Self = Self(1 << 4);
    /// UF: no connection to the upstream could be made.
    pub const UPSTREAM_CONNECT_FAILURE: Self = Self(1 << 5);
    /// UC: the upstream closed the connection.
    pub const UPSTREAM_CLOSED: Self = Self(1 << 6);
    /// UO: a circuit breaker's limit was reached.
    pub const UPSTREAM_OVERFLOW: Self = Self(1 << 7);
    /// NR: no route or no filter chain matched.
    pub const NO_ROUTE: Self = Self(1 << 8);
    /// DI: a delay was injected.
    pub const DELAY_INJECTED: Self = Self(1 << 9);
    /// FI: an abort was injected.
    pub const FAULT_INJECTED: Self = Self(1 << 10);
    /// RL: a rate limit refused the request.
    pub const RATE_LIMITED: Self = Self(1 << 11);
    /// UAEX: the external authoriser refused the request.
    pub const UNAUTHORIZED_EXTERNAL: Self = Self(1 << 12);
    /// RLSE: the rate-limit service failed.
    pub const RATE_LIMIT_ERROR: Self = Self(1 << 13);
    /// DC: the downstream closed before the exchange was over.
    pub const DOWNSTREAM_CLOSED: Self = Self(1 << 14);
    /// URX: all retries (or connect attempts) are used up.
    pub const RETRIES_EXHAUSTED: Self = Self(1 << 15);
    /// SI: the stream was idle for too long.
    pub const STREAM_IDLE: Self = Self(1 << 16);
    /// IH: a header that steers the proxy had a bad value.
    pub const INVALID_HEADER: Self = Self(1 << 17);
    /// DPE: the downstream broke the protocol.
    pub const DOWNSTREAM_PROTOCOL: Self = Self(1 << 18);
    /// UMSDR: the upstream stream reached its longest duration.
    pub const UPSTREAM_MAX_DURATION: Self = Self(1 << 19);
    /// NFCF: the settings of a discovered filter are missing.
    pub const NO_FILTER_CONFIG: Self = Self(1 << 21);
    /// DT: the exchange took longer than allowed.
    pub const DURATION_TIMEOUT: Self = Self(1 << 22);
    /// UPE: the upstream broke the protocol.
    pub const UPSTREAM_PROTOCOL: Self = Self(1 << 23);
    /// NC: the route's cluster does not exist.
    pub const NO_CLUSTER: Self = Self(1 << 24);
    /// OM: the proxy shed the request, being overloaded.
    pub const OVERLOAD: Self = Self(1 << 25);
    /// DF: the upstream's name did not resolve.
    pub const DNS_FAILED: Self = Self(1 << 26);
    /// DO: dropped by the cluster's drop policy.
    pub const DROP_OVERLOAD: Self = Self(1 << 27);
    /// DR: the downstream reset the stream.
    pub const DOWNSTREAM_RESET: Self = Self(1 << 28);

    /// The flag with this short name (`NR`), as access-log filters write it.
    #[must_use]
    pub fn from_short(name: &str) -> Option<Self> {
        NAMES
            .iter()
            .position(|(short, _)| *short == name)
            .map(|bit| Self(1 << bit))
    }

    /// The set as a number, a bit for each flag in Envoy's order.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// True when no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True when every flag of `other` is set here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// True when at least one flag of `other` is set here.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds the flags of `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The short names, in printing order.
    pub fn short_names(self) -> impl Iterator<Item = &'static str> {
        self.entries().map(|(short, _)| short)
    }

    /// The long names, in printing order.
    pub fn long_names(self) -> impl Iterator<Item = &'static str> {
        self.entries().map(|(_, long)| long)
    }

    fn entries(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & (1 << bit) != 0)
            .map(|(_, names)| *names)
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        self.insert(other);
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        for (place, name) in self.short_names().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    #[test]
    fn a_set_prints_short_names_in_envoys_order() {
        let both = Flags::RETRIES_EXHAUSTED | Flags::UPSTREAM_CONNECT_FAILURE;
        assert_eq!(both.to_string(), "UF,URX");
        assert_eq!(Flags::NONE.to_string(), "-");
    }

    #[test]
    fn constants_and_names_agree() {
        let named = [
            ("NR", Flags::NO_ROUTE),
            ("UAEX", Flags::UNAUTHORIZED_EXTERNAL),
            ("DT", Flags::DURATION_TIMEOUT),
            ("NC", Flags::NO_CLUSTER),
            ("DF", Flags::DNS_FAILED),
            ("DR", Flags::DOWNSTREAM_RESET),
        ];
        for (name, flag) in named {
            assert_eq!(Flags::from_short(name), Some(flag), "{name}");
        }
        assert_eq!(Flags::from_short("nr"), None);
    }
}
