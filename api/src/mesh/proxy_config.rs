//! ProxyConfig: settings of single proxies, from the mesh, a namespace or a pod's annotation.

use std::collections::BTreeMap;

use super::connection_settings::ConnectionSettings;
use super::proxy_headers::{ForwardClientCertDetails, ProxyHeaders};
use super::proxy_tracing::Tracing;
use crate::networking::{ClientTlsSettings, ReadinessProbe, TcpKeepalive};
use crate::proto::{Duration, message, oneof, proto_enum};

message! {
    custom_default
    /// Settings of a proxy. The default is what a mesh without settings has; see [`ProxyConfig::overlay`] for how sources are laid over it.
    ProxyConfig {
        /// The folder of generated files.
        config_path: String,
        /// The proxy's program.
        binary_path: String,
        /// How long connections drain when the proxy is replaced; 45 s.
        drain_duration: Option<Duration>,
        /// The control plane's address.
        discovery_address: String,
        /// Deprecated.
        discovery_refresh_delay: Option<Duration>,
        /// Deprecated: the Zipkin service's address.
        zipkin_address: String,
        /// A statsd server's address.
        statsd_udp_address: String,
        /// Deprecated: a metrics service's address.
        envoy_metrics_service_address: String,
        /// The port of the proxy's admin pages; 15000.
        proxy_admin_port: i32,
        /// Deprecated.
        availability_zone: String,
        /// How the proxy speaks to the control plane; MUTUAL_TLS.
        control_plane_auth_policy: AuthenticationPolicy,
        /// A bootstrap file to use as it is.
        custom_config_file: String,
        /// The longest name of a metric; 189.
        stat_name_length: i32,
        /// The number of workers; none follows the CPU limit, 0 means all cores.
        concurrency: Option<i32>,
        /// A template for the bootstrap.
        proxy_bootstrap_template_path: String,
        /// How inbound traffic comes to the proxy; REDIRECT.
        interception_mode: InboundInterceptionMode,
        /// Tracing.
        tracing: Option<Tracing>,
        /// Deprecated.
        sds: Option<Sds>,
        /// Where access logs go over gRPC.
        envoy_access_log_service: Option<RemoteService>,
        /// Where metrics go over gRPC.
        envoy_metrics_service: Option<RemoteService>,
        /// Variables for the proxy's environment.
        proxy_metadata: BTreeMap<String, String>,
        /// Envoy runtime values.
        runtime_values: BTreeMap<String, String>,
        /// The port of the agent's pages; 15020.
        status_port: i32,
        /// Deprecated: further tags of metrics.
        extra_stat_tags: Vec<String>,
        /// What stands between clients and a gateway.
        gateway_topology: Option<Topology>,
        /// How long connections drain when the proxy ends; 5 s.
        termination_drain_duration: Option<Duration>,
        /// The mesh's name in telemetry.
        mesh_id: String,
        /// How the agent asks a workload outside of Kubernetes whether it is ready.
        readiness_probe: Option<ReadinessProbe>,
        /// Which of Envoy's own metrics are made.
        proxy_stats_matcher: Option<ProxyStatsMatcher>,
        /// Whether the application starts after the proxy.
        hold_application_until_proxy_starts: Option<bool>,
        /// Further roots for mesh certificates.
        ca_certificates_pem: Vec<String>,
        /// The proxy's image.
        image: Option<ProxyImage>,
        /// Hardware for keys.
        private_key_provider: Option<PrivateKeyProvider>,
        /// Headers that the proxy adds.
        proxy_headers: Option<ProxyHeaders>,
        /// How often logs are written out; 1 s.
        file_flush_interval: Option<Duration>,
        /// How much of a log is held back, in kilobytes; 64.
        file_flush_min_size_kb: u32,
        /// Whether metrics may be compressed; none means yes.
        stats_compression: Option<bool>,
        /// Limits and normalisation of connections.
        connection_settings: Option<ConnectionSettings>,
    }
    oneof {
        /// The name of the proxy's service in traces.
        cluster_name: ClusterName,
    }
}

