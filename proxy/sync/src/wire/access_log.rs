//! Access logs.

use envoy_types::pb::envoy::config::accesslog::v3 as wire;
use envoy_types::pb::envoy::config::accesslog::v3::access_log::ConfigType;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::substitution_format_string::Format;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3 as file;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::file_access_log::AccessLogFormat as FileFormat;
use envoy_types::pb::envoy::extensions::access_loggers::stream::v3 as stream;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::google::protobuf::{Any, Struct};
use lateen_proxy_model::{AccessLogRef, LogMoments};
use lateen_xds::{any, structs};
use prost::Message;

use super::at::{At, Refused, nothing_left};
use super::common::unpack;
use super::context::{AccessLogFormat, AccessLogSpec, Context, LogFilterSpec, LogOutput};
use super::{log_filter, log_service};

/// Registers each log.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    logs: Vec<wire::AccessLog>,
) -> Result<Vec<AccessLogRef>, Refused> {
    logs.into_iter()
        .enumerate()
        .map(|(index, log)| one(context, &at.item(index), log))
        .collect()
}

/// When requests are logged beside their end.
pub(super) fn moments(
    at: &At<'_>,
    message: &mut HttpConnectionManager,
) -> Result<LogMoments, Refused> {
    #[allow(deprecated, reason = "older configurations use them")]
    let older = (
        message.access_log_flush_interval.take(),
        std::mem::take(&mut message.flush_access_log_on_new_request),
    );
    let (interval, start, connected) = match message.access_log_options.take() {
        None => (older.0, older.1, false),
        Some(options) => (
            options.access_log_flush_interval,
            options.flush_access_log_on_new_request,
            options.flush_log_on_tunnel_successfully_established,
        ),
    };
    let at = at.field("access_log_options");
    if interval.is_some() {
        return Err(at.field("access_log_flush_interval").unsupported());
    }
    if connected {
        let place = at.field("flush_log_on_tunnel_successfully_established");
        return Err(place.unsupported());
    }
    Ok(LogMoments {
        start,
        ..LogMoments::default()
    })
}

fn one(context: &Context<'_>, at: &At<'_>, log: wire::AccessLog) -> Result<AccessLogRef, Refused> {
    let filter = filter(&at.field("filter"), log.filter)?;
    let place = at.field("typed_config");
    let packed = match log.config_type {
        Some(ConfigType::TypedConfig(packed)) => packed,
        None => return Err(place.refuse("missing")),
    };
    let output = match log_service::read(context, &place, &packed)? {
        Some(service) => LogOutput::Service(service),
        None => sink(&place, &log.name, &packed)?,
    };
    context
        .logs()
        .register(AccessLogSpec { output, filter })
        .map_err(|reason| place.refuse(reason))
}

fn filter(
    at: &At<'_>,
    filter: Option<wire::AccessLogFilter>,
) -> Result<Option<LogFilterSpec>, Refused> {
    let Some(filter) = filter else {
        return Ok(None);
    };
    let source = filter.encode_to_vec();
    let filter = log_filter::read(at, filter)?.into();
    Ok(Some(LogFilterSpec { filter, source }))
}

fn sink(at: &At<'_>, name: &str, packed: &Any) -> Result<LogOutput, Refused> {
    let stream_format = |format: Option<core::SubstitutionFormatString>| match format {
        None => Ok((AccessLogFormat::Default, false)),
        Some(format) => substitution(&at.field("log_format"), format),
    };
    let (path, (format, omit_empty)) = if any::holds::<file::FileAccessLog>(packed) {
        let log: file::FileAccessLog = unpack(at, packed)?;
        (log.path, file_format(at, log.access_log_format)?)
    } else if any::holds::<stream::StdoutAccessLog>(packed) {
        use stream::stdout_access_log::AccessLogFormat::LogFormat;
        let log: stream::StdoutAccessLog = unpack(at, packed)?;
        let format = log.access_log_format.map(|LogFormat(format)| format);
        ("/dev/stdout".to_owned(), stream_format(format)?)
    } else if any::holds::<stream::StderrAccessLog>(packed) {
        use stream::stderr_access_log::AccessLogFormat::LogFormat;
        let log: stream::StderrAccessLog = unpack(at, packed)?;
        let format = log.access_log_format.map(|LogFormat(format)| format);
        ("/dev/stderr".to_owned(), stream_format(format)?)
    } else {
        let kind = any::full_name(&packed.type_url);
        return Err(at.refuse(format!("access log {name:?} ({kind}) is not supported")));
    };
    if path.is_empty() {
        return Err(at.field("path").refuse("missing"));
    }
    Ok(LogOutput::File {
        path,
        format,
        omit_empty,
    })
}

fn file_format(
    at: &At<'_>,
    format: Option<FileFormat>,
) -> Result<(AccessLogFormat, bool), Refused> {
    match format {
        None => Ok((AccessLogFormat::Default, false)),
        Some(FileFormat::Format(text)) if text.is_empty() => Ok((AccessLogFormat::Default, false)),
        Some(FileFormat::Format(text)) => Ok((AccessLogFormat::Text(text), false)),
        Some(FileFormat::JsonFormat(fields)) => {
            Ok((json(&at.field("json_format"), &fields)?, false))
        }
        Some(FileFormat::TypedJsonFormat(fields)) => {
            Ok((json(&at.field("typed_json_format"), &fields)?, false))
        }
        Some(FileFormat::LogFormat(format)) => substitution(&at.field("log_format"), format),
    }
}

pub(super) fn substitution(
    at: &At<'_>,
    mut format: core::SubstitutionFormatString,
) -> Result<(AccessLogFormat, bool), Refused> {
    use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
    let omit_empty = std::mem::take(&mut format.omit_empty_values);
    // Fields of a line stand in the order of their names already.
    format.json_format_options = None;
    // Extensions that add operators: whoever compiles the format knows them or refuses the operator.
    format.formatters.clear();
    let made = match format.format.take() {
        None => AccessLogFormat::Default,
        Some(Format::TextFormat(text)) => AccessLogFormat::Text(text),
        Some(Format::JsonFormat(fields)) => json(&at.field("json_format"), &fields)?,
        Some(Format::TextFormatSource(source)) => match source.specifier {
            Some(Specifier::InlineString(text)) => AccessLogFormat::Text(text),
            _ => {
                let at = at.field("text_format_source");
                return Err(at.refuse("only inline_string is supported"));
            }
        },
    };
    nothing_left(at, &format)?;
    Ok((made, omit_empty))
}

fn json(at: &At<'_>, fields: &Struct) -> Result<AccessLogFormat, Refused> {
    structs::to_json(fields)
        .map(AccessLogFormat::Json)
        .map_err(|error| at.refuse(error.to_string()))
}
