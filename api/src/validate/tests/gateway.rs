//! Gateways.

use super::cases::{judge, judge_with, judge_within};

const KIND: &str = "Gateway";
const SERVER: &str = "{servers: [@]}";
const TLS: &str =
    "{servers: [{hosts: [a.com], port: {number: 443, name: https, protocol: HTTPS}, tls: @}]}";

#[test]
fn a_name_has_no_dots_unless_the_object_was_translated() {
    let spec = "{servers: [{hosts: [~/a.com], port: {number: 80, name: a, protocol: HTTP}}]}";
    let hidden = "E spec.servers[0].hosts[0]: `~` is not a namespace";
    judge_with(
        KIND,
        "{name: a.b}",
        spec,
        &["E metadata.name: `a.b` is not a Gateway's name", hidden],
    );
    judge_with(KIND, "{name: A-1}", spec, &[hidden]);
    let translated = |value| {
        format!("{{name: a.b, annotations: {{internal.istio.io/gateway-semantics: {value}}}}}")
    };
    judge_with(KIND, &translated("gateway"), spec, &[]);
    judge_with(
        KIND,
        &translated("other"),
        spec,
        &["E metadata.name: not a Gateway's name", hidden],
    );
}

#[test]
fn servers_have_ports_of_their_own() {
    judge(
        KIND,
        &[
            ("{}", &["E .servers: at least one server"]),
            (
                "{servers: [null]}",
                &[
                    "E .servers[0].hosts: at least one host",
                    "E .servers[0].port: needs a port",
                ],
            ),
            (
                "{selector: {'*': '*'}, servers: [{hosts: [a.com], port: {number: 80, name: a, protocol: HTTP}}, {hosts: [b.com], port: {number: 81, name: b, protocol: HTTP}}]}",
                &[],
            ),
            (
                "{servers: [{hosts: [a.com], port: {number: 80, name: a, protocol: HTTP}}, {hosts: [b.com], port: {number: 81, name: a, protocol: HTTP}}]}",
                &["E .servers[1].port.name: `a` too"],
            ),
        ],
    );
    judge_within(
        KIND,
        "{servers: [{hosts: [a.com], port: @}]}",
        "spec.servers[0].port",
        &[
            ("{number: 1, name: a, protocol: http}", &[]),
            ("{number: 65535, name: 'a b', protocol: UDP}", &[]),
            ("{number: 80, name: a, protocol: GRPC-Web}", &[]),
            ("{number: 80, name: a, protocol: HTTP_PROXY}", &[]),
            ("{number: 80, name: a}", &["E .protocol: needs a protocol"]),
            (
                "{number: 80, name: a, protocol: HBONE}",
                &["E .protocol: unknown protocol `HBONE`"],
            ),
            ("{name: a, protocol: TCP}", &["E .number: 0 is not a port"]),
            (
                "{number: 65536, name: a, protocol: TCP}",
                &["E .number: 65536 is not a port"],
            ),
            ("{number: 1, protocol: TCP}", &["E .name: needs a name"]),
            (
                "{number: 1, name: a, protocol: TCP, targetPort: 1}",
                &["E .targetPort: no meaning"],
            ),
        ],
    );
}

#[test]
fn a_server_binds_an_address_or_a_socket() {
    judge_within(
        KIND,
        SERVER,
        "spec.servers[0]",
        &[
            (
                "{hosts: [a.com], bind: '::1', port: {number: 80, name: a, protocol: HTTP}}",
                &[],
            ),
            (
                "{hosts: [a.com], bind: unix:///s, port: {name: a, protocol: HTTP}}",
                &[],
            ),
            (
                "{hosts: [a.com], bind: 'unix://@s', port: {name: a, protocol: HTTP}}",
                &[],
            ),
            (
                "{hosts: [a.com], bind: unix:///s, port: {number: 80, name: a, protocol: HTTP}}",
                &["E .port.number: set 0"],
            ),
            (
                "{hosts: [a.com], bind: unix://s, port: {name: a, protocol: HTTP}}",
                &["E .bind: `unix://s` is not a socket"],
            ),
            (
                "{hosts: [a.com], bind: 'unix:///s/', port: {name: a, protocol: HTTP}}",
                &["E .bind: is not a socket"],
            ),
            (
                "{hosts: [a.com], bind: 10.0.0.1/8, port: {number: 80, name: a, protocol: HTTP}}",
                &["E .bind: not an address"],
            ),
        ],
    );
}

