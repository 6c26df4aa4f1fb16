//! DestinationRules: host, subsets, ports, tunnels, TLS and who sees them.

use super::cases::{judge, judge_within};

const KIND: &str = "DestinationRule";
const POLICY: &str = "{host: a.com, trafficPolicy: @}";
const TLS: &str = "{host: a.com, trafficPolicy: {tls: @}}";

#[test]
fn a_host_is_a_name_or_a_wildcard() {
    judge(
        KIND,
        &[
            ("{}", &["E .host: not a host name"]),
            ("{host: reviews}", &[]),
            ("{host: a.com.}", &[]),
            ("{host: '*'}", &[]),
            ("{host: '*.a.com'}", &[]),
            ("{host: '*-x.a.com'}", &[]),
            ("{host: a_b.com}", &["E .host: `a_b.com` is not a host"]),
            ("{host: 10.0.0.1}", &["E .host: not a host name"]),
            ("{host: '123'}", &[]),
            ("{host: 'a.*.com'}", &["E .host: not a host name"]),
        ],
    );
}

#[test]
fn subsets_have_names_and_labels() {
    judge_within(
        KIND,
        "{host: a.com, subsets: @}",
        "spec.subsets",
        &[
            ("[{name: v1}, {name: V2, labels: {version: v2}}]", &[]),
            ("[{name: v1, labels: {}}]", &[]),
            ("[null]", &["E [0].name: `` is not a subset's name"]),
            (
                "[{name: v.1}]",
                &["E [0].name: `v.1` is not a subset's name"],
            ),
            (
                "[{name: a}, {name: b}, {name: a}]",
                &["E [2].name: `a` is given twice"],
            ),
            ("[{name: v1, labels: {a_b: x.y-z}}]", &[]),
            (
                "[{name: v1, labels: {-a: x}}]",
                &["E [0].labels.-a: not a label"],
            ),
            (
                "[{name: v1, labels: {a: x y}}]",
                &["E [0].labels.a: not a label's value"],
            ),
            (
                "[{name: v1, trafficPolicy: {}}]",
                &["E [0].trafficPolicy: sets nothing"],
            ),
        ],
    );
}

#[test]
fn warnings_inside_subsets_and_ports_are_lost() {
    let policies = [
        "{outlierDetection: {consecutiveErrors: 1}}",
        "{loadBalancer: {consistentHash: {minimumRingSize: 3}}}",
        "{loadBalancer: {localityLbSetting: {failoverPriority: [app]}}}",
    ];
    for policy in policies {
        let subset = format!("{{host: a.com, subsets: [{{name: a, trafficPolicy: {policy}}}]}}");
        let port = policy.replacen('{', "{port: {number: 1}, ", 1);
        let port = format!("{{host: a.com, trafficPolicy: {{portLevelSettings: [{port}]}}}}");
        judge(KIND, &[(&subset, &[]), (&port, &[])]);
    }
    judge(
        KIND,
        &[(
            "{host: a.com, trafficPolicy: {outlierDetection: {consecutiveErrors: 1}}, subsets: [{name: a, trafficPolicy: {outlierDetection: {consecutiveErrors: 1, maxEjectionPercent: 101}}}]}",
            &[
                "W .trafficPolicy.outlierDetection.consecutiveErrors: deprecated",
                "E .subsets[0].trafficPolicy.outlierDetection.maxEjectionPercent: 101",
            ],
        )],
    );
}

