//! Providers of access logs.

use crate::proto::{Struct, message, oneof};

message! {
    /// Access log to a file.
    EnvoyFileAccessLogProvider {
        /// The file; empty means `/dev/stdout`.
        path: String,
        /// The format; none means the default.
        log_format: Option<FileLogFormat>,
        /// Whether operators without a value are left out.
        omit_empty_values: bool,
    }
}

message! {
    /// The format of a log file.
    FileLogFormat {}
    oneof {
        /// The format.
        log_format: FileLogFormatKind,
    }
}

oneof! {
    /// Text or JSON.
    FileLogFormatKind {
        /// A line of text with operators.
        text: Text(String),
        /// An object whose values are operators; empty means the default fields.
        labels: Labels(Struct),
    }
}

message! {
    /// Access log of HTTP over gRPC.
    EnvoyHttpAlsProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// The log's name.
        log_name: String,
        /// Filter state objects to log.
        filter_state_objects_to_log: Vec<String>,
        /// Request headers to log.
        additional_request_headers_to_log: Vec<String>,
        /// Response headers to log.
        additional_response_headers_to_log: Vec<String>,
        /// Response trailers to log.
        additional_response_trailers_to_log: Vec<String>,
    }
}

message! {
    /// Access log of TCP over gRPC.
    EnvoyTcpAlsProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// The log's name.
        log_name: String,
        /// Filter state objects to log.
        filter_state_objects_to_log: Vec<String>,
    }
}

message! {
    /// Access log over OTLP.
    EnvoyOtelAlsProvider {
        /// The service, `[namespace/]host`.
        service: String,
        /// Its port.
        port: u32,
        /// The log's name.
        log_name: String,
        /// The format; none means the default.
        log_format: Option<OtelLogFormat>,
    }
}

message! {
    /// The format of an OTLP log.
    OtelLogFormat {
        /// The body, a text with operators.
        text: String,
        /// Attributes, whose values are operators.
        labels: Struct,
    }
}
