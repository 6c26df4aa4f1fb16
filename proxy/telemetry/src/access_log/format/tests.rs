use std::time::{Duration, SystemTime};

use http::HeaderMap;
use serde_json::{Value as Json, json};

use super::{Format, FormatError, Subject};
use crate::{Exchange, Flags, HttpRecord, Protocol};

fn request_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("user-agent", "curl/8.5\"".parse().expect("value"));
    headers.insert("x-request-id", "9d2f".parse().expect("value"));
    headers
}

fn record<'a>(request: &'a HeaderMap, response: &'a HeaderMap) -> HttpRecord<'a> {
    HttpRecord {
        exchange: Exchange {
            start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_067),
            duration: Duration::from_millis(12),
            bytes_sent: 345,
            details: Some("via_upstream"),
            upstream_host: Some(([10, 1, 0, 7], 9080).into()),
            upstream_local: Some(([10, 1, 0, 2], 41000).into()),
            cluster: Some("outbound|9080||reviews.shop.svc.cluster.local"),
            cluster_alt_name: Some("outbound|9080||reviews.shop.svc.cluster.local;"),
            downstream_local: Some(([10, 2, 0, 9], 9080).into()),
            downstream_remote: Some(([10, 1, 0, 2], 52000).into()),
            route: Some("default"),
            ..Exchange::default()
        },
        method: "GET",
        path: "/reviews/0?x=1",
        authority: Some("reviews:9080"),
        protocol: Protocol::Http11,
        status: 200,
        request_headers: Some(request),
        response_headers: Some(response),
        ..HttpRecord::default()
    }
}

fn line(format: &Format, record: &HttpRecord<'_>) -> String {
    let mut out = Vec::new();
    format.write(
        &Subject {
            exchange: &record.exchange,
            http: Some(record),
        },
        &mut out,
    );
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn the_default_format_writes_istios_line() {
    let (request, mut response) = (request_headers(), HeaderMap::new());
    response.insert(
        "x-envoy-upstream-service-time",
        "11".parse().expect("value"),
    );
    let expected = concat!(
        "[2026-01-02T03:04:05.067Z] \"GET /reviews/0?x=1 HTTP/1.1\" 200 - via_upstream - \"-\" 0 345 12 11 \"-\" ",
        "\"curl/8.5\\\"\" \"9d2f\" \"reviews:9080\" \"10.1.0.7:9080\" outbound|9080||reviews.shop.svc.cluster.local ",
        "10.1.0.2:41000 10.2.0.9:9080 10.1.0.2:52000 - default\n",
    );
    assert_eq!(
        line(&Format::default_text(), &record(&request, &response)),
        expected
    );
    let names: Vec<_> = Format::default_text()
        .request_headers()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        names,
        [
            "x-envoy-original-path",
            "x-forwarded-for",
            "user-agent",
            "x-request-id"
        ]
    );
}

#[test]
fn commands_take_arguments_and_lengths() {
    let (request, response) = (request_headers(), HeaderMap::new());
    let mut record = record(&request, &response);
    record.exchange.flags = Flags::UPSTREAM_CONNECT_FAILURE | Flags::RETRIES_EXHAUSTED;
    record.grpc = true;
    record.grpc_status = Some(14);
    let cases = [
        ("%REQ(USER-AGENT):4% 100%%", "curl 100%"),
        ("%REQ(x-none?:path):8%", "/reviews"),
        ("%REQ_WITHOUT_QUERY(:PATH)%", "/reviews/0"),
        ("%START_TIME(%Y-%m)%", "2026-01"),
        (
            "%UPSTREAM_CLUSTER%",
            "outbound|9080||reviews.shop.svc.cluster.local;",
        ),
        (
            "%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG%",
            "UF,URX UpstreamConnectionFailure,UpstreamRetryLimitExceeded",
        ),
        (
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%",
            "10.1.0.2 9080",
        ),
        ("%GRPC_STATUS% %GRPC_STATUS(NUMBER)%", "Unavailable 14"),
    ];
    for (format, expected) in cases {
        match Format::text(format) {
            Ok(format) => assert_eq!(line(&format, &record), expected),
            Err(error) => assert!(expected.is_empty(), "{error}"),
        }
    }
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    let cases = [
        ("%FOO%", "%FOO% at byte 0"),
        ("ab %FILTER_STATE(a:b)%", "%FILTER_STATE(a:b)% at byte 3"),
        ("%REQ%", "%REQ% at byte 0"),
        ("%CEL(nope.x)%", "no attribute `nope`"),
        ("%PATH(XX)%", "neither WQ nor NQ"),
        ("%METADATA(ROUTE:a:b)%", "only METADATA(DYNAMIC"),
        ("%PROTOCOL(x)%", "takes no argument"),
        ("%REQ(a b)%", "`a b` is no header name"),
        ("%REQ(a):x%", "`x` is no length"),
        ("50% off", "opens a command that is not closed"),
    ];
    for (format, expected) in cases {
        let error = Format::text(format).expect_err(format).to_string();
        assert!(error.contains(expected), "{format}: {error}");
    }
    let deep = (0..20).fold(json!("%PROTOCOL%"), |inner, _| json!({ "a": inner }));
    assert_eq!(
        Format::json(deep.as_object().expect("object")).unwrap_err(),
        FormatError::TooLarge
    );
}

#[test]
fn json_keeps_types_and_sorts_keys() {
    let (request, response) = (request_headers(), HeaderMap::new());
    let template = json!({
        "status": "%RESPONSE_CODE%",
        "agent": "%REQ(USER-AGENT)%",
        "flags": "%RESPONSE_FLAGS%",
        "nothing": "%REQUESTED_SERVER_NAME%",
        "nested": { "took": "%DURATION% ms", "list": [1, "%PROTOCOL%"] },
    });
    let format = Format::json(template.as_object().expect("object")).expect("compiles");
    let text = line(&format, &record(&request, &response));
    assert!(text.starts_with("{\"agent\":") && text.ends_with("}\n"));
    let parsed: Json = serde_json::from_str(&text).expect("JSON");
    let expected = json!({
        "agent": "curl/8.5\"", "flags": "-", "nothing": null, "status": 200,
        "nested": { "list": [1, "HTTP/1.1"], "took": "12 ms" },
    });
    assert_eq!(parsed, expected);
    let without = line(&format.omit_empty(true), &record(&request, &response));
    assert!(!without.contains("nothing"));
}