#[test]
fn a_policy_sets_something() {
    judge_within(
        KIND,
        POLICY,
        "spec.trafficPolicy",
        &[
            ("{}", &["E : sets nothing"]),
            ("{portLevelSettings: []}", &["E : sets nothing"]),
            ("null", &[]),
            ("{loadBalancer: {}}", &[]),
            ("{outlierDetection: {}}", &[]),
            ("{tls: {}}", &[]),
            ("{proxyProtocol: {}}", &[]),
            ("{retryBudget: {percent: 500, budgetInterval: 0s}}", &[]),
            ("{connectionPool: {}}", &["E .connectionPool: sets nothing"]),
            ("{portLevelSettings: [{port: {number: 80}, tls: {}}]}", &[]),
            ("{portLevelSettings: [{port: {}, tls: {}}]}", &[]),
            (
                "{portLevelSettings: [{port: {number: 80}}]}",
                &["E .portLevelSettings[0]: sets nothing"],
            ),
            (
                "{portLevelSettings: [{tls: {}}, null]}",
                &[
                    "E .portLevelSettings[0].port: for which port",
                    "E .portLevelSettings[1].port: for which port",
                    "E .portLevelSettings[1]: sets nothing",
                ],
            ),
            (
                "{portLevelSettings: [{port: {number: 1}, connectionPool: {http: {maxRetries: -1}}}]}",
                &["E .portLevelSettings[0].connectionPool.http.maxRetries: -1 is negative"],
            ),
        ],
    );
}

#[test]
fn a_tunnel_has_a_protocol_a_host_and_a_port() {
    judge_within(
        KIND,
        "{host: a.com, trafficPolicy: {tunnel: @}}",
        "spec.trafficPolicy.tunnel",
        &[
            ("{targetHost: a.com, targetPort: 443}", &[]),
            (
                "{protocol: CONNECT, targetHost: 10.0.0.1, targetPort: 1}",
                &[],
            ),
            (
                "{protocol: POST, targetHost: '::1', targetPort: 65535}",
                &[],
            ),
            (
                "{protocol: connect, targetHost: a.com, targetPort: 1}",
                &["E .protocol: `connect` does not make a tunnel"],
            ),
            (
                "{targetHost: '*.a.com', targetPort: 1}",
                &["E .targetHost: `*.a.com` is not a full host"],
            ),
            (
                "{}",
                &[
                    "E .targetHost: not a full host",
                    "E .targetPort: 0 is not a port",
                ],
            ),
            (
                "{targetHost: a.com, targetPort: 65536}",
                &["E .targetPort: 65536 is not a port"],
            ),
        ],
    );
    judge_within(
        KIND,
        POLICY,
        "spec.trafficPolicy",
        &[(
            "{proxyProtocol: {version: V2}, tunnel: {targetHost: a.com, targetPort: 1}}",
            &["E .tunnel: excludes proxyProtocol"],
        )],
    );
}

#[test]
fn tls_has_what_its_mode_needs() {
    judge_within(
        KIND,
        TLS,
        "spec.trafficPolicy.tls",
        &[
            ("{mode: SIMPLE}", &[]),
            (
                "{mode: DISABLE, privateKey: k, credentialName: c, insecureSkipVerify: true, caCertificates: a}",
                &[],
            ),
            (
                "{mode: ISTIO_MUTUAL, clientCertificate: c, credentialName: d}",
                &[],
            ),
            ("{mode: MUTUAL, clientCertificate: c, privateKey: k}", &[]),
            ("{mode: MUTUAL, credentialName: c}", &[]),
            (
                "{mode: MUTUAL}",
                &[
                    "E .clientCertificate: MUTUAL needs",
                    "E .privateKey: MUTUAL needs",
                ],
            ),
            (
                "{mode: MUTUAL, privateKey: k}",
                &["E .clientCertificate: MUTUAL needs"],
            ),
            (
                "{mode: SIMPLE, credentialName: c, clientCertificate: a, privateKey: b, caCertificates: d, caCrl: e}",
                &[
                    "E .clientCertificate: keep one of the two",
                    "E .privateKey: keep one of the two",
                    "E .caCertificates: keep one of the two",
                    "E .caCrl: keep one of the two",
                ],
            ),
            ("{mode: SIMPLE, clientCertificate: a, caCrl: e}", &[]),
        ],
    );
}

