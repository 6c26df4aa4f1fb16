//! ServiceEntries.

use super::cases::{judge, judge_with, judge_within};

const KIND: &str = "ServiceEntry";

#[test]
fn hosts_are_names_or_wildcards_of_domains() {
    judge_within(
        KIND,
        "{hosts: @}",
        "spec.hosts",
        &[
            ("[a.com, short, '*.a.com', '123']", &[]),
            ("[]", &["E : at least one host"]),
            ("['*']", &["E [0]: `*` is not a host"]),
            ("[10.0.0.1]", &["E [0]: is not a host"]),
            ("['']", &["E [0]: is not a host"]),
            ("['*x.com']", &["W [0]: within a label"]),
            ("['*-x']", &["W [0]: within a label"]),
        ],
    );
}

#[test]
fn addresses_are_addresses_and_ranges_where_they_can_be_listened_on() {
    judge(
        KIND,
        &[
            (
                "{hosts: [a.com], addresses: [10.0.0.1, '::1', 10.1.2.3/8]}",
                &[],
            ),
            (
                "{hosts: [a.com], resolution: STATIC, addresses: [10.0.0.0/8]}",
                &[],
            ),
            (
                "{hosts: [a.com], resolution: DNS, addresses: [10.0.0.1]}",
                &[],
            ),
            (
                "{hosts: [a.com], resolution: DNS, addresses: [10.0.0.0/8]}",
                &["E .addresses[0]: NONE and STATIC, not DNS"],
            ),
            (
                "{hosts: [a.com], resolution: DNS_ROUND_ROBIN, addresses: ['::/0']}",
                &["E .addresses[0]: not DNS_ROUND_ROBIN"],
            ),
            (
                "{hosts: [a.com], addresses: [10.0.0.01]}",
                &["E .addresses[0]: not an address"],
            ),
            (
                "{hosts: [a.com], addresses: [10.0.0.0/33]}",
                &["E .addresses[0]: not an address"],
            ),
            (
                "{hosts: [a.com], addresses: [a.com]}",
                &["E .addresses[0]: not an address"],
            ),
        ],
    );
}

#[test]
fn ports_have_names_and_numbers_of_their_own() {
    judge_within(
        KIND,
        "{hosts: [a.com], addresses: [10.0.0.1], ports: @}",
        "spec.ports",
        &[
            ("[]", &[]),
            (
                "[{name: a, number: 1}, {name: B, number: 65535, protocol: mysql, targetPort: 1}]",
                &[],
            ),
            (
                "[null]",
                &[
                    "E [0].name: not a port's name",
                    "E [0].number: 0 is not a port",
                ],
            ),
            ("[{name: a_b, number: 1}]", &["E [0].name: `a_b` is not"]),
            ("[{name: a, number: 65536}]", &["E [0].number: 65536"]),
            (
                "[{name: a, number: 1}, {name: a, number: 2}]",
                &["E [1].name: twice"],
            ),
            (
                "[{name: a, number: 1}, {name: b, number: 1}]",
                &["E [1].number: twice"],
            ),
            (
                "[{name: a, number: 1, targetPort: 65536}]",
                &["E [0].targetPort: 65536"],
            ),
            (
                "[{name: a, number: 1, protocol: HBONE}]",
                &["E [0].protocol: unknown"],
            ),
        ],
    );
}

#[test]
fn tcp_ports_without_addresses_need_allocated_ones() {
    let port = |protocol: &str, more: &str| {
        format!("{{hosts: [a.com], ports: [{{name: a, number: 1{protocol}}}]{more}}}")
    };
    let said: &[&str] = &["W spec.ports[0].protocol: without addresses"];
    let off = "{name: a, labels: {networking.istio.io/enable-autoallocate-ip: 'FALSE'}}";
    let on = "{name: a, labels: {networking.istio.io/enable-autoallocate-ip: 'no'}}";
    for (metadata, protocol, more, said) in [
        ("{name: a}", "", "", said),
        ("{name: a}", ", protocol: TCP", "", said),
        ("{name: a}", ", protocol: tcp", "", &[]),
        ("{name: a}", ", protocol: HTTP", "", &[]),
        ("{name: a}", ", protocol: TLS", "", &[]),
        ("{name: a}", "", ", addresses: [10.0.0.1]", &[]),
        ("{name: a}", "", ", resolution: DNS", &[]),
        ("{name: a}", "", ", resolution: STATIC", &[]),
        (off, "", ", resolution: DNS", said),
        (off, ", protocol: TCP", ", resolution: STATIC", said),
        (off, ", protocol: HTTP", ", resolution: STATIC", &[]),
        (on, "", ", resolution: DNS", &[]),
    ] {
        judge_with(KIND, metadata, &port(protocol, more), said);
    }
    judge_with(
        KIND,
        "{name: a}",
        "{hosts: ['*.a.com'], resolution: STATIC, ports: [{name: a, number: 1}]}",
        &[],
    );
}

