//! DestinationRule: what happens to traffic after routing, by destination.

use std::collections::BTreeMap;

use super::client_tls::ClientTlsSettings;
use super::connection_pool::{ConnectionPoolSettings, OutlierDetection};
use super::destination::PortSelector;
use super::load_balancer::LoadBalancerSettings;
use crate::proto::{Duration, message, proto_enum};

message! {
    /// Policies and subsets of a service.
    DestinationRule {
        /// The service's host, possibly a wildcard; a short name belongs to the object's namespace.
        host: String,
        /// The policy for all of the service.
        traffic_policy: Option<TrafficPolicy>,
        /// Named parts of the service.
        subsets: Vec<Subset>,
        /// The namespaces that see the object: `.`, `*` or names; empty means the mesh default.
        export_to: Vec<String>,
        /// The clients for which the object counts; none means all.
        workload_selector: Option<MatchLabelsSelector>,
    }
}

message! {
    /// Workloads by their labels (`matchLabels`).
    MatchLabelsSelector {
        /// Labels that a workload must have.
        match_labels: BTreeMap<String, String>,
    }
}

message! {
    /// A named part of a service.
    Subset {
        /// The name that routes use.
        name: String,
        /// Labels that select the endpoints.
        labels: BTreeMap<String, String>,
        /// What differs from the service's policy; a setting replaces the service's as a whole.
        traffic_policy: Option<TrafficPolicy>,
    }
}

message! {
    /// How connections to a service are made and spread.
    TrafficPolicy {
        /// How an endpoint is chosen.
        load_balancer: Option<LoadBalancerSettings>,
        /// Limits and times of connections.
        connection_pool: Option<ConnectionPoolSettings>,
        /// When an endpoint is left out for a while.
        outlier_detection: Option<OutlierDetection>,
        /// TLS towards the service; none leaves it to automatic mTLS.
        tls: Option<ClientTlsSettings>,
        /// Settings of single ports, which replace all of the above for them.
        port_level_settings: Vec<PortTrafficPolicy>,
        /// A tunnel through a proxy.
        tunnel: Option<TunnelSettings>,
        /// A PROXY protocol header on upstream connections.
        proxy_protocol: Option<ProxyProtocol>,
        /// The share of requests that may be retries.
        retry_budget: Option<RetryBudget>,
    }
}

message! {
    /// The settings of one port of a service.
    PortTrafficPolicy {
        /// The service's port.
        port: Option<PortSelector>,
        /// How an endpoint is chosen.
        load_balancer: Option<LoadBalancerSettings>,
        /// Limits and times of connections.
        connection_pool: Option<ConnectionPoolSettings>,
        /// When an endpoint is left out for a while.
        outlier_detection: Option<OutlierDetection>,
        /// TLS towards the port.
        tls: Option<ClientTlsSettings>,
    }
}

message! {
    /// A tunnel of TCP connections through an HTTP proxy.
    TunnelSettings {
        /// `CONNECT` (also if empty) or `POST`.
        protocol: String,
        /// The host behind the proxy.
        target_host: String,
        /// The port behind the proxy.
        target_port: u32,
    }
}

message! {
    /// A PROXY protocol header on upstream connections.
    ProxyProtocol {
        /// The header's version.
        version: ProxyProtocolVersion,
    }
}

proto_enum! {
    /// The version of a PROXY protocol header.
    ProxyProtocolVersion {
        /// The text form.
        V1 = "V1" 0,
        /// The binary form.
        V2 = "V2" 1,
    }
}

message! {
    /// The share of requests that may be retries.
    RetryBudget {
        /// Percent of active requests; none means 20.
        percent: Option<f64>,
        /// How many retries are allowed at any rate; 0 means 3.
        min_retry_concurrency: u32,
        /// The time over which requests are counted; none counts only those in flight.
        budget_interval: Option<Duration>,
    }
}