#[test]
fn tls_that_is_not_verified_names_nothing_to_verify_with() {
    judge_within(
        KIND,
        TLS,
        "spec.trafficPolicy.tls",
        &[
            ("{mode: SIMPLE, insecureSkipVerify: true}", &[]),
            (
                "{mode: SIMPLE, insecureSkipVerify: false, caCertificates: a, subjectAltNames: [x]}",
                &[],
            ),
            (
                "{mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: []}",
                &[],
            ),
            (
                "{mode: SIMPLE, insecureSkipVerify: true, subjectAltNames: [x]}",
                &["E .insecureSkipVerify: nothing is verified"],
            ),
            (
                "{mode: SIMPLE, insecureSkipVerify: true, caCertificates: x}",
                &["E .insecureSkipVerify: nothing is verified"],
            ),
            (
                "{mode: SIMPLE, insecureSkipVerify: true, credentialName: x}",
                &["E .insecureSkipVerify: and credentialName"],
            ),
            (
                "{mode: MUTUAL, insecureSkipVerify: true, credentialName: x}",
                &[],
            ),
            (
                "{mode: MUTUAL, insecureSkipVerify: true, credentialName: x, subjectAltNames: [a]}",
                &["E .insecureSkipVerify: nothing is verified"],
            ),
        ],
    );
}

#[test]
fn a_config_map_is_in_the_objects_namespace() {
    judge_within(
        KIND,
        TLS,
        "spec.trafficPolicy.tls",
        &[
            ("{mode: SIMPLE, credentialName: 'configmap://shop/ca'}", &[]),
            (
                "{mode: SIMPLE, credentialName: 'configmap://other/ca'}",
                &["E .credentialName: only `shop`"],
            ),
            (
                "{mode: DISABLE, credentialName: 'configmap://ca'}",
                &["E .credentialName: not of the form"],
            ),
            (
                "{mode: SIMPLE, credentialName: 'configmap://shop/'}",
                &["E .credentialName: not of the form"],
            ),
            (
                "{mode: SIMPLE, credentialName: 'configmap://shop/a/b'}",
                &["E .credentialName: not of the form"],
            ),
            ("{mode: SIMPLE, credentialName: 'Configmap://x'}", &[]),
        ],
    );
}

#[test]
fn export_to_names_each_namespace_once() {
    judge_within(
        KIND,
        "{host: a.com, exportTo: @}",
        "spec.exportTo",
        &[
            ("[]", &[]),
            ("['.', other, Third]", &[]),
            ("['*']", &[]),
            ("['*', a]", &["E [0]: stands alone"]),
            ("['~']", &["E [0]: is not a namespace"]),
            ("[a, b, a]", &["E [2]: `a` is given twice"]),
            ("['.', shop]", &["E [1]: `shop` is given twice"]),
            ("[shop, '.']", &["E [1]: `.` is given twice"]),
            ("['']", &["E [0]: is not a namespace"]),
            ("[a.b]", &["E [0]: `a.b` is not a namespace"]),
        ],
    );
}

#[test]
fn a_selector_has_labels_and_keeps_the_object_at_home() {
    judge(
        KIND,
        &[
            (
                "{host: a.com, workloadSelector: {matchLabels: {app: a}}}",
                &[],
            ),
            (
                "{host: a.com, workloadSelector: {matchLabels: {app: a}}, exportTo: ['.']}",
                &[],
            ),
            (
                "{host: a.com, workloadSelector: {matchLabels: {app: a}}, exportTo: [shop]}",
                &[],
            ),
            (
                "{host: a.com, workloadSelector: {}}",
                &["W .workloadSelector: has no labels"],
            ),
            (
                "{host: a.com, workloadSelector: {matchLabels: {app: 'a*'}}}",
                &["E .workloadSelector.matchLabels: does not select"],
            ),
            (
                "{host: a.com, workloadSelector: {matchLabels: {'': a}}}",
                &["E .workloadSelector.matchLabels: does not select"],
            ),
            (
                "{host: a.com, workloadSelector: {matchLabels: {'a b c': '!'}}}",
                &[],
            ),
            (
                "{host: a.com, workloadSelector: {matchLabels: {app: a}}, exportTo: ['.', other]}",
                &["E .exportTo[1]: in its own namespace"],
            ),
            (
                "{host: a.com, workloadSelector: {matchLabels: {app: a}}, exportTo: ['*']}",
                &["E .exportTo[0]: in its own namespace"],
            ),
        ],
    );
}