#[test]
fn a_selector_excludes_endpoints_and_ends_all_when_it_is_bad() {
    judge(
        KIND,
        &[
            (
                "{hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {a: b}}}",
                &[],
            ),
            (
                "{hosts: [a.com], resolution: STATIC, workloadSelector: {}}",
                &["W .workloadSelector: has no labels"],
            ),
            (
                "{hosts: [], workloadSelector: {labels: {a: '*'}}}",
                &["E .workloadSelector.labels: does not select"],
            ),
            (
                "{hosts: [a.com], resolution: STATIC, endpoints: [{address: 10.0.0.1}], workloadSelector: {labels: {a: b}}}",
                &["E .endpoints: keep one of the two"],
            ),
            (
                "{hosts: [a.com], workloadSelector: {labels: {a: b}}}",
                &["W .workloadSelector: NONE"],
            ),
            (
                "{hosts: ['*.a.com'], resolution: DNS, workloadSelector: {labels: {a: b}}}",
                &["E .hosts[0]: cannot be looked up"],
            ),
        ],
    );
}

#[test]
fn without_resolution_there_are_no_endpoints() {
    judge(
        KIND,
        &[(
            "{hosts: [a.com], endpoints: [{address: nonsense here}]}",
            &["E .endpoints: with the resolution NONE"],
        )],
    );
}

#[test]
fn static_endpoints_are_addresses_or_sockets() {
    judge_within(
        KIND,
        "{hosts: [a.com], resolution: STATIC, ports: [{name: a, number: 1, protocol: HTTP}], endpoints: [@]}",
        "spec.endpoints[0]",
        &[
            ("{address: 10.0.0.1, ports: {a: 80}, labels: {x: y}}", &[]),
            ("{address: 'fe80::1%eth0'}", &[]),
            ("{address: unix:///s}", &[]),
            ("{network: n}", &["W .address: network `n`"]),
            ("null", &["E .address: is needed"]),
            (
                "{address: a.com}",
                &["E .address: `a.com` is not an address or a socket"],
            ),
            ("{address: unix:///}", &["E .address: is not a socket"]),
            (
                "{address: unix:///s, ports: {a: 1}}",
                &["E .ports: has no ports"],
            ),
            (
                "{address: 10.0.0.1, ports: {b: 80}}",
                &["E .ports.b: no port of the name `b`"],
            ),
            (
                "{address: 10.0.0.1, ports: {a: 0}}",
                &["E .ports.a: 0 is not a port"],
            ),
            (
                "{address: 10.0.0.1, labels: {x: '-'}}",
                &["E .labels.x: label's value"],
            ),
        ],
    );
    judge(
        KIND,
        &[
            ("{hosts: [a.com], resolution: STATIC}", &[]),
            (
                "{hosts: [a.com], resolution: STATIC, endpoints: [{address: unix:///s}]}",
                &["E .endpoints[0].address: serves one port"],
            ),
            (
                "{hosts: [a.com], resolution: STATIC, ports: [{name: a, number: 1}, {name: b, number: 2}], endpoints: [{address: unix:///s}]}",
                &["E .endpoints[0].address: serves one port"],
            ),
        ],
    );
}

#[test]
fn dns_endpoints_are_names_or_addresses() {
    judge_within(
        KIND,
        "{hosts: ['*.a.com'], resolution: DNS, ports: [{name: a, number: 1, protocol: HTTP}], endpoints: [@]}",
        "spec.endpoints[0]",
        &[
            ("{address: a.com, ports: {a: 80}}", &[]),
            ("{address: 10.0.0.1}", &[]),
            (
                "{address: '*.b.com'}",
                &["E .address: not an address or a full host"],
            ),
            (
                "{address: unix:///s}",
                &["E .address: not an address or a full host"],
            ),
            (
                "{network: n}",
                &["E .address: not an address or a full host"],
            ),
            (
                "{address: a.com, ports: {b: 80}}",
                &["E .ports.b: no port of the name"],
            ),
            (
                "{address: a.com, ports: {a: 65536}}",
                &["E .ports.a: 65536"],
            ),
            (
                "{address: a.com, labels: {/x: y}}",
                &["E .labels[\"/x\"]: not a label"],
            ),
        ],
    );
    judge(
        KIND,
        &[
            ("{hosts: [a.com], resolution: DNS}", &[]),
            (
                "{hosts: [a.com, '*.a.com'], resolution: DNS}",
                &["E .hosts[1]: cannot be looked up"],
            ),
            (
                "{hosts: ['123'], resolution: DNS_ROUND_ROBIN}",
                &["E .hosts[0]: cannot be looked up"],
            ),
            (
                "{hosts: [a.com], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.com}]}",
                &[],
            ),
            (
                "{hosts: [a.com], resolution: DNS_ROUND_ROBIN, endpoints: [{address: b.com}, {address: c.com}]}",
                &["E .endpoints: one endpoint at most"],
            ),
            (
                "{hosts: [a.com], resolution: DNS, endpoints: [{address: b.com}, {address: c.com}]}",
                &[],
            ),
        ],
    );
}

