//! A processing service behind a proxy: it notes what it is shown, and answers by the words of the header `x-do`.

use std::time::Duration;

use anyhow::Result;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{
    HeaderMap as Headers, HeaderValue, HeaderValueOption,
};
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
use envoy_types::pb::envoy::extensions::filters::http::ext_proc::v3::processing_mode::BodySendMode;
use envoy_types::pb::envoy::service::ext_proc::v3::body_mutation::Mutation;
use envoy_types::pb::envoy::service::ext_proc::v3::common_response::ResponseStatus;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request as Told;
use envoy_types::pb::envoy::service::ext_proc::v3::processing_response::Response as Said;
use envoy_types::pb::envoy::service::ext_proc::v3::{
    BodyMutation, BodyResponse, CommonResponse, GrpcStatus, HeaderMutation, HeadersResponse,
    HttpBody, ImmediateResponse, ProcessingRequest, ProcessingResponse, TrailersResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf as wkt;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
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
    let start = request.headers().get("x-start");
    let start = start.and_then(|it| it.to_str().ok()).unwrap_or_default();
    script.note_call(format!("process {} {start}", request.uri().path()));
    let head = Response::builder().header("content-type", "application/grpc");
    let mut stream = answer.send_response(head.body(())?, false)?;
    let mut body = request.into_body();
    let mut data = BytesMut::new();
    let mut words = Vec::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        data.extend_from_slice(&part);
        while let Some(length) = data.get(1..5).map(|mut it| it.get_u32() as usize) {
            if data.len() < length + 5 {
                break;
            }
            let message = data.split_to(length + 5).split_off(5);
            let message = ProcessingRequest::decode(message)?;
            script.note_call(text(&message));
            if let Some(Told::RequestHeaders(shown)) = &message.request {
                words = said_words(shown.headers.as_ref());
            }
            let Some(told) = message.request else {
                continue;
            };
            if !react(&told, &words, &mut stream).await? {
                return Ok(());
            }
        }
    }
    end(&mut stream, 0)
}

fn said_words(headers: Option<&Headers>) -> Vec<String> {
    let headers = headers.map_or(&[][..], |it| &it.headers);
    let own = headers.iter().find(|it| it.key == "x-do");
    let own = own.map(|it| String::from_utf8_lossy(&it.raw_value).into_owned());
    let words = own.unwrap_or_default();
    words.split(',').map(|it| it.trim().to_owned()).collect()
}

