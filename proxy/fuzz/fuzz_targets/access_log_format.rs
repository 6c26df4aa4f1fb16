//! Formats of access logs.
#![no_main]

use lateen_proxy_telemetry::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Format::text(text);
});