#[test]
fn several_hosts_have_to_be_told_apart() {
    let entry = |resolution: &str, protocol: &str, more: &str| {
        format!(
            "{{hosts: [a.com, b.com], resolution: {resolution}, ports: [{{name: a, number: 1{protocol}}}]{more}}}"
        )
    };
    let apart = "E .hosts: told apart";
    let addresses = ", addresses: [10.0.0.1]";
    for (resolution, protocol, more, said) in [
        ("NONE", ", protocol: TCP", addresses, &[] as &[&str]),
        ("STATIC", ", protocol: HTTP", "", &[]),
        ("STATIC", ", protocol: HTTPS", addresses, &[]),
        ("STATIC", "", "", &[apart]),
        ("STATIC", ", protocol: UDP", "", &[apart]),
        ("DNS", ", protocol: MONGO", "", &[apart]),
        ("DNS", ", protocol: HTTP", addresses, &[]),
        (
            "DNS",
            ", protocol: TLS",
            addresses,
            &["W .hosts: one host only"],
        ),
        (
            "DNS_ROUND_ROBIN",
            ", protocol: TCP",
            addresses,
            &["W .hosts: one host only", apart],
        ),
    ] {
        judge(KIND, &[(&entry(resolution, protocol, more), said)]);
    }
    judge(
        KIND,
        &[
            (
                "{hosts: [a.com], resolution: DNS, addresses: [10.0.0.1], ports: [{name: a, number: 1, protocol: TCP}]}",
                &[],
            ),
            (
                "{hosts: [a.com, b.com], resolution: DNS, addresses: [10.0.0.1]}",
                &[],
            ),
        ],
    );
}

#[test]
fn dynamic_dns_takes_wildcards_and_protocols_with_a_host() {
    let entry = |protocol: &str| {
        format!(
            "{{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, ports: [{{name: a, number: 1, protocol: {protocol}}}]}}"
        )
    };
    for protocol in ["HTTP", "http2", "GRPC", "TLS"] {
        judge(KIND, &[(&entry(protocol), &[])]);
    }
    for protocol in ["HTTPS", "GRPC-Web", "''", "TCP", "HTTP_PROXY"] {
        judge(
            KIND,
            &[(
                &entry(protocol),
                &["E .ports[0].protocol: DYNAMIC_DNS takes"],
            )],
        );
    }
    judge(
        KIND,
        &[
            ("{hosts: ['*x.com'], resolution: DYNAMIC_DNS}", &[]),
            (
                "{hosts: [a.com], resolution: DYNAMIC_DNS}",
                &["E .hosts[0]: no wildcard"],
            ),
            (
                "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, addresses: [10.0.0.1], endpoints: [{}]}",
                &["E .addresses: take this out", "E .endpoints: take this out"],
            ),
            (
                "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, workloadSelector: {labels: {a: b}}}",
                &[],
            ),
        ],
    );
    let spec = "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, location: MESH_INTERNAL}";
    let waypoint = |name: &str| format!("{{name: a, labels: {{istio.io/use-waypoint: {name}}}}}");
    judge_with(KIND, "{name: a}", spec, &[]);
    judge_with(KIND, &waypoint("none"), spec, &[]);
    judge_with(KIND, &waypoint("''"), spec, &[]);
    judge_with(
        KIND,
        &waypoint("w"),
        spec,
        &["E spec.location: cannot have a waypoint"],
    );
    let outside = "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS}";
    judge_with(KIND, &waypoint("w"), outside, &[]);
}

#[test]
fn a_service_can_be_hidden() {
    judge_within(
        KIND,
        "{hosts: [a.com], subjectAltNames: ['?'], exportTo: @}",
        "spec.exportTo",
        &[
            ("['~']", &[]),
            ("['~', a]", &["E [0]: stands alone"]),
            (
                "['*', '~']",
                &["E [0]: stands alone", "E [1]: stands alone"],
            ),
            ("['.', shop]", &["E [1]: twice"]),
            ("[a, b]", &[]),
        ],
    );
}
