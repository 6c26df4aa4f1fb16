//! An authorisation service behind a proxy: it notes what it is asked, and answers as the call's `x-verdict` says.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use bytes::{BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::address::Address;
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::Peer;
use envoy_types::pb::envoy::service::auth::v3::{CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use envoy_types::pb::google::rpc::Status;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::Message;

use super::service;
use super::upstream::Script;

/// Starts a service and gives its port.
pub(super) fn serve(script: Script) -> Result<u16> {
    service::serve(script, one)
}

async fn one(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    script: Script,
) -> Result<()> {
    let script = &script;
    let path = request.uri().path().to_owned();
    let verdict = request.headers().get("x-verdict");
    let verdict = verdict.and_then(|it| it.to_str().ok()).unwrap_or("allow");
    let verdict = verdict.to_owned();
    let mut body = request.into_body();
    let mut data = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        data.extend_from_slice(&part);
    }
    let message = CheckRequest::decode(data.get(5..).unwrap_or_default())?;
    script.note_call(format!("{path}: {}", text(&message)));
    match &*verdict {
        "hang" => tokio::time::sleep(Duration::from_secs(5)).await,
        "late" => tokio::time::sleep(Duration::from_millis(200)).await,
        "reset" => {
            answer.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        "fail" => {
            let head = Response::builder().header("content-type", "application/grpc");
            answer.send_response(head.header("grpc-status", "14").body(())?, true)?;
            return Ok(());
        }
        _ => {}
    }
    let noted = Value {
        kind: Some(Kind::StringValue(verdict.clone())),
    };
    let reply = CheckResponse {
        status: Some(Status {
            code: if verdict == "deny" { 7 } else { 0 },
            ..Status::default()
        }),
        dynamic_metadata: Some(Struct {
            fields: [("verdict".to_owned(), noted)].into(),
        }),
        ..CheckResponse::default()
    };
    let reply = reply.encode_to_vec();
    let mut frame = BytesMut::with_capacity(reply.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(reply.len())?);
    frame.put_slice(&reply);
    let head = Response::builder().header("content-type", "application/grpc");
    let mut stream = answer.send_response(head.body(())?, false)?;
    stream.send_data(frame.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)?;
    Ok(())
}

/// What was asked, on one line; the client's port is another in each run.
fn text(message: &CheckRequest) -> String {
    let Some(attributes) = &message.attributes else {
        return "nothing".to_owned();
    };
    let source = attributes.source.as_ref().map(|it| peer(it, false));
    let destination = attributes.destination.as_ref().map(|it| peer(it, true));
    let sni = attributes.tls_session.as_ref().map(|tls| &tls.sni);
    let metadata = attributes.metadata_context.as_ref();
    let metadata = metadata.map(|it| it.filter_metadata.keys().collect::<Vec<_>>());
    let route = attributes.route_metadata_context.as_ref();
    let mut route = route.map(|it| format!("{:?}", it.filter_metadata.keys()));
    route.get_or_insert_default();
    let http = attributes.request.as_ref().and_then(|it| it.http.as_ref());
    let http = http.map(|http| {
        let plain: BTreeMap<_, _> = http.headers.iter().collect();
        let raw = http.header_map.as_ref().map(|map| {
            let lines = map.headers.iter();
            let lines =
                lines.map(|it| (&it.key, &it.value, String::from_utf8_lossy(&it.raw_value)));
            let mut lines: Vec<_> = lines.collect();
            lines.sort_by(|one, other| one.0.cmp(other.0));
            lines
        });
        format!(
            "{} {} {plain:?} {raw:?} {:?}",
            http.method, http.path, http.body
        )
    });
    let route = format!("{route:?} {http:?}");
    format!(
        "from {source:?} to {destination:?} request {} context {:?} sni {sni:?} metadata {metadata:?} route {route}",
        attributes.request.is_some(),
        attributes.context_extensions
    )
}

fn peer(peer: &Peer, with_port: bool) -> String {
    let address = peer.address.as_ref().and_then(|it| it.address.as_ref());
    let address = match address {
        Some(Address::SocketAddress(socket)) => match &socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) if with_port => {
                format!("{}:{port}", socket.address)
            }
            _ => socket.address.clone(),
        },
        _ => "nowhere".to_owned(),
    };
    format!(
        "{address} {:?} {:?} {} bytes of certificate {:?}",
        peer.principal,
        peer.service,
        peer.certificate.len(),
        peer.labels
    )
}
