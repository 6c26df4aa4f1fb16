//! Access logs: the mesh's file, or the default providers.

use envoy_types::pb::envoy::extensions::access_loggers::file::v3::{
    FileAccessLog, file_access_log,
};
use envoy_types::pb::envoy::extensions::formatter::metadata::v3::Metadata as MetadataFormatter;
use envoy_types::pb::envoy::extensions::formatter::req_without_query::v3::ReqWithoutQuery;
use lateen_api::mesh::{
    AccessLogEncoding, EnvoyFileAccessLogProvider, FileLogFormatKind, MeshConfig, Provider,
};

use crate::pb::accesslog::{
    AccessLog, AccessLogFilter, ResponseFlagFilter, access_log, access_log_filter,
};
use crate::pb::core::{
    DataSource, SubstitutionFormatString, TypedExtensionConfig, data_source,
    substitution_format_string,
};
use crate::pb::{Struct, Value};
use crate::wire::{pack, struct_of, text_value};

/// The default text format, one line a request or connection.
const TEXT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% \
%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" \
%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \
\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% \
%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/// The default JSON format.
const JSON: [(&str, &str); 23] = [
    ("authority", "%REQ(:AUTHORITY)%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    (
        "connection_termination_details",
        "%CONNECTION_TERMINATION_DETAILS%",
    ),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("duration", "%DURATION%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("route_name", "%ROUTE_NAME%"),
    ("start_time", "%START_TIME%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    (
        "upstream_service_time",
        "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    ),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("user_agent", "%REQ(USER-AGENT)%"),
];

/// Logs of requests and connections.
pub(crate) fn logs(config: &MeshConfig) -> Vec<AccessLog> {
    let named = config
        .default_providers
        .as_ref()
        .map(|providers| &providers.access_logging)
        .filter(|names| !names.is_empty());
    match named {
        Some(names) => names
            .iter()
            .filter_map(|name| provider(config, name))
            .collect(),
        None if config.access_log_file.is_empty() => Vec::new(),
        None => vec![file(&config.access_log_file, mesh_format(config), false)],
    }
}

/// Logs of connections that no chain or route took, as a listener writes them.
pub(crate) fn listener_logs(config: &MeshConfig) -> Vec<AccessLog> {
    if config.disable_envoy_listener_log {
        return Vec::new();
    }
    let filter = AccessLogFilter {
        filter_specifier: Some(access_log_filter::FilterSpecifier::ResponseFlagFilter(
            ResponseFlagFilter {
                flags: vec!["NR".into()],
            },
        )),
    };
    logs(config)
        .into_iter()
        .map(|log| AccessLog {
            filter: Some(filter.clone()),
            ..log
        })
        .collect()
}

/// What of the default providers cannot be done: names of nothing, and services that take logs.
pub(crate) fn problems(config: &MeshConfig) -> Vec<(String, String)> {
    let Some(providers) = &config.default_providers else {
        return Vec::new();
    };
    let mut out = Vec::new();
    for (at, name) in providers.access_logging.iter().enumerate() {
        if provider(config, name).is_none() {
            let reason = format!(
                "`{name}` is no provider of file access logs: name `envoy` or one of kind envoyFileAccessLog"
            );
            out.push((format!("defaultProviders.accessLogging[{at}]"), reason));
        }
    }
    for (at, name) in providers.tracing.iter().enumerate() {
        out.push((
            format!("defaultProviders.tracing[{at}]"),
            format!("tracing provider `{name}` is not supported: no spans are exported"),
        ));
    }
    out
}

enum Format {
    Text(String),
    Json(Struct),
}

fn provider(config: &MeshConfig, name: &str) -> Option<AccessLog> {
    let declared = config
        .extension_providers
        .iter()
        .find(|provider| provider.name == name);
    match declared.map(|declared| &declared.provider) {
        Some(Some(Provider::EnvoyFileAccessLog(provider))) => Some(of_provider(config, provider)),
        None if name == "envoy" => Some(file("/dev/stdout", mesh_format(config), false)),
        _ => None,
    }
}

fn of_provider(config: &MeshConfig, provider: &EnvoyFileAccessLogProvider) -> AccessLog {
    let format = match provider
        .log_format
        .as_ref()
        .and_then(|format| format.log_format.as_ref())
    {
        Some(FileLogFormatKind::Text(text)) if !text.is_empty() => Format::Text(line(text)),
        Some(FileLogFormatKind::Labels(labels)) => Format::Json(json(labels)),
        _ => mesh_format(config),
    };
    let path = if provider.path.is_empty() {
        "/dev/stdout"
    } else {
        &provider.path
    };
    file(path, format, provider.omit_empty_values)
}

fn mesh_format(config: &MeshConfig) -> Format {
    let custom = Some(config.access_log_format.as_str()).filter(|text| !text.is_empty());
    match (config.access_log_encoding, custom) {
        (AccessLogEncoding::Text, Some(text)) => Format::Text(line(text)),
        (AccessLogEncoding::Text, None) => Format::Text(TEXT.to_owned()),
        (AccessLogEncoding::Json, custom) => {
            let parsed =
                custom.and_then(|text| serde_json::from_str::<serde_json::Map<_, _>>(text).ok());
            match parsed {
                Some(fields) => Format::Json(json(&fields)),
                None => Format::Json(default_json()),
            }
        }
    }
}

fn default_json() -> Struct {
    let mut fields: Vec<(&str, Value)> = JSON
        .iter()
        .map(|(key, token)| (*key, text_value(*token)))
        .collect();
    fields.push(("x_forwarded_for", text_value("%REQ(X-FORWARDED-FOR)%")));
    struct_of(fields)
}

fn json(fields: &serde_json::Map<String, serde_json::Value>) -> Struct {
    lateen_xds::structs::from_json(&serde_json::Value::Object(fields.clone())).unwrap_or_default()
}

fn line(text: &str) -> String {
    if text.ends_with('\n') {
        text.to_owned()
    } else {
        format!("{text}\n")
    }
}

fn file(path: &str, format: Format, omit_empty_values: bool) -> AccessLog {
    let (text, format) = match format {
        Format::Text(text) => {
            let source = DataSource {
                specifier: Some(data_source::Specifier::InlineString(text.clone())),
                ..Default::default()
            };
            (
                text,
                substitution_format_string::Format::TextFormatSource(source),
            )
        }
        Format::Json(fields) => (
            format!("{fields:?}"),
            substitution_format_string::Format::JsonFormat(fields),
        ),
    };
    let log_format = SubstitutionFormatString {
        omit_empty_values,
        formatters: formatters(&text),
        format: Some(format),
        ..Default::default()
    };
    let config = FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(log_format)),
    };
    AccessLog {
        name: "envoy.access_loggers.file".into(),
        config_type: Some(access_log::ConfigType::TypedConfig(pack(&config))),
        filter: None,
    }
}

/// Extensions that tokens of the format need.
fn formatters(format: &str) -> Vec<TypedExtensionConfig> {
    let extension = |name: &str, config| TypedExtensionConfig {
        name: name.into(),
        typed_config: Some(config),
    };
    let mut out = Vec::new();
    if format.contains("%REQ_WITHOUT_QUERY") {
        out.push(extension(
            "envoy.formatter.req_without_query",
            pack(&ReqWithoutQuery {}),
        ));
    }
    if format.contains("%METADATA(") {
        out.push(extension(
            "envoy.formatter.metadata",
            pack(&MetadataFormatter {}),
        ));
    }
    out
}
