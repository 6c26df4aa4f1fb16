//! Rules on VirtualServices, each with an input that breaks it and one that just does not.

// Tables of cases are long, not complicated.
#![allow(clippy::too_many_lines)]

use super::super::{Fault, Verdict};
use super::faults as faults_of_text;

/// A rule: the field of the fault, a part of its message, an input with the fault and one without.
type Case = (&'static str, &'static str, &'static str, &'static str);

fn faults(spec: &str) -> Vec<Fault> {
    annotated("{}", spec)
}

fn annotated(annotations: &str, spec: &str) -> Vec<Fault> {
    faults_of_text(&format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a, annotations: {annotations}}}\nspec: {{{spec}}}\n"
    ))
}

/// Asserts that each bad input, put in place of `@`, has just the one fault, and each good one none.
fn assert_rules(verdict: &Verdict, around: &str, cases: &[Case]) {
    for (field, message, bad, good) in cases {
        let found = faults(&around.replace('@', bad));
        let [fault] = found.as_slice() else {
            panic!("{bad}: one fault is expected: {found:#?}");
        };
        assert_eq!(fault.field, *field, "{bad}: {fault:?}");
        assert!(fault.message.contains(message), "{bad}: {fault:?}");
        assert_eq!(fault.verdict, *verdict, "{bad}");
        let found = faults(&around.replace('@', good));
        assert_eq!(found, [], "{good}");
    }
}

const TO: &str = "route: [{destination: {host: a}}]";

/// A VirtualService with a route that has the fields in place of `@`.
const ROUTE: &str = "hosts: [a.com], http: [{route: [{destination: {host: a}}], @}]";

/// A VirtualService with a route that does not say where to.
const BARE: &str = "hosts: [a.com], http: [{@}]";

const LABEL_63: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[test]
fn hosts_are_names_wildcards_or_addresses_that_do_not_overlap() {
    let around = format!("@, http: [{{{TO}}}]");
    assert_rules(
        &Verdict::Refused,
        &around,
        &[
            (
                "spec.hosts[0]",
                "not a host name",
                "hosts: [a_b.com]",
                "hosts: [a-b.com]",
            ),
            (
                "spec.hosts[0]",
                "not a host name",
                "hosts: ['']",
                "hosts: [a]",
            ),
            (
                "spec.hosts[0]",
                "not a host name",
                "hosts: [10.0.0.256]",
                "hosts: [10.0.0.255]",
            ),
            (
                "spec.hosts[0]",
                "not a host name",
                "hosts: ['*--x.com']",
                "hosts: ['*-x.com', '*y']",
            ),
            (
                "spec.hosts[0]",
                "not a host name",
                "hosts: ['a.*.com']",
                "hosts: ['2001:db8::1', '7']",
            ),
            (
                "spec.hosts[0]",
                "sidecars cannot route",
                "hosts: ['*']",
                "hosts: ['*'], gateways: [g]",
            ),
            (
                "spec.hosts[0]",
                "sidecars cannot route",
                "hosts: ['*'], gateways: [n/g, mesh]",
                "hosts: ['*'], gateways: [n/g]",
            ),
            (
                "spec.hosts[1]",
                "by `*.a.com`",
                "hosts: ['*.a.com', x.a.com]",
                "hosts: ['*.a.com', a.com]",
            ),
            (
                "spec.hosts[0]",
                "by `*x.com`",
                "hosts: ['*.yx.com', '*x.com']",
                "hosts: ['*.y.com', '*x.com']",
            ),
            ("spec.hosts[1]", "by `a`", "hosts: [a, a]", "hosts: [a, A]"),
            // Overlaps count only where all hosts are right by themselves.
            (
                "spec.hosts[2]",
                "not a host name",
                "hosts: [a, a, a_b]",
                "hosts: [a, b, a-b]",
            ),
            (
                "spec.hosts[0]",
                "not a host name",
                "hosts: [outbound_.80_._.a.b], gateways: [n/g]",
                "hosts: [outbound_.80_._.a.b], gateways: [n/g], tls: [{match: [{sniHosts: [outbound_.80_._.a.b]}], route: [{destination: {host: a}}]}]",
            ),
            (
                "spec.hosts[0]",
                "not a host name",
                "hosts: [outbound_.x_._.a.b, c], gateways: [n/g], tls: [{match: [{sniHosts: [c]}], route: [{destination: {host: a}}]}]",
                "hosts: [outbound_.8x_._.a.b, c], gateways: [n/g], tls: [{match: [{sniHosts: [c]}], route: [{destination: {host: a}}]}]",
            ),
        ],
    );
}

#[test]
fn one_list_of_routes_is_needed_and_delegates_have_http_alone() {
    let tls = "tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: a}}]}]";
    assert_eq!(faults(&format!("hosts: [a], {tls}")), []);
    assert_rules(
        &Verdict::Refused,
        "@",
        &[
            (
                "spec",
                "at least one of http, tls and tcp",
                "hosts: [a]",
                "hosts: [a], tcp: [{route: [{destination: {host: a}}]}]",
            ),
            (
                "spec.gateways",
                "has no gateways",
                "gateways: [mesh], http: [{route: [{destination: {host: a}}]}]",
                "http: [{route: [{destination: {host: a}}]}]",
            ),
            (
                "spec.tcp",
                "no TCP routes",
                "tcp: [{route: [{destination: {host: a}}]}]",
                "hosts: [a], tcp: [{route: [{destination: {host: a}}]}]",
            ),
        ],
    );
    let found = faults("tls: [{match: [{}], route: [{destination: {host: a}}]}]");
    let fields: Vec<&str> = found.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["spec.tls", "spec.tls[0].match[0].sniHosts"]);
}

