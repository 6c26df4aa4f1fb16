//! Tokens in requests, and the key sets that they are verified with.
#![no_main]

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_admit::{JwtStatus, authenticate};
use lateen_proxy_model::{
    Jwks, JwtFilter, JwtKeys, JwtPlace, JwtProvider, JwtRequirement, RequestView,
};
use libfuzzer_sys::fuzz_target;

const KEYS: &str = r#"{"keys":[{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"},
{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

fuzz_target!(|input: (&str, &str, &str)| {
    let (token, path, keys) = input;
    let known = Arc::new(Jwks::parse(KEYS).expect("keys"));
    let keys = Jwks::parse(keys).map_or(known, Arc::new);
    let filter = JwtFilter {
        providers: vec![provider(&keys)],
        rules: Vec::new(),
        named: Vec::new(),
        bypass_cors_preflight: false,
        strip_failure_response: false,
        stat_prefix: "".into(),
    };
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(token) {
        headers.append("authorization", value.clone());
        headers.append("cookie", value);
    }
    let view = RequestView::of_head("GET", "a", path, &headers);
    for requirement in [
        JwtRequirement::AllowMissingOrFailed,
        JwtRequirement::AllowMissing,
        JwtRequirement::Provider {
            provider: 0,
            audiences: None,
        },
    ] {
        let keys = |_| Some(Arc::clone(&keys));
        let (status, effects) = authenticate(&filter, &requirement, &view, &keys, 1_300_000_000);
        if status != JwtStatus::Ok {
            let _ = (status.text(), status.details());
        }
        for (name, value) in &effects.headers {
            let _ = (name, value.as_ref().map(HeaderValue::try_from));
        }
    }
});

fn provider(keys: &Arc<Jwks>) -> JwtProvider {
    JwtProvider {
        name: "fuzz".into(),
        issuer: None,
        audiences: vec!["https://a/".into()],
        subjects: None,
        require_expiration: false,
        max_lifetime: Some(std::time::Duration::from_secs(3600)),
        clock_skew: 60,
        places: vec![
            JwtPlace::Header {
                name: HeaderName::from_static("authorization"),
                prefix: "Bearer ".into(),
            },
            JwtPlace::Query("access_token".into()),
            JwtPlace::Cookie("token".into()),
        ],
        forward: false,
        payload_header: Some((HeaderName::from_static("x-payload"), true)),
        payload_in_metadata: Some("payload".into()),
        header_in_metadata: Some("header".into()),
        failure_in_metadata: Some("failure".into()),
        spaced_claims: vec!["scope".into()],
        claim_headers: vec![(
            HeaderName::from_static("x-group"),
            vec!["nested".into(), "group".into()],
        )],
        clear_route: false,
        keys: JwtKeys::Local(Arc::clone(keys)),
    }
}
