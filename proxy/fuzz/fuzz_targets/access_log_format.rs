//! Formats of access logs and of headers, and what they make of a request.
#![no_main]

use lateen_proxy_telemetry::{Format, HttpRecord};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(format) = Format::text(text) else {
        return;
    };
    let _ = (format.as_literal(), format.request_headers());
    let made = format.expand(&HttpRecord::default());
    let _ = format.omit_empty(true).expand(&HttpRecord::default());
    if !text.contains('%') {
        assert_eq!(made, text.as_bytes(), "a text without commands stays");
    }
});
