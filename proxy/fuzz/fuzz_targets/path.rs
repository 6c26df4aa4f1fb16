//! Paths: what is canonical stays as it is.
#![no_main]

use lateen_proxy_model::PathNormalization;
use lateen_proxy_route::{cut_fragment, normalize_path};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (modes, path) = input;
    let mode = PathNormalization {
        normalize: modes & 1 != 0,
        merge_slashes: modes & 2 != 0,
        unescape_slashes: modes & 4 != 0,
    };
    let path = cut_fragment(path).unwrap_or(path);
    let Ok(once) = normalize_path(mode, path) else {
        return;
    };
    assert!(!once.contains('#'), "no fragment");
    if mode.normalize {
        let (path, _) = once.split_once('?').unwrap_or((&once, ""));
        assert!(path.split('/').all(|segment| segment != ".." && segment != "."), "{once:?}");
    }
});
