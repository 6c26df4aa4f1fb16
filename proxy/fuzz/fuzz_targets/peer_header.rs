//! `x-envoy-peer-metadata`: base64 of a message.
#![no_main]

use lateen_proxy_relay::http::fuzzing::peer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = peer(bytes);
});
