//! Bootstraps: JSON and YAML, to the model.
#![no_main]

use lateen_proxy_sync::StaticResources;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = StaticResources::parse(text);
});
