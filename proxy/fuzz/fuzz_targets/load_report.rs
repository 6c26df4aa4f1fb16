//! Load that upstreams report in headers (ORCA).
#![no_main]

use lateen_proxy_relay::http::fuzzing::load_report;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = load_report(bytes);
});
