//! VirtualService: how requests to hosts are routed.

use std::collections::BTreeMap;

use super::destination::Destination;
use super::http_actions::{
    CorsPolicy, Delegate, Headers, HttpDirectResponse, HttpFaultInjection, HttpMirrorPolicy,
    HttpRedirect, HttpRetry, HttpRewrite, Percent,
};
use super::http_match::HttpMatchRequest;
use crate::proto::{Duration, message};

message! {
    /// Routes for requests to a set of hosts.
    VirtualService {
        /// The hosts that the rules speak for: names, short names, wildcards or IP addresses. Empty in a delegate.
        hosts: Vec<String>,
        /// Gateways and `mesh` (all sidecars) that apply the rules; empty means `mesh` alone.
        gateways: Vec<String>,
        /// Routes of HTTP traffic; the first match counts.
        http: Vec<HttpRoute>,
        /// Routes of TLS traffic that is passed through unopened, by SNI.
        tls: Vec<TlsRoute>,
        /// Routes of other TCP traffic.
        tcp: Vec<TcpRoute>,
        /// The namespaces that see the object: `.`, `*` or names; empty means the mesh default.
        export_to: Vec<String>,
    }
}

message! {
    /// One rule for HTTP requests.
    HttpRoute {
        /// A name for logs and for delegates.
        name: String,
        /// Conditions, any of which selects the rule; none selects all requests.
        r#match: Vec<HttpMatchRequest>,
        /// Where matching requests go.
        route: Vec<HttpRouteDestination>,
        /// Answer with a redirect instead.
        redirect: Option<HttpRedirect>,
        /// Answer with a fixed response instead.
        direct_response: Option<HttpDirectResponse>,
        /// The VirtualService that holds the routes of this rule.
        delegate: Option<Delegate>,
        /// Changes of path and authority before forwarding.
        rewrite: Option<HttpRewrite>,
        /// The longest time for the whole request; none means no limit.
        timeout: Option<Duration>,
        /// Retries; none means the mesh default.
        retries: Option<HttpRetry>,
        /// Faults to inject.
        fault: Option<HttpFaultInjection>,
        /// A destination that gets a copy of each request.
        mirror: Option<Destination>,
        /// Destinations that get copies of requests.
        mirrors: Vec<HttpMirrorPolicy>,
        /// Deprecated: whole percents of requests to mirror.
        mirror_percent: Option<u32>,
        /// The share of requests that `mirror` gets; none means all.
        mirror_percentage: Option<Percent>,
        /// Cross-origin rules.
        cors_policy: Option<CorsPolicy>,
        /// Changes of headers.
        headers: Option<Headers>,
    }
}

message! {
    /// A weighted destination of HTTP requests.
    HttpRouteDestination {
        /// The service.
        destination: Option<Destination>,
        /// The share of requests, relative to the other destinations of the rule.
        weight: i32,
        /// Changes of headers for this destination.
        headers: Option<Headers>,
    }
}

message! {
    /// A weighted destination of TLS or TCP connections.
    RouteDestination {
        /// The service.
        destination: Option<Destination>,
        /// The share of connections, relative to the other destinations of the rule.
        weight: i32,
    }
}

message! {
    /// One rule for TLS connections that stay encrypted.
    TlsRoute {
        /// Conditions, any of which selects the rule.
        r#match: Vec<TlsMatchAttributes>,
        /// Where matching connections go.
        route: Vec<RouteDestination>,
    }
}

message! {
    /// Conditions on a TLS connection, all of which must hold.
    TlsMatchAttributes {
        /// Server names, possibly wildcards, that are subsets of the object's hosts.
        sni_hosts: Vec<String>,
        /// Destination addresses or ranges.
        destination_subnets: Vec<String>,
        /// The port that the client addressed; 0 for any.
        port: u32,
        /// Labels that the client's pod must have.
        source_labels: BTreeMap<String, String>,
        /// Gateways for which the condition counts, instead of the object's.
        gateways: Vec<String>,
        /// The client's namespace.
        source_namespace: String,
    }
}

message! {
    /// One rule for TCP connections.
    TcpRoute {
        /// Conditions, any of which selects the rule; none selects all connections.
        r#match: Vec<L4MatchAttributes>,
        /// Where matching connections go.
        route: Vec<RouteDestination>,
    }
}

message! {
    /// Conditions on a TCP connection, all of which must hold.
    L4MatchAttributes {
        /// Destination addresses or ranges.
        destination_subnets: Vec<String>,
        /// The port that the client addressed; 0 for any.
        port: u32,
        /// Deprecated: the client's address or range.
        source_subnet: String,
        /// Labels that the client's pod must have.
        source_labels: BTreeMap<String, String>,
        /// Gateways for which the condition counts, instead of the object's.
        gateways: Vec<String>,
        /// The client's namespace.
        source_namespace: String,
    }
}
