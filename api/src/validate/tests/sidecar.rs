//! Sidecars.

use super::cases::{judge, judge_within};

const KIND: &str = "Sidecar";

#[test]
fn a_sidecar_sets_something() {
    judge(
        KIND,
        &[
            ("{}", &["E : sets nothing"]),
            (
                "{workloadSelector: {labels: {a: b}}}",
                &["E : sets nothing"],
            ),
            ("{outboundTrafficPolicy: {}}", &[]),
            ("{inboundConnectionPool: {http: {}}}", &[]),
            (
                "{inboundConnectionPool: {}}",
                &["E .inboundConnectionPool: sets nothing"],
            ),
            (
                "{workloadSelector: {}, outboundTrafficPolicy: {}}",
                &["W .workloadSelector: has no labels"],
            ),
            (
                "{workloadSelector: {labels: {'*': b}}}",
                &["E .workloadSelector.labels: does not select"],
            ),
        ],
    );
}

#[test]
fn ingress_has_ports_addresses_and_endpoints() {
    judge_within(
        KIND,
        "{ingress: [@]}",
        "spec.ingress[0]",
        &[
            ("{port: {number: 80}}", &[]),
            (
                "{port: {number: 80, name: a, protocol: udp}, bind: '::', captureMode: NONE}",
                &[],
            ),
            ("{}", &["E .port: is needed"]),
            ("{port: {}}", &["E .port.number: 0 is not a port"]),
            ("{port: {number: 80, name: a.b}}", &["E .port.name: `a.b`"]),
            (
                "{port: {number: 80, protocol: X}}",
                &["E .port.protocol: unknown"],
            ),
            (
                "{port: {number: 80, targetPort: 1}}",
                &["E .port.targetPort: no meaning"],
            ),
            (
                "{port: {number: 80}, bind: unix:///s}",
                &["E .bind: not an address"],
            ),
            (
                "{port: {number: 80}, bind: 10.0.0.0/8}",
                &["E .bind: not an address"],
            ),
        ],
    );
    judge(
        KIND,
        &[
            (
                "{ingress: [{port: {number: 80}}, {port: {number: 81}}]}",
                &[],
            ),
            (
                "{ingress: [{port: {number: 80}}, {port: {number: 80}}]}",
                &["E .ingress[1].port.number: port 80 too"],
            ),
            (
                "{ingress: [{port: {number: 80}}], egress: [{port: {number: 80}, hosts: ['*/*']}]}",
                &[],
            ),
        ],
    );
    let endpoint =
        |text: &str| format!("{{ingress: [{{port: {{number: 80}}, defaultEndpoint: '{text}'}}]}}");
    for text in [
        "",
        "127.0.0.1:1",
        "0.0.0.0:65535",
        "[::1]:80",
        "[::]:80",
        ":80",
        "unix:///s",
        "unix://@s",
    ] {
        judge(KIND, &[(&endpoint(text), &[])]);
    }
    for text in [
        "80",
        "127.0.0.1",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:x",
        "10.0.0.1:80",
        "::1:80",
        "localhost:80",
        "unix://s",
        "unix:///s/",
        "[::1]",
    ] {
        judge(
            KIND,
            &[(
                &endpoint(text),
                &["E .ingress[0].defaultEndpoint: not an endpoint"],
            )],
        );
    }
}

