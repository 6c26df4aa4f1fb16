//! The kinds of the group `telemetry.istio.io`: Telemetry, with every field of the API (versions v1 and v1alpha1 are alike).

use std::collections::BTreeMap;

use crate::networking::{MatchLabelsSelector, PolicyTargetReference};
use crate::proto::{Duration, message, oneof, proto_enum};

message! {
    /// What workloads report: spans, metrics and access logs.
    Telemetry {
        /// The workloads; none means all of the namespace, or of the mesh in the root namespace.
        selector: Option<MatchLabelsSelector>,
        /// Deprecated: one object that the settings are attached to.
        target_ref as "targetRef": Option<PolicyTargetReference>,
        /// The objects that the settings are attached to, instead of a selector.
        target_refs as "targetRefs": Vec<PolicyTargetReference>,
        /// Spans.
        tracing: Vec<TelemetryTracing>,
        /// Metrics.
        metrics: Vec<TelemetryMetrics>,
        /// Access logs.
        access_logging: Vec<TelemetryAccessLogging>,
    }
}

message! {
    /// How spans are reported.
    TelemetryTracing {
        /// The traffic that the settings are for.
        r#match: Option<TracingSelector>,
        /// Where spans go; none means as the wider settings say.
        providers: Vec<TelemetryProviderRef>,
        /// The share of requests that begin a trace, 0 to 100.
        random_sampling_percentage: Option<f64>,
        /// Whether spans are kept back, while the context still travels on.
        disable_span_reporting: Option<bool>,
        /// Tags of spans by name.
        custom_tags: BTreeMap<String, TelemetryCustomTag>,
        /// Whether the request id decides on sampling.
        use_request_id_for_trace_sampling: Option<bool>,
        /// Whether spans carry the mesh's own tags.
        enable_istio_tags: Option<bool>,
    }
}

message! {
    /// The traffic that tracing settings are for.
    TracingSelector {
        /// The side of the proxy.
        mode: WorkloadMode,
    }
}

message! {
    /// A provider of the mesh config.
    TelemetryProviderRef {
        /// Its name in `extensionProviders`.
        name: String,
    }
}

message! {
    /// A tag of spans.
    TelemetryCustomTag {}
    oneof {
        /// Where the value comes from.
        r#type: TelemetryCustomTagKind,
    }
}

oneof! {
    /// Where a tag's value comes from.
    TelemetryCustomTagKind {
        /// A text.
        literal: Literal(TelemetryLiteralTag),
        /// A variable of the proxy's environment.
        environment: Environment(TelemetryEnvironmentTag),
        /// A request header.
        header: Header(TelemetryHeaderTag),
        /// A text in the access log's format.
        formatter: Formatter(TelemetryFormatterTag),
    }
}

message! {
    /// A text as a tag.
    TelemetryLiteralTag {
        /// The text.
        value: String,
    }
}

message! {
    /// A variable of the proxy's environment as a tag.
    TelemetryEnvironmentTag {
        /// The variable.
        name: String,
        /// The value where it is missing; empty leaves the tag out.
        default_value: String,
    }
}

message! {
    /// A request header as a tag.
    TelemetryHeaderTag {
        /// The header.
        name: String,
        /// The value where it is missing; empty leaves the tag out.
        default_value: String,
    }
}

message! {
    /// A text in the access log's format as a tag.
    TelemetryFormatterTag {
        /// The format.
        value: String,
    }
}

message! {
    /// Which metrics are reported, and how.
    TelemetryMetrics {
        /// Where metrics go; none means as the wider settings say.
        providers: Vec<TelemetryProviderRef>,
        /// Changes, made in this order.
        overrides: Vec<MetricsOverrides>,
        /// Time between two reports of a TCP connection.
        reporting_interval: Option<Duration>,
    }
}

message! {
    /// A change of metrics.
    MetricsOverrides {
        /// Which metrics; none means all.
        r#match: Option<MetricSelector>,
        /// Whether they are switched off.
        disabled: Option<bool>,
        /// Changes of tags by name.
        tag_overrides: BTreeMap<String, TagOverride>,
    }
}

message! {
    /// Which metrics a change is for.
    MetricSelector {
        /// The side of the proxy.
        mode: WorkloadMode,
    }
    oneof {
        /// The metric.
        metric_match: MetricMatch,
    }
}

oneof! {
    /// A metric.
    MetricMatch {
        /// One of the standard metrics.
        metric: Metric(StandardMetric),
        /// A metric by its name.
        custom_metric: CustomMetric(String),
    }
}

message! {
    /// A change of a tag.
    TagOverride {
        /// What is done.
        operation: TagOperation,
        /// The expression of the value, for UPSERT.
        value: String,
    }
}

message! {
    /// Which accesses are logged, and where.
    TelemetryAccessLogging {
        /// The traffic that the settings are for.
        r#match: Option<LogSelector>,
        /// Where logs go; none means as the wider settings say.
        providers: Vec<TelemetryProviderRef>,
        /// Whether logs are switched off.
        disabled: Option<bool>,
        /// Which accesses are logged; none means all.
        filter: Option<LogFilter>,
    }
}

message! {
    /// The traffic that log settings are for.
    LogSelector {
        /// The side of the proxy.
        mode: WorkloadMode,
    }
}

message! {
    /// Which accesses are logged.
    LogFilter {
        /// A CEL expression over the request's attributes.
        expression: String,
    }
}

proto_enum! {
    /// The side of a proxy.
    WorkloadMode {
        /// Both.
        ClientAndServer = "CLIENT_AND_SERVER" 0,
        /// The client's.
        Client = "CLIENT" 1,
        /// The server's.
        Server = "SERVER" 2,
    }
}

proto_enum! {
    /// A standard metric.
    StandardMetric {
        /// All of them.
        All = "ALL_METRICS" 0,
        /// `istio_requests_total`.
        RequestCount = "REQUEST_COUNT" 1,
        /// `istio_request_duration_milliseconds`.
        RequestDuration = "REQUEST_DURATION" 2,
        /// `istio_request_bytes`.
        RequestSize = "REQUEST_SIZE" 3,
        /// `istio_response_bytes`.
        ResponseSize = "RESPONSE_SIZE" 4,
        /// `istio_tcp_connections_opened_total`.
        TcpOpenedConnections = "TCP_OPENED_CONNECTIONS" 5,
        /// `istio_tcp_connections_closed_total`.
        TcpClosedConnections = "TCP_CLOSED_CONNECTIONS" 6,
        /// `istio_tcp_sent_bytes_total`.
        TcpSentBytes = "TCP_SENT_BYTES" 7,
        /// `istio_tcp_received_bytes_total`.
        TcpReceivedBytes = "TCP_RECEIVED_BYTES" 8,
        /// `istio_request_messages_total`.
        GrpcRequestMessages = "GRPC_REQUEST_MESSAGES" 9,
        /// `istio_response_messages_total`.
        GrpcResponseMessages = "GRPC_RESPONSE_MESSAGES" 10,
    }
}

proto_enum! {
    /// What is done with a tag.
    TagOperation {
        /// It is added, or gets another value.
        Upsert = "UPSERT" 0,
        /// It is taken away.
        Remove = "REMOVE" 1,
    }
}
