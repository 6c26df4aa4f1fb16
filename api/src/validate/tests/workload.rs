//! WorkloadEntries and WorkloadGroups.

use super::cases::{judge, judge_within};

#[test]
fn an_entry_has_an_address_or_a_network() {
    judge(
        "WorkloadEntry",
        &[
            ("{address: 10.0.0.1}", &[]),
            ("{address: '::1'}", &[]),
            ("{address: 'fe80::1%eth0'}", &[]),
            ("{address: vm.example.com}", &[]),
            ("{address: vm}", &[]),
            ("{address: unix:///s}", &[]),
            ("{address: 'unix://@s'}", &[]),
            ("{}", &["E .address: is needed"]),
            ("{network: n}", &["W .address: network `n`"]),
            (
                "{address: 10.0.0.1, network: n, weight: 0, locality: '//'}",
                &[],
            ),
            (
                "{address: '10.0.0.1:80'}",
                &["E .address: not an address, a host name"],
            ),
            (
                "{address: 'a.com:80'}",
                &["E .address: not an address, a host name"],
            ),
            (
                "{address: '*.a.com'}",
                &["E .address: not an address, a host name"],
            ),
            (
                "{address: 10.0.0.1/8}",
                &["E .address: not an address, a host name"],
            ),
            ("{address: unix://s}", &["E .address: is not a socket"]),
            ("{address: unix:///s/}", &["E .address: is not a socket"]),
            ("{address: 'unix://'}", &["E .address: is not a socket"]),
            (
                "{address: unix:///s, ports: {a: 1}}",
                &["E .ports: has no ports"],
            ),
        ],
    );
}

#[test]
fn an_entry_has_ports_and_labels() {
    judge_within(
        "WorkloadEntry",
        "{address: 10.0.0.1, @}",
        "spec",
        &[
            ("ports: {a: 1, B-2: 65535}", &[]),
            ("ports: {a_b: 1}", &["E .ports.a_b: not a port's name"]),
            ("ports: {a: 0}", &["E .ports.a: 0 is not a port"]),
            ("ports: {a: 65536}", &["E .ports.a: 65536 is not a port"]),
            ("labels: {a.b/c: d, e: ''}", &[]),
            ("labels: {a/b/c: d}", &["E .labels[\"a/b/c\"]: not a label"]),
            ("labels: {a: d_}", &["E .labels.a: not a label's value"]),
        ],
    );
    judge(
        "WorkloadEntry",
        &[
            ("{ports: {'': 0}}", &["E .address: is needed"]),
            (
                "{network: n, ports: {a: 0}}",
                &["W .address: network", "E .ports.a: 0"],
            ),
        ],
    );
}

#[test]
fn a_group_has_a_template() {
    judge(
        "WorkloadGroup",
        &[
            ("{template: {}}", &[]),
            (
                "{template: {address: ???, ports: {'': 0}, labels: {'': '-'}}}",
                &[],
            ),
            ("{}", &["E .template: is needed"]),
            ("{template: null}", &["E .template: is needed"]),
            (
                "{template: {}, metadata: {labels: {a: b}, annotations: {'': '-'}}}",
                &[],
            ),
            (
                "{template: {}, metadata: {labels: {a b: '-'}}}",
                &[
                    "E .metadata.labels[\"a b\"]: not a label",
                    "E .metadata.labels[\"a b\"]: not a label's value",
                ],
            ),
        ],
    );
}

#[test]
fn a_probe_asks_one_thing() {
    judge_within(
        "WorkloadGroup",
        "{template: {}, probe: @}",
        "spec.probe",
        &[
            ("null", &[]),
            ("{}", &["E : say what is asked"]),
            ("{httpGet: {port: 80}}", &[]),
            (
                "{httpGet: {port: 80, scheme: HTTPS, httpHeaders: [{name: X-1}], path: '?', host: '?'}}",
                &[],
            ),
            ("{httpGet: {}}", &["E .httpGet.port: 0 is not a port"]),
            (
                "{httpGet: {port: 80, scheme: http}}",
                &["E .httpGet.scheme: `http` is not a scheme"],
            ),
            (
                "{httpGet: {port: 80, httpHeaders: [{name: a_b}, {}]}}",
                &[
                    "E .httpGet.httpHeaders[0].name: `a_b` is not",
                    "E .httpGet.httpHeaders[1].name: `` is not",
                ],
            ),
            ("{tcpSocket: {port: 65535}}", &[]),
            ("{tcpSocket: {port: 65536}}", &["E .tcpSocket.port: 65536"]),
            ("{exec: {command: [a]}}", &[]),
            ("{exec: {}}", &["E .exec.command: is needed"]),
            ("{grpc: {port: 80}}", &["E .grpc: are refused"]),
            (
                "{exec: {command: [a]}, initialDelaySeconds: -1, timeoutSeconds: -1, periodSeconds: -1, successThreshold: -1, failureThreshold: -1}",
                &[
                    "E .initialDelaySeconds: negative",
                    "E .timeoutSeconds: negative",
                    "E .periodSeconds: negative",
                    "E .successThreshold: negative",
                    "E .failureThreshold: negative",
                ],
            ),
            ("{exec: {command: ['']}, periodSeconds: 0}", &[]),
        ],
    );
}
