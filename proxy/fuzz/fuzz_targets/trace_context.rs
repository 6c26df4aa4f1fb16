//! `traceparent`, `tracestate` and B3: what is written is read back.
#![no_main]

use http::{HeaderMap, HeaderValue};
use lateen_proxy_telemetry::trace::{Extracted, Propagation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8], &[u8], &[u8], &[u8])| {
    let (mode, one, two, three, four) = input;
    let names = match mode & 3 {
        0 => ["traceparent", "tracestate", "tracestate", "b3"],
        1 => ["b3", "traceparent", "tracestate", "x-b3-sampled"],
        _ => ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled"],
    };
    let mut headers = HeaderMap::new();
    for (name, value) in names.into_iter().zip([one, two, three, four]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    for way in [Propagation::W3c, Propagation::B3, Propagation::B3AndW3c] {
        let Extracted::Context(context, true) = way.extract(&headers) else {
            continue;
        };
        let mut written = HeaderMap::new();
        way.inject(&context, &mut written);
        let Extracted::Context(again, true) = way.extract(&written) else {
            panic!("{way:?}: {context:?} was written as {written:?}");
        };
        assert_eq!((again.trace_id, again.sampled), (context.trace_id, context.sampled));
        assert_eq!(again.span_id, context.span_id, "{way:?}: {written:?}");
    }
});