#[test]
fn ingress_tls_has_files() {
    judge_within(
        KIND,
        "{ingress: [{port: {number: 443, protocol: HTTPS}, tls: @}]}",
        "spec.ingress[0].tls",
        &[
            ("{mode: SIMPLE, serverCertificate: a, privateKey: b}", &[]),
            (
                "{mode: MUTUAL, serverCertificate: a, privateKey: b, caCertificates: c}",
                &[],
            ),
            ("{}", &[]),
            (
                "{mode: SIMPLE, serverCertificate: a}",
                &["E .privateKey: a server needs"],
            ),
            (
                "{mode: ISTIO_MUTUAL}",
                &["E .mode: ISTIO_MUTUAL is for gateways"],
            ),
            (
                "{mode: AUTO_PASSTHROUGH}",
                &["E .mode: AUTO_PASSTHROUGH is for gateways"],
            ),
            (
                "{mode: SIMPLE, credentialName: a, subjectAltNames: [x], httpsRedirect: true}",
                &[
                    "E .subjectAltNames: cannot be used",
                    "E .httpsRedirect: cannot be used",
                    "E .credentialName: cannot be used",
                ],
            ),
            (
                "{mode: SIMPLE, credentialNames: [a]}",
                &["E .credentialNames: cannot be used"],
            ),
            (
                "{mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b}]}",
                &["E .tlsCertificates: cannot be used"],
            ),
            ("{cipherSuites: [x]}", &["W .cipherSuites[0]: not known"]),
        ],
    );
    judge(
        KIND,
        &[
            (
                "{ingress: [{port: {number: 443, protocol: TLS}, tls: {mode: SIMPLE, serverCertificate: a, privateKey: b}}]}",
                &[],
            ),
            (
                "{ingress: [{port: {number: 443, protocol: HTTP}, tls: {}}]}",
                &["E .ingress[0].tls: HTTPS or TLS"],
            ),
            (
                "{ingress: [{port: {number: 443}, tls: {}}]}",
                &["E .ingress[0].tls: HTTPS or TLS"],
            ),
        ],
    );
}

#[test]
fn http_pools_are_for_http_ports() {
    judge_within(
        KIND,
        "{ingress: [@]}",
        "spec.ingress[0]",
        &[
            (
                "{port: {number: 80, protocol: GRPC}, connectionPool: {http: {}}}",
                &[],
            ),
            (
                "{port: {number: 80, protocol: TCP}, connectionPool: {tcp: {}}}",
                &[],
            ),
            (
                "{port: {number: 80, protocol: TLS}, connectionPool: {http: {}}}",
                &["W .connectionPool.http: `TLS`"],
            ),
            (
                "{port: {number: 80}, connectionPool: {http: {maxRetries: -1}}}",
                &[
                    "E .connectionPool.http.maxRetries: negative",
                    "W .connectionPool.http: no effect",
                ],
            ),
            (
                "{port: {number: 80}, connectionPool: {}}",
                &["E .connectionPool: sets nothing"],
            ),
        ],
    );
}

#[test]
fn egress_has_ports_of_their_own_and_one_entry_without() {
    judge_within(
        KIND,
        "{egress: @}",
        "spec.egress",
        &[
            ("[{hosts: ['*/*']}]", &[]),
            (
                "[{port: {number: 80}, hosts: ['*/*']}, {hosts: ['*/*']}]",
                &[],
            ),
            (
                "[{hosts: ['*/*']}, {port: {number: 80}, hosts: ['*/*']}]",
                &["E [0].port: last entry"],
            ),
            (
                "[{hosts: ['*/*']}, {hosts: ['*/*']}]",
                &["E [0].port: last entry"],
            ),
            (
                "[{port: {number: 80}, bind: 10.0.0.1, hosts: ['*/*'], captureMode: IPTABLES}]",
                &[],
            ),
            (
                "[{port: {number: 80}, bind: a.com, hosts: ['*/*']}]",
                &["E [0].bind: not an address"],
            ),
            (
                "[{port: {number: 80}, bind: unix:///s, hosts: ['*/*']}]",
                &["E [0].bind: not an address"],
            ),
            (
                "[{port: {number: 65536}, hosts: ['*/*']}]",
                &["E [0].port.number: 65536"],
            ),
            (
                "[{port: {number: 80, targetPort: 1, name: '-', protocol: y}, hosts: ['*/*']}]",
                &[
                    "E [0].port.name: not a port's name",
                    "E [0].port.protocol: unknown",
                    "E [0].port.targetPort: no meaning",
                ],
            ),
            (
                "[{port: {number: 80}, hosts: ['*/*']}, {port: {number: 80}, hosts: ['*/*']}]",
                &["E [1].port.number: port 80 too"],
            ),
            (
                "[{port: {}, bind: unix:///s, hosts: ['*/*']}, {port: {}, bind: 'unix://@s', hosts: ['*/*'], captureMode: NONE}]",
                &[],
            ),
            (
                "[{port: {}, hosts: ['*/*']}]",
                &["E [0].bind: needs a socket"],
            ),
            (
                "[{port: {}, bind: 10.0.0.1, hosts: ['*/*']}]",
                &["E [0].bind: needs a socket"],
            ),
            (
                "[{port: {}, bind: unix:///s, hosts: ['*/*']}, {port: {}, bind: unix:///s, hosts: ['*/*']}]",
                &["E [1].bind: binds `unix:///s` too"],
            ),
            (
                "[{port: {}, bind: unix:///s, captureMode: IPTABLES, hosts: ['*/*']}]",
                &["E [0].captureMode: not redirected"],
            ),
            ("[{}]", &["E [0].hosts: at least one host"]),
        ],
    );
}

