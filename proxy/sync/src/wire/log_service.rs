//! Access logs that services take.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3 as grpc;
use envoy_types::pb::envoy::extensions::access_loggers::open_telemetry::v3 as open_telemetry;
use envoy_types::pb::envoy::service::accesslog::v3::stream_access_logs_message::Identifier;
use envoy_types::pb::envoy::r#type::tracing::v3::CustomTag as WireTag;
use envoy_types::pb::google::protobuf as wkt;
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::opentelemetry::proto::common::v1 as common;
use http::HeaderName;
use lateen_proxy_model::ServiceTarget;
use lateen_proxy_telemetry::access_log::{
    EntryExtras, GRPC_STATS, GrpcLog, OTLP_STATS, OtlpLog, ServiceLog, ServiceLogKind, Template,
};
use lateen_proxy_telemetry::otlp::{AnyKind, AnyValue, KeyValue, KeyValueList};
use lateen_xds::any;
use prost::Message;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, number, unpack};
use super::context::{Context, ServiceLogSpec};
use super::tracing;

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const STREAM: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
/// Envoy's defaults.
const PATIENCE: Duration = Duration::from_secs(1);
const ENOUGH: u32 = 16_384;
/// Most headers, and most names of filter state, of one log.
const MAX_NAMES: usize = 128;

/// The log, where the message is of such a kind.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    packed: &Any,
) -> Result<Option<ServiceLogSpec>, Refused> {
    let log = if any::holds::<open_telemetry::OpenTelemetryAccessLogConfig>(packed) {
        otlp(context, at, unpack(at, packed)?)?
    } else if any::holds::<grpc::HttpGrpcAccessLogConfig>(packed) {
        http(context, at, unpack(at, packed)?)?
    } else if any::holds::<grpc::TcpGrpcAccessLogConfig>(packed) {
        let mut message: grpc::TcpGrpcAccessLogConfig = unpack(at, packed)?;
        let settings = settings(
            context,
            &at.field("common_config"),
            message.common_config.take(),
        )?;
        settings.log(GrpcLog {
            tcp: true,
            ..GrpcLog::default()
        })
    } else {
        return Ok(None);
    };
    Ok(Some(ServiceLogSpec {
        log: Arc::new(log),
        source: packed.encode_to_vec(),
    }))
}

/// What the two logs of Envoy's own service have in common.
struct Settings {
    target: ServiceTarget,
    identifier: Vec<u8>,
    extras: EntryExtras,
    batch: (usize, Duration),
}

impl Settings {
    fn log(self, log: GrpcLog) -> ServiceLog {
        ServiceLog {
            target: self.target,
            kind: ServiceLogKind::Grpc(GrpcLog {
                identifier: self.identifier,
                extras: self.extras,
                ..log
            }),
            enough: self.batch.0,
            patience: self.batch.1,
            stats: GRPC_STATS.into(),
        }
    }
}

fn http(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: grpc::HttpGrpcAccessLogConfig,
) -> Result<ServiceLog, Refused> {
    let settings = settings(
        context,
        &at.field("common_config"),
        message.common_config.take(),
    )?;
    let names = |field: &'static str, names: Vec<String>| headers(&at.field(field), names);
    Ok(settings.log(GrpcLog {
        request_headers: names(
            "additional_request_headers_to_log",
            message.additional_request_headers_to_log,
        )?,
        response_headers: names(
            "additional_response_headers_to_log",
            message.additional_response_headers_to_log,
        )?,
        response_trailers: names(
            "additional_response_trailers_to_log",
            message.additional_response_trailers_to_log,
        )?,
        ..GrpcLog::default()
    }))
}

