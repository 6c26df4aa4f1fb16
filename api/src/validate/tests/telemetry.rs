//! Telemetry.

use proptest::prelude::*;

use super::rules::{Rule, changed, changes, check, round_trip};
use crate::object::Kind;
use crate::telemetry::Telemetry;

const RULES: [Rule; 20] = [
    (
        "{selector: {}}",
        &[('W', "spec.selector", "no labels")],
        "{selector: {matchLabels: {app: a}}}",
    ),
    (
        "{selector: {}, targetRef: {kind: Service, name: a}}",
        &[
            ('W', "spec.selector", "no labels"),
            ('E', "spec.targetRefs", "only one of"),
        ],
        "{targetRefs: [{kind: Service, name: a}]}",
    ),
    (
        "{targetRefs: [{kind: Pod, name: a}]}",
        &[('E', "spec.targetRefs[0].kind", "`Pod`")],
        "{targetRef: {kind: Service, name: a}}",
    ),
    (
        "{tracing: [{}, {}]}",
        &[('W', "spec.tracing", "first entry")],
        "{tracing: [{}], metrics: [{}, {}], accessLogging: [{}, {}]}",
    ),
    (
        "{tracing: [{providers: [{name: a}, {name: b}]}]}",
        &[('W', "spec.tracing[0].providers", "first provider")],
        "{tracing: [{providers: [{name: a}]}], metrics: [{providers: [{name: a}, {name: b}]}]}",
    ),
    (
        "{tracing: [{providers: [{}]}]}",
        &[('E', "spec.tracing[0].providers[0].name", "name")],
        "{tracing: [{providers: []}]}",
    ),
    (
        "{metrics: [{providers: [{name: a}, {}]}]}",
        &[('E', "spec.metrics[0].providers[1].name", "name")],
        "{metrics: [{providers: [{name: a}]}]}",
    ),
    (
        "{accessLogging: [{providers: [{name: \"\"}]}]}",
        &[('E', "spec.accessLogging[0].providers[0].name", "name")],
        "{accessLogging: [{providers: [{name: a}, {name: b}]}]}",
    ),
    (
        "{tracing: [{randomSamplingPercentage: 100.1}]}",
        &[('E', "spec.tracing[0].randomSamplingPercentage", "100.1")],
        "{tracing: [{randomSamplingPercentage: 100}]}",
    ),
    (
        "{tracing: [{randomSamplingPercentage: -0.1}]}",
        &[('E', "spec.tracing[0].randomSamplingPercentage", "-0.1")],
        "{tracing: [{randomSamplingPercentage: 0}]}",
    ),
    (
        "{tracing: [{customTags: {\"\": {literal: {value: a}}}}]}",
        &[('E', "spec.tracing[0].customTags[\"\"]", "name")],
        "{tracing: [{customTags: {a: {}, b: {formatter: {}}}}]}",
    ),
    (
        "{tracing: [{customTags: {a.b: {literal: {}}}}]}",
        &[(
            'E',
            "spec.tracing[0].customTags[\"a.b\"].literal.value",
            "value",
        )],
        "{tracing: [{customTags: {a.b: {literal: {value: \" \"}}}}]}",
    ),
    (
        "{tracing: [{customTags: {a: {header: {defaultValue: b}}}}]}",
        &[('E', "spec.tracing[0].customTags.a.header.name", "header")],
        "{tracing: [{customTags: {a: {header: {name: b}}}}]}",
    ),
    (
        "{tracing: [{customTags: {a: {environment: {}}}}]}",
        &[(
            'E',
            "spec.tracing[0].customTags.a.environment.name",
            "variable",
        )],
        "{tracing: [{customTags: {a: {environment: {name: b}}}}]}",
    ),
    (
        "{metrics: [{overrides: [{tagOverrides: {a: {}}}]}]}",
        &[(
            'E',
            "spec.metrics[0].overrides[0].tagOverrides.a.value",
            "UPSERT",
        )],
        "{metrics: [{overrides: [{tagOverrides: {a: {value: no CEL at all}}}]}]}",
    ),
    (
        "{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]}",
        &[(
            'E',
            "spec.metrics[0].overrides[0].tagOverrides.a.value",
            "REMOVE",
        )],
        "{metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE}}}]}]}",
    ),
    (
        "{metrics: [{overrides: [{tagOverrides: {\"\": {value: b}}}]}]}",
        &[(
            'W',
            "spec.metrics[0].overrides[0].tagOverrides[\"\"]",
            "name",
        )],
        "{metrics: [{overrides: [{tagOverrides: {\" \": {value: b}}}]}]}",
    ),
    (
        "{metrics: [{overrides: [{match: {customMetric: \"\"}}]}]}",
        &[(
            'E',
            "spec.metrics[0].overrides[0].match.customMetric",
            "metric",
        )],
        "{metrics: [{overrides: [{match: {mode: CLIENT}}, {match: {metric: ALL_METRICS}}, {}]}]}",
    ),
    (
        "{accessLogging: [{filter: {expression: response.code >=}}]}",
        &[(
            'E',
            "spec.accessLogging[0].filter.expression",
            "not a CEL expression",
        )],
        "{accessLogging: [{filter: {expression: unknown.name >= 400}}]}",
    ),
    (
        "{accessLogging: [{filter: {}}]}",
        &[(
            'E',
            "spec.accessLogging[0].filter.expression",
            "ends where a value",
        )],
        "{accessLogging: [{disabled: true}]}",
    ),
];

#[test]
fn telemetry() {
    check(Kind::Telemetry, &[], &RULES);
}

const SAMPLE: &str = "
  selector: {matchLabels: {app: a}}
  targetRef: {kind: Service, name: a}
  targetRefs: [{kind: Service, name: a}]
  tracing:
  - match: {mode: CLIENT}
    providers: [{name: a}]
    randomSamplingPercentage: 5.5
    disableSpanReporting: false
    customTags:
      a: {literal: {value: a}}
      b: {environment: {name: A, defaultValue: b}}
      c: {header: {name: a, defaultValue: b}}
      d: {formatter: {value: '%A%'}}
    useRequestIdForTraceSampling: false
    enableIstioTags: true
  metrics:
  - providers: [{name: a}]
    overrides:
    - match: {metric: REQUEST_COUNT, mode: SERVER}
      disabled: false
      tagOverrides: {a: {operation: REMOVE}, b: {value: a}}
    - match: {customMetric: a}
    reportingInterval: 5s
  accessLogging:
  - match: {mode: SERVER}
    providers: [{name: a}]
    disabled: true
    filter: {expression: 'a == 1'}
";

proptest! {
    #[test]
    fn any_telemetry_reads_back(changes in changes()) {
        round_trip::<Telemetry>(Kind::Telemetry, changed(SAMPLE, &changes));
    }
}
