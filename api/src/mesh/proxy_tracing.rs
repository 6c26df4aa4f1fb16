//! Tracing as a ProxyConfig sets it.

use std::collections::BTreeMap;

use crate::networking::ClientTlsSettings;
use crate::proto::{message, oneof, proto_enum};

message! {
    /// How a proxy traces requests.
    Tracing {
        /// Tags to add to spans.
        custom_tags: BTreeMap<String, CustomTag>,
        /// The longest path in a span; 0 means 256.
        max_path_tag_length: u32,
        /// The share of requests in percent; 0 means the mesh default of 1.
        sampling: f64,
        /// TLS towards the tracer.
        tls_settings: Option<ClientTlsSettings>,
        /// Whether spans have Istio's tags; none means yes.
        enable_istio_tags: Option<bool>,
    }
    oneof {
        /// Where spans go.
        tracer: Tracer,
    }
}

oneof! {
    /// Where spans go.
    Tracer {
        /// Zipkin.
        zipkin: Zipkin(ZipkinTracer),
        /// Lightstep.
        lightstep: Lightstep(LightstepTracer),
        /// Datadog.
        datadog: Datadog(DatadogTracer),
        /// Stackdriver.
        stackdriver: Stackdriver(StackdriverTracer),
        /// An OpenCensus agent.
        open_census_agent: OpenCensusAgent(OpenCensusTracer),
    }
}

message! {
    /// Spans to Zipkin.
    ZipkinTracer {
        /// The service's address, `host:port`.
        address: String,
    }
}

message! {
    /// Spans to Lightstep.
    LightstepTracer {
        /// The service's address, `host:port`.
        address: String,
        /// The access token.
        access_token: String,
    }
}

message! {
    /// Spans to Datadog.
    DatadogTracer {
        /// The agent's address, `host:port`.
        address: String,
    }
}

message! {
    /// Spans to Stackdriver.
    StackdriverTracer {
        /// Whether spans are printed.
        debug: bool,
        /// The most attributes of a span.
        max_number_of_attributes: Option<i64>,
        /// The most annotations of a span.
        max_number_of_annotations: Option<i64>,
        /// The most message events of a span.
        max_number_of_message_events: Option<i64>,
    }
}

message! {
    /// Spans to an OpenCensus agent.
    OpenCensusTracer {
        /// The agent's address.
        address: String,
        /// Which headers carry the context; empty means W3C.
        context: Vec<TraceContext>,
    }
}

proto_enum! {
    /// Headers that carry a trace's context.
    TraceContext {
        /// Not to be used.
        Unspecified = "UNSPECIFIED" 0,
        /// `traceparent`.
        W3c = "W3C_TRACE_CONTEXT" 1,
        /// `grpc-trace-bin`.
        GrpcBin = "GRPC_BIN" 2,
        /// `X-Cloud-Trace-Context`.
        CloudTrace = "CLOUD_TRACE_CONTEXT" 3,
        /// `X-B3-…`.
        B3 = "B3" 4,
    }
}

message! {
    /// A tag of spans.
    CustomTag {}
    oneof {
        /// Where the value comes from.
        r#type: CustomTagKind,
    }
}

oneof! {
    /// Where a tag's value comes from.
    CustomTagKind {
        /// A text.
        literal: Literal(LiteralTag),
        /// A variable of the proxy's environment.
        environment: Environment(EnvironmentTag),
        /// A request header.
        header: Header(HeaderTag),
    }
}

message! {
    /// A text as a tag.
    LiteralTag {
        /// The text.
        value: String,
    }
}

message! {
    /// A variable of the proxy's environment as a tag.
    EnvironmentTag {
        /// The variable.
        name: String,
        /// The value where it is missing; empty leaves the tag out.
        default_value: String,
    }
}

message! {
    /// A request header as a tag.
    HeaderTag {
        /// The header.
        name: String,
        /// The value where it is missing; empty leaves the tag out.
        default_value: String,
    }
}