#[test]
fn gateways_are_named_with_a_namespace_or_alone() {
    let around = format!("hosts: [a.com], gateways: [@], http: [{{{TO}}}]");
    assert_rules(
        &Verdict::Refused,
        &around,
        &[
            ("spec.gateways[0]", "not a gateway's name", "a/b/c", "a/b"),
            ("spec.gateways[0]", "not a gateway's name", "./b", "N-1/b"),
            ("spec.gateways[0]", "not a gateway's name", "/b", "n/b"),
            ("spec.gateways[0]", "not a gateway's name", "n/", "n/b"),
            ("spec.gateways[0]", "not a gateway's name", "n/b.c", "n/b-c"),
            ("spec.gateways[0]", "not a gateway's name", "a_b", "a-b"),
            ("spec.gateways[0]", "not a gateway's name", "''", "mesh"),
            (
                "spec.gateways[1]",
                "not a gateway's name",
                "n/b, '7'",
                "n/b, mesh",
            ),
            // What stands behind the first bare name is not looked at.
            (
                "spec.gateways[0]",
                "not a gateway's name",
                "a_b/c, mesh, d_e",
                "mesh, d_e, a/b/c",
            ),
        ],
    );
    assert_rules(
        &Verdict::Warned,
        &around,
        &[(
            "spec.gateways[0]",
            "write `n/g`",
            "g.n.svc.cluster.local",
            "g",
        )],
    );
}

#[test]
fn namespaces_to_export_to_are_names_dot_or_star() {
    let around = format!("hosts: [a.com], exportTo: [@], http: [{{{TO}}}]");
    assert_rules(
        &Verdict::Refused,
        &around,
        &[
            ("spec.exportTo[1]", "given twice", "b, b", "b, B"),
            ("spec.exportTo[1]", "given twice", "'.', shop", "'.', b"),
            ("spec.exportTo[1]", "given twice", "shop, '.'", "shop, b"),
            ("spec.exportTo[0]", "stands alone", "'*', b", "'*'"),
            ("spec.exportTo[0]", "not a namespace", "'~'", "'.'"),
            ("spec.exportTo[0]", "not a namespace", "''", "a"),
            ("spec.exportTo[0]", "not a namespace", "a.b", "a-b"),
        ],
    );
}

#[test]
fn a_route_does_one_thing() {
    assert_rules(
        &Verdict::Refused,
        BARE,
        &[
            (
                "spec.http[0]",
                "a route needs one of",
                "name: a",
                "directResponse: {status: 200}",
            ),
            (
                "spec.http[0].redirect",
                "delegates",
                "delegate: {name: b}, redirect: {uri: /}",
                "delegate: {name: b}",
            ),
            (
                "spec.http[0].route",
                "delegates",
                "delegate: {name: b}, route: [{destination: {host: a}}]",
                "delegate: {name: b}, route: [], directResponse: {status: 200}, rewrite: {uri: /}",
            ),
            (
                "spec.http[0].route",
                "with redirect has no route",
                "redirect: {uri: /}, route: [{destination: {host: a}}]",
                "redirect: {uri: /}",
            ),
            (
                "spec.http[0].fault",
                "with redirect has no fault",
                "redirect: {uri: /}, fault: {abort: {httpStatus: 500}}",
                "redirect: {uri: /}, retries: {}",
            ),
            (
                "spec.http[0].rewrite",
                "with redirect has no rewrite",
                "redirect: {uri: /}, rewrite: {uri: /}",
                "redirect: {uri: /}, corsPolicy: {}",
            ),
            (
                "spec.http[0].directResponse",
                "with redirect has no directResponse",
                "redirect: {uri: /}, directResponse: {status: 200}",
                "directResponse: {status: 200}",
            ),
            (
                "spec.http[0].route",
                "with directResponse has no route",
                "directResponse: {status: 200}, route: [{destination: {host: a}}]",
                "directResponse: {status: 200}, route: []",
            ),
            (
                "spec.http[0].fault",
                "with directResponse has no fault",
                "directResponse: {status: 200}, fault: {abort: {httpStatus: 500}}",
                "directResponse: {status: 200}, headers: {}",
            ),
            (
                "spec.http[0].rewrite",
                "with directResponse has no rewrite",
                "directResponse: {status: 200}, rewrite: {uri: /}",
                "directResponse: {status: 200}, timeout: 1s",
            ),
            (
                "spec.http[0].mirrors",
                "only one of mirror and mirrors",
                "route: [{destination: {host: a}}], mirror: {host: b}, mirrors: [{destination: {host: c}}]",
                // A route that delegates is not looked at for this.
                "delegate: {name: b}, mirror: {host: b}, mirrors: [{destination: {host: c}}]",
            ),
        ],
    );
    assert_rules(
        &Verdict::Refused,
        "@",
        &[
            (
                "spec.http[0].delegate",
                "delegate again",
                "http: [{delegate: {name: b}, route: [{destination: {host: a}}]}]",
                "http: [{route: [{destination: {host: a}}]}]",
            ),
            (
                "spec.http[0]",
                "a route needs one of",
                "http: [{}]",
                "hosts: [a], http: [{delegate: {}}]",
            ),
        ],
    );
    // A delegate that delegates still has to say what it does itself.
    assert_eq!(faults("http: [{delegate: {name: b}}]").len(), 2);
}

