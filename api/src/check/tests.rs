//! What is found wrong, by its text and place.

use super::*;
use crate::object::parse_documents;

const SERVICES: &str = "\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

fn problems(files: &[(&str, &str)], complete: bool) -> Vec<String> {
    let mut objects = Vec::new();
    for (name, text) in files {
        let parsed = parse_documents(name, text, "default");
        assert_eq!(parsed.problems, [], "{text}");
        objects.extend(parsed.objects);
    }
    let options = CheckOptions {
        complete,
        ..CheckOptions::default()
    };
    check_all(&objects, options)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn route(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r}}\nspec:\n  hosts: [reviews]\n  http:\n{http}"
    )
}

#[test]
fn a_route_must_lead_somewhere() {
    let to = |destination: &str| route(&format!("  - route:\n    - destination: {destination}\n"));
    for (destination, complete, said) in [
        ("{host: reviews, subset: v2}", true, None),
        (
            "{host: reviews.default.svc.cluster.local, subset: v1, port: {number: 9080}}",
            true,
            None,
        ),
        (
            "{host: reviews, subset: v9}",
            false,
            Some(
                "r.yaml:8:36: VirtualService default/r: spec.http[0].route[0].destination.subset: \
                  reviews.default.svc.cluster.local has no subset `v9`: DestinationRule default/reviews (s.yaml:6) defines v1, v2",
            ),
        ),
        (
            "{host: ratings, subset: v1}",
            true,
            Some(
                "ratings.default.svc.cluster.local has no subset `v1`: no DestinationRule has this host",
            ),
        ),
        ("{host: ratings, subset: v1}", false, None),
        (
            "{host: ratings}",
            true,
            Some(
                "spec.http[0].route[0].destination.host: no Service or ServiceEntry has the host ratings.default.svc.cluster.local",
            ),
        ),
        (
            "{host: reviews, port: {number: 80}}",
            true,
            Some(
                "destination.port.number: reviews.default.svc.cluster.local has no port 80, but 9080",
            ),
        ),
    ] {
        let found = problems(
            &[("s.yaml", SERVICES), ("r.yaml", &to(destination))],
            complete,
        );
        match said {
            Some(said) => assert!(
                found.iter().any(|line| line.contains(said)),
                "{destination}: {found:#?}"
            ),
            None => assert_eq!(found, Vec::<String>::new(), "{destination}"),
        }
    }
}

#[test]
fn a_gateway_and_a_delegate_must_exist() {
    let text = route("  - {delegate: {name: d, namespace: other}}\n")
        .replace("  hosts:", "  gateways: [mesh, edge]\n  hosts:");
    let found = problems(&[("r.yaml", &text)], true);
    assert_eq!(
        found,
        [
            "r.yaml:5:20: VirtualService default/r: spec.gateways[1]: there is no Gateway default/edge",
            "r.yaml:8:6: VirtualService default/r: spec.http[0].delegate: there is no VirtualService other/d without hosts to delegate to",
        ]
    );
    assert_eq!(problems(&[("r.yaml", &text)], false), Vec::<String>::new());
}

#[test]
fn the_same_object_in_two_files_names_both() {
    let found = problems(&[("a.yaml", SERVICES), ("b.yaml", SERVICES)], true);
    assert_eq!(
        found,
        [
            "b.yaml:1:1: Service default/reviews: is given twice, first at a.yaml:1: take one out",
            "b.yaml:6:1: DestinationRule default/reviews: is given twice, first at a.yaml:6: take one out",
        ]
    );
}

#[test]
#[allow(clippy::too_many_lines)]
fn routes_follow_the_rules_that_translation_relies_on() {
    let good = "    route: [{destination: {host: reviews}}]\n";
    for (http, said) in [
        ("  - name: x\n".to_owned(), "r.yaml:7:5: VirtualService default/r: spec.http[0]: a route needs one of route, redirect"),
        (format!("  - redirect: {{uri: /x}}\n{good}"), "spec.http[0].route: a route with redirect has no route"),
        (format!("  - timeout: 0s\n{good}"), "r.yaml:7:5: VirtualService default/r: spec.http[0].timeout: 0s is too short: at least 1ms"),
        (format!("  - match: [{{uri: {{regex: '(a'}}}}]\n{good}"), "spec.http[0].match[0].uri.regex: `(a` is not an expression that can be used: unclosed group"),
        (format!("  - match: [{{headers: {{a: {{prefix: ''}}}}}}]\n{good}"), "spec.http[0].match[0].headers.a.prefix: a prefix cannot be empty"),
        (format!("  - match: [{{headers: {{'@request.auth.claims.x': {{exact: a}}}}}}]\n{good}"), "at gateways only"),
        (format!("  - match: [{{port: 70000}}]\n{good}"), "spec.http[0].match[0].port: 70000 is not a port: 1 to 65535 are"),
        (format!("  - retries: {{attempts: 0, retryOn: 5xx}}\n{good}"), "0 attempts turn retries off"),
        (format!("  - retries: {{attempts: 1, retryOn: 'gateway-eror'}}\n{good}"), "`gateway-eror` is not a condition for a retry"),
        (format!("  - fault: {{delay: {{percentage: {{value: 101}}, fixedDelay: 1s}}}}\n{good}"), "101 is not a share in percent"),
        (format!("  - fault: {{delay: {{exponentialDelay: 1s}}}}\n{good}"), "spec.http[0].fault.delay.exponentialDelay: is not supported"),
        (format!("  - fault: {{abort: {{httpStatus: 99}}}}\n{good}"), "spec.http[0].fault.abort.httpStatus: 99 is not a status"),
        (format!("  - headers: {{request: {{set: {{'a b': c}}}}}}\n{good}"), "the header `a b` cannot be changed here"),
        (
            "  - route: [{destination: {host: a.com}, weight: 0}, {destination: {host: b.com}, weight: 0}]\n".to_owned(),
            "spec.http[0].route: of several destinations at least one needs a weight above 0",
        ),
        ("  - route: [{destination: {host: a.com}, weight: -1}]\n".to_owned(), "spec.http[0].route[0].weight: -1 is negative"),
        ("  - route: [{destination: {}}]\n".to_owned(), "spec.http[0].route[0].destination.host: a destination needs a host"),
        ("  - route: [{weight: 1}]\n".to_owned(), "spec.http[0].route[0].destination: a destination is needed"),
        ("  - directResponse: {status: 700}\n".to_owned(), "spec.http[0].directResponse.status: 700 is not a status"),
    ] {
        let found = problems(&[("r.yaml", &route(&http))], false);
        assert!(found.iter().any(|line| line.contains(said)), "{http}: {found:#?}");
    }
}

