//! MeshConfig: settings of the whole mesh.

use super::policies::{
    DefaultTrafficPolicy, ServiceEntryVisibility, ServiceScopeConfig, ServiceSettings,
};
use super::providers::{DefaultProviders, ExtensionProvider};
use super::proxy_config::ProxyConfig;
use super::selectors::LabelSelector;
use crate::networking::{
    ClientTlsSettings, HttpRetry, LocalityLoadBalancerSetting, OutboundTrafficPolicyMode,
    TcpKeepalive, ZoneAwareLoadBalancerSetting,
};
use crate::proto::{Duration, message, oneof, proto_enum};

message! {
    custom_default
    /// Settings of the whole mesh. The default is what a mesh without settings has.
    MeshConfig {
        /// The port on which sidecars take outbound traffic; 15001.
        proxy_listen_port: i32,
        /// The port on which sidecars take inbound traffic; 15006.
        proxy_inbound_listen_port: i32,
        /// The port of an HTTP proxy for the application; 0 means none.
        proxy_http_port: i32,
        /// How long a connection may take to be made; 10 s.
        connect_timeout: Option<Duration>,
        /// How long an idle HBONE connection is kept; none means one hour.
        hbone_idle_timeout: Option<Duration>,
        /// How long the first bytes are waited for to tell the protocol; 0 waits for ever.
        protocol_detection_timeout: Option<Duration>,
        /// TCP keep-alive to services.
        tcp_keepalive: Option<TcpKeepalive>,
        /// The class of Ingress objects that count; `istio`.
        ingress_class: String,
        /// The Service of the ingress gateway; `istio-ingressgateway`.
        ingress_service: String,
        /// Which Ingress objects count; STRICT.
        ingress_controller_mode: IngressControllerMode,
        /// The label `istio` of the ingress gateway's pods; `ingressgateway`.
        ingress_selector: String,
        /// Whether requests are traced; yes.
        enable_tracing: bool,
        /// The access log's file; empty means no log.
        access_log_file: String,
        /// The access log's format; empty means the default.
        access_log_format: String,
        /// Whether the access log is text or JSON.
        access_log_encoding: AccessLogEncoding,
        /// Whether access logs go to `envoyAccessLogService`.
        enable_envoy_access_log_service: bool,
        /// Whether listeners do not log connections without a route.
        disable_envoy_listener_log: bool,
        /// What every proxy's settings start from.
        default_config: ProxyConfig,
        /// What happens to traffic to unknown destinations; ALLOW_ANY.
        outbound_traffic_policy: Option<MeshOutboundTrafficPolicy>,
        /// Where inbound traffic goes; PASSTHROUGH.
        inbound_traffic_policy: Option<InboundTrafficPolicy>,
        /// Sources of configuration besides Kubernetes.
        config_sources: Vec<ConfigSource>,
        /// Whether sidecars use mTLS where both sides can; none means yes.
        enable_auto_mtls: Option<bool>,
        /// The trust domain of the mesh's identities; `cluster.local`.
        trust_domain: String,
        /// Further trust domains that mean the same.
        trust_domain_aliases: Vec<String>,
        /// Further roots for mesh certificates.
        ca_certificates: Vec<CertificateData>,
        /// Who sees a service that does not say; everybody.
        default_service_export_to: Vec<String>,
        /// Who sees a VirtualService that does not say; everybody.
        default_virtual_service_export_to: Vec<String>,
        /// Who sees a DestinationRule that does not say; everybody.
        default_destination_rule_export_to: Vec<String>,
        /// The namespace whose objects hold for the mesh; `istio-system`.
        root_namespace: String,
        /// Preference by locality; on.
        locality_lb_setting: Option<LocalityLoadBalancerSetting>,
        /// Preference for the own zone; off.
        zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
        /// How often names are looked up again; 60 s.
        dns_refresh_rate: Option<Duration>,
        /// Whether HTTP/1.1 becomes HTTP/2 between sidecars.
        h2_upgrade_policy: MeshH2UpgradePolicy,
        /// A pattern for names of inbound clusters in metrics; empty means the default.
        inbound_cluster_stat_name: String,
        /// A pattern for names of outbound clusters in metrics; empty means the default.
        outbound_cluster_stat_name: String,
        /// Deprecated: DNS certificates to provide.
        certificates: Vec<CertificateProvision>,
        /// Settings of some services.
        service_settings: Vec<ServiceSettings>,
        /// Which services other clusters see (ambient mode).
        service_scope_configs: Vec<ServiceScopeConfig>,
        /// Who sees ServiceEntries; none means everybody.
        service_entry_visibility: Option<ServiceEntryVisibility>,
        /// Whether the agent merges the application's metrics; none means yes.
        enable_prometheus_merge: Option<bool>,
        /// Deprecated: whether server certificates are checked.
        verify_certificate_at_client: Option<bool>,
        /// An authority outside that signs workload certificates.
        ca: Option<CertificateAuthority>,
        /// Services outside of the mesh that policies refer to by name.
        extension_providers: Vec<ExtensionProvider>,
        /// Providers that count where a Telemetry object names none.
        default_providers: Option<DefaultProviders>,
        /// The namespaces that count; empty means all.
        discovery_selectors: Vec<LabelSelector>,
        /// How paths are normalised.
        path_normalization: Option<PathNormalization>,
        /// Retries where a route says nothing.
        default_http_retry_policy: Option<HttpRetry>,
        /// Retries of inbound requests; only attempts, retryOn and backoff count.
        default_inbound_http_retry_policy: Option<HttpRetry>,
        /// What every DestinationRule starts from.
        default_traffic_policy: Option<DefaultTrafficPolicy>,
        /// TLS between workloads of the mesh.
        mesh_mtls as "mesh_mTLS": Option<MeshTlsConfig>,
        /// TLS other than between workloads of the mesh.
        tls_defaults: Option<MeshTlsConfig>,
    }
}