#[test]
fn destinations_have_a_host_that_requests_can_be_sent_to() {
    assert_rules(
        &Verdict::Refused,
        "hosts: [a.com], http: [{@}]",
        &[
            (
                "spec.http[0].route[0].destination",
                "destination is needed",
                "route: [{}]",
                "route: [{destination: {host: a}}]",
            ),
            (
                "spec.http[0].route[0].destination.host",
                "needs a host",
                "route: [{destination: {}}]",
                "route: [{destination: {host: '*.a'}}]",
            ),
            (
                "spec.http[0].route[0].destination.host",
                "not a host to send requests to",
                "route: [{destination: {host: '*'}}]",
                "route: [{destination: {host: '*a'}}]",
            ),
            (
                "spec.http[0].route[0].destination.host",
                "not a host to send requests to",
                "route: [{destination: {host: 10.0.0.1}}]",
                "route: [{destination: {host: 10.0.0.x}}]",
            ),
            (
                "spec.http[0].route[0].destination.subset",
                "not a subset's name",
                "route: [{destination: {host: a, subset: v.1}}]",
                "route: [{destination: {host: a, subset: V-1}}]",
            ),
            (
                "spec.http[0].route[0].destination.port.number",
                "0 is not a port",
                "route: [{destination: {host: a, port: {}}}]",
                "route: [{destination: {host: a, port: {number: 65535}}}]",
            ),
            (
                "spec.http[0].route[0].destination.port.number",
                "65536 is not a port",
                "route: [{destination: {host: a, port: {number: 65536}}}]",
                "route: [{destination: {host: a, port: {number: 1}}}]",
            ),
            (
                "spec.http[0].route[0].weight",
                "-1 is negative",
                "route: [{destination: {host: a}, weight: -1}]",
                "route: [{destination: {host: a}, weight: 0}]",
            ),
            (
                "spec.http[0].route",
                "a weight above 0",
                "route: [{destination: {host: a}}, {destination: {host: b}}]",
                "route: [{destination: {host: a}, weight: 2147483647}, {destination: {host: b}, weight: 2147483647}, {destination: {host: c}, weight: 2147483647}]",
            ),
        ],
    );
    assert_rules(
        &Verdict::Refused,
        ROUTE,
        &[
            (
                "spec.http[0].mirror.host",
                "needs a host",
                "mirror: {}",
                "mirror: {host: b}",
            ),
            (
                "spec.http[0].mirror.subset",
                "subset's name",
                "mirror: {host: b, subset: a_b}",
                "mirror: {host: b, subset: ab}",
            ),
            (
                "spec.http[0].mirrors[0].destination",
                "destination is needed",
                "mirrors: [{}]",
                "mirrors: [{destination: {host: b}}]",
            ),
            (
                "spec.http[0].mirrors[0].percentage.value",
                "101 is not a share",
                "mirrors: [{destination: {host: b}, percentage: {value: 101}}]",
                "mirrors: [{destination: {host: b}, percentage: {value: 0.00001}}]",
            ),
            (
                "spec.http[0].mirrorPercentage.value",
                "-1 is not a share",
                "mirrorPercentage: {value: -1}",
                "mirrorPercentage: {value: 100}",
            ),
            (
                "spec.http[0].timeout",
                "too short",
                "timeout: 0s",
                "timeout: 1ms",
            ),
            (
                "spec.http[0].timeout",
                "too short",
                "timeout: -1s",
                "timeout: 1h",
            ),
            (
                "spec.http[0].timeout",
                "whole milliseconds",
                "timeout: 1.0005s",
                "timeout: 1.5s",
            ),
        ],
    );
    let found = faults(&ROUTE.replace('@', "mirrorPercent: 101"));
    let verdicts: Vec<&Verdict> = found.iter().map(|fault| &fault.verdict).collect();
    assert_eq!(verdicts, [&Verdict::Refused, &Verdict::Warned]);
    assert_rules(
        &Verdict::Warned,
        ROUTE,
        &[(
            "spec.http[0].mirrorPercent",
            "use mirrorPercentage",
            "mirrorPercent: 100",
            "mirrorPercentage: {value: 100}",
        )],
    );
}

#[test]
fn matches_of_requests_have_rules_of_their_own() {
    let around = format!("hosts: [a.com], http: [{{match: [{{@}}], {TO}}}]");
    let at = "spec.http[0].match[0]";
    let cases = [
        (
            "uri.regex",
            "cannot be empty",
            "uri: {regex: ''}",
            "uri: {prefix: ''}",
        ),
        (
            "uri.regex",
            "a `)` is missing",
            "uri: {regex: '('}",
            "uri: {exact: ''}",
        ),
        (
            "scheme.prefix",
            "a prefix cannot be empty",
            "scheme: {prefix: ''}",
            "scheme: {}",
        ),
        (
            "method.regex",
            "cannot be empty",
            "method: {regex: ''}",
            "method: {exact: ''}",
        ),
        (
            "authority.regex",
            "not an expression",
            "authority: {regex: '*'}",
            "authority: {regex: '.*'}",
        ),
        (
            "queryParams.q.prefix",
            "a prefix",
            "queryParams: {q: {prefix: ''}}",
            "queryParams: {q: {exact: ''}}",
        ),
        (
            "headers.x.regex",
            "not an expression",
            "headers: {x: {regex: '*'}}",
            "headers: {x: {}}",
        ),
        (
            "headers[\"a b\"]",
            "not a header's name",
            "headers: {'a b': {}}",
            "headers: {'a,b': {}}",
        ),
        (
            "headers[\"\"]",
            "not a header's name",
            "headers: {'': {}}",
            "headers: {':path': {}}",
        ),
        (
            "headers.:host",
            "not a header's name",
            "headers: {':host': {}}",
            "headers: {':authority': {}}",
        ),
        (
            "withoutHeaders.x.regex",
            "not an expression",
            "withoutHeaders: {x: {regex: '+'}}",
            "withoutHeaders: {x: {regex: '*'}}",
        ),
        (
            "withoutHeaders.x.prefix",
            "a prefix",
            "withoutHeaders: {x: {prefix: ''}}",
            "withoutHeaders: {x: {exact: ''}}",
        ),
        (
            "withoutHeaders.é",
            "not a header's name",
            "withoutHeaders: {é: {}}",
            "withoutHeaders: {e: {}}",
        ),
        ("port", "65536 is not a port", "port: 65536", "port: 0"),
        (
            "sourceLabels[\"a/b/c\"]",
            "not a label",
            "sourceLabels: {a/b/c: d}",
            "sourceLabels: {a.b/c: d}",
        ),
        (
            "sourceLabels.a",
            "not a label's value",
            "sourceLabels: {a: -b}",
            "sourceLabels: {a: ''}",
        ),
        (
            "sourceNamespace",
            "not a namespace",
            "sourceNamespace: a.b",
            "sourceNamespace: A-b",
        ),
        (
            "gateways[0]",
            "not a gateway's name",
            "gateways: [a/b/c]",
            "gateways: [g.n, a/b/c]",
        ),
    ];
    for (field, message, bad, good) in cases {
        let field = format!("{at}.{field}").replace(".headers[", ".headers[");
        let field: &'static str = field.leak();
        assert_rules(&Verdict::Refused, &around, &[(field, message, bad, good)]);
    }
    let long = "a".repeat(1024);
    let of = |regex: &str| faults(&around.replace('@', &format!("uri: {{regex: {regex}}}")));
    assert_eq!(of(&long), []);
    assert!(of(&format!("{long}a"))[0].message.contains("1024 bytes"));
    assert_eq!(faults(&around.replace('@', "")), []);
    let namespace = |text: &str| faults(&around.replace('@', &format!("sourceNamespace: {text}")));
    assert_eq!(namespace(LABEL_63), []);
    assert_eq!(namespace(&format!("{LABEL_63}a")).len(), 1);
}

