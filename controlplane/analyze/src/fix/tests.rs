use std::sync::Arc;

use super::*;
use crate::code::{Code, DEPRECATED, PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION, UNKNOWN_ANNOTATION};
use crate::message::{Origin, Place};

fn known(_: &str) -> Vec<&'static str> {
    vec![
        "sidecar.istio.io/proxyCPU",
        "sidecar.istio.io/proxyImage",
        "sidecar.istio.io/proxyImageType",
        "traffic.sidecar.istio.io/excludeInboundPorts",
    ]
}

fn message(code: Code, (kind, name): (&'static str, &str), line: u32, field: &str) -> Message {
    Message {
        code,
        text: String::new(),
        origin: Some(Origin {
            kind,
            namespace: "default".to_owned(),
            name: name.to_owned(),
            suppressed: String::new(),
            place: Some(Place {
                file: Arc::from("a.yaml"),
                document_line: line,
                line,
                column: 1,
            }),
        }),
        field: field.to_owned(),
        own_line: false,
        cluster: String::new(),
    }
}

/// The text with all cures, and how many messages they cured.
fn fixed(text: &str, messages: &[Message]) -> (String, usize) {
    let messages: Vec<&Message> = messages.iter().collect();
    let cure = Fixer::new(text, known).cure(&messages);
    (apply(text, &cure.edits), cure.cured.len())
}

const ROUTE: &str = "kind: A\n--- # one\n# kept\nkind: VirtualService\nmetadata: {name: web}\nspec:\n  http:\n  - fault:\n      delay:\n        percent:  10   # odd\n        fixedDelay: 5s\n    route: []\n";

#[test]
fn a_percent_becomes_a_percentage_and_all_else_stays() {
    let about = message(
        DEPRECATED,
        ("VirtualService", "web"),
        4,
        "spec.http[0].fault.delay.percent",
    );
    let (text, cured) = fixed(ROUTE, std::slice::from_ref(&about));
    assert_eq!(cured, 1);
    assert_eq!(
        text,
        ROUTE.replace("percent:  10 ", "percentage:\n          value: 10 ")
    );
    let flow = ROUTE.replace(
        "\n        percent:  10   # odd\n        fixedDelay: 5s\n",
        " {percent: 10, fixedDelay: 5s}\n",
    );
    let (text, _) = fixed(&flow, &[about]);
    assert_eq!(text, flow.replace("percent: 10", "percentage: {value: 10}"));
}

#[test]
fn json_stays_json() {
    let text = "{\"kind\": \"VirtualService\", \"metadata\": {\"name\": \"web\"},\n \"spec\": {\"http\": [{\"fault\": {\"delay\": {\"percent\": 5}}}]}}\n";
    let (out, cured) = fixed(
        text,
        &[message(DEPRECATED, ("VirtualService", "web"), 1, "")],
    );
    assert_eq!(cured, 1);
    assert_eq!(
        out,
        text.replace("\"percent\": 5", "\"percentage\": {\"value\": 5}")
    );
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        value["spec"]["http"][0]["fault"]["delay"]["percentage"]["value"],
        5
    );
}

#[test]
fn what_would_change_more_than_it_should_is_left_alone() {
    let shared = "kind: VirtualService\nmetadata: {name: web}\nspec:\n  http:\n  - fault: {delay: &d {percent: 10}}\n  - other: *d\n";
    let both = ROUTE.replace("fixedDelay: 5s", "percentage: {value: 1}");
    let zero = ROUTE.replace("10 ", "0 ");
    let renamed = ROUTE.replace("web", "other");
    for (text, line) in [
        (shared, 1),
        (&both, 4),
        (&zero, 4),
        (&renamed, 4),
        (ROUTE, 3),
    ] {
        let about = message(DEPRECATED, ("VirtualService", "web"), line, "");
        assert_eq!(fixed(text, &[about]), (text.to_owned(), 0));
    }
}

#[test]
fn a_misspelt_annotation_gets_its_only_likely_name() {
    let text = |name: &str| {
        format!(
            "kind: List\nitems:\n- kind: Pod\n  metadata:\n    name: web\n    annotations:\n      {name}: 'x' # kept\n      a: b\n"
        )
    };
    for (wrong, right) in [
        (
            "sidecar.istio.io/proxycpu",
            Some("sidecar.istio.io/proxyCPU"),
        ),
        (
            "\"sidecar.istio.io/proxyCUP\"",
            Some("\"sidecar.istio.io/proxyCPU\""),
        ),
        (
            "traffic.sidecar.istio.io/excludeInboundPort",
            Some("traffic.sidecar.istio.io/excludeInboundPorts"),
        ),
        (
            "sidecar.istio.io/proxyImageTyp",
            Some("sidecar.istio.io/proxyImageType"),
        ),
        ("sidecar.istio.io/proxyMemory", None),
        ("sidecar.istio.io/wholly-different", None),
    ] {
        let name = wrong.trim_matches('"');
        let field = format!("metadata.annotations[\"{name}\"]");
        let about = message(UNKNOWN_ANNOTATION, ("Pod", "web"), 3, &field);
        let (out, cured) = fixed(&text(wrong), &[about]);
        assert_eq!(cured, usize::from(right.is_some()), "{wrong}");
        assert_eq!(out, text(right.unwrap_or(wrong)));
    }
}

#[test]
fn a_port_gets_the_protocol_that_is_certain() {
    let block = |port: &str| {
        format!("kind: Service\r\nmetadata: {{name: web}}\r\nspec:\r\n  ports:\r\n  - {port}\r\n")
    };
    let field = "spec.ports[0].port";
    for (port, fixed_port) in [
        (
            "name: metrics-http\r\n    port: 9090",
            Some("name: metrics-http\r\n    appProtocol: http\r\n    port: 9090"),
        ),
        ("port: 80", Some("appProtocol: http\r\n    port: 80")),
        (
            "{port: 443, name: web}",
            Some("{appProtocol: https, port: 443, name: web}"),
        ),
        (
            "{name: api-GRPC, port: 1}",
            Some("{name: api-GRPC, appProtocol: grpc, port: 1}"),
        ),
        ("{name: web-grpc, port: 1}", None),
        ("{name: x-http-tcp, port: 80}", None),
        ("{name: web, port: 8080}", None),
    ] {
        let about = message(
            PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION,
            ("Service", "web"),
            1,
            field,
        );
        let (out, cured) = fixed(&block(port), &[about]);
        assert_eq!(cured, usize::from(fixed_port.is_some()), "{port}");
        assert_eq!(out, block(fixed_port.unwrap_or(port)));
    }
}

#[test]
fn edits_of_several_messages_go_together_and_the_same_one_once() {
    let text = format!(
        "{ROUTE}---\nkind: Service\nmetadata: {{name: s}}\nspec:\n  ports:\n  - port: 80\n  - port: 443\n"
    );
    let messages = [
        message(DEPRECATED, ("VirtualService", "web"), 4, ""),
        message(DEPRECATED, ("VirtualService", "web"), 4, ""),
        message(
            PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION,
            ("Service", "s"),
            14,
            "spec.ports[1].port",
        ),
        message(
            PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION,
            ("Service", "s"),
            14,
            "spec.ports[0].port",
        ),
    ];
    let (out, cured) = fixed(&text, &messages);
    assert_eq!(cured, 4);
    assert!(out.contains("value: 10"), "{out}");
    assert!(
        out.ends_with(
            "  - appProtocol: http\n    port: 80\n  - appProtocol: https\n    port: 443\n"
        ),
        "{out}"
    );
}