#[test]
fn egress_hosts_have_a_namespace() {
    let form = "is not of the form namespace/host";
    for host in [
        "*/*",
        "./*",
        "~/*",
        "~shop/a.com",
        "~*/a.com",
        "~./a.com",
        "ns/a.com",
        "Ns/*.a.com",
    ] {
        judge(
            KIND,
            &[(&format!("{{egress: [{{hosts: ['{host}']}}]}}"), &[])],
        );
    }
    for host in [
        "a.com",
        "",
        "/",
        "/a.com",
        "ns/",
        "ns/short",
        "ns/*x.com",
        "ns/10.0.0.1",
        "a.b/a.com",
        "~~/a.com",
        "ns/a.com/b",
    ] {
        let said = format!("E .egress[0].hosts[0]: {form}");
        judge(
            KIND,
            &[(&format!("{{egress: [{{hosts: ['{host}']}}]}}"), &[&said])],
        );
    }
}

#[test]
fn egress_hosts_do_not_cover_each_other() {
    judge_within(
        KIND,
        "{egress: [{hosts: @}]}",
        "spec.egress[0].hosts",
        &[
            ("[a/x.com, a/y.com, b/x.com]", &[]),
            ("[a/x.com, a/x.com]", &["W [1]: cover each other"]),
            ("[./x.com, shop/x.com]", &["W [1]: cover each other"]),
            ("['a/*', a/x.com]", &["W [1]: cover each other"]),
            ("[a/x.com, 'a/*']", &["W [1]: cover each other"]),
            ("['a/*', 'a/*']", &["W [1]: cover each other"]),
            ("['a/*', '~a/x.com', '~a/x.com', '~/*']", &[]),
            ("['*/*', a/x.com]", &["W : covers everything"]),
            ("['*/*', './*']", &["W : covers everything"]),
            ("['*/*', '~a/x.com']", &[]),
            ("['*/x.com', a/x.com]", &[]),
            ("['a/*.x.com', a/b.x.com]", &[]),
        ],
    );
}

#[test]
fn an_egress_proxy_goes_with_allow_any() {
    judge_within(
        KIND,
        "{outboundTrafficPolicy: @}",
        "spec.outboundTrafficPolicy",
        &[
            ("{mode: ALLOW_ANY}", &[]),
            (
                "{mode: ALLOW_ANY_DYNAMIC_DNS}",
                &["E .mode: for the whole mesh"],
            ),
            (
                "{mode: ALLOW_ANY, egressProxy: {host: a.com, port: {number: 80}, subset: v1}}",
                &[],
            ),
            (
                "{egressProxy: {host: a.com, port: {number: 80}}}",
                &["E .egressProxy: ALLOW_ANY"],
            ),
            (
                "{mode: ALLOW_ANY, egressProxy: {}}",
                &[
                    "E .egressProxy.host: full host",
                    "E .egressProxy.port: is needed",
                ],
            ),
            (
                "{mode: ALLOW_ANY, egressProxy: {host: '*.a.com', port: {number: 80}}}",
                &["E .egressProxy.host: full host"],
            ),
            (
                "{mode: ALLOW_ANY, egressProxy: {host: a.com, port: {number: 0}, subset: a.b}}",
                &[
                    "E .egressProxy.subset: `a.b`",
                    "E .egressProxy.port.number: 0",
                ],
            ),
        ],
    );
}
