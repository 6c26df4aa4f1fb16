use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use http::{HeaderMap, HeaderValue};
use lateen_proxy_model::{BASE64_URL, JwtKeys, JwtPlace, StringMatcher};
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"a secret of thirty-two bytes ...";
const NOW: u64 = 1_000_000;

fn jwks() -> Arc<Jwks> {
    let key = BASE64_URL.encode(SECRET);
    let text = json!({"keys": [{"kty": "oct", "kid": "k", "k": key}]}).to_string();
    Arc::new(Jwks::parse(&text).expect("keys"))
}

fn provider(name: &str, header: &'static str) -> JwtProvider {
    JwtProvider {
        name: name.into(),
        issuer: Some(name.into()),
        audiences: Vec::new(),
        subjects: None,
        require_expiration: false,
        max_lifetime: None,
        clock_skew: 60,
        places: vec![JwtPlace::Header {
            name: HeaderName::from_static(header),
            prefix: "Bearer ".into(),
        }],
        forward: false,
        payload_header: Some((HeaderName::from_static("x-payload"), false)),
        payload_in_metadata: Some("payload".into()),
        header_in_metadata: None,
        failure_in_metadata: None,
        spaced_claims: vec!["scope".into()],
        claim_headers: vec![(
            HeaderName::from_static("x-group"),
            vec!["nested".into(), "group".into()],
        )],
        clear_route: false,
        keys: JwtKeys::Local(jwks()),
    }
}

fn filter(providers: Vec<JwtProvider>) -> JwtFilter {
    JwtFilter {
        providers,
        rules: Vec::new(),
        named: Vec::new(),
        bypass_cors_preflight: false,
        strip_failure_response: false,
        stat_prefix: "".into(),
    }
}

fn sign(header: &Value, payload: &Value) -> String {
    let part = |value: &Value| BASE64_URL.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(payload));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let signature = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64_URL.encode(signature))
}

fn token(payload: &Value) -> String {
    sign(&json!({"alg": "HS256", "kid": "k"}), payload)
}

fn ask(
    filter: &JwtFilter,
    requirement: &JwtRequirement,
    headers: &[(&'static str, &str)],
) -> (JwtStatus, JwtEffects) {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("value");
            (HeaderName::from_static(name), value)
        })
        .collect();
    let view = RequestView::of_head("GET", "a", "/", &headers);
    authenticate(filter, requirement, &view, &|_| Some(jwks()), NOW)
}

fn of(provider: usize) -> JwtRequirement {
    JwtRequirement::Provider {
        provider,
        audiences: None,
    }
}

fn bearer(payload: &Value) -> String {
    format!("Bearer {}", token(payload))
}

#[test]
fn claims_are_checked_one_by_one() {
    let mut strict = provider("joe", "authorization");
    strict.audiences = vec!["https://api/".into()];
    strict.subjects = Some(StringMatcher::Prefix {
        value: "user".into(),
        ignore_case: false,
    });
    let filter = filter(vec![strict]);
    let good = json!({"iss": "joe", "aud": ["x", "http://api"], "sub": "user1", "exp": NOW + 5});
    let with = |name: &str, value: Value| {
        let mut payload = good.clone();
        payload[name] = value;
        payload
    };
    for (payload, wanted) in [
        (good.clone(), JwtStatus::Ok),
        (with("iss", json!("ann")), JwtStatus::UnknownIssuer),
        (with("aud", json!("other")), JwtStatus::Audience),
        (with("aud", json!(1)), JwtStatus::PayloadAud),
        (with("sub", json!("root")), JwtStatus::Verification),
        (with("exp", json!(NOW - 60)), JwtStatus::Ok),
        (with("exp", json!(NOW - 61)), JwtStatus::Expired),
        (with("exp", json!("soon")), JwtStatus::PayloadExp),
        (with("exp", json!(-1)), JwtStatus::PayloadExpRange),
        (with("nbf", json!(NOW + 61)), JwtStatus::NotYetValid),
    ] {
        let (status, _) = ask(&filter, &of(0), &[("authorization", &bearer(&payload))]);
        assert_eq!(status, wanted, "{payload}");
    }
}

