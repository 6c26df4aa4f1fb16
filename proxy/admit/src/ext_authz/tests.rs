#![allow(deprecated, reason = "older services answer with the older field")]

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3 as wire;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::google::rpc::Status;
use lateen_proxy_model::{AuthzHttp, AuthzService, CallAnswer, GrpcService, Percentage, Slot};
use prost::Message;

use super::*;

fn filter(service: AuthzService) -> ExtAuthz {
    ExtAuthz {
        service,
        timeout: None,
        failure_mode_allow: false,
        failure_mode_header: false,
        body: None,
        clear_route: false,
        status_on_error: StatusCode::FORBIDDEN,
        validate_mutations: false,
        route_namespaces: Vec::new(),
        raw_headers: false,
        metadata_namespaces: Vec::new(),
        enabled: Percentage::ALL,
        enabled_metadata: None,
        deny_at_disable: false,
        peer_certificate: false,
        tls_session: false,
        takes_metadata: true,
        allowed_headers: None,
        disallowed_headers: vec![exact("x-secret")],
        stat_prefix: "".into(),
    }
}

fn exact(value: &str) -> StringMatcher {
    StringMatcher::Exact {
        value: value.into(),
        ignore_case: false,
    }
}

fn grpc() -> ExtAuthz {
    filter(AuthzService::Grpc(GrpcService {
        cluster: Slot::new("authz"),
        authority: None,
        metadata: Vec::new(),
        timeout: None,
    }))
}

fn server() -> AuthzHttp {
    AuthzHttp {
        cluster: Slot::new("authz"),
        path_prefix: "/check".into(),
        path_override: None,
        headers_to_add: vec![(
            HeaderName::from_static("x-add"),
            HeaderValue::from_static("1"),
        )],
        upstream_headers: vec![exact("x-user")],
        upstream_headers_to_append: Vec::new(),
        client_headers: Some(vec![exact("x-why")]),
        client_headers_on_success: vec![exact("set-cookie")],
        metadata_headers: Vec::new(),
    }
}

fn request_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-a", "1"),
        ("x-a", "2"),
        ("x-secret", "s"),
        ("authorization", "t"),
    ] {
        headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers
}

fn option(name: &str, value: &str, append: bool) -> core::HeaderValueOption {
    core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: name.to_owned(),
            value: value.to_owned(),
            ..core::HeaderValue::default()
        }),
        append: append.then_some(envoy_types::pb::google::protobuf::BoolValue { value: true }),
        ..core::HeaderValueOption::default()
    }
}

#[test]
fn a_question_has_what_the_service_may_see() {
    let headers = request_headers();
    let view = RequestView::of_head("POST", "a.test", "/x?y=1", &headers);
    let context = [("k".into(), "v".into())];
    let extras = AuthzExtras {
        protocol: "HTTP/1.1",
        body: Some((Bytes::from_static(b"\xffhe"), true)),
        context: &context,
        ..AuthzExtras::default()
    };
    let question = check_request(&grpc(), &view, &extras);
    let question = wire::CheckRequest::decode(&question[..]).expect("a question");
    let attributes = question.attributes.expect("attributes");
    assert_eq!(attributes.context_extensions["k"], "v");
    let http = attributes.request.and_then(|it| it.http).expect("http");
    assert_eq!(http.headers["x-a"], "1,2");
    assert_eq!(http.headers[":path"], "/x?y=1");
    assert_eq!(http.headers[PARTIAL_BODY], "true");
    assert!(!http.headers.contains_key("x-secret"));
    assert_eq!((&*http.body, &*http.host), ("\u{fffd}he", "a.test"));
}

#[test]
fn a_service_changes_requests_and_refuses_them() {
    let ok = wire::CheckResponse {
        status: Some(Status::default()),
        http_response: Some(HttpResponse::OkResponse(wire::OkHttpResponse {
            headers: vec![
                option("x-a", "3", true),
                option("x-user", "me", false),
                option("bad name", "x", false),
            ],
            headers_to_remove: vec!["authorization".to_owned(), ":path".to_owned()],
            ..wire::OkHttpResponse::default()
        })),
        ..wire::CheckResponse::default()
    };
    let mut strict = grpc();
    strict.validate_mutations = true;
    let encoded = Bytes::from(ok.encode_to_vec());
    assert!(matches!(
        grpc_answer(&strict, encoded.clone()),
        AuthzAnswer::Invalid
    ));
    let AuthzAnswer::Allowed(changes) = grpc_answer(&grpc(), encoded) else {
        panic!("not allowed");
    };
    let mut headers = request_headers();
    for change in &changes.headers {
        change.apply(&mut headers);
    }
    let all: Vec<_> = headers.get_all("x-a").iter().collect();
    assert_eq!(all, ["1,3", "2"]);
    assert_eq!(headers["x-user"], "me");
    assert!(!headers.contains_key("authorization"));
    let denied = wire::CheckResponse {
        status: Some(Status {
            code: 7,
            ..Status::default()
        }),
        ..wire::CheckResponse::default()
    };
    let denied = grpc_answer(&grpc(), denied.encode_to_vec().into());
    assert!(matches!(
        denied,
        AuthzAnswer::Denied {
            status: StatusCode::FORBIDDEN,
            ..
        }
    ));
    let junk = grpc_answer(&grpc(), Bytes::from_static(b"\xff\xff"));
    assert!(matches!(junk, AuthzAnswer::Error));
}

#[test]
fn an_http_server_sees_few_headers_and_gives_few() {
    let mut filter = filter(AuthzService::Http(Box::new(server())));
    filter.allowed_headers = Some(vec![exact("x-a")]);
    let headers = request_headers();
    let view = RequestView::of_head("POST", "a.test", "/x", &headers);
    let question = http_request(&filter, &server(), &view, &AuthzExtras::default());
    let question = question.expect("a question");
    assert_eq!(question.uri(), "/check/x");
    assert_eq!(question.headers()["x-a"], "1,2");
    assert_eq!(question.headers()["authorization"], "t");
    assert_eq!(question.headers()["x-add"], "1");
    let answer = |status| CallAnswer {
        status,
        headers: HeaderMap::from_iter([
            (
                HeaderName::from_static("x-user"),
                HeaderValue::from_static("me"),
            ),
            (
                HeaderName::from_static("x-why"),
                HeaderValue::from_static("so"),
            ),
        ]),
        body: Bytes::from_static(b"no"),
        trailers: HeaderMap::new(),
    };
    let AuthzAnswer::Allowed(changes) = http_answer(&filter, &server(), answer(StatusCode::OK))
    else {
        panic!("not allowed");
    };
    assert_eq!(changes.headers.len(), 1);
    let refused = http_answer(&filter, &server(), answer(StatusCode::UNAUTHORIZED));
    let AuthzAnswer::Denied { headers, body, .. } = refused else {
        panic!("not refused");
    };
    assert_eq!((headers.len(), &body[..]), (1, &b"no"[..]));
    assert!(matches!(
        http_answer(&filter, &server(), answer(StatusCode::BAD_GATEWAY)),
        AuthzAnswer::Error
    ));
}
