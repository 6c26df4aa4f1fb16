//! Filters of access logs.

use std::sync::Arc;

use envoy_types::pb::envoy::config::accesslog::v3 as wire;
use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::comparison_filter::Op;
use envoy_types::pb::envoy::config::accesslog::v3::extension_filter::ConfigType;
use envoy_types::pb::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::matcher::v3::metadata_matcher::path_segment::Segment;
use envoy_types::pb::envoy::r#type::matcher::v3::value_matcher::MatchPattern;
use envoy_types::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use lateen_proxy_model::cel::Expression;
use lateen_proxy_model::{Share, StringMatcher};
use lateen_proxy_telemetry::{CompareOp, Comparison, Flags, LogFilter};
use lateen_xds::any;

use super::at::{At, Refused};
use super::common::{flag, unpack};
use super::matcher::{headers, string};

/// Deepest nesting of filters, and most of one list.
const MAX_DEPTH: usize = 16;
const MAX_LIST: usize = 64;

/// Compiles a filter.
pub(super) fn read(at: &At<'_>, filter: wire::AccessLogFilter) -> Result<LogFilter, Refused> {
    one(at, filter, 0)
}

fn one(at: &At<'_>, filter: wire::AccessLogFilter, depth: usize) -> Result<LogFilter, Refused> {
    if depth > MAX_DEPTH {
        return Err(at.refuse("nested too deep"));
    }
    let specifier = filter
        .filter_specifier
        .ok_or_else(|| at.refuse("missing"))?;
    Ok(match specifier {
        FilterSpecifier::StatusCodeFilter(filter) => {
            let at = at.field("status_code_filter");
            LogFilter::Status(comparison(&at, filter.comparison)?)
        }
        FilterSpecifier::DurationFilter(filter) => {
            let at = at.field("duration_filter");
            LogFilter::Duration(comparison(&at, filter.comparison)?)
        }
        FilterSpecifier::NotHealthCheckFilter(_) => LogFilter::NotHealthCheck,
        FilterSpecifier::TraceableFilter(_) => LogFilter::Traceable,
        FilterSpecifier::RuntimeFilter(filter) => runtime(at, filter)?,
        FilterSpecifier::AndFilter(filter) => {
            LogFilter::And(list(&at.field("and_filter"), filter.filters, depth)?)
        }
        FilterSpecifier::OrFilter(filter) => {
            LogFilter::Or(list(&at.field("or_filter"), filter.filters, depth)?)
        }
        FilterSpecifier::HeaderFilter(filter) => {
            let at = at.field("header_filter");
            let wanted = filter.header.ok_or_else(|| at.refuse("missing"))?;
            let made = headers(&at.field("header"), &[wanted])?;
            let made = made
                .into_iter()
                .next()
                .ok_or_else(|| at.refuse("missing"))?;
            LogFilter::Header(Arc::new(made))
        }
        FilterSpecifier::ResponseFlagFilter(filter) => {
            LogFilter::Flags(flags(&at.field("response_flag_filter"), &filter.flags)?)
        }
        FilterSpecifier::GrpcStatusFilter(filter) => LogFilter::GrpcStatus {
            codes: bits(&filter.statuses),
            exclude: filter.exclude,
        },
        FilterSpecifier::ExtensionFilter(filter) => extension(at, filter)?,
        FilterSpecifier::MetadataFilter(filter) => metadata(&at.field("metadata_filter"), filter)?,
        FilterSpecifier::LogTypeFilter(filter) => LogFilter::LogType {
            types: bits(&filter.types),
            exclude: filter.exclude,
        },
    })
}

fn list(
    at: &At<'_>,
    filters: Vec<wire::AccessLogFilter>,
    depth: usize,
) -> Result<Vec<LogFilter>, Refused> {
    let list = at.field("filters");
    if filters.len() > MAX_LIST {
        return Err(list.refuse(format!("more than {MAX_LIST}")));
    }
    filters
        .into_iter()
        .enumerate()
        .map(|(index, filter)| one(&list.item(index), filter, depth + 1))
        .collect()
}

