//! The kinds of the group `networking.istio.io`, with every field of the API (versions v1, v1beta1 and v1alpha3 are alike).
//!
//! A field that may be told apart from its zero value is an `Option`; of fields that exclude each other one enum holds the one that is set.

mod client_tls;
mod connection_pool;
mod destination;
mod destination_rule;
mod envoy_filter;
mod gateway;
mod http_actions;
mod http_match;
mod load_balancer;
mod locality;
mod proxy_config;
mod server_tls;
mod service_entry;
mod sidecar;
mod target;
mod virtual_service;
mod workload_entry;
mod workload_group;

pub use client_tls::{ClientTlsMode, ClientTlsSettings};
pub use connection_pool::{
    ConnectionPoolSettings, H2UpgradePolicy, HttpKeepAlive, HttpSettings, OutlierDetection,
    TcpKeepalive, TcpSettings,
};
pub use destination::{Destination, PortSelector};
pub use destination_rule::{
    DestinationRule, MatchLabelsSelector, PortTrafficPolicy, ProxyProtocol, ProxyProtocolVersion,
    RetryBudget, Subset, TrafficPolicy, TunnelSettings,
};
pub use envoy_filter::{
    ApplyTo, EnvoyClusterMatch, EnvoyConfigObjectMatch, EnvoyConfigObjectPatch, EnvoyFilter,
    EnvoyFilterChainMatch, EnvoyFilterClass, EnvoyListenerMatch, EnvoyNetworkFilterMatch,
    EnvoyObjectTypes, EnvoyPatch, EnvoyPatchContext, EnvoyPatchOperation, EnvoyProxyMatch,
    EnvoyRouteAction, EnvoyRouteConfigurationMatch, EnvoyRouteMatch, EnvoySubFilterMatch,
    EnvoyVirtualHostMatch, EnvoyWaypointMatch, EnvoyWaypointRouteMatch,
};
pub use gateway::{Gateway, Port, Server};
pub use http_actions::{
    CorsPolicy, Delegate, HeaderOperations, Headers, HttpAbort, HttpAbortError, HttpBody,
    HttpBodyContent, HttpDelay, HttpDelayDuration, HttpDirectResponse, HttpFaultInjection,
    HttpMirrorPolicy, HttpRedirect, HttpRetry, HttpRewrite, Percent, RedirectPort,
    RedirectPortSelection, RegexRewrite, UnmatchedPreflights,
};
pub use http_match::{HttpMatchRequest, StringMatch, StringMatchKind};
pub use load_balancer::{
    BackendUtilization, ConsistentHash, HashAlgorithm, HashKey, HttpCookie, HttpCookieAttribute,
    LoadBalancerPolicy, LoadBalancerSettings, Maglev, RingHash, SimpleLoadBalancer, Warmup,
};
pub use locality::{
    LocalityDistribute, LocalityFailover, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting,
};
pub use proxy_config::{ProxyConfig, ProxyConfigImage};
pub use server_tls::{ServerTlsMode, ServerTlsSettings, TlsCertificate, TlsProtocol};
pub use service_entry::{ServiceEntry, ServiceEntryLocation, ServiceEntryResolution, ServicePort};
pub use sidecar::{
    CaptureMode, EgressListener, IngressListener, OutboundTrafficPolicy, OutboundTrafficPolicyMode,
    Sidecar, SidecarPort, WorkloadSelector,
};
pub use target::PolicyTargetReference;
pub use virtual_service::{
    HttpRoute, HttpRouteDestination, L4MatchAttributes, RouteDestination, TcpRoute,
    TlsMatchAttributes, TlsRoute, VirtualService,
};
pub use workload_entry::WorkloadEntry;
pub use workload_group::{
    ExecProbe, GrpcProbe, HttpHeader, HttpProbe, ProbeMethod, ReadinessProbe, TcpProbe,
    WorkloadGroup, WorkloadGroupMetadata,
};
