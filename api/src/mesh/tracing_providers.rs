//! Providers that take traces.

use std::collections::BTreeMap;

use super::provider_calls::{GrpcService, HttpService, ProviderHeader};
use super::proxy_tracing::TraceContext;
use crate::proto::{Duration, message, oneof, proto_enum};

message! {
    /// Traces to Zipkin.
    ZipkinProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// The longest path in a span; 0 means 256.
        max_tag_length: u32,
        /// Whether trace ids have 64 rather than 128 bits.
        enable_64bit_trace_id: bool,
        /// The path; empty means `/api/v2/spans`.
        path: String,
        /// Which headers carry the context.
        trace_context_option: ZipkinTraceContext,
        /// How long an answer may take; none means 5 s.
        timeout: Option<Duration>,
        /// Headers to add.
        headers: Vec<ProviderHeader>,
    }
}

proto_enum! {
    /// Which headers carry the trace context.
    ZipkinTraceContext {
        /// B3.
        B3 = "USE_B3" 0,
        /// B3, and W3C where B3 is missing; both are sent.
        B3WithW3c = "USE_B3_WITH_W3C_PROPAGATION" 1,
    }
}

message! {
    /// Traces to Lightstep.
    LightstepProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// The access token.
        access_token: String,
        /// The longest path in a span; 0 means 256.
        max_tag_length: u32,
    }
}

message! {
    /// Traces to Datadog.
    DatadogProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// The longest path in a span; 0 means 256.
        max_tag_length: u32,
    }
}

message! {
    /// Traces to SkyWalking.
    SkyWalkingProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// The access token.
        access_token: String,
    }
}

message! {
    /// Traces, metrics and logs to Stackdriver.
    StackdriverProvider {
        /// Deprecated: whether traces are printed.
        debug: bool,
        /// Deprecated: the most attributes of a span.
        max_number_of_attributes: Option<i64>,
        /// Deprecated: the most annotations of a span.
        max_number_of_annotations: Option<i64>,
        /// Deprecated: the most message events of a span.
        max_number_of_message_events: Option<i64>,
        /// The longest path in a span; 0 means 256.
        max_tag_length: u32,
        /// Labels of log entries.
        logging: Option<StackdriverLogging>,
    }
}

message! {
    /// Labels of Stackdriver log entries.
    StackdriverLogging {
        /// Expressions by label.
        labels: BTreeMap<String, String>,
    }
}

message! {
    /// Traces to an OpenCensus agent.
    OpenCensusProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// Which headers carry the context; empty means W3C.
        context: Vec<TraceContext>,
        /// The longest path in a span; 0 means 256.
        max_tag_length: u32,
    }
}

message! {
    /// Traces over OTLP.
    OpenTelemetryProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// The longest path in a span; 0 means 256.
        max_tag_length: u32,
        /// OTLP over HTTP; none means gRPC.
        http: Option<HttpService>,
        /// OTLP over gRPC.
        grpc: Option<GrpcService>,
        /// What is found out about the resource.
        resource_detectors: Option<ResourceDetectors>,
        /// How service attributes are made.
        service_attribute_enrichment: ServiceAttributeEnrichment,
    }
    oneof {
        /// The sampler, instead of the mesh's.
        sampling: OpenTelemetrySampling,
    }
}

oneof! {
    /// A sampler of traces.
    OpenTelemetrySampling {
        /// Dynatrace's.
        dynatrace_sampler: Dynatrace(DynatraceSampler),
    }
}

message! {
    /// Dynatrace's adaptive sampler.
    DynatraceSampler {
        /// The tenant.
        tenant: String,
        /// The cluster's number at Dynatrace.
        cluster_id: i32,
        /// Spans a minute where Dynatrace gives no answer; 0 means 1000.
        root_spans_per_minute: u32,
        /// Where the settings come from; none means the exporter's service.
        http_service: Option<DynatraceApi>,
    }
}

message! {
    /// Where the sampler's settings come from.
    DynatraceApi {
        /// The service's host.
        service: String,
        /// Its port.
        port: u32,
        /// How it is spoken to.
        http: Option<HttpService>,
    }
}

message! {
    /// What is found out about a traced resource.
    ResourceDetectors {
        /// From `OTEL_RESOURCE_ATTRIBUTES`.
        environment: Option<ResourceDetector>,
        /// From Dynatrace's files.
        dynatrace: Option<ResourceDetector>,
    }
}

message! {
    /// A detector; has no settings.
    ResourceDetector {}
}

proto_enum! {
    /// How the service attributes of spans are made.
    ServiceAttributeEnrichment {
        /// As `tracingServiceName` says.
        IstioCanonical = "ISTIO_CANONICAL" 0,
        /// By OpenTelemetry's rules for Kubernetes.
        OtelSemanticConventions = "OTEL_SEMANTIC_CONVENTIONS" 1,
    }
}