#[test]
fn hosts_are_full_names_wildcards_or_addresses() {
    judge_within(
        KIND,
        "{servers: [{hosts: @, port: {number: 80, name: a, protocol: HTTP}}]}",
        "spec.servers[0].hosts",
        &[
            (
                "['*', a.com, '*.a.com', '*/*', './a.com', 'ns/*.a.com', 10.0.0.1, ns/10.0.0.1]",
                &[],
            ),
            ("[]", &["E : at least one host"]),
            ("[short]", &["E [0]: `short` is not a full host"]),
            ("['*x.com']", &["E [0]: `*x.com` is not a full host"]),
            ("['*-x.a.com']", &["E [0]: is not a full host"]),
            ("['::1']", &["E [0]: is not a full host"]),
            ("['/a.com']", &["E [0]: `` is not a namespace"]),
            ("['ns/']", &["E [0]: is not a full host"]),
            ("['a.b/a.com']", &["E [0]: `a.b` is not a namespace"]),
            ("['~/a.com']", &["E [0]: `~` is not a namespace"]),
            ("[ns/a.com/b]", &["E [0]: `a.com/b` is not a full host"]),
        ],
    );
}

#[test]
fn tls_goes_with_the_protocol() {
    let server = |protocol: &str, tls: &str| {
        format!("{{hosts: [a.com], port: {{number: 80, name: a, protocol: {protocol}}}{tls}}}")
    };
    for (protocol, tls, said) in [
        ("HTTPS", "", &["E .tls: needs TLS settings"] as &[&str]),
        ("tls", "", &["E .tls: protocol TLS needs"]),
        ("HTTPS", ", tls: {}", &[]),
        ("TLS", ", tls: {mode: AUTO_PASSTHROUGH}", &[]),
        ("HTTP", "", &[]),
        ("HTTP", ", tls: {}", &[]),
        ("HTTP", ", tls: {httpsRedirect: true}", &[]),
        ("GRPC-Web", ", tls: {mode: AUTO_PASSTHROUGH}", &[]),
        (
            "HTTP",
            ", tls: {httpsRedirect: true, mode: SIMPLE, credentialName: c}",
            &["E .tls: is plain text"],
        ),
        (
            "HTTP2",
            ", tls: {privateKey: k}",
            &["W .tls.privateKey: no effect", "E .tls: is plain text"],
        ),
        (
            "HTTP2",
            ", tls: {credentialName: k}",
            &["W .tls.credentialName: no effect"],
        ),
        ("TCP", ", tls: {}", &["E .tls: TCP has no TLS settings"]),
        ("UDP", ", tls: {}", &["E .tls: UDP has no TLS settings"]),
        (
            "MONGO",
            ", tls: {httpsRedirect: true}",
            &[
                "W .tls.httpsRedirect: plain HTTP",
                "E .tls: has no TLS settings",
            ],
        ),
        (
            "HTTPS",
            ", tls: {httpsRedirect: true}",
            &["W .tls.httpsRedirect: plain HTTP"],
        ),
    ] {
        judge_within(
            KIND,
            SERVER,
            "spec.servers[0]",
            &[(&server(protocol, tls), said)],
        );
    }
    // A wrong port hides that TLS settings do not go with it, but not what is wrong with them.
    judge_within(
        KIND,
        SERVER,
        "spec.servers[0]",
        &[
            (
                "{hosts: [a.com], port: {number: 0, name: a, protocol: TLS}}",
                &["E .port.number: 0"],
            ),
            (
                "{hosts: [a.com], port: {number: 0, name: a, protocol: HTTP}, tls: {mode: SIMPLE, credentialName: a, caCrl: b}}",
                &["E .port.number: 0"],
            ),
            (
                "{hosts: [a.com], tls: {mode: SIMPLE, serverCertificate: a}}",
                &[
                    "E .tls.privateKey: needs serverCertificate",
                    "E .port: needs a port",
                ],
            ),
        ],
    );
}