/// Answers one message. `false` when the stream is over.
#[expect(clippy::too_many_lines, reason = "a table")]
async fn react(told: &Told, words: &[String], stream: &mut SendStream<Bytes>) -> Result<bool> {
    let has = |word: &str| words.iter().any(|it| it == word);
    // Where something goes wrong: `hang` with the request's head, `body-hang` with its body, and so on.
    let place = match told {
        Told::RequestHeaders(_) => "",
        Told::ResponseHeaders(_) => "answer-",
        Told::RequestBody(_) => "body-",
        Told::ResponseBody(_) => "answer-body-",
        Told::RequestTrailers(_) | Told::ResponseTrailers(_) => "trailers-",
    };
    let here = |word: &str| has(&format!("{place}{word}"));
    if here("hang") {
        return Ok(true);
    }
    if here("fail") {
        end(stream, 13)?;
        return Ok(false);
    }
    if here("close") {
        end(stream, 0)?;
        return Ok(false);
    }
    if here("reset") {
        stream.send_reset(Reason::INTERNAL_ERROR);
        return Ok(false);
    }
    if here("slow") {
        let more = ProcessingResponse {
            override_message_timeout: Some(wkt::Duration {
                seconds: 1,
                nanos: 0,
            }),
            ..ProcessingResponse::default()
        };
        send(stream, &more)?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let mut reply = ProcessingResponse::default();
    if here("immediate") {
        reply.response = Some(Said::ImmediateResponse(immediate(has("grpc"))));
        send(stream, &reply)?;
        return Ok(true);
    }
    let wrong = here("wrong");
    let common = |mutation| CommonResponse {
        header_mutation: mutation,
        ..CommonResponse::default()
    };
    reply.response = Some(match told {
        Told::RequestHeaders(_) if wrong => Said::RequestBody(BodyResponse::default()),
        Told::ResponseHeaders(_) if wrong => Said::RequestHeaders(HeadersResponse::default()),
        Told::RequestHeaders(_) => Said::RequestHeaders(HeadersResponse {
            response: Some(request_head(words)),
        }),
        Told::ResponseHeaders(_) => {
            let mut response = common(has("status").then(|| {
                let set = [(":status", "201"), ("x-answer", "1")];
                changes(
                    &set,
                    HeaderAppendAction::OverwriteIfExistsOrAdd,
                    &["x-gone"],
                )
            }));
            if has("answer-replace") {
                response.status = ResponseStatus::ContinueAndReplace as i32;
                response.body_mutation = replacing("replaced");
            }
            if has("answer-length") {
                let set = [("content-length", "9")];
                response.header_mutation = Some(changes(
                    &set,
                    HeaderAppendAction::OverwriteIfExistsOrAdd,
                    &[],
                ));
            }
            Said::ResponseHeaders(HeadersResponse {
                response: Some(response),
            })
        }
        Told::RequestBody(shown) => Said::RequestBody(BodyResponse {
            response: Some(body(shown, has("body"), has("clear-body"))),
        }),
        Told::ResponseBody(shown) => Said::ResponseBody(BodyResponse {
            response: Some(body(shown, has("answer-body"), has("answer-clear-body"))),
        }),
        Told::RequestTrailers(_) => Said::RequestTrailers(TrailersResponse::default()),
        Told::ResponseTrailers(_) => Said::ResponseTrailers(TrailersResponse::default()),
    });
    if has("mode") && matches!(told, Told::RequestHeaders(_)) {
        let mut mode = ProcessingMode::default();
        mode.set_request_body_mode(BodySendMode::Buffered);
        mode.set_response_body_mode(BodySendMode::Buffered);
        reply.mode_override = Some(mode);
    }
    send(stream, &reply)?;
    Ok(true)
}

fn request_head(words: &[String]) -> CommonResponse {
    let mut response = CommonResponse::default();
    for word in words {
        let overwrite = HeaderAppendAction::OverwriteIfExistsOrAdd;
        let change = match &**word {
            "set" => changes(&[("x-a", "set"), ("x-new", "1")], overwrite, &["x-gone"]),
            "append" => changes(
                &[("x-a", "more")],
                HeaderAppendAction::AppendIfExistsOrAdd,
                &[],
            ),
            "absent" => changes(
                &[("x-a", "more"), ("x-new", "1")],
                HeaderAppendAction::AddIfAbsent,
                &[],
            ),
            "existing" => changes(
                &[("x-a", "more"), ("x-new", "1")],
                HeaderAppendAction::OverwriteIfExists,
                &[],
            ),
            "both" => changes(&[("x-a", "again")], overwrite, &["x-a"]),
            "path" => changes(&[(":path", "/other")], overwrite, &[]),
            "badpath" => changes(&[(":path", "no path")], overwrite, &[]),
            "host" => changes(&[("host", "b.test"), ("x-after", "1")], overwrite, &[]),
            "authority" => changes(
                &[(":authority", "b.test"), ("x-after", "1")],
                overwrite,
                &[],
            ),
            "envoy" => changes(&[("x-envoy-a", "1"), ("x-after", "1")], overwrite, &[]),
            "method" => changes(&[(":method", "PUT")], overwrite, &[]),
            "badname" => changes(&[("a b", "1")], overwrite, &[]),
            "badremove" => changes(&[], overwrite, &["a b"]),
            "length" => changes(&[("content-length", "9")], overwrite, &[]),
            "nolength" => changes(&[], overwrite, &["content-length"]),
            "remove-host" => changes(&[("x-after", "1")], overwrite, &["host"]),
            "clear" => {
                response.clear_route_cache = true;
                continue;
            }
            "replace" => {
                response.status = ResponseStatus::ContinueAndReplace as i32;
                response.body_mutation = replacing("replaced");
                continue;
            }
            _ => continue,
        };
        let all = response.header_mutation.get_or_insert_default();
        all.set_headers.extend(change.set_headers);
        all.remove_headers.extend(change.remove_headers);
    }
    response
}

fn changes(set: &[(&str, &str)], action: HeaderAppendAction, remove: &[&str]) -> HeaderMutation {
    let set = set.iter().map(|(key, value)| HeaderValueOption {
        header: Some(HeaderValue {
            key: (*key).to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..HeaderValue::default()
        }),
        append_action: action as i32,
        ..HeaderValueOption::default()
    });
    HeaderMutation {
        set_headers: set.collect(),
        remove_headers: remove.iter().map(ToString::to_string).collect(),
    }
}

fn replacing(text: &str) -> Option<BodyMutation> {
    Some(BodyMutation {
        mutation: Some(Mutation::Body(text.as_bytes().to_vec())),
    })
}

fn body(shown: &HttpBody, changed: bool, cleared: bool) -> CommonResponse {
    let mut response = CommonResponse::default();
    if changed && !shown.body.is_empty() {
        response.body_mutation = replacing("processed");
    }
    if cleared {
        response.body_mutation = Some(BodyMutation {
            mutation: Some(Mutation::ClearBody(true)),
        });
    }
    response
}

fn immediate(grpc: bool) -> ImmediateResponse {
    ImmediateResponse {
        status: Some(HttpStatus { code: 429 }),
        headers: Some(changes(
            &[("x-now", "1"), ("content-type", "text/html")],
            HeaderAppendAction::OverwriteIfExistsOrAdd,
            &[],
        )),
        body: b"at once".to_vec(),
        grpc_status: grpc.then_some(GrpcStatus { status: 9 }),
        details: "by the service".to_owned(),
    }
}

fn send(stream: &mut SendStream<Bytes>, reply: &ProcessingResponse) -> Result<()> {
    let reply = reply.encode_to_vec();
    let mut frame = BytesMut::with_capacity(reply.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(reply.len())?);
    frame.put_slice(&reply);
    stream.send_data(frame.freeze(), false)?;
    Ok(())
}

fn end(stream: &mut SendStream<Bytes>, code: u32) -> Result<()> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    if code != 0 {
        trailers.insert("grpc-message", http::HeaderValue::from_static("went wrong"));
    }
    stream.send_trailers(trailers)?;
    Ok(())
}

