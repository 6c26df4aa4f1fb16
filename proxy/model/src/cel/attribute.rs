//! Names of attributes, resolved when an expression is compiled.

use super::value::Value;

/// Where attributes come from: a request, a connection, or their records.
pub trait Attributes {
    /// The attribute's value; `None` where it is absent.
    fn attribute(&self, which: Attribute) -> Option<Value<'_>>;
}

macro_rules! attributes {
    ($($(#[doc = $doc:literal])* $variant:ident = $group:literal . $name:literal,)*) => {
        /// An attribute. What follows it in an expression (`request.headers['a']`) is looked up in its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Attribute {
            $(#[doc = concat!("`", $group, ".", $name, "`; a name alone has no dot.")] $variant,)*
        }

        const NAMES: &[(&str, &str, Attribute)] = &[$(($group, $name, Attribute::$variant),)*];
    };
}

attributes! {
    RequestPath = "request"."path",
    RequestUrlPath = "request"."url_path",
    RequestQuery = "request"."query",
    RequestHost = "request"."host",
    RequestScheme = "request"."scheme",
    RequestMethod = "request"."method",
    RequestHeaders = "request"."headers",
    RequestReferer = "request"."referer",
    RequestUserAgent = "request"."useragent",
    RequestTime = "request"."time",
    RequestId = "request"."id",
    RequestProtocol = "request"."protocol",
    RequestDuration = "request"."duration",
    RequestSize = "request"."size",
    RequestTotalSize = "request"."total_size",
    ResponseCode = "response"."code",
    ResponseCodeDetails = "response"."code_details",
    ResponseFlags = "response"."flags",
    ResponseGrpcStatus = "response"."grpc_status",
    ResponseHeaders = "response"."headers",
    ResponseTrailers = "response"."trailers",
    ResponseSize = "response"."size",
    ResponseTotalSize = "response"."total_size",
    ResponseBackendLatency = "response"."backend_latency",
    SourceAddress = "source"."address",
    SourcePort = "source"."port",
    DestinationAddress = "destination"."address",
    DestinationPort = "destination"."port",
    ConnectionId = "connection"."id",
    ConnectionMtls = "connection"."mtls",
    ConnectionServerName = "connection"."requested_server_name",
    ConnectionTlsVersion = "connection"."tls_version",
    ConnectionSubjectLocal = "connection"."subject_local_certificate",
    ConnectionSubjectPeer = "connection"."subject_peer_certificate",
    ConnectionDnsSanLocal = "connection"."dns_san_local_certificate",
    ConnectionDnsSanPeer = "connection"."dns_san_peer_certificate",
    ConnectionUriSanLocal = "connection"."uri_san_local_certificate",
    ConnectionUriSanPeer = "connection"."uri_san_peer_certificate",
    ConnectionDigestPeer = "connection"."sha256_peer_certificate_digest",
    ConnectionTransportFailure = "connection"."transport_failure_reason",
    ConnectionTermination = "connection"."termination_details",
    UpstreamAddress = "upstream"."address",
    UpstreamPort = "upstream"."port",
    UpstreamTlsVersion = "upstream"."tls_version",
    UpstreamSubjectLocal = "upstream"."subject_local_certificate",
    UpstreamSubjectPeer = "upstream"."subject_peer_certificate",
    UpstreamDnsSanLocal = "upstream"."dns_san_local_certificate",
    UpstreamDnsSanPeer = "upstream"."dns_san_peer_certificate",
    UpstreamUriSanLocal = "upstream"."uri_san_local_certificate",
    UpstreamUriSanPeer = "upstream"."uri_san_peer_certificate",
    UpstreamDigestPeer = "upstream"."sha256_peer_certificate_digest",
    UpstreamLocalAddress = "upstream"."local_address",
    UpstreamTransportFailure = "upstream"."transport_failure_reason",
    UpstreamAttempts = "upstream"."request_attempt_count",
    UpstreamReadyTime = "upstream"."cx_pool_ready_duration",
    UpstreamLocality = "upstream"."locality",
    XdsNode = "xds"."node",
    XdsClusterName = "xds"."cluster_name",
    XdsClusterMetadata = "xds"."cluster_metadata",
    XdsListenerDirection = "xds"."listener_direction",
    XdsListenerMetadata = "xds"."listener_metadata",
    XdsRouteName = "xds"."route_name",
    XdsRouteMetadata = "xds"."route_metadata",
    XdsUpstreamHostMetadata = "xds"."upstream_host_metadata",
    XdsFilterChainName = "xds"."filter_chain_name",
    XdsVirtualHostName = "xds"."virtual_host_name",
    XdsVirtualHostMetadata = "xds"."virtual_host_metadata",
    Metadata = "metadata"."",
    FilterState = "filter_state"."",
    UpstreamFilterState = "upstream_filter_state"."",
    Node = "node"."",
    ClusterName = "cluster_name"."",
    RouteName = "route_name"."",
    ListenerDirection = "listener_direction"."",
}

/// Whether attributes have this name before their first dot.
pub(super) fn is_group(name: &str) -> bool {
    NAMES.iter().any(|(group, ..)| *group == name)
}

/// The attribute that is a group's name alone.
pub(super) fn whole(group: &str) -> Option<Attribute> {
    find(group, "")
}

/// The attribute of a group.
pub(super) fn find(group: &str, name: &str) -> Option<Attribute> {
    NAMES
        .iter()
        .find(|(own, second, _)| *own == group && *second == name)
        .map(|(.., attribute)| *attribute)
}