#[test]
fn claims_are_matched_at_gateways_only() {
    let routes = "http: [{match: [{@: {'@Request.auth.claims.sub': {exact: a}}}], route: [{destination: {host: a}}]}]";
    for side in ["headers", "withoutHeaders"] {
        let routes = routes.replacen('@', side, 1);
        assert_eq!(faults(&format!("hosts: [a], gateways: [g], {routes}")), []);
        for gateways in ["", "gateways: [mesh], ", "gateways: [n/g, mesh], "] {
            let found = faults(&format!("hosts: [a], {gateways}{routes}"));
            assert!(found[0].message.contains("at gateways only"), "{found:?}");
            assert_eq!(found.len(), 1);
        }
    }
}

#[test]
fn headers_that_routing_needs_are_not_changed() {
    for (around, at) in [
        (ROUTE, "spec.http[0].headers"),
        (
            "hosts: [a], http: [{route: [{destination: {host: a}, @}]}]",
            "spec.http[0].route[0].headers",
        ),
    ] {
        for (field, message, bad, good) in [
            (
                "request.set.:path",
                "colon",
                "request: {set: {':path': a}}",
                "request: {set: {':Authority': a}}",
            ),
            (
                "request.add[\"\"]",
                "needs a name",
                "request: {add: {'': a}}",
                "request: {add: {Host: a}}",
            ),
            (
                "request.remove[0]",
                "Host header",
                "request: {remove: [HOST]}",
                "request: {remove: ['a b']}",
            ),
            (
                "request.remove[0]",
                "colon",
                "request: {remove: [':authority']}",
                "request: {remove: [x]}",
            ),
            (
                "request.remove[0]",
                "needs a name",
                "request: {remove: ['']}",
                "request: {remove: []}",
            ),
            (
                "response.set.host",
                "Host header",
                "response: {set: {host: a}}",
                "response: {set: {hosts: a}}",
            ),
            (
                "response.add.:status",
                "colon",
                "response: {add: {':status': '200'}}",
                "response: {add: {'a b': a}}",
            ),
            (
                "response.remove[0]",
                "Host header",
                "response: {remove: [Host]}",
                "response: {remove: [x]}",
            ),
            (
                "request.set.x",
                "begins a variable",
                "request: {set: {x: 50%}}",
                "request: {set: {x: 50%%}}",
            ),
            (
                "request.add.x",
                "control",
                "request: {add: {x: \"a\\nb\"}}",
                "request: {add: {x: \"a\\tb\"}}",
            ),
            (
                "response.set.x",
                "arguments",
                "response: {set: {x: '%X([])%'}}",
                "response: {set: {x: '%X([\"a\"])%'}}",
            ),
        ] {
            let field: &'static str = format!("{at}.{field}").leak();
            let around = around.replace('@', "headers: {@}");
            assert_rules(&Verdict::Refused, &around, &[(field, message, bad, good)]);
        }
    }
}

#[test]
fn the_authority_is_changed_once() {
    assert_rules(
        &Verdict::Refused,
        ROUTE,
        &[
            (
                "spec.http[0].headers.request.set.host",
                "changed already",
                "rewrite: {authority: b}, headers: {request: {set: {host: c}}}",
                "rewrite: {uri: /}, headers: {request: {set: {host: c}}}",
            ),
            (
                "spec.http[0].headers.request.add.:authority",
                "changed already",
                "headers: {request: {set: {Host: c}, add: {':authority': c}}}",
                "headers: {request: {set: {Host: c}, add: {x-authority: c}}}",
            ),
            (
                "spec.http[0].headers.request.set.host",
                "changed already",
                "headers: {request: {set: {':authority': c, host: c}}}",
                "headers: {request: {set: {':authority': c}}, response: {}}",
            ),
        ],
    );
    // Headers of one destination do not count.
    let spec = "hosts: [a], http: [{rewrite: {authority: b}, route: [{destination: {host: a}, headers: {request: {set: {host: c}}}}]}]";
    assert_eq!(faults(spec), []);
}

