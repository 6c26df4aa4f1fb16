//! Any text: objects, strictly and leniently; what was read is written and read again.
#![no_main]

use std::sync::Arc;

use lateen_api::object::{ReadOptions, read_text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let text: Arc<str> = text.into();
    for strict in [true, false] {
        let options = ReadOptions {
            namespace: "default",
            strict,
        };
        let parsed = read_text("fuzz.yaml", &text, options);
        for object in parsed.objects {
            let _ = object.line_of("spec.http[0].route");
            let _ = object.mark_near("spec[0][\"a.b\"].c");
        }
    }
});
