//! Sessions in cookies and headers, and cookies as routes read them: an endpoint that was told is found again.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_admit::{has_session, session_host, tell_session};
use lateen_proxy_model::{SessionState, StatefulSession, cookie};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &str, [u8; 4], u16)| {
    let (value, path, ip, port) = input;
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for state in [
        SessionState::Header(HeaderName::from_static("x-session")),
        SessionState::Cookie {
            name: "s".into(),
            path: "/a".into(),
            ttl: Some(Duration::from_secs(60)),
            attributes: "; Secure".into(),
        },
    ] {
        let session = StatefulSession {
            state: Some(state),
            strict: false,
            status: None,
        };
        let _ = has_session(&session, path);
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append("x-session", value.clone());
            headers.append("cookie", value);
        }
        let _ = (session_host(&session, &headers, now), cookie(&headers, "s"));
        let used = SocketAddr::from((ip, port));
        let mut answer = HeaderMap::new();
        tell_session(&session, None, used, &mut answer, now);
        let told = answer.get("x-session").or(answer.get("set-cookie"));
        let told = told.expect("told").to_str().expect("text");
        let told = told.split(';').next().expect("the pair").to_owned();
        let told = HeaderValue::try_from(told).expect("a value");
        let mut headers = HeaderMap::new();
        headers.append("x-session", told.clone());
        headers.append("cookie", told);
        let found = session_host(&session, &headers, now).map(|host| host.address);
        assert_eq!(found, Some(used), "what was told is found");
    }
});
