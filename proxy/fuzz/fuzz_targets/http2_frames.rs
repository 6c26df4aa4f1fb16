//! The frames of an HTTP/2 connection: budgets do not depend on how bytes are cut.
#![no_main]

use lateen_proxy_relay::http::fuzzing::frames;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (cut, bytes) = input;
    let whole = frames(bytes, bytes.len());
    assert_eq!(frames(bytes, usize::from(cut)), whole, "cut every {cut}");
});
