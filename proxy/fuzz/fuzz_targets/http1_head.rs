//! The head of an HTTP/1 request and the end of its body: hyper's parser must see the same end.
#![no_main]

use lateen_proxy_relay::http::fuzzing::head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((length, body)) = head(bytes) else {
        return;
    };
    assert!(length <= bytes.len(), "a head lies within its bytes");
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = request.parse(bytes) else {
        return;
    };
    assert_eq!(end, length, "both see the same end");
    let of = |name: &'static str| {
        let all = request.headers.iter();
        all.filter(move |it| it.name.eq_ignore_ascii_case(name))
    };
    let (lengths, codings) = (of("content-length").count(), of("transfer-encoding").count());
    assert!(lengths + codings <= 1, "one framing");
    if body == Some(0) && codings == 0 {
        let zero = |value: &[u8]| value.iter().all(|byte| matches!(byte, b'0' | b' ' | b'\t'));
        assert!(of("content-length").all(|it| zero(it.value)));
    }
});
