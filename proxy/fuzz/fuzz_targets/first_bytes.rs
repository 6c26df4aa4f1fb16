//! The first bytes of a connection: a ClientHello, HTTP, or neither.
#![no_main]

use lateen_proxy_detect::detect;
use lateen_proxy_model::Inspectors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let inspectors = Inspectors {
        tls: Some(Vec::new()),
        http: Some(Vec::new()),
        ..Inspectors::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut stream = bytes;
    if let Ok(found) = runtime.block_on(detect(&mut stream, &inspectors, 443)) {
        assert!(bytes.starts_with(&found.head), "what was read is given back");
    }
});
