//! Extension providers: services outside of the mesh that policies refer to by name.

use super::access_log_providers::{
    EnvoyFileAccessLogProvider, EnvoyHttpAlsProvider, EnvoyOtelAlsProvider, EnvoyTcpAlsProvider,
};
use super::authz_providers::{ExtAuthzGrpcProvider, ExtAuthzHttpProvider};
use super::tracing_providers::{
    DatadogProvider, LightstepProvider, OpenCensusProvider, OpenTelemetryProvider,
    SkyWalkingProvider, StackdriverProvider, ZipkinProvider,
};
use crate::proto::{message, oneof};

message! {
    /// A provider with the name that policies use.
    ExtensionProvider {
        /// The name.
        name: String,
    }
    oneof {
        /// What it is.
        provider: Provider,
    }
}

oneof! {
    /// A kind of provider.
    Provider {
        /// Authorization over HTTP.
        envoy_ext_authz_http: ExtAuthzHttp(ExtAuthzHttpProvider),
        /// Authorization over gRPC.
        envoy_ext_authz_grpc: ExtAuthzGrpc(ExtAuthzGrpcProvider),
        /// Traces to Zipkin.
        zipkin: Zipkin(ZipkinProvider),
        /// Deprecated: traces to Lightstep.
        lightstep: Lightstep(LightstepProvider),
        /// Traces to Datadog.
        datadog: Datadog(DatadogProvider),
        /// Traces, metrics and logs to Stackdriver.
        stackdriver: Stackdriver(StackdriverProvider),
        /// Deprecated: traces to an OpenCensus agent.
        opencensus: OpenCensus(OpenCensusProvider),
        /// Traces to SkyWalking.
        skywalking: SkyWalking(SkyWalkingProvider),
        /// Traces over OTLP.
        opentelemetry: OpenTelemetry(OpenTelemetryProvider),
        /// Metrics for Prometheus.
        prometheus: Prometheus(ProviderPrometheus),
        /// Access log to a file.
        envoy_file_access_log: EnvoyFileAccessLog(EnvoyFileAccessLogProvider),
        /// Access log of HTTP over gRPC.
        envoy_http_als: EnvoyHttpAls(EnvoyHttpAlsProvider),
        /// Access log of TCP over gRPC.
        envoy_tcp_als: EnvoyTcpAls(EnvoyTcpAlsProvider),
        /// Access log over OTLP.
        envoy_otel_als: EnvoyOtelAls(EnvoyOtelAlsProvider),
        /// Secrets for gateways.
        sds: Sds(SdsProvider),
    }
}

message! {
    /// Metrics for Prometheus; has no settings.
    ProviderPrometheus {}
}

message! {
    /// A server of secrets for gateways.
    SdsProvider {
        /// The name that a Gateway uses.
        name: String,
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
    }
}

message! {
    /// Providers that count where a Telemetry object names none.
    DefaultProviders {
        /// For traces.
        tracing: Vec<String>,
        /// For metrics.
        metrics: Vec<String>,
        /// For access logs.
        access_logging: Vec<String>,
    }
}