#[test]
#[allow(clippy::too_many_lines)]
fn other_kinds_follow_their_rules_too() {
    for (kind, spec, said) in [
        (
            "Gateway",
            "{servers: [{port: {number: 0, name: http, protocol: HTTP}, hosts: ['*']}]}",
            "spec.servers[0].port.number: 0 is not a port",
        ),
        (
            "Gateway",
            "{servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*']}]}",
            "spec.servers[0].tls: a port of protocol HTTPS needs TLS settings",
        ),
        (
            "Gateway",
            "{servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}]}",
            "a certificate is needed",
        ),
        (
            "Gateway",
            "{servers: [{port: {number: 80, name: http, protocol: SPDY}, hosts: ['*']}]}",
            "unknown protocol `SPDY`",
        ),
        (
            "Gateway",
            "{servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [x]}]}",
            "`x` is not a full host name",
        ),
        (
            "Gateway",
            "{}",
            "spec.servers: at least one server is needed",
        ),
        ("DestinationRule", "{}", "spec.host: a host is needed"),
        (
            "DestinationRule",
            "{host: a, subsets: [{name: v1}, {name: v1}]}",
            "spec.subsets[1].name: the subset `v1` is given twice",
        ),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {}}",
            "spec.trafficPolicy: an empty policy has no meaning",
        ),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1us}}}}",
            "connectTimeout: 0.000001s is too short",
        ),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x, maglev: {tableSize: 9}}}}}",
            "9 is not a prime",
        ),
        (
            "DestinationRule",
            "{host: a, trafficPolicy: {tls: {mode: MUTUAL}}}",
            "MUTUAL needs clientCertificate and privateKey",
        ),
        (
            "DestinationRule",
            "{host: a, exportTo: ['*', b]}",
            "spec.exportTo[0]: `*` stands alone",
        ),
        (
            "ServiceEntry",
            "{hosts: ['*']}",
            "spec.hosts[0]: `*` is not a host name",
        ),
        (
            "ServiceEntry",
            "{hosts: [a.com], endpoints: [{address: 10.0.0.1}]}",
            "spec.endpoints: NONE has no endpoints",
        ),
        (
            "ServiceEntry",
            "{hosts: [a.com], resolution: STATIC, endpoints: [{address: b.com}]}",
            "`b.com` is not an address that STATIC takes",
        ),
        (
            "ServiceEntry",
            "{hosts: [a.com], ports: [{number: 80, name: a}, {number: 80, name: b}]}",
            "spec.ports[1].number: the port 80 is given twice",
        ),
        (
            "ServiceEntry",
            "{hosts: ['*.a.com'], resolution: DNS}",
            "`*.a.com` cannot be looked up",
        ),
        ("WorkloadEntry", "{}", "spec.address: an address is needed"),
        (
            "Sidecar",
            "{workloadSelector: {labels: {a: b}}}",
            "spec: one of ingress, egress",
        ),
        (
            "Sidecar",
            "{egress: [{hosts: [a]}]}",
            "`a` is not of the form namespace/host",
        ),
        (
            "VirtualService",
            "{hosts: [a, a], tcp: [{route: [{destination: {host: a}}]}]}",
            "spec.hosts[1]: `a` and `a` have names in common",
        ),
        (
            "VirtualService",
            "{hosts: ['*'], tcp: [{route: [{destination: {host: a}}]}]}",
            "spec.hosts[0]: sidecars cannot route the host `*`",
        ),
        (
            "VirtualService",
            "{hosts: [a]}",
            "spec: at least one of http, tls and tcp is needed",
        ),
        (
            "VirtualService",
            "{hosts: [a], tls: [{match: [{sniHosts: [b]}], route: [{destination: {host: a}}]}]}",
            "`b` is not among the hosts",
        ),
    ] {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n"
        );
        let found = problems(&[("x.yaml", &text)], false);
        assert!(
            found.iter().any(|line| line.contains(said)),
            "{spec}: {found:#?}"
        );
    }
    let text = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\nspec: {portLevelMtls: {80: {mode: STRICT}}}\n";
    let found = problems(&[("x.yaml", text)], false);
    assert!(found[0].contains("x.yaml:4:8: PeerAuthentication default/x: spec.portLevelMtls: ports can be set only with a selector"), "{found:#?}");
}
