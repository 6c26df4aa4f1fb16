//! Changes of answers made here.

use std::mem::take;

use envoy_types::pb::envoy::config::accesslog::v3 as log;
use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::comparison_filter::Op;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as wire;
use http::StatusCode;
use lateen_proxy_model::{Comparison, LocalReplies, ReplyFilter, ReplyMapper};

use super::at::{At, Refused, nothing_left};
use super::matcher::headers;
use super::mutation::mutations;
use super::template;

/// Builds the changes.
pub(super) fn replies(
    at: &At<'_>,
    mut config: wire::LocalReplyConfig,
) -> Result<LocalReplies, Refused> {
    let place = at.field("body_format");
    let format = config.body_format.take();
    let list = at.field("mappers");
    Ok(LocalReplies {
        mappers: take(&mut config.mappers)
            .into_iter()
            .enumerate()
            .map(|(index, one)| mapper(&list.item(index), one))
            .collect::<Result<_, _>>()?,
        format: format
            .map(|format| template::body_format(&place, format))
            .transpose()?,
    })
}

fn mapper(at: &At<'_>, mut message: wire::ResponseMapper) -> Result<ReplyMapper, Refused> {
    let place = at.field("filter");
    let wanted = message
        .filter
        .take()
        .ok_or_else(|| place.refuse("missing"))?;
    let filter = filter(&place, wanted)?;
    let place = at.field("status_code");
    let status = message
        .status_code
        .take()
        .map(|code| {
            let code = u16::try_from(code.value).ok();
            code.and_then(|code| StatusCode::from_u16(code).ok())
                .filter(|code| (200..600).contains(&code.as_u16()))
                .ok_or_else(|| place.refuse("no HTTP status"))
        })
        .transpose()?;
    let place = at.field("body");
    let body = message
        .body
        .take()
        .map(|body| template::data(&place, body))
        .transpose()?;
    let place = at.field("body_format_override");
    let format = message
        .body_format_override
        .take()
        .map(|format| template::body_format(&place, format))
        .transpose()?;
    let headers = mutations(
        at,
        ("headers_to_add", take(&mut message.headers_to_add)),
        ("", Vec::new()),
    )?;
    nothing_left(at, &message)?;
    Ok(ReplyMapper {
        filter,
        status,
        body,
        format,
        headers,
    })
}

fn filter(at: &At<'_>, message: log::AccessLogFilter) -> Result<ReplyFilter, Refused> {
    match message.filter_specifier {
        Some(FilterSpecifier::StatusCodeFilter(filter)) => {
            let (op, value) = comparison(&at.field("status_code_filter"), filter.comparison)?;
            Ok(ReplyFilter::Status(op, value))
        }
        Some(FilterSpecifier::DurationFilter(filter)) => {
            let (op, value) = comparison(&at.field("duration_filter"), filter.comparison)?;
            Ok(ReplyFilter::Duration(op, value))
        }
        Some(FilterSpecifier::HeaderFilter(filter)) => {
            let at = at.field("header_filter");
            let wanted: Vec<_> = filter.header.into_iter().collect();
            let mut made = headers(&at, &wanted)?;
            let made = made
                .pop()
                .ok_or_else(|| at.field("header").refuse("missing"))?;
            Ok(ReplyFilter::Header(Box::new(made)))
        }
        Some(FilterSpecifier::ResponseFlagFilter(filter)) => {
            let flags = filter.flags.into_iter().map(String::into_boxed_str);
            Ok(ReplyFilter::Flags(flags.collect()))
        }
        Some(FilterSpecifier::AndFilter(all)) => {
            filters(&at.field("and_filter"), all.filters).map(ReplyFilter::All)
        }
        Some(FilterSpecifier::OrFilter(any)) => {
            filters(&at.field("or_filter"), any.filters).map(ReplyFilter::Any)
        }
        Some(other) => {
            let text = format!("{other:?}");
            let name = text.split('(').next().unwrap_or_default();
            Err(at.refuse(format!("{name} is not supported here")))
        }
        None => Err(at.refuse("no condition")),
    }
}

fn filters(at: &At<'_>, all: Vec<log::AccessLogFilter>) -> Result<Vec<ReplyFilter>, Refused> {
    let at = at.field("filters");
    all.into_iter()
        .enumerate()
        .map(|(index, one)| filter(&at.item(index), one))
        .collect()
}

fn comparison(
    at: &At<'_>,
    message: Option<log::ComparisonFilter>,
) -> Result<(Comparison, u64), Refused> {
    let at = at.field("comparison");
    let message = message.ok_or_else(|| at.refuse("missing"))?;
    let op = match message.op() {
        Op::Eq => Comparison::Equal,
        Op::Ge => Comparison::AtLeast,
        Op::Le => Comparison::AtMost,
        Op::Ne => Comparison::NotEqual,
    };
    // There is no runtime that could change the value.
    let value = message
        .value
        .ok_or_else(|| at.field("value").refuse("missing"))?;
    Ok((op, u64::from(value.default_value)))
}