#[test]
fn a_certificate_comes_from_one_place() {
    let one = "E : comes from one of";
    judge_within(
        KIND,
        TLS,
        "spec.servers[0].tls",
        &[
            ("{mode: SIMPLE, credentialName: a}", &[]),
            ("{mode: SIMPLE, credentialNames: [a, b, c]}", &[]),
            ("{mode: SIMPLE, serverCertificate: a, privateKey: b}", &[]),
            (
                "{mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b}]}",
                &[],
            ),
            (
                "{mode: SIMPLE, credentialName: a, serverCertificate: b, caCertificates: c, caCrl: d}",
                &[],
            ),
            ("{mode: MUTUAL, credentialName: a}", &[]),
            (
                "{mode: OPTIONAL_MUTUAL, credentialNames: [a], caCrl: x}",
                &[],
            ),
            (
                "{mode: SIMPLE, credentialName: a, credentialNames: [b]}",
                &[one],
            ),
            (
                "{mode: SIMPLE, credentialName: a, serverCertificate: b, privateKey: c}",
                &[one],
            ),
            (
                "{mode: MUTUAL, serverCertificate: b, privateKey: c, caCertificates: d, tlsCertificates: [{serverCertificate: a, privateKey: b}]}",
                &[one],
            ),
            (
                "{credentialName: a, credentialNames: [b]}",
                &[
                    one,
                    "W .credentialName: no effect",
                    "W .credentialNames: no effect",
                ],
            ),
            (
                "{mode: SIMPLE}",
                &[
                    "E .serverCertificate: a server needs",
                    "E .privateKey: a server needs",
                ],
            ),
            (
                "{mode: SIMPLE, privateKey: a}",
                &["E .serverCertificate: a server needs"],
            ),
            (
                "{mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b}, {serverCertificate: a}]}",
                &["E .tlsCertificates[1].privateKey: a server needs"],
            ),
            (
                "{mode: SIMPLE, tlsCertificates: [{serverCertificate: a, privateKey: b}, {serverCertificate: a, privateKey: b}, {serverCertificate: a, privateKey: b}]}",
                &["W .tlsCertificates: two certificates"],
            ),
            (
                "{mode: SIMPLE, serverCertificate: a, privateKey: b, caCrl: c}",
                &["E .caCrl: no meaning in SIMPLE"],
            ),
            (
                "{mode: MUTUAL, serverCertificate: a, privateKey: b}",
                &["E .caCertificates: MUTUAL checks"],
            ),
            (
                "{mode: OPTIONAL_MUTUAL, tlsCertificates: [{serverCertificate: a, privateKey: b, caCertificates: c}]}",
                &["E .caCertificates: OPTIONAL_MUTUAL checks"],
            ),
            (
                "{mode: MUTUAL, serverCertificate: a, privateKey: b, caCertificates: c, caCrl: d}",
                &[],
            ),
        ],
    );
}

#[test]
fn modes_without_certificates_of_their_own_take_none() {
    judge_within(
        KIND,
        TLS,
        "spec.servers[0].tls",
        &[
            ("{mode: ISTIO_MUTUAL}", &[]),
            (
                "{mode: ISTIO_MUTUAL, caCrl: a, subjectAltNames: [x], verifyCertificateSpki: [y]}",
                &[],
            ),
            (
                "{mode: ISTIO_MUTUAL, serverCertificate: a, privateKey: b, caCertificates: c, tlsCertificates: [{}], credentialName: d, credentialNames: [e]}",
                &[
                    "E .serverCertificate: the mesh's",
                    "E .privateKey: the mesh's",
                    "E .caCertificates: the mesh's",
                    "E .tlsCertificates: the mesh's",
                    "E .credentialName: the mesh's",
                    "E .credentialNames: the mesh's",
                ],
            ),
            (
                "{mode: PASSTHROUGH, caCertificates: a}",
                &["W .caCertificates: no effect: PASSTHROUGH"],
            ),
            (
                "{mode: AUTO_PASSTHROUGH, caCrl: a}",
                &["W .caCrl: no effect: AUTO_PASSTHROUGH"],
            ),
            (
                "{caCrl: a, credentialName: b}",
                &[
                    "W .credentialName: no effect",
                    "W .caCrl: no effect",
                    "E .caCrl: excludes credentialName",
                ],
            ),
        ],
    );
}

#[test]
fn ciphers_are_known_and_given_once() {
    judge_within(
        KIND,
        TLS,
        "spec.servers[0].tls",
        &[
            (
                "{cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256, AES256-SHA, DES-CBC3-SHA, ALL, '', '-x', '!x']}",
                &[],
            ),
            (
                "{mode: ISTIO_MUTUAL, cipherSuites: [ecdhe-ecdsa-aes128-gcm-sha256]}",
                &["W .cipherSuites[0]: not known"],
            ),
            (
                "{mode: SIMPLE, credentialName: a, cipherSuites: [AES128-SHA, '0', AES128-SHA, '0']}",
                &[
                    "W .cipherSuites[1]: `0` is not known",
                    "W .cipherSuites[2]: twice",
                    "W .cipherSuites[3]: `0` is not known",
                ],
            ),
            (
                "{minProtocolVersion: TLSV1_1}",
                &["W .minProtocolVersion: TLSV1_1"],
            ),
            (
                "{mode: SIMPLE, credentialName: a, minProtocolVersion: TLSV1_0}",
                &["W .minProtocolVersion: TLSV1_0"],
            ),
            (
                "{minProtocolVersion: TLSV1_0, cipherSuites: [AES128-SHA]}",
                &[],
            ),
            (
                "{minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_0}",
                &[],
            ),
        ],
    );
}