proto_enum! {
    /// Which Ingress objects count.
    IngressControllerMode {
        /// Not said.
        Unspecified = "UNSPECIFIED" 0,
        /// None.
        Off = "OFF" 1,
        /// Those of the class and those without one.
        Default = "DEFAULT" 2,
        /// Those of the class.
        Strict = "STRICT" 3,
    }
}

proto_enum! {
    /// Whether an access log is text or JSON.
    AccessLogEncoding {
        /// Text.
        Text = "TEXT" 0,
        /// JSON.
        Json = "JSON" 1,
    }
}

message! {
    /// What happens to traffic to unknown destinations.
    MeshOutboundTrafficPolicy {
        /// Whether it is let through.
        mode: OutboundTrafficPolicyMode,
        /// TLS towards such destinations, for ALLOW_ANY_DYNAMIC_DNS.
        tls: Option<ClientTlsSettings>,
    }
}

message! {
    /// Where inbound traffic goes.
    InboundTrafficPolicy {
        /// Where.
        mode: InboundTrafficPolicyMode,
    }
}

proto_enum! {
    /// Where inbound traffic goes.
    InboundTrafficPolicyMode {
        /// To the pod's address.
        Passthrough = "PASSTHROUGH" 0,
        /// To localhost.
        Localhost = "LOCALHOST" 1,
    }
}

message! {
    /// A source of configuration.
    ConfigSource {
        /// Its address: `xds://…`, `k8s://…` or `fs:///…`.
        address: String,
        /// TLS towards it.
        tls_settings: Option<ClientTlsSettings>,
        /// What it gives.
        subscribed_resources: Vec<ConfigResource>,
    }
}

proto_enum! {
    /// What a source of configuration gives.
    ConfigResource {
        /// Services.
        ServiceRegistry = "SERVICE_REGISTRY" 0,
    }
}

message! {
    /// A further root for mesh certificates.
    CertificateData {
        /// Kubernetes signers to which it is limited.
        cert_signers: Vec<String>,
        /// Trust domains to which it is limited.
        trust_domains: Vec<String>,
    }
    oneof {
        /// The root.
        certificate_data: CertificateDataSource,
    }
}

oneof! {
    /// Where a root comes from.
    CertificateDataSource {
        /// This PEM text.
        pem: Pem(String),
        /// A SPIFFE bundle at a URL.
        spiffe_bundle_url: SpiffeBundleUrl(String),
    }
}

message! {
    /// A DNS certificate to provide.
    CertificateProvision {
        /// The secret to write; empty means a file.
        secret_name: String,
        /// Its names.
        dns_names: Vec<String>,
    }
}

message! {
    /// An authority outside that signs workload certificates.
    CertificateAuthority {
        /// Its address, `host:port`.
        address: String,
        /// TLS towards it.
        tls_settings: Option<ClientTlsSettings>,
        /// How long an answer may take; none means 10 s.
        request_timeout: Option<Duration>,
        /// Whether the control plane rather than the agent asks it.
        istiod_side: bool,
    }
}

message! {
    /// How paths are normalised.
    PathNormalization {
        /// The rule.
        normalization: NormalizationType,
    }
}

proto_enum! {
    /// A rule for paths.
    NormalizationType {
        /// BASE.
        Default = "DEFAULT" 0,
        /// As they are.
        None = "NONE" 1,
        /// RFC 3986.
        Base = "BASE" 2,
        /// `//` becomes `/` too.
        MergeSlashes = "MERGE_SLASHES" 3,
        /// `%2F` and `%5C` are decoded first.
        DecodeAndMergeSlashes = "DECODE_AND_MERGE_SLASHES" 4,
    }
}

proto_enum! {
    /// Whether HTTP/1.1 becomes HTTP/2 between sidecars.
    MeshH2UpgradePolicy {
        /// No.
        DoNotUpgrade = "DO_NOT_UPGRADE" 0,
        /// Yes.
        Upgrade = "UPGRADE" 1,
    }
}

message! {
    /// Settings of TLS.
    MeshTlsConfig {
        /// The oldest version.
        min_protocol_version: MeshTlsProtocol,
        /// Curves; empty means the default list.
        ecdh_curves: Vec<String>,
        /// Cipher suites up to TLS 1.2; empty means the default list.
        cipher_suites: Vec<String>,
    }
}

proto_enum! {
    /// A TLS version.
    MeshTlsProtocol {
        /// TLS 1.2.
        Auto = "TLS_AUTO" 0,
        /// TLS 1.2.
        V1_2 = "TLSV1_2" 1,
        /// TLS 1.3.
        V1_3 = "TLSV1_3" 2,
    }
}