#[test]
fn retries_have_attempts_and_known_conditions() {
    assert_rules(
        &Verdict::Refused,
        &ROUTE.replace('@', "retries: {@}"),
        &[
            (
                "spec.http[0].retries.attempts",
                "negative",
                "attempts: -1",
                "attempts: 0, backoff: 1s",
            ),
            (
                "spec.http[0].retries.attempts",
                "0 attempts",
                "perTryTimeout: 1s",
                "",
            ),
            (
                "spec.http[0].retries.attempts",
                "0 attempts",
                "retryOn: 5xx",
                "attempts: 1, retryOn: ''",
            ),
            (
                "spec.http[0].retries.attempts",
                "0 attempts",
                "retryRemoteLocalities: false",
                "retryIgnorePreviousHosts: false",
            ),
            (
                "spec.http[0].retries.perTryTimeout",
                "too short",
                "attempts: 1, perTryTimeout: 0s",
                "attempts: 1, perTryTimeout: 1ms",
            ),
            (
                "spec.http[0].retries.backoff",
                "whole milli",
                "attempts: 1, backoff: 1001us",
                "attempts: 1, backoff: 1ms",
            ),
            (
                "spec.http[0].retries.retryOn",
                "` reset`",
                "attempts: 1, retryOn: '5xx, reset'",
                "attempts: 1, retryOn: '5xx,reset'",
            ),
            (
                "spec.http[0].retries.retryOn",
                "``",
                "attempts: 1, retryOn: '5xx,'",
                "attempts: 1, retryOn: '503'",
            ),
            (
                "spec.http[0].retries.retryOn",
                "`419`",
                "attempts: 1, retryOn: '419'",
                "attempts: 1, retryOn: '418,511,226,+503'",
            ),
            (
                "spec.http[0].retries.retryOn",
                "`306`",
                "attempts: 1, retryOn: '306'",
                "attempts: 1, retryOn: unavailable",
            ),
            (
                "spec.http[0].retries.retryOn",
                "`5XX`",
                "attempts: 1, retryOn: 5XX",
                "attempts: 1, retryOn: 'gateway-error,http3-post-connect-failure'",
            ),
        ],
    );
}

#[test]
fn redirects_and_fixed_responses_are_whole() {
    assert_rules(
        &Verdict::Refused,
        BARE,
        &[
            (
                "spec.http[0].redirect",
                "a redirect needs one of",
                "redirect: {redirectCode: 301}",
                "redirect: {derivePort: FROM_REQUEST_PORT}",
            ),
            (
                "spec.http[0].redirect.redirectCode",
                "400 is not",
                "redirect: {uri: /, redirectCode: 400}",
                "redirect: {uri: /, redirectCode: 399}",
            ),
            (
                "spec.http[0].redirect.scheme",
                "not a scheme",
                "redirect: {scheme: HTTPS}",
                "redirect: {scheme: https}",
            ),
            (
                "spec.http[0].redirect.port",
                "65536 is not",
                "redirect: {port: 65536}",
                "redirect: {port: 0}",
            ),
            (
                "spec.http[0].redirect.prefixRewrite",
                "only one of uri and",
                "redirect: {uri: /, prefixRewrite: /a}",
                "redirect: {prefixRewrite: /a}",
            ),
            (
                "spec.http[0].redirect.prefixRewrite",
                "must be a prefix",
                "match: [{uri: {prefix: /a}}, {uri: {exact: /b}}], redirect: {prefixRewrite: /c}",
                "match: [{uri: {prefix: /a}}, {port: 80}], redirect: {prefixRewrite: /c}",
            ),
            (
                "spec.http[0].directResponse.status",
                "199 is not",
                "directResponse: {status: 199}",
                "directResponse: {status: 600}",
            ),
            (
                "spec.http[0].directResponse.status",
                "601 is not",
                "directResponse: {status: 601}",
                "directResponse: {status: 200, body: {}}",
            ),
        ],
    );
    let body = |length: usize| {
        let text = "a".repeat(length);
        faults(&BARE.replace(
            '@',
            &format!("directResponse: {{status: 200, body: {{string: {text}}}}}"),
        ))
    };
    assert_eq!(body(100 * 1024), []);
    assert_eq!(body(100 * 1024 + 1)[0].verdict, Verdict::Warned);
    assert_eq!(body(1024 * 1024)[0].verdict, Verdict::Warned);
    let found = body(1024 * 1024 + 1);
    assert_eq!(
        (found[0].verdict.clone(), found.len()),
        (Verdict::Refused, 1)
    );
    assert_eq!(found[0].field, "spec.http[0].directResponse.body");
}

#[test]
fn rewrites_have_one_way_to_change_the_path() {
    assert_rules(
        &Verdict::Refused,
        &ROUTE.replace('@', "rewrite: {@}"),
        &[
            (
                "spec.http[0].rewrite",
                "a rewrite needs one of",
                "",
                "authority: a",
            ),
            (
                "spec.http[0].rewrite.uriRegexRewrite",
                "only one of uri and",
                "uri: /, uriRegexRewrite: {match: a, rewrite: b}",
                "uriRegexRewrite: {match: a, rewrite: b}",
            ),
            (
                "spec.http[0].rewrite.uriRegexRewrite.match",
                "cannot be empty",
                "uriRegexRewrite: {rewrite: b}",
                "uri: /",
            ),
            (
                "spec.http[0].rewrite.uriRegexRewrite.rewrite",
                "replacement",
                "uriRegexRewrite: {match: a}",
                "uri: /, authority: a",
            ),
            (
                "spec.http[0].rewrite.uriRegexRewrite.match",
                "not an expression",
                "uriRegexRewrite: {match: '(?=a)', rewrite: b}",
                "uriRegexRewrite: {match: '^/(.*)$', rewrite: '/\\1'}",
            ),
        ],
    );
}

