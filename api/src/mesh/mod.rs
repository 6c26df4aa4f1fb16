//! Settings of the whole mesh: MeshConfig and the proxies' ProxyConfig, with every field and Istio's defaults.
//!
//! Both are texts in the ConfigMap `istio` (key `mesh`) or a file, and parts of annotations; [`MeshConfig::default`] and
//! [`ProxyConfig::default`] are what a mesh without settings has, and a text is laid over them.

mod access_log_providers;
mod authz_providers;
mod connection_settings;
mod defaults;
mod mesh_config;
mod networks;
mod overlay;
mod policies;
mod provider_calls;
mod providers;
mod proxy_config;
mod proxy_headers;
mod proxy_tracing;
mod selectors;
mod text;
mod tracing_providers;

#[cfg(test)]
mod tests;

pub use access_log_providers::{
    EnvoyFileAccessLogProvider, EnvoyHttpAlsProvider, EnvoyOtelAlsProvider, EnvoyTcpAlsProvider,
    FileLogFormat, FileLogFormatKind, OtelLogFormat,
};
pub use authz_providers::{ExtAuthzGrpcProvider, ExtAuthzHttpProvider, ExtAuthzRequestBody};
pub use connection_settings::{
    ConnectionProfile, ConnectionSettings, EscapedSlashesAction, UnderscoresAction,
};
pub use mesh_config::{
    AccessLogEncoding, CertificateAuthority, CertificateData, CertificateDataSource,
    CertificateProvision, ConfigResource, ConfigSource, InboundTrafficPolicy,
    InboundTrafficPolicyMode, IngressControllerMode, MeshConfig, MeshH2UpgradePolicy,
    MeshOutboundTrafficPolicy, MeshTlsConfig, MeshTlsProtocol, NormalizationType,
    PathNormalization,
};
pub use networks::{
    MeshNetworks, Network, NetworkEndpoints, NetworkEndpointsSource, NetworkGateway,
    NetworkGatewayTarget,
};
pub use policies::{
    DefaultTrafficPolicy, ServiceEntryVisibility, ServiceScope, ServiceScopeConfig,
    ServiceSettings, ServiceSettingsValues, Visibility, VisibilityPolicy, VisibilityRule,
};
pub use provider_calls::{GrpcService, HttpService, ProviderHeader, ProviderHeaderValue};
pub use providers::{
    DefaultProviders, ExtensionProvider, Provider, ProviderPrometheus, SdsProvider,
};
pub use proxy_config::{
    AuthenticationPolicy, ClusterName, CryptoMb, InboundInterceptionMode, PrivateKeyProvider,
    PrivateKeyProviderKind, ProxyConfig, ProxyImage, ProxyProtocolConfiguration, ProxyStatsMatcher,
    Qat, RemoteService, Sds, Topology, TracingServiceName,
};
pub use proxy_headers::{
    CurrentClientCertDetails, DisabledHeader, EnabledHeader, ForwardClientCertDetails,
    MetadataExchangeHeaders, MetadataExchangeMode, ProxyHeaders, ServerHeader,
};
pub use proxy_tracing::{
    CustomTag, CustomTagKind, DatadogTracer, EnvironmentTag, HeaderTag, LightstepTracer,
    LiteralTag, OpenCensusTracer, StackdriverTracer, TraceContext, Tracer, Tracing, ZipkinTracer,
};
pub use selectors::{LabelSelector, LabelSelectorRequirement};
pub use text::{parse_mesh_config, parse_mesh_networks, parse_proxy_config};
pub use tracing_providers::{
    DatadogProvider, DynatraceApi, DynatraceSampler, LightstepProvider, OpenCensusProvider,
    OpenTelemetryProvider, OpenTelemetrySampling, ResourceDetector, ResourceDetectors,
    ServiceAttributeEnrichment, SkyWalkingProvider, StackdriverLogging, StackdriverProvider,
    ZipkinProvider, ZipkinTraceContext,
};
