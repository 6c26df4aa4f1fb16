//! Tables of rules: for each one input that breaks it, and one that just keeps it; and objects of any kind with odd values.

use std::fmt::Debug;

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::object::{Kind, Metadata, Object, ObjectKey, ReadOptions, Spec, read_text};
use crate::validate::{Fault, validate};

/// What is said of an input: `E` for an error or `W` for a warning, the field, and a part of the message.
pub(super) type Said = (char, &'static str, &'static str);

/// A spec that breaks a rule, what is said of it, and a spec that nearly breaks it.
pub(super) type Rule = (&'static str, &'static [Said], &'static str);

/// The faults of an object with a spec, and with annotations.
pub(super) fn judge(kind: Kind, annotations: &str, spec: &str) -> Vec<Fault> {
    let body: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let text = format!(
        "apiVersion: {}\nkind: {kind}\nmetadata: {{name: x, namespace: ns, annotations: {{{annotations}}}}}\nspec:\n{body}",
        kind.api_version()
    );
    let options = ReadOptions {
        namespace: "ns",
        strict: false,
    };
    let parsed = read_text("x.yaml", &text.as_str().into(), options);
    let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new(), "{spec}");
    assert_eq!(parsed.objects.len(), 1, "{spec}");
    validate(&parsed.objects[0])
}

/// Asserts that exactly these faults were found.
pub(super) fn assert_said(input: &str, faults: &[Fault], said: &[Said]) {
    let listed = || {
        let lines = faults.iter().map(|fault| {
            let severity = if fault.is_refusal() { 'E' } else { 'W' };
            format!("\n  {severity} {}: {}", fault.field, fault.message)
        });
        lines.collect::<String>()
    };
    assert_eq!(faults.len(), said.len(), "{input}{}", listed());
    for (severity, field, fragment) in said {
        let found = faults.iter().any(|fault| {
            fault.is_refusal() == (*severity == 'E')
                && fault.field == *field
                && fault.message.contains(fragment)
        });
        assert!(
            found,
            "{input}: {severity} {field}: {fragment} in{}",
            listed()
        );
    }
}

/// Checks a table of rules; `always` is said of every object of the kind.
pub(super) fn check(kind: Kind, always: &[Said], rules: &[Rule]) {
    for (bad, said, good) in rules {
        // An object that is refused at once gets no warning at all.
        let mut all = said.to_vec();
        if !said
            .iter()
            .any(|(_, _, fragment)| fragment.contains("does not select"))
        {
            all.extend(always);
        }
        assert_said(bad, &judge(kind, "", bad), &all);
        assert_said(good, &judge(kind, "", good), always);
    }
}

/// A change of one value in a sample.
#[derive(Debug, Clone)]
pub(super) struct Change {
    at: usize,
    value: Value,
}

/// Changes with values that fields may or may not take.
pub(super) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let odd = prop::sample::select(vec![
        "",
        "*",
        "/",
        "a/b",
        "*a*",
        "{*}",
        "{**}/{*}",
        "%",
        "::1",
        "10.0.0.0/8",
        "999999999999",
        "a[b]",
        "\u{0}",
        "é",
        "unix://",
        "http://[",
        "(((",
        "'",
        "{\"keys\":[{}]}",
        "1ms",
        "-1s",
    ]);
    let value = prop_oneof![
        odd.prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(json!([])),
        Just(json!({})),
        Just(json!([{}, {}])),
        Just(json!({"": {}, "a.b": {}})),
    ];
    let change = (any::<usize>(), value).prop_map(|(at, value)| Change { at, value });
    prop::collection::vec(change, 1..6)
}

/// A sample with changes.
pub(super) fn changed(sample: &str, changes: &[Change]) -> Value {
    let options = ReadOptions {
        namespace: "ns",
        strict: false,
    };
    let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\nspec:\n{sample}");
    let parsed = read_text("x.yaml", &text.as_str().into(), options);
    let source = parsed.objects[0].source.as_ref().expect("a source");
    let node = source.node();
    let mut value: Value = crate::yaml::read(node.get("spec").expect("a spec")).expect("a sample");
    for change in changes {
        let count = values_in(&mut value, usize::MAX, &Value::Null);
        values_in(&mut value, change.at % count, &change.value);
    }
    value
}

/// Counts values, and replaces the one with a number.
fn values_in(value: &mut Value, number: usize, new: &Value) -> usize {
    if number == 0 {
        *value = new.clone();
        return 1;
    }
    let mut count = 1;
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    for child in children {
        count += values_in(child, number.wrapping_sub(count), new);
        if count > number {
            break;
        }
    }
    count
}

/// Whatever is read as a spec is written so that it reads back equal, and has a verdict.
pub(super) fn round_trip<T>(kind: Kind, value: Value)
where
    T: Serialize + DeserializeOwned + Into<Spec> + PartialEq + Debug + Clone,
{
    let Ok(spec) = serde_json::from_value::<T>(value) else {
        return;
    };
    let written = serde_json::to_value(&spec).expect("JSON");
    let again: T = serde_json::from_value(written.clone()).expect("what was written");
    assert_eq!(again, spec, "{written}");
    let object = Object {
        key: ObjectKey::new(kind, "ns", "x"),
        meta: Metadata::default(),
        spec: spec.into(),
        status: None,
        source: None,
    };
    let _ = validate(&object);
}
