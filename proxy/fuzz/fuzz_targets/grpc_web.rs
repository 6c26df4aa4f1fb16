//! Bodies of gRPC-Web, both ways: what comes out does not depend on how bytes are cut.
#![no_main]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_admit::{FromBase64, GrpcWeb, grpc_web_request};
use lateen_proxy_model::BodyChange;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8], &[u8])| {
    let (mode, kind, body) = input;
    let mut headers = HeaderMap::new();
    if let Ok(kind) = HeaderValue::from_bytes(kind) {
        headers.insert("content-type", kind);
        let _ = grpc_web_request(&mut headers);
    }
    let cut = usize::from(mode >> 1).max(1);
    let web = GrpcWeb {
        text: true,
        answer_text: mode & 1 != 0,
    };
    let name = HeaderName::from_static("grpc-message");
    let trailers = HeaderValue::from_bytes(kind).ok();
    let trailers = trailers.map(|value| HeaderMap::from_iter([(name, value)]));
    let whole = run(web.change(), body, body.len(), trailers.clone());
    let parts = run(web.change(), body, cut, trailers);
    assert_eq!(whole, parts, "answers, cut every {cut}");
    let whole = run(FromBase64::default(), body, body.len(), None);
    let parts = run(FromBase64::default(), body, cut, None);
    assert_eq!(whole.is_ok(), parts.is_ok(), "requests, cut every {cut}");
    assert_eq!(whole.ok(), parts.ok(), "requests, cut every {cut}");
});

fn run(
    mut change: impl BodyChange,
    body: &[u8],
    cut: usize,
    trailers: Option<HeaderMap>,
) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::new();
    for part in body.chunks(cut.max(1)) {
        change.feed(Bytes::copy_from_slice(part));
        drain(&mut change, &mut out)?;
    }
    change.finish(trailers);
    drain(&mut change, &mut out)?;
    Ok(out)
}

fn drain(change: &mut impl BodyChange, out: &mut Vec<u8>) -> Result<(), &'static str> {
    while let Some(data) = change.take().map_err(|failure| failure.details)? {
        out.extend_from_slice(&data);
    }
    Ok(())
}
