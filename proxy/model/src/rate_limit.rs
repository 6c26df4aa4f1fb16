//! Rate limits of virtual hosts, routes and filters: what of a request a limit counts by.

use std::borrow::Cow;
use std::sync::Arc;

use ipnet::IpNet;

use crate::matcher::{HeaderMatcher, HeaderSubject, QueryMatcher};

/// Rate limits of one place, in the order given. Envoy's `rate_limits`.
pub type RateLimits = Arc<[RateLimit]>;

/// One rate limit: its actions make one descriptor.
#[derive(Debug)]
pub struct RateLimit {
    /// Filters of this stage apply it.
    pub stage: u32,
    /// Each adds an entry, or ends the descriptor.
    pub actions: Vec<RateLimitAction>,
    /// Takes the place of the limit that the service knows.
    pub limit: Option<LimitSource>,
    /// What a request counts.
    pub hits: Option<HitsAddend>,
    /// Whether `x-ratelimit-*` headers tell of it; `None` leaves that to the filter.
    pub headers: Option<bool>,
}

/// What makes one entry of a descriptor.
#[derive(Debug)]
pub enum RateLimitAction {
    /// `source_cluster`: the service cluster of this proxy.
    SourceCluster,
    /// `destination_cluster`: the route's cluster.
    DestinationCluster,
    /// The first value of a header.
    Header {
        /// Header.
        name: HeaderSubject,
        /// Entry's key.
        key: Box<str>,
        /// Without the header there is no entry; otherwise there is no descriptor.
        skip_if_absent: bool,
    },
    /// The first value of a query parameter.
    Query {
        /// Parameter.
        name: Box<str>,
        /// Entry's key.
        key: Box<str>,
        /// Without the parameter there is no entry; otherwise there is no descriptor.
        skip_if_absent: bool,
    },
    /// `remote_address`: the client.
    RemoteAddress,
    /// `masked_remote_address`: the client's network.
    MaskedRemoteAddress {
        /// Length of an IPv4 network.
        v4: u8,
        /// Length of an IPv6 network.
        v6: u8,
    },
    /// A fixed entry.
    Generic(FixedEntry),
    /// A fixed entry where the headers match.
    HeaderMatch {
        /// The entry.
        entry: FixedEntry,
        /// Whether they must match, or must not.
        expect: bool,
        /// All must hold.
        headers: Vec<HeaderMatcher>,
    },
    /// A fixed entry where the query parameters match.
    QueryMatch {
        /// The entry.
        entry: FixedEntry,
        /// Whether they must match, or must not.
        expect: bool,
        /// All must hold.
        query: Vec<QueryMatcher>,
    },
    /// A fixed entry where the client is of a network.
    RemoteAddressMatch {
        /// The entry.
        entry: FixedEntry,
        /// Networks.
        networks: Vec<IpNet>,
        /// Clients of other networks, in place of those.
        invert: bool,
    },
    /// A text of the request's metadata.
    Metadata {
        /// Where it stands.
        at: MetadataPath,
        /// Entry's key.
        key: Box<str>,
        /// Value where there is no such text; empty is none.
        default: Box<str>,
        /// Without value there is no entry; otherwise there is no descriptor.
        skip_if_absent: bool,
    },
}

/// Key and value of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FixedEntry {
    /// Key.
    pub key: Box<str>,
    /// Value.
    pub value: Box<str>,
}

/// Where a value stands in the metadata of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataPath {
    /// Filter that it is of.
    pub filter: Box<str>,
    /// Keys from the outside in; at least one.
    pub path: Vec<Box<str>>,
}

/// Where a limit comes from that takes the place of the service's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitSource {
    /// Fixed.
    Fixed(LimitOverride),
    /// A struct of the request's metadata, with `requests_per_unit` and `unit`.
    Metadata(MetadataPath),
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitOverride {
    /// Requests.
    pub requests: u32,
    /// In which time, by Envoy's number of `RateLimitUnit`.
    pub unit: i32,
}

/// What a request counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HitsAddend {
    /// How many.
    pub hits: u64,
    /// They are given back.
    pub negative: bool,
}

/// Whether the limits of the virtual host apply beside the route's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VirtualHostLimits {
    /// Where the route has none.
    #[default]
    Override,
    /// Always.
    Include,
    /// Never.
    Ignore,
}

/// Rate limits of a route and of its virtual host.
#[derive(Clone, Debug, Default)]
pub struct RouteRateLimits {
    /// The route's.
    pub route: Option<RateLimits>,
    /// Those of the virtual host.
    pub host: Option<RateLimits>,
    /// The virtual host's apply always.
    pub include_host: bool,
}

/// What is asked about: entries in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Descriptor<'a> {
    /// Keys and values.
    pub entries: Vec<(&'a str, Cow<'a, str>)>,
    /// Takes the place of the service's own limit.
    pub limit: Option<LimitOverride>,
    /// What the request counts; one by default.
    pub hits: Option<HitsAddend>,
    /// Whether `x-ratelimit-*` headers tell of it; `None` leaves that to the filter.
    pub headers: Option<bool>,
}

impl RouteRateLimits {
    /// Whether there is none at all.
    pub fn is_empty(&self) -> bool {
        self.route.is_none() && self.host.is_none()
    }

    /// The limits in force under an option of the filter, in the order they are asked about.
    pub fn in_force(&self, option: VirtualHostLimits) -> impl Iterator<Item = &RateLimit> {
        let option = match self.include_host {
            true => VirtualHostLimits::Include,
            false => option,
        };
        let host = match option {
            VirtualHostLimits::Include => true,
            VirtualHostLimits::Override => self.route.is_none(),
            VirtualHostLimits::Ignore => false,
        };
        let host = self.host.as_deref().filter(|_| host);
        self.route.as_deref().into_iter().chain(host).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(stage: u32) -> RateLimits {
        Arc::from([RateLimit {
            stage,
            actions: vec![RateLimitAction::RemoteAddress],
            limit: None,
            hits: None,
            headers: None,
        }])
    }

    #[test]
    fn the_virtual_hosts_limits_apply_as_the_option_says() {
        let stages = |both: &RouteRateLimits, option| -> Vec<u32> {
            both.in_force(option).map(|limit| limit.stage).collect()
        };
        let mut both = RouteRateLimits {
            route: Some(limits(1)),
            host: Some(limits(2)),
            include_host: false,
        };
        assert_eq!(stages(&both, VirtualHostLimits::Override), [1]);
        assert_eq!(stages(&both, VirtualHostLimits::Include), [1, 2]);
        assert_eq!(stages(&both, VirtualHostLimits::Ignore), [1]);
        both.include_host = true;
        assert_eq!(stages(&both, VirtualHostLimits::Ignore), [1, 2]);
        both.route = None;
        both.include_host = false;
        assert_eq!(stages(&both, VirtualHostLimits::Override), [2]);
        assert!(stages(&both, VirtualHostLimits::Ignore).is_empty());
    }
}
