//! Any spec of any kind of Istio's: the webhook's rules, the schema's rules, and values of EnvoyFilters.
//!
//! The first byte chooses the kind, so that the fuzzer need not find `apiVersion` and `kind` by itself.
#![no_main]

use std::sync::Arc;

use lateen_api::object::{Kind, ReadOptions, Spec, read_text};
use lateen_api::{crd, validate};
use lateen_xds::envoy_filter::PatchValues;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (choice, spec) = input;
    let kinds: Vec<Kind> = Kind::all().filter(|kind| kind.is_istio()).collect();
    let kind = kinds[usize::from(choice) % kinds.len()];
    let text: Arc<str> = format!(
        "apiVersion: {}\nkind: {kind}\nmetadata: {{name: fuzz}}\nspec:\n{}\n",
        kind.api_version(),
        spec.lines()
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
    )
    .into();
    let options = ReadOptions {
        namespace: "default",
        strict: false,
    };
    for object in read_text("fuzz.yaml", &text, options).objects {
        let faults = validate::validate(&object);
        for fault in faults {
            let _ = fault.problem(&object).to_string();
        }
        if let Some(source) = &object.source {
            let _ = crd::refusals(object.key.kind, &source.node());
        }
        if let Spec::EnvoyFilter(filter) = &object.spec {
            let _ = PatchValues::default().validate(filter);
        }
    }
});
