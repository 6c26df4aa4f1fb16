//! Answers of name servers.
#![no_main]

use lateen_proxy_sync::fuzzing::name_server;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(addresses) = name_server(bytes) {
        assert!(addresses <= bytes.len(), "no more addresses than bytes");
    }
});
