//! Answers of services that filters ask: ext_authz, ext_proc, rate limits; and the frames they come in.
#![no_main]

use bytes::{Bytes, BytesMut};
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response;
use envoy_types::pb::envoy::service::ext_proc::v3::{CommonResponse, ProcessingResponse};
use http::{HeaderMap, HeaderValue, StatusCode};
use lateen_proxy_admit::{
    AuthzAnswer, ProcessedHead, asked_modes, change_head, changed_body, fits_length,
    fuzzing::limit_answer, grpc_answer, set_metadata,
};
use lateen_proxy_model::{
    AuthzService, ExtAuthz, GrpcService, MutationRules, Percentage, Slot, grpc_outcome,
    take_grpc_message,
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|input: (u8, &[u8])| {
    let (mode, bytes) = input;
    frames(bytes);
    match mode & 3 {
        0 => authorized(mode, bytes),
        1 => processed(mode, bytes),
        _ => drop(limit_answer(bytes)),
    }
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", value);
        let _ = grpc_outcome(&headers);
    }
});

fn head() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("a", HeaderValue::from_static("1"));
    headers.insert("content-length", HeaderValue::from_static("3"));
    headers
}

fn frames(bytes: &[u8]) {
    let mut data = BytesMut::from(bytes);
    let mut left = data.len();
    while let Ok(Some(message)) = take_grpc_message(&mut data) {
        assert_eq!(message.len() + 5 + data.len(), left, "a frame is taken whole");
        left = data.len();
    }
}

fn authorized(mode: u8, bytes: &[u8]) {
    let filter = ExtAuthz {
        service: AuthzService::Grpc(GrpcService {
            cluster: Slot::new("authz"),
            authority: None,
            metadata: Vec::new(),
            timeout: None,
        }),
        timeout: None,
        failure_mode_allow: false,
        failure_mode_header: false,
        body: None,
        clear_route: false,
        status_on_error: StatusCode::FORBIDDEN,
        validate_mutations: mode & 4 != 0,
        metadata_namespaces: Vec::new(),
        enabled: Percentage::ALL,
        enabled_metadata: None,
        deny_at_disable: false,
        peer_certificate: false,
        tls_session: false,
        takes_metadata: true,
        allowed_headers: None,
        disallowed_headers: Vec::new(),
        stat_prefix: "".into(),
    };
    if let AuthzAnswer::Allowed(changes) = grpc_answer(&filter, Bytes::copy_from_slice(bytes)) {
        let mut headers = head();
        for change in changes.headers.iter().chain(&changes.response) {
            change.apply(&mut headers);
        }
    }
}

fn processed(mode: u8, bytes: &[u8]) {
    let Ok(answer) = ProcessingResponse::decode(bytes) else {
        return;
    };
    if let Some(modes) = &answer.mode_override {
        let _ = asked_modes(modes);
    }
    if let Some(metadata) = answer.dynamic_metadata {
        let _ = set_metadata(&["a".into()], metadata);
    }
    match answer.response {
        Some(Response::RequestHeaders(it) | Response::ResponseHeaders(it)) => {
            common(mode, it.response);
        }
        Some(Response::RequestBody(it) | Response::ResponseBody(it)) => common(mode, it.response),
        _ => {}
    }
}

fn common(mode: u8, answer: Option<CommonResponse>) {
    let Some(answer) = answer else {
        return;
    };
    let mut headers = head();
    let mut head = ProcessedHead {
        pseudo: vec![(":path", "/".to_owned()), (":authority", "a".to_owned())],
        headers: &mut headers,
    };
    let rules = MutationRules {
        allow_all_routing: mode & 8 != 0,
        allow_envoy: mode & 16 != 0,
        disallow_system: mode & 32 != 0,
        disallow_is_error: mode & 64 != 0,
        ..MutationRules::default()
    };
    if let Some(change) = answer.header_mutation {
        let _ = change_head(&rules, change, &mut head, mode & 128 != 0, &mut || {});
    }
    if let Ok(Some(body)) = changed_body(answer.body_mutation) {
        let _ = fits_length(&headers, body.len());
    }
}
