//! Headers that proxies add.

use crate::proto::{message, proto_enum};

message! {
    /// Headers that proxies add to requests and responses.
    ProxyHeaders {
        /// What sidecars do with `x-forwarded-client-cert` on inbound requests; unset means APPEND_FORWARD.
        forwarded_client_cert: ForwardClientCertDetails,
        /// Which facts of the client's certificate are forwarded.
        set_current_client_cert_details: Option<CurrentClientCertDetails>,
        /// `x-request-id`, on unless disabled.
        request_id: Option<DisabledHeader>,
        /// `server`, on unless disabled.
        server: Option<ServerHeader>,
        /// `x-envoy-attempt-count`, on unless disabled.
        attempt_count: Option<DisabledHeader>,
        /// `x-envoy-…`, on unless disabled.
        envoy_debug_headers: Option<DisabledHeader>,
        /// `x-envoy-peer-metadata` and `x-envoy-peer-metadata-id`.
        metadata_exchange_headers: Option<MetadataExchangeHeaders>,
        /// Whether HTTP/1 header names keep their case.
        preserve_http1_header_case: Option<bool>,
        /// `x-forwarded-host`, off unless enabled.
        x_forwarded_host: Option<EnabledHeader>,
        /// `x-forwarded-port`, off unless enabled.
        x_forwarded_port: Option<EnabledHeader>,
    }
}

message! {
    /// A header that is on unless disabled.
    DisabledHeader {
        /// Whether it is off.
        disabled: Option<bool>,
    }
}

message! {
    /// A header that is off unless enabled.
    EnabledHeader {
        /// Whether it is on.
        enabled: Option<bool>,
    }
}

message! {
    /// The `server` header.
    ServerHeader {
        /// Whether it is off.
        disabled: Option<bool>,
        /// Its value; empty means `istio-envoy`.
        value: String,
    }
}

message! {
    /// The peer metadata headers.
    MetadataExchangeHeaders {
        /// Where they are sent.
        mode: MetadataExchangeMode,
    }
}

proto_enum! {
    /// Where peer metadata headers are sent.
    MetadataExchangeMode {
        /// As ever.
        Undefined = "UNDEFINED" 0,
        /// To services of the mesh only.
        InMesh = "IN_MESH" 1,
    }
}

message! {
    /// Facts of a client's certificate in `x-forwarded-client-cert`.
    CurrentClientCertDetails {
        /// The subject; none means yes.
        subject: Option<bool>,
        /// The certificate; none means no.
        cert: Option<bool>,
        /// The chain; none means no.
        chain: Option<bool>,
        /// DNS names; none means yes.
        dns: Option<bool>,
        /// The URI; none means yes.
        uri: Option<bool>,
    }
}

proto_enum! {
    /// What a proxy does with the header `x-forwarded-client-cert`.
    ForwardClientCertDetails {
        /// The default of the proxy's kind.
        Undefined = "UNDEFINED" 0,
        /// It is removed.
        Sanitize = "SANITIZE" 1,
        /// It passes on mTLS connections.
        ForwardOnly = "FORWARD_ONLY" 2,
        /// The client's certificate is appended.
        AppendForward = "APPEND_FORWARD" 3,
        /// It is replaced by the client's certificate.
        SanitizeSet = "SANITIZE_SET" 4,
        /// It passes on all connections.
        AlwaysForwardOnly = "ALWAYS_FORWARD_ONLY" 5,
    }
}
