//! ServiceEntries.

use super::support::{Case, codes, files, run};

const BARE: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  ports:
  - number: 5432
    name: tcp #!
    protocol: tcp
  - {number: 443, name: tls, protocol: TLS}
";

const ADDRESSES: Case<'static> = Case {
    code: "IST0134",
    analyzer: "serviceentry.Analyzer",
    raises: BARE,
    object: "ServiceEntry default/db",
    own_line: true,
    text: &["addresses"],
    ..Case::NEW
};

#[test]
fn a_tcp_port_needs_addresses() {
    Case {
        near: r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  addresses: [10.0.0.1]
  ports: [{number: 5432, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [web.example.com]
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: allocated}
spec:
  hosts: [allocated.example.com]
  ports: [{number: 443, name: tls, protocol: TCP}]
status: {addresses: [{value: 240.240.0.1}]}
",
        ..ADDRESSES
    }
    .check();
    for (settings, count) in [
        (
            "{ISTIO_META_DNS_CAPTURE: 'true', ISTIO_META_DNS_AUTO_ALLOCATE: 'true'}",
            0,
        ),
        (
            "{ISTIO_META_DNS_CAPTURE: 'true', PILOT_ENABLE_IP_AUTOALLOCATE: 'true'}",
            0,
        ),
        ("{ISTIO_META_DNS_CAPTURE: 'true'}", 1),
        (
            "{ISTIO_META_DNS_CAPTURE: 'yes', ISTIO_META_DNS_AUTO_ALLOCATE: 'true'}",
            1,
        ),
    ] {
        let mesh = format!("defaultConfig: {{proxyMetadata: {settings}}}");
        let messages = run(ADDRESSES.analyzer, files(BARE, &mesh));
        assert_eq!(messages.len(), count, "{settings}");
    }
}

#[test]
fn each_port_without_a_protocol_is_reported() {
    let text = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example.com]
  ports:
  - {number: 1, name: a}
  - {number: 2, name: b, protocol: TCP}
";
    let messages = run(ADDRESSES.analyzer, files(text, ""));
    assert_eq!(codes(&messages), ["IST0134 ServiceEntry default/db"; 2]);
}

#[test]
fn protocols_of_a_port_have_to_agree() {
    let case = Case {
        code: "IST0177",
        analyzer: "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
        raises: r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: one #!
spec: {hosts: [a.com], ports: [{number: 443, name: x, protocol: HTTP}], exportTo: ['.']}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two, namespace: other}
spec: {hosts: [b.com, a.com], ports: [{number: 443, name: x, protocol: tls}]}
",
        object: "ServiceEntry default/one",
        own_line: true,
        text: &["default/one, other/two", "a.com", "443", "HTTP, TLS"],
        near: r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one}
spec: {hosts: [a.com], ports: [{number: 443, name: x, protocol: HTTP}], exportTo: ['.']}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two, namespace: other}
spec: {hosts: [a.com], ports: [{number: 443, name: x, protocol: TLS}], exportTo: ['.']}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: three}
spec: {hosts: [a.com], ports: [{number: 443, name: x, protocol: http}, {number: 444, name: y, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: four}
spec: {hosts: ['*.com'], ports: [{number: 443, name: x, protocol: TCP}]}
",
        ..Case::NEW
    };
    let messages = run(case.analyzer, files(case.raises, ""));
    assert_eq!(
        codes(&messages),
        [
            "IST0177 ServiceEntry default/one",
            "IST0177 ServiceEntry other/two"
        ]
    );
    // In the near miss the ServiceEntry of the other namespace disagrees with the one that all see.
    let near = case.near.replace(
        "name: three}\nspec: {",
        "name: three}\nspec: {exportTo: ['.'], ",
    );
    assert_eq!(run(case.analyzer, files(&near, "")), Vec::new());
    Case {
        near: &near,
        ..case
    }
    .check();
}