/// What was shown, on one line.
fn text(message: &ProcessingRequest) -> String {
    let body = |name: &str, body: &HttpBody| {
        let text = String::from_utf8_lossy(&body.body);
        let end = if body.end_of_stream { " end" } else { "" };
        format!("{name} {text:?}{end}")
    };
    let head = |name: &str, shown: Option<&Headers>, end: bool| {
        let shown = shown.map_or(&[][..], |it| &it.headers);
        let mut all: Vec<String> = shown
            .iter()
            .filter(|it| it.key != "x-request-id" && it.key != "date")
            .filter(|it| it.key != "x-envoy-upstream-service-time")
            .map(|it| format!("{}={}", it.key, String::from_utf8_lossy(&it.raw_value)))
            .collect();
        all.sort();
        let end = if end { " end" } else { "" };
        format!("{name} {}{end}", all.join(" "))
    };
    let mut text = match &message.request {
        Some(Told::RequestHeaders(it)) => head("request", it.headers.as_ref(), it.end_of_stream),
        Some(Told::ResponseHeaders(it)) => head("answer", it.headers.as_ref(), it.end_of_stream),
        Some(Told::RequestBody(it)) => body("request body", it),
        Some(Told::ResponseBody(it)) => body("answer body", it),
        Some(Told::RequestTrailers(it)) => head("request trailers", it.trailers.as_ref(), false),
        Some(Told::ResponseTrailers(it)) => head("answer trailers", it.trailers.as_ref(), false),
        None => "nothing".to_owned(),
    };
    if let Some(config) = &message.protocol_config {
        text += &format!(
            " modes {} {}",
            config.request_body_mode, config.response_body_mode
        );
    }
    if message.observability_mode {
        text += " observing";
    }
    text
}
