//! Regular expressions as RE2 reads them, path templates, and what they rewrite.
#![no_main]

use lateen_proxy_sync::fuzzing::rewrite;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str, &str, &str)| {
    let (kind, pattern, replacement, text) = input;
    let _ = rewrite(kind, pattern, replacement, text);
});
