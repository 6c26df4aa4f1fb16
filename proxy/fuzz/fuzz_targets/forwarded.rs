//! `x-forwarded-for` and `Connection`, which clients write and this proxy reads.
#![no_main]

use lateen_proxy_relay::http::fuzzing::forwarded;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (hops, value) = input;
    let _ = forwarded(value, usize::from(hops % 8));
});