#[test]
fn tokens_that_cannot_be_read_or_verified_are_refused() {
    let filter = filter(vec![provider("joe", "authorization")]);
    let good = token(&json!({"iss": "joe"}));
    let (signed, _) = good.rsplit_once('.').expect("signed");
    let none = sign(&json!({"alg": "none"}), &json!({"iss": "joe"}));
    let other = sign(&json!({"alg": "HS256", "kid": "z"}), &json!({"iss": "joe"}));
    for (text, wanted) in [
        (good.clone(), JwtStatus::Ok),
        ("a.b".to_owned(), JwtStatus::BadFormat),
        ("a.b.c.d".to_owned(), JwtStatus::BadFormat),
        (format!("{signed}."), JwtStatus::BadFormat),
        (format!("{signed}.AAAA"), JwtStatus::Verification),
        (none, JwtStatus::HeaderUnknownAlg),
        (other, JwtStatus::NoSuchKey),
    ] {
        let value = format!("Bearer {text}");
        let (status, _) = ask(&filter, &of(0), &[("authorization", &value)]);
        assert_eq!(status, wanted, "{text}");
    }
    // S6: without keys nothing is valid.
    let value = format!("Bearer {good}");
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("authorization"),
        HeaderValue::from_str(&value).expect("value"),
    )]);
    let view = RequestView::of_head("GET", "a", "/", &headers);
    let (status, _) = authenticate(&filter, &of(0), &view, &|_| None, NOW);
    assert_eq!(status, JwtStatus::Fetch);
}

#[test]
fn every_value_of_a_header_must_be_valid() {
    let filter = filter(vec![provider("joe", "authorization")]);
    let good = bearer(&json!({"iss": "joe"}));
    let bad = bearer(&json!({"iss": "ann"}));
    let both = [("authorization", good.as_str()), ("authorization", &bad)];
    assert_eq!(ask(&filter, &of(0), &both).0, JwtStatus::UnknownIssuer);
}

#[test]
fn a_valid_token_leaves_headers_and_metadata() {
    let filter = filter(vec![provider("joe", "authorization")]);
    let payload = json!({"iss": "joe", "scope": "a b", "nested": {"group": 7}});
    let (status, effects) = ask(&filter, &of(0), &[("authorization", &bearer(&payload))]);
    assert_eq!(status, JwtStatus::Ok);
    assert_eq!(effects.metadata["payload"]["scope"], json!(["a", "b"]));
    let set: Vec<_> = effects
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()))
        .collect();
    let text = BASE64_URL.encode(payload.to_string());
    assert_eq!(
        set,
        [
            ("x-payload", Some(&*text)),
            ("x-group", Some("7")),
            ("authorization", None),
        ]
    );
}

#[test]
fn requirements_are_combined() {
    let filter = filter(vec![provider("joe", "x-joe"), provider("ann", "x-ann")]);
    let (joe, ann) = (
        bearer(&json!({"iss": "joe"})),
        bearer(&json!({"iss": "ann"})),
    );
    let any = |allow_missing, allow_failed| JwtRequirement::Any {
        list: vec![of(0), of(1)],
        allow_missing,
        allow_failed,
    };
    let all = JwtRequirement::All(vec![of(0), of(1)]);
    let wrong = [("x-joe", ann.as_str())];
    for (requirement, headers, wanted) in [
        (any(false, false), &[][..], JwtStatus::Missed),
        (any(false, false), &[("x-ann", ann.as_str())], JwtStatus::Ok),
        (any(true, false), &[], JwtStatus::Ok),
        (any(true, false), &wrong, JwtStatus::UnknownIssuer),
        (any(false, true), &wrong, JwtStatus::Ok),
        (all.clone(), &[("x-joe", &*joe)], JwtStatus::Missed),
        (all, &[("x-joe", &*joe), ("x-ann", &*ann)], JwtStatus::Ok),
        (JwtRequirement::AllowMissing, &[], JwtStatus::Ok),
        (
            JwtRequirement::AllowMissing,
            &[("x-joe", "Bearer x")],
            JwtStatus::BadFormat,
        ),
        (
            JwtRequirement::AllowMissingOrFailed,
            &[("x-joe", "Bearer x")],
            JwtStatus::Ok,
        ),
    ] {
        let (status, _) = ask(&filter, &requirement, headers);
        assert_eq!(status, wanted, "{requirement:?} {headers:?}");
    }
}
