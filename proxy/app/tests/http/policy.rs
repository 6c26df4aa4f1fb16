//! Access control, tokens and external authorisation in a chain.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3 as auth;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::google::protobuf::Struct;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::rpc::Status;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use lateen_proxy_model::*;
use prost::Message;

use crate::mesh::{Mesh, Upstream, boxed, route, run, slot, to};

/// Envoy's service: `/denied` is refused, all else gets a header and a note.
fn decide(question: auth::CheckRequest) -> auth::CheckResponse {
    let http = question.attributes.unwrap().request.unwrap().http.unwrap();
    let option = |key: &str, value: &str| core::HeaderValueOption {
        header: Some(core::HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            ..core::HeaderValue::default()
        }),
        ..core::HeaderValueOption::default()
    };
    let denied = http.path == "/denied";
    let answer = if denied {
        HttpResponse::DeniedResponse(auth::DeniedHttpResponse {
            headers: vec![option("x-why", "because")],
            body: "go away".to_owned(),
            ..auth::DeniedHttpResponse::default()
        })
    } else {
        let mut ok = auth::OkHttpResponse::default();
        ok.headers.push(option("x-body", &http.body));
        ok.response_headers_to_add.push(option("x-checked", "yes"));
        ok.query_parameters_to_remove.push("token".to_owned());
        HttpResponse::OkResponse(ok)
    };
    let mut noted = Struct::default();
    let user = Kind::StringValue("me".to_owned());
    noted.fields.insert(
        "user".to_owned(),
        envoy_types::pb::google::protobuf::Value { kind: Some(user) },
    );
    auth::CheckResponse {
        status: Some(Status {
            code: if denied { 7 } else { 0 },
            ..Status::default()
        }),
        http_response: Some(answer),
        dynamic_metadata: Some(noted),
    }
}

async fn authorizer() -> Upstream {
    Upstream::start(true, |request, _| {
        Box::pin(async move {
            assert_eq!(
                request.uri().path(),
                "/envoy.service.auth.v3.Authorization/Check"
            );
            let data = request.into_body().collect().await.unwrap().to_bytes();
            let question = take_grpc_message(&mut BytesMut::from(data)).unwrap();
            let question = auth::CheckRequest::decode(question.unwrap()).unwrap();
            let answer = grpc_frame(&decide(question).encode_to_vec());
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            let frames: [Result<Frame<Bytes>, std::io::Error>; 2] =
                [Ok(Frame::data(answer)), Ok(Frame::trailers(trailers))];
            Response::new(boxed(StreamBody::new(futures_util::stream::iter(frames))))
        })
    })
    .await
}

fn asking(upstream: &Upstream) -> ExtAuthz {
    let mut cluster = upstream.cluster();
    cluster.http = HttpProtocol::Http2;
    ExtAuthz {
        service: AuthzService::Grpc(GrpcService {
            cluster: slot(cluster),
            authority: None,
            metadata: Vec::new(),
            timeout: None,
        }),
        timeout: None,
        failure_mode_allow: false,
        failure_mode_header: false,
        body: Some(AuthzBody {
            max: 10,
            partial: true,
            as_bytes: false,
        }),
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
        disallowed_headers: Vec::new(),
        stat_prefix: "".into(),
    }
}

/// Only who was noted as `me` passes.
fn only_me() -> RbacFilter {
    let user = MetadataMatcher {
        namespace: "envoy.filters.http.ext_authz".into(),
        path: vec!["user".into()],
        value: ValueMatcher::Text(StringMatcher::Exact {
            value: "me".into(),
            ignore_case: false,
        }),
        invert: false,
    };
    let rules = Rbac {
        action: RbacAction::Allow,
        policies: vec![RbacPolicy {
            name: "me".into(),
            permission: Condition::Any,
            principal: Condition::Metadata(user),
            expression: None,
        }],
    };
    RbacFilter::new(Some(rules), None, ("", ""))
}

#[test]
fn a_service_decides_and_later_filters_know_what_it_said() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let service = authorizer().await;
        let authz = HttpFilter::ExtAuthz(Arc::new(asking(&service)));
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |manager| {
            manager.filters.push(FilterEntry::new("authz", authz));
            let rules = HttpFilter::Rbac(Arc::new(only_me()));
            manager.filters.push(FilterEntry::new("rbac", rules));
        })
        .await;
        let answer = mesh.get("/a?token=x&b=c", &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["x-checked"], "yes");
        assert_eq!(upstream.header(0, "x-body").as_deref(), Some(""));
        assert_eq!(upstream.seen.borrow()[0].uri.to_string(), "/a?b=c");
        let answer = mesh.get("/denied", &[]).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
        assert_eq!(answer.headers()["x-why"], "because");
        assert_eq!(answer.body(), "go away");
        assert_eq!(upstream.asked(), 1);
        let log = mesh.log(2).await;
        assert!(log[1].starts_with("403 UAEX ext_authz_denied"), "{log:?}");
        let counted = mesh.metrics.render();
        assert!(counted.contains("ext_authz_denied"), "{counted}");
    });
}

#[test]
fn rules_run_in_the_order_of_the_chain() {
    run(|| async {
        let upstream = Upstream::statuses(&[200]).await;
        let service = authorizer().await;
        let authz = HttpFilter::ExtAuthz(Arc::new(asking(&service)));
        let mesh = Mesh::start(vec![route(to(slot(upstream.cluster())))], |manager| {
            let rules = HttpFilter::Rbac(Arc::new(only_me()));
            manager.filters.push(FilterEntry::new("rbac", rules));
            manager.filters.push(FilterEntry::new("authz", authz));
        })
        .await;
        let answer = mesh.get("/a", &[]).await;
        assert_eq!(answer.body(), "RBAC: access denied");
        assert_eq!((service.asked(), upstream.asked()), (0, 0));
        let log = mesh.log(1).await;
        let refused = "403 - rbac_access_denied_matched_policy[none]";
        assert!(log[0].starts_with(refused), "{log:?}");
    });
}