oneof! {
    /// How a proxy's service is named in traces.
    ClusterName {
        /// This name.
        service_cluster: ServiceCluster(String),
        /// By a rule.
        tracing_service_name: TracingServiceName(TracingServiceName),
    }
}

proto_enum! {
    /// A rule for the name of a proxy's service in traces.
    TracingServiceName {
        /// The label `app` and the namespace.
        AppLabelAndNamespace = "APP_LABEL_AND_NAMESPACE" 0,
        /// The canonical name.
        CanonicalNameOnly = "CANONICAL_NAME_ONLY" 1,
        /// The canonical name and the namespace.
        CanonicalNameAndNamespace = "CANONICAL_NAME_AND_NAMESPACE" 2,
    }
}

proto_enum! {
    /// How a proxy speaks to the control plane.
    AuthenticationPolicy {
        /// In plain text.
        None = "NONE" 0,
        /// With mutual TLS.
        MutualTls = "MUTUAL_TLS" 1,
        /// As the wider level says.
        Inherit = "INHERIT" 1000,
    }
}

proto_enum! {
    /// How inbound traffic comes to a proxy.
    InboundInterceptionMode {
        /// By REDIRECT rules; the client's address is lost.
        Redirect = "REDIRECT" 0,
        /// By TPROXY rules; addresses stay.
        Tproxy = "TPROXY" 1,
        /// Not by rules.
        None = "NONE" 2,
    }
}

message! {
    /// What stands between clients and a gateway.
    Topology {
        /// The number of trusted proxies in front.
        num_trusted_proxies: u32,
        /// What happens to `x-forwarded-client-cert`.
        forward_client_cert_details: ForwardClientCertDetails,
        /// Whether connections begin with a PROXY protocol header: set means yes.
        proxy_protocol: Option<ProxyProtocolConfiguration>,
    }
}

message! {
    /// PROXY protocol on a gateway; has no settings.
    ProxyProtocolConfiguration {}
}

message! {
    /// Secrets by way of a file; deprecated.
    Sds {
        /// Whether it is on.
        enabled: bool,
        /// The token's file.
        k8s_sa_jwt_path: String,
    }
}

message! {
    /// A service that takes logs or metrics.
    RemoteService {
        /// Its address, `host:port`.
        address: String,
        /// TLS towards it.
        tls_settings: Option<ClientTlsSettings>,
        /// TCP keep-alive towards it.
        tcp_keepalive: Option<TcpKeepalive>,
    }
}

message! {
    /// Which of Envoy's own metrics are made, by their names.
    ProxyStatsMatcher {
        /// Beginnings of names.
        inclusion_prefixes: Vec<String>,
        /// Ends of names.
        inclusion_suffixes: Vec<String>,
        /// Expressions for whole names.
        inclusion_regexps: Vec<String>,
    }
}

message! {
    /// The proxy's image.
    ProxyImage {
        /// The flavour: `default`, `debug` or `distroless`.
        image_type: String,
    }
}

message! {
    /// Hardware for private keys.
    PrivateKeyProvider {}
    oneof {
        /// Which one.
        provider: PrivateKeyProviderKind,
    }
}

oneof! {
    /// Hardware for private keys.
    PrivateKeyProviderKind {
        /// AVX-512 instructions.
        cryptomb: CryptoMb(CryptoMb),
        /// QuickAssist.
        qat: Qat(Qat),
    }
}

message! {
    /// Private keys by AVX-512 instructions.
    CryptoMb {
        /// How long a batch is gathered.
        poll_delay: Option<Duration>,
        /// Whether software takes over where the hardware is missing.
        fallback: Option<bool>,
    }
}

message! {
    /// Private keys by QuickAssist.
    Qat {
        /// How often the hardware is asked.
        poll_delay: Option<Duration>,
        /// Whether software takes over where the hardware is missing.
        fallback: Option<bool>,
    }
}
