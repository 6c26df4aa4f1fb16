//! Telemetry.

use super::common::{ATTACHED, DURATION};
use crate::crd::rule::Cel;
use crate::crd::rule::Row::{self, In, On};
use crate::crd::rule::Rule::{self, AtLeast, AtMost, MinLength, Required};
use crate::crd::values::{has, text};

pub(in crate::crd) const TELEMETRY: &[Row] = &[
    In("", ATTACHED),
    In("tracing[].providers[]", PROVIDER),
    On(
        "tracing[].randomSamplingPercentage",
        &[AtLeast(0), AtMost(100)],
    ),
    On("tracing[].customTags{}.literal", &[Required(&["value"])]),
    On("tracing[].customTags{}.literal.value", &[MinLength(1)]),
    On("tracing[].customTags{}.environment", &[Required(&["name"])]),
    On("tracing[].customTags{}.environment.name", &[MinLength(1)]),
    On("tracing[].customTags{}.header", &[Required(&["name"])]),
    On("tracing[].customTags{}.header.name", &[MinLength(1)]),
    On("tracing[].customTags{}.formatter", &[Required(&["value"])]),
    On("tracing[].customTags{}.formatter.value", &[MinLength(1)]),
    In("metrics[].providers[]", PROVIDER),
    On("metrics[].reportingInterval", &[DURATION]),
    On("metrics[].overrides[].match.customMetric", &[MinLength(1)]),
    On(
        "metrics[].overrides[].tagOverrides{}",
        &[VALUE_GIVEN, NO_VALUE],
    ),
    In("accessLogging[].providers[]", PROVIDER),
];

const PROVIDER: &[Row] = &[On("", &[Required(&["name"])]), On("name", &[MinLength(1)])];

const VALUE_GIVEN: Rule = Rule::Cel(Cel {
    rule: "!has(self.operation) || self.operation != 'UPSERT' || (has(self.value) && self.value != '')",
    message: "operation UPSERT needs a value",
    holds: |node| text(node, "operation") != "UPSERT" || !text(node, "value").is_empty(),
});

const NO_VALUE: Rule = Rule::Cel(Cel {
    rule: "!has(self.operation) || self.operation != 'REMOVE' || !has(self.value)",
    message: "operation REMOVE takes no value",
    holds: |node| text(node, "operation") != "REMOVE" || !has(node, "value"),
});
