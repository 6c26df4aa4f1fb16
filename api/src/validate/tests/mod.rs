//! What the webhook says of objects, kind by kind.

mod cases;
mod destination_rule;
mod destination_rule_settings;
mod extensions;
mod gateway;
mod hostile;
mod mesh;
mod mutation;
mod rules;
mod security;
mod service_entry;
mod sidecar;
mod telemetry;
mod values;
mod virtual_service;
mod workload;

use super::{Fault, validate};
use crate::object::{ReadOptions, read_text};

/// The faults of the one object of a text, which is read as leniently as the webhook reads it.
fn faults(text: &str) -> Vec<Fault> {
    let options = ReadOptions {
        namespace: "shop",
        strict: false,
    };
    let parsed = read_text("a.yaml", &text.into(), options);
    let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new(), "{text}");
    let [object] = parsed.objects.as_slice() else {
        panic!("one object is needed: {text}");
    };
    validate(object)
}