/// There is no runtime that could change the number: its default counts.
fn comparison(at: &At<'_>, filter: Option<wire::ComparisonFilter>) -> Result<Comparison, Refused> {
    let at = at.field("comparison");
    let filter = filter.ok_or_else(|| at.refuse("missing"))?;
    Ok(Comparison {
        op: match filter.op() {
            Op::Eq => CompareOp::Equal,
            Op::Ge => CompareOp::AtLeast,
            Op::Le => CompareOp::AtMost,
            Op::Ne => CompareOp::NotEqual,
        },
        value: filter.value.map_or(0, |value| value.default_value.into()),
    })
}

fn runtime(at: &At<'_>, filter: wire::RuntimeFilter) -> Result<LogFilter, Refused> {
    let at = at.field("runtime_filter");
    let share = filter.percent_sampled.unwrap_or_default();
    let denominator = match share.denominator() {
        DenominatorType::Hundred => 100,
        DenominatorType::TenThousand => 10_000,
        DenominatorType::Million => 1_000_000,
    };
    if share.numerator > denominator {
        return Err(at.field("percent_sampled").refuse("more than 100 percent"));
    }
    Ok(LogFilter::Share {
        share: Share {
            numerator: share.numerator,
            denominator,
        },
        random: filter.use_independent_randomness,
    })
}

fn flags(at: &At<'_>, names: &[String]) -> Result<Flags, Refused> {
    if names.is_empty() {
        return Ok(Flags::ALL);
    }
    let list = at.field("flags");
    let mut all = Flags::NONE;
    for (index, name) in names.iter().enumerate() {
        let flag = Flags::from_short(name).ok_or_else(|| {
            let at = list.item(index);
            at.refuse(format!("response flag {name:?} is not known"))
        })?;
        all.insert(flag);
    }
    Ok(all)
}

fn bits(numbers: &[i32]) -> u32 {
    numbers.iter().fold(0, |bits, number| {
        let bit = u32::try_from(*number)
            .ok()
            .and_then(|it| 1_u32.checked_shl(it));
        bits | bit.unwrap_or(0)
    })
}

fn extension(at: &At<'_>, filter: wire::ExtensionFilter) -> Result<LogFilter, Refused> {
    let at = at.field("extension_filter");
    let at = at.field("typed_config");
    let Some(ConfigType::TypedConfig(packed)) = filter.config_type else {
        return Err(at.refuse("missing"));
    };
    if !any::holds::<ExpressionFilter>(&packed) {
        let kind = any::full_name(&packed.type_url);
        return Err(at.refuse(format!("{kind} is not supported")));
    }
    let filter: ExpressionFilter = unpack(&at, &packed)?;
    if filter.cel_config.is_some() {
        return Err(at.field("cel_config").unsupported());
    }
    let at = at.field("expression");
    Expression::compile(&filter.expression)
        .map(|expression| LogFilter::Cel(Arc::new(expression)))
        .map_err(|error| at.refuse(error.to_string()))
}

fn metadata(at: &At<'_>, filter: wire::MetadataFilter) -> Result<LogFilter, Refused> {
    let absent = flag(filter.match_if_key_not_found, true);
    let at = at.field("matcher");
    let wanted = filter.matcher.ok_or_else(|| at.refuse("missing"))?;
    let mut path = Vec::new();
    for segment in wanted.path {
        let Some(Segment::Key(key)) = segment.segment else {
            return Err(at.field("path").refuse("only keys are supported"));
        };
        path.push(key.into());
    }
    let value = wanted.value.unwrap_or_default();
    Ok(LogFilter::Metadata {
        namespace: wanted.filter.into(),
        path: path.into(),
        value: value_matcher(&at.field("value"), value)?,
        invert: wanted.invert,
        absent,
    })
}

fn value_matcher(
    at: &At<'_>,
    value: matcher::ValueMatcher,
) -> Result<Option<StringMatcher>, Refused> {
    Ok(match value.match_pattern {
        Some(MatchPattern::StringMatch(wanted)) => Some(string(at, &wanted)?),
        Some(MatchPattern::BoolMatch(wanted)) => Some(StringMatcher::Exact {
            value: wanted.to_string().into(),
            ignore_case: false,
        }),
        Some(MatchPattern::PresentMatch(true)) => None,
        _ => {
            return Err(at.refuse("only string_match, bool_match and present_match are supported"));
        }
    })
}