fn settings(
    context: &Context<'_>,
    at: &At<'_>,
    message: Option<grpc::CommonGrpcAccessLogConfig>,
) -> Result<Settings, Refused> {
    let mut message = message.ok_or_else(|| at.refuse("missing"))?;
    // The API is that of version 3, whatever is said: there is no other.
    message.transport_api_version = 0;
    let log_name = take(&mut message.log_name);
    if log_name.is_empty() {
        return Err(at.field("log_name").refuse("missing"));
    }
    let place = at.field("grpc_service");
    let service = message.grpc_service.take();
    let service = service.ok_or_else(|| place.refuse("missing"))?;
    let identifier = Identifier {
        node: Some((*context.node().message).clone()),
        log_name,
    };
    let interval = message.buffer_flush_interval.take();
    let batch = batch(at, interval, message.buffer_size_bytes.take())?;
    let state = take(&mut message.filter_state_objects_to_log);
    let made = Settings {
        target: tracing::grpc(context, &place, service, STREAM)?,
        identifier: identifier.encode_to_vec(),
        extras: extras(at, take(&mut message.custom_tags), state)?,
        batch,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn otlp(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: open_telemetry::OpenTelemetryAccessLogConfig,
) -> Result<ServiceLog, Refused> {
    #[allow(deprecated, reason = "older configurations have it")]
    let older = message.common_config.take();
    let mut older = older.unwrap_or_default();
    let place = at.field("common_config");
    older.transport_api_version = 0;
    let older_service = older.grpc_service.take();
    let log_name = first(take(&mut message.log_name), take(&mut older.log_name));
    let interval = message.buffer_flush_interval.take();
    let size = message.buffer_size_bytes.take();
    let batch = batch(
        at,
        interval.or(older.buffer_flush_interval.take()),
        size.or(older.buffer_size_bytes.take()),
    )?;
    let mut tags = take(&mut message.custom_tags);
    tags.append(&mut older.custom_tags);
    let mut state = take(&mut message.filter_state_objects_to_log);
    state.append(&mut older.filter_state_objects_to_log);
    nothing_left(&place, &older)?;
    let target = match (message.grpc_service.take(), message.http_service.take()) {
        (Some(_), Some(_)) => return Err(at.refuse("both grpc_service and http_service")),
        (Some(one), None) => tracing::grpc(context, &at.field("grpc_service"), one, EXPORT)?,
        (None, Some(one)) => tracing::http_service(context, &at.field("http_service"), one)?,
        (None, None) => {
            let one = older_service;
            let one = one.ok_or_else(|| at.refuse("neither grpc_service nor http_service"))?;
            tracing::grpc(context, &place.field("grpc_service"), one, EXPORT)?
        }
    };
    let stat_prefix = take(&mut message.stat_prefix);
    let dot = if stat_prefix.is_empty() { "" } else { "." };
    // Extensions that add operators: whoever compiles the format knows them or refuses the operator.
    message.formatters.clear();
    let log = OtlpLog {
        resource: resource(context, at, &log_name, &mut message)?,
        body: body(&at.field("body"), message.body.take())?,
        attributes: attributes(&at.field("attributes"), message.attributes.take())?,
        extras: extras(at, tags, state)?,
    };
    nothing_left(at, &message)?;
    Ok(ServiceLog {
        target,
        kind: ServiceLogKind::OpenTelemetry(log),
        enough: batch.0,
        patience: batch.1,
        stats: format!("{OTLP_STATS}{stat_prefix}{dot}").into(),
    })
}

fn first(one: String, other: String) -> String {
    if one.is_empty() { other } else { one }
}

/// Who tells: labels of the node, below what detectors find, below what is configured.
fn resource(
    context: &Context<'_>,
    at: &At<'_>,
    log_name: &str,
    message: &mut open_telemetry::OpenTelemetryAccessLogConfig,
) -> Result<Vec<KeyValue>, Refused> {
    let mut labels = Vec::new();
    if !take(&mut message.disable_builtin_labels) {
        let node = &context.node().message;
        let zone = node.locality.as_ref().map_or("", |place| &place.zone);
        labels.extend([
            ("log_name".into(), log_name.into()),
            ("zone_name".into(), zone.into()),
            ("cluster_name".into(), node.cluster.as_str().into()),
            ("node_name".into(), node.id.as_str().into()),
        ]);
    }
    let list = at.field("resource_detectors");
    let detectors = take(&mut message.resource_detectors);
    for (index, detector) in detectors.into_iter().enumerate() {
        tracing::detect(&list.item(index), detector, &mut labels)?;
    }
    let given = message.resource_attributes.take();
    let given = pairs(&at.field("resource_attributes"), given)?;
    let labels = labels.into_iter().map(|(key, text)| KeyValue {
        key: key.into(),
        value: Some(AnyValue::text(text)),
    });
    let mut made: Vec<KeyValue> = labels
        .filter(|label| given.iter().all(|own| own.key != label.key))
        .collect();
    made.extend(given);
    Ok(made)
}

fn body(at: &At<'_>, value: Option<common::AnyValue>) -> Result<Option<Template>, Refused> {
    let Some(value) = value else {
        return Ok(None);
    };
    let value = AnyValue::decode(&*value.encode_to_vec());
    let value = value.map_err(|error| at.refuse(error.to_string()))?;
    let body = Template::compile(&value).map_err(|error| at.refuse(error.to_string()))?;
    Ok(Some(body))
}

fn attributes(
    at: &At<'_>,
    list: Option<common::KeyValueList>,
) -> Result<Vec<(String, Template)>, Refused> {
    Template::attributes(&pairs(at, list)?).map_err(|error| at.refuse(error.to_string()))
}

/// The same list in this program's own type.
fn pairs(at: &At<'_>, list: Option<common::KeyValueList>) -> Result<Vec<KeyValue>, Refused> {
    let list = list.unwrap_or_default();
    let list = KeyValueList::decode(&*list.encode_to_vec());
    let list = list.map_err(|error| at.refuse(error.to_string()))?;
    let valued = |pair: &KeyValue| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        !matches!(value, None | Some(AnyKind::Bytes(_)))
    };
    match list.values.iter().all(valued) {
        true => Ok(list.values),
        false => Err(at.refuse("values are texts, numbers, lists and maps")),
    }
}

fn extras(at: &At<'_>, tags: Vec<WireTag>, state: Vec<String>) -> Result<EntryExtras, Refused> {
    if state.len() > MAX_NAMES {
        let at = at.field("filter_state_objects_to_log");
        return Err(at.refuse(format!("more than {MAX_NAMES}")));
    }
    let mut tags = tracing::tags(&at.field("custom_tags"), tags)?;
    tags.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(EntryExtras {
        tags,
        filter_state: state.into_iter().map(Into::into).collect(),
    })
}

fn batch(
    at: &At<'_>,
    interval: Option<wkt::Duration>,
    size: Option<wkt::UInt32Value>,
) -> Result<(usize, Duration), Refused> {
    let place = at.field("buffer_flush_interval");
    let interval = duration(&place, interval)?;
    if interval.is_some_and(|interval| interval.is_zero()) {
        return Err(place.refuse("must be above 0"));
    }
    let size = number(size).unwrap_or(ENOUGH) as usize;
    Ok((size, interval.unwrap_or(PATIENCE)))
}

fn headers(at: &At<'_>, names: Vec<String>) -> Result<Box<[HeaderName]>, Refused> {
    if names.len() > MAX_NAMES {
        return Err(at.refuse(format!("more than {MAX_NAMES}")));
    }
    let names = names.into_iter().enumerate().map(|(index, name)| {
        HeaderName::try_from(&name)
            .map_err(|_| at.item(index).refuse(format!("{name:?} is no header")))
    });
    names.collect()
}