#[test]
fn cross_origin_rules_are_known_words() {
    assert_rules(
        &Verdict::Refused,
        &ROUTE.replace('@', "corsPolicy: {@}"),
        &[
            (
                "spec.http[0].corsPolicy.allowOrigins[0]",
                "an origin needs",
                "allowOrigins: [{}]",
                "allowOrigins: [{exact: '*'}]",
            ),
            (
                "spec.http[0].corsPolicy.allowOrigins[0]",
                "an origin needs",
                "allowOrigins: [{exact: ''}]",
                "allowOrigin: ['']",
            ),
            (
                "spec.http[0].corsPolicy.allowOrigins[0].regex",
                "cannot be empty",
                "allowOrigins: [{regex: ''}]",
                "allowOrigins: [{prefix: h}]",
            ),
            (
                "spec.http[0].corsPolicy.allowOrigins[0].regex",
                "not an expression",
                "allowOrigins: [{regex: '*'}]",
                "allowOrigins: [{regex: '.*'}]",
            ),
            (
                "spec.http[0].corsPolicy.allowMethods[0]",
                "`get` is not",
                "allowMethods: [get]",
                "allowMethods: [GET, TRACE, '*']",
            ),
            (
                "spec.http[0].corsPolicy.allowHeaders[0]",
                "header's name",
                "allowHeaders: ['a b']",
                "allowHeaders: ['*', 'a*b']",
            ),
            (
                "spec.http[0].corsPolicy.exposeHeaders[0]",
                "header's name",
                "exposeHeaders: [':path']",
                "exposeHeaders: [x]",
            ),
            (
                "spec.http[0].corsPolicy.exposeHeaders[0]",
                "header's name",
                "exposeHeaders: ['']",
                "exposeHeaders: []",
            ),
            (
                "spec.http[0].corsPolicy.maxAge",
                "whole seconds",
                "maxAge: 1.5s",
                "maxAge: 1s",
            ),
            (
                "spec.http[0].corsPolicy.maxAge",
                "too short",
                "maxAge: 0s",
                "maxAge: 24h",
            ),
        ],
    );
}

#[test]
fn faults_to_inject_are_of_the_kinds_that_work() {
    assert_rules(
        &Verdict::Refused,
        &ROUTE.replace('@', "fault: {@}"),
        &[
            // An abort without a type is taken, and its warning is lost.
            ("spec.http[0].fault", "a delay or an abort", "", "abort: {}"),
            (
                "spec.http[0].fault.abort.httpStatus",
                "199 is not",
                "abort: {httpStatus: 199}",
                "abort: {httpStatus: 600}",
            ),
            (
                "spec.http[0].fault.abort.grpcStatus",
                "`CANCELED`",
                "abort: {grpcStatus: CANCELED}",
                "abort: {grpcStatus: CANCELLED}",
            ),
            (
                "spec.http[0].fault.abort.grpcStatus",
                "`not_found`",
                "abort: {grpcStatus: not_found}",
                "abort: {grpcStatus: OK}",
            ),
            (
                "spec.http[0].fault.abort.http2Error",
                "not supported",
                "abort: {http2Error: x}",
                "abort: {httpStatus: 200}",
            ),
            (
                "spec.http[0].fault.abort.percentage.value",
                "share",
                "abort: {percentage: {value: 0.00009}}",
                "abort: {percentage: {value: 0.0001}}",
            ),
            (
                "spec.http[0].fault.delay.percentage.value",
                "share",
                "delay: {percentage: {value: 100.1}}",
                "delay: {percentage: {value: 100}}",
            ),
            (
                "spec.http[0].fault.delay.exponentialDelay",
                "not supported",
                "delay: {exponentialDelay: 1s}",
                "delay: {percent: 200}",
            ),
            (
                "spec.http[0].fault.delay.fixedDelay",
                "too short",
                "delay: {fixedDelay: 0s}",
                "delay: {fixedDelay: 1s}",
            ),
        ],
    );
}

#[test]
fn tls_routes_have_server_names_of_the_hosts() {
    let around = "hosts: ['*.a.com', b, 10.0.0.1], tls: [{@, route: [{destination: {host: a}}]}]";
    let names =
        |names: &str| -> &'static str { format!("match: [{{sniHosts: [{names}]}}]").leak() };
    assert_rules(
        &Verdict::Refused,
        around,
        &[
            (
                "spec.tls[0].match",
                "needs a match",
                "match: []",
                names("b"),
            ),
            (
                "spec.tls[0].match[0].sniHosts",
                "at least one server name",
                "match: [{}]",
                names("b"),
            ),
            (
                "spec.tls[0].match[0].sniHosts[0]",
                "not a server name",
                names("a_b"),
                names("x.a.com"),
            ),
            (
                "spec.tls[0].match[0].sniHosts[1]",
                "not among the hosts",
                names("b, c"),
                names("b, '*.x.a.com'"),
            ),
            (
                "spec.tls[0].match[0].sniHosts[0]",
                "not among the hosts",
                names("a.com"),
                names("'*.a.com'"),
            ),
            (
                "spec.tls[0].match[0].destinationSubnets[0]",
                "not an address or a range",
                "match: [{sniHosts: [b], destinationSubnets: [10.0.0.0/33]}]",
                "match: [{sniHosts: [b], destinationSubnets: [10.1.2.3/8, 10.0.0.1, '::/0']}]",
            ),
            (
                "spec.tls[0].match[0].port",
                "not a port",
                "match: [{sniHosts: [b], port: 70000}]",
                "match: [{sniHosts: [b], port: 443, sourceNamespace: a.b}]",
            ),
            (
                "spec.tls[0].match[0].sourceLabels.a",
                "label's value",
                "match: [{sniHosts: [b], sourceLabels: {a: b c}}]",
                "match: [{sniHosts: [b], sourceLabels: {a: b-c}}]",
            ),
            (
                "spec.tls[0].match[0].gateways[0]",
                "gateway's name",
                "match: [{sniHosts: [b], gateways: [a/b/c]}]",
                "match: [{sniHosts: [b], gateways: [a/b]}]",
            ),
        ],
    );
    assert_rules(
        &Verdict::Warned,
        around,
        &[
            (
                "spec.tls[0].match[0].sniHosts[0]",
                "is an address",
                names("10.0.0.9"),
                names("b"),
            ),
            (
                "spec.tls[0].match[0].gateways[0]",
                "write `n/g`",
                "match: [{sniHosts: [b], gateways: [g.n]}]",
                "match: [{sniHosts: [b], gateways: [n/g]}]",
            ),
        ],
    );
    assert_rules(
        &Verdict::Refused,
        "hosts: ['*.local'], @, tls: [{match: [{sniHosts: [outbound_.80_._.a.local]}], route: [{destination: {host: a}}]}]",
        &[(
            "spec.tls[0].match[0].sniHosts[0]",
            "not a server name",
            "gateways: [n/g, mesh]",
            "gateways: []",
        )],
    );
    assert_rules(
        &Verdict::Refused,
        "hosts: [b], tls: [{match: [{sniHosts: [b]}], @}]",
        &[
            (
                "spec.tls[0].route",
                "at least one destination",
                "route: []",
                "route: [{destination: {host: a}}]",
            ),
            (
                "spec.tls[0].route[0].destination",
                "is needed",
                "route: [{}]",
                "route: [{destination: {host: a}}]",
            ),
            (
                "spec.tls[0].route",
                "a weight above 0",
                "route: [{destination: {host: a}}, {destination: {host: b}}]",
                "route: [{destination: {host: a}}, {destination: {host: b}, weight: 1}]",
            ),
        ],
    );
}

