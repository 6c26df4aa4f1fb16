//! Texts with format operators, compiled by the access log's formatter.

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use http::HeaderValue;
use lateen_proxy_model::{BodyFormat, HeaderText, Template};
use lateen_proxy_telemetry::Format;

use super::access_log;
use super::at::{At, Refused};
use super::context::AccessLogFormat;

/// A text for headers, paths and hosts: operators without value give nothing.
pub(super) fn text(at: &At<'_>, text: &str) -> Result<HeaderText, Refused> {
    let format = compile(at, text)?;
    match format.as_literal() {
        Some(literal) => HeaderValue::from_bytes(literal.as_bytes())
            .map(HeaderText::Literal)
            .map_err(|_| at.refuse("holds bytes no header may have")),
        None => Ok(HeaderText::Template(Template::new(format))),
    }
}

/// A text for paths and hosts. `omit`: operators without value give nothing, and a dash otherwise.
pub(super) fn template(at: &At<'_>, text: &str, omit: bool) -> Result<Template, Refused> {
    compile(at, text).map(|format| Template::new(format.omit_empty(omit)))
}

fn compile(at: &At<'_>, text: &str) -> Result<Format, Refused> {
    let format = Format::text(text).map_err(|error| at.refuse(error.to_string()))?;
    Ok(format.omit_empty(true))
}

/// How a body is written.
pub(super) fn body_format(
    at: &At<'_>,
    mut message: core::SubstitutionFormatString,
) -> Result<BodyFormat, Refused> {
    let content_type = std::mem::take(&mut message.content_type);
    let (format, omit_empty) = access_log::substitution(at, message)?;
    let (format, default_type) = match format {
        AccessLogFormat::Text(text) => (Format::text(&text), "text/plain"),
        AccessLogFormat::Json(serde_json::Value::Object(fields)) => {
            (Format::json(&fields), "application/json")
        }
        AccessLogFormat::Json(_) | AccessLogFormat::Default => {
            return Err(at.refuse("no format"));
        }
    };
    let format = format.map_err(|error| at.refuse(error.to_string()))?;
    let content_type = match content_type.is_empty() {
        true => HeaderText::Literal(HeaderValue::from_static(default_type)),
        // No format: as it stands.
        false => HeaderText::Literal(HeaderValue::try_from(&content_type).map_err(|_| {
            at.field("content_type")
                .refuse("holds bytes no header may have")
        })?),
    };
    Ok(BodyFormat {
        text: Template::new(format.omit_empty(omit_empty)),
        content_type,
    })
}

/// The bytes of a data source; files and variables are read once, when the configuration arrives.
pub(super) fn data(at: &At<'_>, source: core::DataSource) -> Result<Bytes, Refused> {
    use core::data_source::Specifier;
    match source.specifier {
        None => Ok(Bytes::new()),
        Some(Specifier::InlineString(text)) => Ok(text.into()),
        Some(Specifier::InlineBytes(bytes)) => Ok(bytes.into()),
        Some(Specifier::Filename(path)) => {
            let at = at.field("filename");
            let read = super::common::file(&path).map(Bytes::from);
            read.map_err(|error| at.refuse(error.to_string()))
        }
        Some(Specifier::EnvironmentVariable(name)) => {
            let at = at.field("environment_variable");
            let value = std::env::var(&name).map_err(|error| at.refuse(error.to_string()))?;
            Ok(value.into())
        }
    }
}
