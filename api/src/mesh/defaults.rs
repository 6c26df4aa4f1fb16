//! What a mesh without settings has (contract: Istio's built-in defaults).

use super::access_log_providers::EnvoyFileAccessLogProvider;
use super::mesh_config::{
    AccessLogEncoding, InboundTrafficPolicy, IngressControllerMode, MeshConfig,
    MeshH2UpgradePolicy, MeshOutboundTrafficPolicy,
};
use super::providers::{DefaultProviders, ExtensionProvider, Provider, ProviderPrometheus};
use super::proxy_config::{
    AuthenticationPolicy, ClusterName, InboundInterceptionMode, ProxyConfig,
};
use super::tracing_providers::StackdriverProvider;
use crate::networking::{LocalityLoadBalancerSetting, OutboundTrafficPolicyMode};
use crate::proto::Duration;

fn everybody() -> Vec<String> {
    vec!["*".to_owned()]
}

/// The providers that exist without being declared.
pub(super) fn built_in_providers() -> Vec<ExtensionProvider> {
    let file_log = EnvoyFileAccessLogProvider {
        path: "/dev/stdout".to_owned(),
        ..Default::default()
    };
    [
        ("prometheus", Provider::Prometheus(ProviderPrometheus {})),
        (
            "stackdriver",
            Provider::Stackdriver(StackdriverProvider::default()),
        ),
        ("envoy", Provider::EnvoyFileAccessLog(file_log)),
    ]
    .map(|(name, provider)| ExtensionProvider {
        name: name.to_owned(),
        provider: Some(provider),
    })
    .into()
}

impl Default for MeshConfig {
    #[allow(clippy::too_many_lines)]
    fn default() -> Self {
        Self {
            proxy_listen_port: 15001,
            proxy_inbound_listen_port: 15006,
            proxy_http_port: 0,
            connect_timeout: Some(Duration::from_secs(10)),
            hbone_idle_timeout: None,
            protocol_detection_timeout: Some(Duration::ZERO),
            tcp_keepalive: None,
            ingress_class: "istio".to_owned(),
            ingress_service: "istio-ingressgateway".to_owned(),
            ingress_controller_mode: IngressControllerMode::Strict,
            ingress_selector: "ingressgateway".to_owned(),
            enable_tracing: true,
            access_log_file: String::new(),
            access_log_format: String::new(),
            access_log_encoding: AccessLogEncoding::Text,
            enable_envoy_access_log_service: false,
            disable_envoy_listener_log: false,
            default_config: ProxyConfig::default(),
            outbound_traffic_policy: Some(MeshOutboundTrafficPolicy {
                mode: OutboundTrafficPolicyMode::AllowAny,
                tls: None,
            }),
            inbound_traffic_policy: Some(InboundTrafficPolicy::default()),
            config_sources: Vec::new(),
            enable_auto_mtls: Some(true),
            trust_domain: "cluster.local".to_owned(),
            trust_domain_aliases: Vec::new(),
            ca_certificates: Vec::new(),
            default_service_export_to: everybody(),
            default_virtual_service_export_to: everybody(),
            default_destination_rule_export_to: everybody(),
            root_namespace: "istio-system".to_owned(),
            locality_lb_setting: Some(LocalityLoadBalancerSetting {
                enabled: Some(true),
                ..Default::default()
            }),
            zone_aware_lb_setting: None,
            dns_refresh_rate: Some(Duration::from_secs(60)),
            h2_upgrade_policy: MeshH2UpgradePolicy::DoNotUpgrade,
            inbound_cluster_stat_name: String::new(),
            outbound_cluster_stat_name: String::new(),
            certificates: Vec::new(),
            service_settings: Vec::new(),
            service_scope_configs: Vec::new(),
            service_entry_visibility: None,
            enable_prometheus_merge: Some(true),
            verify_certificate_at_client: None,
            ca: None,
            extension_providers: built_in_providers(),
            default_providers: Some(DefaultProviders::default()),
            discovery_selectors: Vec::new(),
            path_normalization: None,
            default_http_retry_policy: None,
            default_inbound_http_retry_policy: None,
            default_traffic_policy: None,
            mesh_mtls: None,
            tls_defaults: None,
        }
    }
}

impl Default for ProxyConfig {
    #[allow(clippy::too_many_lines)]
    fn default() -> Self {
        Self {
            config_path: "./etc/istio/proxy".to_owned(),
            binary_path: "/usr/local/bin/envoy".to_owned(),
            drain_duration: Some(Duration::from_secs(45)),
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            discovery_refresh_delay: None,
            zipkin_address: String::new(),
            statsd_udp_address: String::new(),
            envoy_metrics_service_address: String::new(),
            proxy_admin_port: 15000,
            availability_zone: String::new(),
            control_plane_auth_policy: AuthenticationPolicy::MutualTls,
            custom_config_file: String::new(),
            stat_name_length: 189,
            concurrency: None,
            proxy_bootstrap_template_path: String::new(),
            interception_mode: InboundInterceptionMode::Redirect,
            tracing: None,
            sds: None,
            envoy_access_log_service: None,
            envoy_metrics_service: None,
            proxy_metadata: Default::default(),
            runtime_values: Default::default(),
            status_port: 15020,
            extra_stat_tags: Vec::new(),
            gateway_topology: None,
            termination_drain_duration: Some(Duration::from_secs(5)),
            mesh_id: String::new(),
            readiness_probe: None,
            proxy_stats_matcher: None,
            hold_application_until_proxy_starts: None,
            ca_certificates_pem: Vec::new(),
            image: None,
            private_key_provider: None,
            proxy_headers: None,
            file_flush_interval: None,
            file_flush_min_size_kb: 0,
            stats_compression: None,
            connection_settings: None,
            cluster_name: Some(ClusterName::ServiceCluster("istio-proxy".to_owned())),
        }
    }
}
