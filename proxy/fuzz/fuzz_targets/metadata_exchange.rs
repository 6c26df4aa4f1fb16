//! The frame that TCP peers exchange, and the message in it.
#![no_main]

use lateen_proxy_relay::exchange::{Turn, exchange, peer_of};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = peer_of(bytes);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut stream = tokio::io::join(bytes, tokio::io::sink());
    if let Ok(theirs) = runtime.block_on(exchange(&mut stream, b"own", Turn::Server)) {
        assert!(bytes.get(8..).is_some_and(|rest| rest.starts_with(&theirs)));
        let _ = peer_of(&theirs);
    }
});
