//! Any text as the whole configuration of a mesh.
#![no_main]

use std::sync::Arc;

use lateen_api::object::{ReadOptions, read_text};
use lateen_controlplane_analyze::{ClusterInput, Options, analyze};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let text: Arc<str> = text.into();
    let options = ReadOptions {
        namespace: "default",
        strict: false,
    };
    let input = ClusterInput {
        objects: read_text("fuzz.yaml", &text, options).objects,
        istio_namespace: "istio-system".to_owned(),
        files_only: true,
        ..ClusterInput::default()
    };
    let _ = analyze(vec![input], &Options::default());
});
