//! Tables of specs and what is said of them.

use crate::object::{Object, ReadOptions, read_text};
use crate::validate::{Fault, validate};

/// A spec, and each of its faults in order: `E field: part of the message`, or `W …` for a warning.
pub(super) type Case<'a> = (&'a str, &'a [&'a str]);

/// An object of a kind, from what stands in its metadata and its spec.
pub(super) fn object(kind: &str, metadata: &str, spec: &str) -> Object {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {metadata}\nspec: {spec}\n"
    );
    let options = ReadOptions {
        namespace: "shop",
        strict: false,
    };
    let mut parsed = read_text("case.yaml", &text.as_str().into(), options);
    assert_eq!(parsed.problems, [], "{text}");
    parsed.objects.pop().expect(&text)
}

/// Judges specs of a kind.
pub(super) fn judge(kind: &str, cases: &[Case<'_>]) {
    judge_within(kind, "@", "spec", cases);
}

/// Judges specs that stand at the `@` of `around`, where the faults' fields begin with `prefix`.
pub(super) fn judge_within(kind: &str, around: &str, prefix: &str, cases: &[Case<'_>]) {
    for (spec, expected) in cases {
        let object = object(kind, "{name: case}", &around.replace('@', spec));
        compare(&validate(&object), prefix, expected, spec);
    }
}

/// Judges one object with metadata of its own.
pub(super) fn judge_with(kind: &str, metadata: &str, spec: &str, expected: &[&str]) {
    let about = format!("{metadata} {spec}");
    compare(
        &validate(&object(kind, metadata, spec)),
        "",
        expected,
        &about,
    );
}

fn compare(faults: &[Fault], prefix: &str, expected: &[&str], about: &str) {
    let said: Vec<String> = faults
        .iter()
        .map(|fault| {
            let verdict = if fault.is_refusal() { "E" } else { "W" };
            let field = fault.field.strip_prefix(prefix).unwrap_or(&fault.field);
            format!("{verdict} {field}: {}", fault.message)
        })
        .collect();
    let fits = said.len() == expected.len()
        && said.iter().zip(expected).all(|(said, expected)| {
            let (place, part) = expected.split_once(": ").expect(expected);
            said.split_once(": ")
                .is_some_and(|(at, message)| at == place && message.contains(part))
        });
    assert!(fits, "{about}\nsaid: {said:#?}\nexpected: {expected:#?}");
}