#[test]
fn tcp_routes_need_no_match() {
    assert_rules(
        &Verdict::Refused,
        "hosts: [b], tcp: [{@}]",
        &[
            (
                "spec.tcp[0].route",
                "at least one destination",
                "",
                "route: [{destination: {host: a}}]",
            ),
            (
                "spec.tcp[0].route[0].weight",
                "negative",
                "route: [{destination: {host: a}, weight: -1}]",
                "route: [{destination: {host: a}, weight: 5}]",
            ),
            (
                "spec.tcp[0].match[0].destinationSubnets[0]",
                "not an address",
                "match: [{destinationSubnets: [a]}], route: [{destination: {host: a}}]",
                "match: [{sourceSubnet: a, sourceNamespace: a.b}], route: [{destination: {host: a}}]",
            ),
            (
                "spec.tcp[0].match[0].port",
                "not a port",
                "match: [{port: 65536}], route: [{destination: {host: a}}]",
                "match: [{port: 65535}], route: [{destination: {host: a}}]",
            ),
            (
                "spec.tcp[0].match[0].gateways[0]",
                "gateway's name",
                "match: [{gateways: [a_b]}], route: [{destination: {host: a}}]",
                // The warning about the dotted form is lost here.
                "match: [{gateways: [a.b]}], route: [{destination: {host: a}}]",
            ),
        ],
    );
}

#[test]
fn what_is_made_of_gateway_api_routes_is_trusted() {
    let semantics = "{internal.istio.io/route-semantics: gateway}";
    let spec =
        "hosts: [a], gateways: [n/a~b.c], http: [{route: [{destination: {host: 10.0.0.1}}]}]";
    assert_eq!(annotated(semantics, spec), []);
    assert_eq!(faults(spec).len(), 2);
    let spec = "hosts: [a], gateways: [n/], http: [{route: [{}], match: [{gateways: [n/a~b]}]}]";
    assert_eq!(annotated(semantics, spec).len(), 3);
}

#[test]
fn annotations_of_the_control_plane_are_refused() {
    let spec = format!("hosts: [a], http: [{{{TO}}}]");
    for name in [
        "internal.istio.io/webhook-always-reject",
        "internal.istio.io/parents",
        "internal.istio.io/parent-namespace",
        "istio.io/dry-run",
    ] {
        let found = annotated(&format!("{{{name}: ''}}"), &spec);
        assert_eq!(found.len(), 1, "{name}");
        assert_eq!(found[0].field, format!("metadata.annotations[\"{name}\"]"));
        assert_eq!(found[0].verdict, Verdict::Refused);
    }
    assert_eq!(annotated("{internal.istio.io/other: a}", &spec), []);
}

/// The analysis' results in short.
fn reached(spec: &str) -> Vec<String> {
    faults(spec)
        .into_iter()
        .map(|fault| match fault.verdict {
            Verdict::UnreachableRule { rule, reason } => {
                format!("{}: {rule}: {reason}", fault.field)
            }
            Verdict::IneffectiveMatch {
                rule,
                matched,
                duplicate,
            } => format!("{}: {rule} {matched} {duplicate}", fault.field),
            verdict => format!("{verdict:?} {}", fault.message),
        })
        .collect()
}

#[test]
fn rules_that_no_traffic_reaches() {
    let tcp = |rules: &[&str]| {
        let rules: Vec<String> = rules
            .iter()
            .map(|matches| format!("{{match: [{matches}], {TO}}}"))
            .collect();
        reached(&format!("hosts: [b], tcp: [{}]", rules.join(", ")))
    };
    assert_eq!(tcp(&[""]), Vec::<String>::new());
    assert_eq!(tcp(&["{port: 1}", "{port: 2}", ""]), Vec::<String>::new());
    assert_eq!(
        tcp(&["", "", "{port: 1}, {port: 1}"]),
        [
            "spec.tcp[1]: #1: only the last rule can have no matches",
            "spec.tcp[2]: #2: route without matches defined before",
            "spec.tcp[2]: #2: route without matches defined before",
        ]
    );
    assert_eq!(
        tcp(&[
            "{port: 1}, {port: 1}",
            "{port: 1, gateways: []}",
            "{port: 2}, {port: 1}"
        ]),
        [
            "spec.tcp[0].match[1]: #0 #1 #0",
            "spec.tcp[1].match[0]: #1 #0 #0",
            "spec.tcp[1]: #1: all matches used by prior rules",
            "spec.tcp[2].match[1]: #2 #1 #0",
        ]
    );
    let tls = "{match: [{sniHosts: [b]}], route: [{destination: {host: a}}]}";
    assert_eq!(
        reached(&format!("hosts: [b], tls: [{tls}, {tls}], tcp: [{{{TO}}}]")),
        [
            "spec.tls[1].match[0]: #1 #0 #0",
            "spec.tls[1]: #1: all matches used by prior rules",
        ]
    );
}

