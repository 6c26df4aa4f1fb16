//! The `istio.stats` filter.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::google::protobuf::{Any, Struct};
use lateen_proxy_model::cel::Expression;
use lateen_proxy_model::{MetricOverrides, MetricRule, StatsFilter};
use lateen_xds::pb::stats::{MetricConfig, PluginConfig};
use lateen_xds::{any, structs};
use prost::Name;
use serde_json::{Map, Value};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, unpack};
use super::metadata_exchange::{only, structured};

/// Most changes of a filter, and most tags of one.
const MAX_RULES: usize = 256;

/// Metrics that may be named.
const METRICS: [&str; 10] = [
    "requests_total",
    "request_duration_milliseconds",
    "request_bytes",
    "response_bytes",
    "request_messages_total",
    "response_messages_total",
    "tcp_connections_opened_total",
    "tcp_connections_closed_total",
    "tcp_sent_bytes_total",
    "tcp_received_bytes_total",
];

/// The filter, for HTTP and TCP alike; `None` when the message is something else.
pub(super) fn filter(at: &At<'_>, packed: &Any) -> Result<Option<StatsFilter>, Refused> {
    let config = if let Some((name, fields)) = structured(at, packed)? {
        if name != PluginConfig::full_name() {
            return Ok(None);
        }
        of_struct(at, &fields)?
    } else if any::holds::<PluginConfig>(packed) {
        unpack(at, packed)?
    } else {
        return Ok(None);
    };
    compile(at, config).map(Some)
}

fn compile(at: &At<'_>, mut config: PluginConfig) -> Result<StatsFilter, Refused> {
    let disabled = std::mem::take(&mut config.disable_host_header_fallback);
    let place = at.field("tcp_reporting_duration");
    let interval = duration(&place, config.tcp_reporting_duration.take())?;
    let list = at.field("metrics");
    let metrics = std::mem::take(&mut config.metrics);
    if metrics.len() > MAX_RULES {
        return Err(list.refuse(format!("more than {MAX_RULES}")));
    }
    let mut rules = Vec::with_capacity(metrics.len());
    for (index, metric) in metrics.into_iter().enumerate() {
        rules.push(rule(&list.item(index), metric)?);
    }
    // Series are bounded in number and stay: zero, the default, says the same.
    for unset in [
        &mut config.rotation_interval,
        &mut config.graceful_deletion_interval,
    ] {
        unset.take_if(|time| time.seconds == 0 && time.nanos == 0);
    }
    nothing_left(at, &config)?;
    Ok(StatsFilter {
        host_header_fallback: !disabled,
        overrides: (!rules.is_empty()).then(|| Arc::new(MetricOverrides { rules })),
        report_interval: interval.filter(|time| *time >= Duration::from_millis(100)),
    })
}

fn rule(at: &At<'_>, metric: MetricConfig) -> Result<MetricRule, Refused> {
    if !metric.name.is_empty() && !METRICS.contains(&metric.name.as_str()) {
        let text = format!("no standard metric {:?}", metric.name);
        return Err(at.field("name").refuse(text));
    }
    if metric.dimensions.len() > MAX_RULES {
        let text = format!("more than {MAX_RULES}");
        return Err(at.field("dimensions").refuse(text));
    }
    let expression = |at: &At<'_>, text: &str| {
        Expression::compile(text).map_err(|error| at.refuse(error.to_string()))
    };
    let mut tags = Vec::with_capacity(metric.dimensions.len());
    for (name, text) in metric.dimensions {
        let place = at.field("dimensions");
        if !is_label(&name) {
            return Err(place.key(&name).refuse("no name of a label"));
        }
        tags.push((name.as_str().into(), expression(&place.key(&name), &text)?));
    }
    let condition = match metric.r#match.is_empty() {
        true => None,
        false => Some(expression(&at.field("match"), &metric.r#match)?),
    };
    Ok(MetricRule {
        metric: (!metric.name.is_empty()).then(|| metric.name.into()),
        drop: metric.drop,
        tags,
        remove: metric.tags_to_remove.into_iter().map(Into::into).collect(),
        condition,
    })
}

fn is_label(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The same of a `TypedStruct`, whose names may be written in either way.
fn of_struct(at: &At<'_>, fields: &Struct) -> Result<PluginConfig, Refused> {
    let known = [
        "disable_host_header_fallback",
        "disableHostHeaderFallback",
        "tcp_reporting_duration",
        "tcpReportingDuration",
        "metrics",
    ];
    only(at, fields, &known)?;
    let json = structs::to_json(fields).map_err(|error| at.refuse(error.to_string()))?;
    let empty = Map::new();
    let fields = json.as_object().unwrap_or(&empty);
    let value = |one: &str, other: &str| fields.get(one).or_else(|| fields.get(other));
    let mut config = PluginConfig {
        disable_host_header_fallback: value(
            "disable_host_header_fallback",
            "disableHostHeaderFallback",
        ) == Some(&Value::Bool(true)),
        ..PluginConfig::default()
    };
    if let Some(text) = value("tcp_reporting_duration", "tcpReportingDuration") {
        let seconds = text.as_str().and_then(|text| text.strip_suffix('s'));
        let seconds: Option<f64> = seconds.and_then(|text| text.parse().ok());
        let time = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
        let place = at.field("tcp_reporting_duration");
        let time = time.ok_or_else(|| place.refuse("no duration"))?;
        config.tcp_reporting_duration = Some(envoy_types::pb::google::protobuf::Duration {
            seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
        });
    }
    let list = at.field("metrics");
    let metrics = fields.get("metrics").and_then(Value::as_array);
    for (index, metric) in metrics.into_iter().flatten().enumerate() {
        let at = list.item(index);
        let metric = metric.as_object().ok_or_else(|| at.refuse("no object"))?;
        config.metrics.push(metric_of(&at, metric)?);
    }
    Ok(config)
}

fn metric_of(at: &At<'_>, fields: &Map<String, Value>) -> Result<MetricConfig, Refused> {
    let mut metric = MetricConfig::default();
    for (name, value) in fields {
        let place = at.field(name);
        let wrong = || place.refuse("a value of another type is expected");
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(wrong);
        match name.as_str() {
            "name" => metric.name = text(value)?,
            "match" => metric.r#match = text(value)?,
            "drop" => metric.drop = value.as_bool().ok_or_else(wrong)?,
            "tags_to_remove" | "tagsToRemove" => {
                for tag in value.as_array().ok_or_else(wrong)? {
                    metric.tags_to_remove.push(text(tag)?);
                }
            }
            "dimensions" => {
                for (tag, expression) in value.as_object().ok_or_else(wrong)? {
                    metric.dimensions.insert(tag.clone(), text(expression)?);
                }
            }
            _ => return Err(place.unsupported()),
        }
    }
    Ok(metric)
}
