//! Bootstraps: JSON and YAML, to the model.
#![no_main]

use lateen_proxy_sync::fuzzing::bootstrap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let _ = bootstrap(text);
});