fn http(rules: &[(&str, &str)]) -> Vec<String> {
    let rules: Vec<String> = rules
        .iter()
        .map(|(name, matches)| format!("{{name: '{name}', match: [{matches}], {TO}}}"))
        .collect();
    reached(&format!("hosts: [b], http: [{}]", rules.join(", ")))
}

#[test]
fn http_matches_are_compared_without_their_names() {
    assert_eq!(
        http(&[
            ("one", "{name: a, uri: {exact: /}, headers: {x: {}}}"),
            (
                "",
                "{name: b, uri: {exact: /}, headers: {x: {}}}, {uri: {exact: /}, headers: {x: {exact: ''}}}"
            ),
            ("th\"ree", "{uri: {exact: /}, headers: {x: {}}}"),
        ]),
        [
            "spec.http[1].match[0]: #1 \"b\" \"one\"",
            "spec.http[2].match[0]: \"th\\\"ree\" #0 \"one\"",
            "spec.http[2]: \"th\\\"ree\": all matches used by prior rules",
        ]
    );
    // Whatever else is in a match tells it from others.
    let base = "uri: {exact: /}";
    for other in [
        "scheme: {}",
        "method: {exact: GET}",
        "authority: {regex: a}",
        "headers: {x: {}}",
        "withoutHeaders: {x: {}}",
        "queryParams: {x: {}}",
        "port: 1",
        "sourceLabels: {a: b}",
        "sourceNamespace: a",
        "gateways: [mesh]",
        "ignoreUriCase: true",
        "statPrefix: a",
    ] {
        let both = format!("{{{base}}}, {{{base}, {other}}}");
        assert_eq!(http(&[("", &both)]), Vec::<String>::new(), "{other}");
        let same = format!("{{{base}, {other}}}, {{{base}, {other}}}");
        assert_eq!(http(&[("", &same)]).len(), 1, "{other}");
    }
}

#[test]
fn longer_prefixes_behind_shorter_ones_get_nothing() {
    assert_eq!(
        http(&[
            (
                "first",
                "{name: m, uri: {prefix: /a}}, {uri: {prefix: /a/b}}"
            ),
            (
                "",
                "{uri: {prefix: /}}, {uri: {prefix: /a/b/c}}, {uri: {exact: /a/b}}, {uri: {regex: /a}}"
            ),
        ]),
        [
            "spec.http[0].match[1]: \"first\" #1 of prefix /a/b \"m\" of prefix /a on \"first\"",
            "spec.http[1].match[1]: #1 #1 of prefix /a/b/c \"m\" of prefix /a on \"first\"",
            "spec.http[1].match[1]: #1 #1 of prefix /a/b/c #1 of prefix /a/b on \"first\"",
            "spec.http[1].match[1]: #1 #1 of prefix /a/b/c #0 of prefix / on #1",
        ]
    );
    let covered = |earlier: &str, later: &str| {
        let both = format!("{{uri: {{prefix: /a}}, {earlier}}}, {{uri: {{prefix: /ab}}, {later}}}");
        !http(&[("", &both)]).is_empty()
    };
    for (earlier, later, expected) in [
        ("", "", true),
        ("port: 1", "port: 1", true),
        ("port: 1", "port: 2", false),
        // No method counts as GET.
        ("", "method: {exact: GET}", true),
        ("", "method: {regex: .*}", true),
        ("method: {exact: POST}", "", false),
        ("method: {exact: POST}", "method: {exact: POS}", true),
        ("method: {exact: POS}", "method: {exact: POST}", false),
        ("method: {exact: POST}", "method: {prefix: POST}", false),
        // The other way round than one would think.
        ("authority: {exact: a}", "", true),
        ("", "authority: {exact: a}", false),
        ("authority: {prefix: ab}", "authority: {prefix: a}", true),
        ("headers: {x: {exact: a}}", "headers: {x: {exact: a}}", true),
        ("headers: {x: {exact: a}}", "headers: {x: {regex: b}}", true),
        (
            "headers: {x: {regex: b}}",
            "headers: {x: {exact: a}}",
            false,
        ),
        ("headers: {x: {}}", "headers: {y: {}}", false),
        ("headers: {x: {}}", "", false),
        ("", "headers: {x: {}}", false),
        ("queryParams: {x: {}}", "queryParams: {x: {}}", true),
        ("queryParams: {x: {}}", "", false),
        (
            "withoutHeaders: {x: {prefix: a}}",
            "withoutHeaders: {x: {prefix: b}}",
            false,
        ),
        // These are not looked at.
        ("scheme: {exact: http}", "", true),
        ("sourceNamespace: a", "gateways: [mesh]", true),
    ] {
        assert_eq!(
            covered(earlier, later),
            expected,
            "{earlier} before {later}"
        );
    }
    assert!(http(&[("", "{uri: {prefix: ''}}, {uri: {prefix: /}}")]).is_empty());
    assert!(http(&[("", "{uri: {prefix: /ab}}, {uri: {prefix: /a}}")]).is_empty());
}

#[test]
fn many_matches_do_not_take_long() {
    // Each prefix is part of all before it, which is the worst there is.
    let nested: Vec<String> = (1..1500)
        .map(|length| format!("{{uri: {{prefix: '/{}'}}}}", "a".repeat(length)))
        .collect();
    let found = http(&[("", &nested.join(", "))]);
    assert_eq!(found.len(), 20_000);
    let many: Vec<String> = (0..5_000)
        .flat_map(|i| {
            ["/", "/a"].map(|prefix| format!("{{uri: {{prefix: {prefix}}}, port: {}}}", i + 1))
        })
        .collect();
    assert_eq!(http(&[("", &many.join(", "))]).len(), 5_000);
    let hosts: Vec<String> = (0..20_000).map(|i| format!("'*.h{i}.com'")).collect();
    let spec = format!("hosts: [{}], http: [{{{TO}}}]", hosts.join(", "));
    assert_eq!(faults(&spec), []);
}
