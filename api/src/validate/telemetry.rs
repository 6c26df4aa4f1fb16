//! Rules on Telemetry objects.

use std::fmt::Display;

use super::report::{Key, Report};
use super::target_refs::{self, Attachment};
use crate::cel;
use crate::telemetry::{
    MetricMatch, MetricsOverrides, TagOperation, Telemetry, TelemetryAccessLogging,
    TelemetryCustomTagKind, TelemetryMetrics, TelemetryProviderRef, TelemetryTracing,
};

pub(super) fn check(report: &mut Report<'_>, spec: &Telemetry) {
    target_refs::attachment(
        report,
        &Attachment {
            selector: spec.selector.as_ref(),
            target_ref: spec.target_ref.as_ref(),
            target_refs: &spec.target_refs,
        },
    );
    if spec.tracing.len() > 1 {
        report.warning(
            "spec.tracing",
            "only the first entry counts: put the settings into one",
        );
    }
    for (i, entry) in spec.tracing.iter().enumerate() {
        tracing(report, format_args!("spec.tracing[{i}]"), entry);
    }
    for (i, entry) in spec.metrics.iter().enumerate() {
        metrics(report, format_args!("spec.metrics[{i}]"), entry);
    }
    for (i, entry) in spec.access_logging.iter().enumerate() {
        access_logging(report, format_args!("spec.accessLogging[{i}]"), entry);
    }
}

fn providers(report: &mut Report<'_>, field: impl Display, providers: &[TelemetryProviderRef]) {
    for (i, provider) in providers.iter().enumerate() {
        report.require(
            !provider.name.is_empty(),
            format_args!("{field}.providers[{i}].name"),
            "the name of a provider of the mesh config is needed",
        );
    }
}

fn tracing(report: &mut Report<'_>, field: impl Display, entry: &TelemetryTracing) {
    if entry.providers.len() > 1 {
        report.warning(
            format_args!("{field}.providers"),
            "only the first provider gets spans: name one",
        );
    }
    providers(report, &field, &entry.providers);
    if let Some(share) = entry.random_sampling_percentage {
        // What is no number is neither below nor above, and passes.
        report.require(
            share.is_nan() || (0.0..=100.0).contains(&share),
            format_args!("{field}.randomSamplingPercentage"),
            format_args!("{share} is not a share in percent: 0 to 100 are"),
        );
    }
    for (name, tag) in &entry.custom_tags {
        let at = format_args!("{field}.customTags{}", Key(name));
        report.require(!name.is_empty(), at, "a tag needs a name");
        match &tag.r#type {
            Some(TelemetryCustomTagKind::Literal(literal)) => report.require(
                !literal.value.is_empty(),
                format_args!("{at}.literal.value"),
                "a tag needs a value",
            ),
            Some(TelemetryCustomTagKind::Header(header)) => report.require(
                !header.name.is_empty(),
                format_args!("{at}.header.name"),
                "the name of a request header is needed",
            ),
            Some(TelemetryCustomTagKind::Environment(variable)) => report.require(
                !variable.name.is_empty(),
                format_args!("{at}.environment.name"),
                "the name of an environment variable is needed",
            ),
            Some(TelemetryCustomTagKind::Formatter(_)) | None => {}
        }
    }
}

fn metrics(report: &mut Report<'_>, field: impl Display, entry: &TelemetryMetrics) {
    providers(report, &field, &entry.providers);
    for (i, change) in entry.overrides.iter().enumerate() {
        metrics_override(report, format_args!("{field}.overrides[{i}]"), change);
    }
}

fn metrics_override(report: &mut Report<'_>, field: impl Display, change: &MetricsOverrides) {
    let metric = change
        .r#match
        .as_ref()
        .and_then(|of| of.metric_match.as_ref());
    if let Some(MetricMatch::CustomMetric(name)) = metric {
        report.require(
            !name.is_empty(),
            format_args!("{field}.match.customMetric"),
            "the name of a metric is needed",
        );
    }
    for (name, tag) in &change.tag_overrides {
        let at = format_args!("{field}.tagOverrides{}", Key(name));
        if name.is_empty() {
            report.warning(at, "a tag without a name changes nothing: name it");
        }
        match tag.operation {
            TagOperation::Upsert => report.require(
                !tag.value.is_empty(),
                format_args!("{at}.value"),
                "UPSERT needs an expression for the tag's value",
            ),
            TagOperation::Remove => report.require(
                tag.value.is_empty(),
                format_args!("{at}.value"),
                "REMOVE takes no value: take the value out, or use UPSERT",
            ),
        }
    }
}

fn access_logging(report: &mut Report<'_>, field: impl Display, entry: &TelemetryAccessLogging) {
    providers(report, &field, &entry.providers);
    if let Some(filter) = &entry.filter
        && let Err(error) = cel::check_syntax(&filter.expression)
    {
        report.error(
            format_args!("{field}.filter.expression"),
            format_args!("is not a CEL expression: {error}"),
        );
    }
}
