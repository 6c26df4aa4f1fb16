//! AuthorizationPolicy, PeerAuthentication and RequestAuthentication.

use proptest::prelude::*;

use super::rules::{Rule, assert_said, changed, changes, check, judge, round_trip};
use crate::object::Kind;
use crate::security::{AuthorizationPolicy, PeerAuthentication, RequestAuthentication};

/// What all kinds with references share.
const ATTACHMENT: [Rule; 9] = [
    (
        "{selector: {}}",
        &[('W', "spec.selector", "no labels")],
        "{selector: {matchLabels: {app: a}}}",
    ),
    (
        "{selector: {matchLabels: {\"\": a}}}",
        &[('E', "spec.selector.matchLabels", "does not select")],
        "{selector: {matchLabels: {a b: \"\"}}}",
    ),
    (
        "{selector: {matchLabels: {app: a*}}}",
        &[('E', "spec.selector.matchLabels", "does not select")],
        "{selector: {matchLabels: {app: a_}}}",
    ),
    (
        "{selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}",
        &[('E', "spec.targetRefs", "only one of")],
        "{selector: {matchLabels: {a: b}}, targetRefs: []}",
    ),
    (
        "{targetRef: {kind: Service, name: a}, targetRefs: [{kind: Service, name: a}]}",
        &[('E', "spec.targetRefs", "only one of")],
        "{targetRef: {kind: Service, name: a}}",
    ),
    (
        "{targetRefs: [{kind: Service, group: core}]}",
        &[('E', "spec.targetRefs[0].name", "name")],
        "{targetRefs: [{kind: Service, group: core, name: a}]}",
    ),
    (
        "{targetRef: {kind: ServiceEntry, group: networking.istio.io, name: a, namespace: ns}}",
        &[('E', "spec.targetRef.namespace", "own namespace")],
        "{targetRef: {kind: ServiceEntry, group: networking.istio.io, name: a}}",
    ),
    (
        "{targetRefs: [{kind: Gateway, group: networking.istio.io, name: a}]}",
        &[('E', "spec.targetRefs[0].kind", "`Gateway`")],
        "{targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: a}]}",
    ),
    (
        "{targetRefs: [{kind: gatewayclass, group: gateway.networking.k8s.io, name: a}]}",
        &[('E', "spec.targetRefs[0].kind", "`gatewayclass`")],
        "{targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: a}]}",
    ),
];

const ACTIONS: [Rule; 12] = [
    (
        "{action: DENY}",
        &[('E', "spec.rules", "DENY without rules")],
        "{action: ALLOW}",
    ),
    (
        "{action: DENY, rules: []}",
        &[('E', "spec.rules", "DENY without rules")],
        "{action: DENY, rules: [{}]}",
    ),
    (
        "{action: CUSTOM, provider: {name: p}}",
        &[('E', "spec.rules", "CUSTOM without rules")],
        "{action: CUSTOM, provider: {name: p}, rules: [{}]}",
    ),
    (
        "{action: CUSTOM, rules: [{}]}",
        &[('E', "spec.provider.name", "asks a provider")],
        "{action: AUDIT}",
    ),
    (
        "{action: CUSTOM, provider: {}, rules: [{}]}",
        &[('E', "spec.provider.name", "asks a provider")],
        "{}",
    ),
    (
        "{action: AUDIT, provider: {}}",
        &[('E', "spec.provider", "asks no provider")],
        "{action: AUDIT, provider: null}",
    ),
    (
        "{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {notNamespaces: [a]}}]}]}",
        &[('E', "spec.rules[0].from[0].source.notNamespaces", "CUSTOM")],
        "{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {ipBlocks: [10.0.0.1]}}]}]}",
    ),
    (
        "{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {serviceAccounts: [a]}}]}]}",
        &[(
            'E',
            "spec.rules[0].from[0].source.serviceAccounts",
            "CUSTOM",
        )],
        "{action: CUSTOM, provider: {name: p}, rules: [{to: [{operation: {hosts: [a]}}]}]}",
    ),
    (
        "{action: CUSTOM, provider: {name: p}, rules: [{from: [{source: {requestPrincipals: [a], principals: [a], trustDomains: [a]}}]}]}",
        &[
            (
                'E',
                "spec.rules[0].from[0].source.requestPrincipals",
                "CUSTOM",
            ),
            ('E', "spec.rules[0].from[0].source.principals", "CUSTOM"),
            ('E', "spec.rules[0].from[0].source.trustDomains", "CUSTOM"),
        ],
        "{action: AUDIT, rules: [{from: [{source: {requestPrincipals: [a], principals: [a], trustDomains: [a]}}]}]}",
    ),
    (
        "{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: source.principal, values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "CUSTOM")],
        "{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: source.ip, values: [1.2.3.4]}]}]}",
    ),
    (
        "{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: 'request.auth.claims[a]', values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "CUSTOM")],
        "{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: 'request.headers[a]', values: [a]}]}]}",
    ),
    (
        "{action: CUSTOM, provider: {name: p}, rules: [{when: [{key: source.trustDomain, values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "CUSTOM")],
        "{rules: [{when: [{key: source.trustDomain, values: [a]}]}]}",
    ),
];

const SOURCES: [Rule; 15] = [
    (
        "{rules: [{from: [{}]}]}",
        &[('E', "spec.rules[0].from[0].source", "needed")],
        "{rules: [{from: []}]}",
    ),
    (
        "{rules: [{from: [{source: {}}]}]}",
        &[('E', "spec.rules[0].from[0].source", "no condition")],
        "{rules: [{from: [{source: {notTrustDomains: [a]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {principals: [a], namespaces: []}}, {source: {namespaces: []}}]}]}",
        &[('E', "spec.rules[0].from[1].source", "no condition")],
        "{rules: [null]}",
    ),
    (
        "{rules: [{from: [{source: {serviceAccounts: [a], notPrincipals: [b]}}]}]}",
        &[('E', "spec.rules[0].from[0].source", "serviceAccounts")],
        "{rules: [{from: [{source: {serviceAccounts: [a]}}, {source: {notPrincipals: [b]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {notServiceAccounts: [a], namespaces: [b]}}]}]}",
        &[('E', "spec.rules[0].from[0].source", "serviceAccounts")],
        "{rules: [{from: [{source: {notServiceAccounts: [a], requestPrincipals: [b], trustDomains: [c]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {principals: [a, \"\"]}}]}]}",
        &[('E', "spec.rules[0].from[0].source.principals[1]", "empty")],
        "{rules: [{from: [{source: {principals: [a, \" \"]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {notRemoteIpBlocks: [\"\"]}}]}]}",
        &[(
            'E',
            "spec.rules[0].from[0].source.notRemoteIpBlocks[0]",
            "empty",
        )],
        "{rules: [{from: [{source: {notRemoteIpBlocks: [\"::/0\"]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {ipBlocks: [10.0.0.256]}}]}]}",
        &[(
            'E',
            "spec.rules[0].from[0].source.ipBlocks[0]",
            "neither an address",
        )],
        "{rules: [{from: [{source: {ipBlocks: [10.0.0.255, \"fe80::1%eth0\"]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {remoteIpBlocks: [10.0.0.0/33]}}]}]}",
        &[(
            'E',
            "spec.rules[0].from[0].source.remoteIpBlocks[0]",
            "neither an address",
        )],
        "{rules: [{from: [{source: {remoteIpBlocks: [10.0.0.1/8]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {serviceAccounts: [a*]}}]}]}",
        &[(
            'E',
            "spec.rules[0].from[0].source.serviceAccounts[0]",
            "`*`",
        )],
        "{rules: [{from: [{source: {serviceAccounts: [ns/a]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {notServiceAccounts: [/a, b/, a/b/c]}}]}]}",
        &[
            (
                'E',
                "spec.rules[0].from[0].source.notServiceAccounts[0]",
                "namespace/account",
            ),
            (
                'E',
                "spec.rules[0].from[0].source.notServiceAccounts[1]",
                "namespace/account",
            ),
            (
                'E',
                "spec.rules[0].from[0].source.notServiceAccounts[2]",
                "namespace/account",
            ),
        ],
        "{rules: [{from: [{source: {notServiceAccounts: [a_b.c]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {serviceAccounts: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]}}]}]}",
        &[(
            'E',
            "spec.rules[0].from[0].source.serviceAccounts",
            "17 service accounts",
        )],
        "{rules: [{from: [{source: {serviceAccounts: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {trustDomains: [\"*a*\"]}}]}]}",
        &[(
            'E',
            "spec.rules[0].from[0].source.trustDomains[0]",
            "one `*`",
        )],
        "{rules: [{from: [{source: {trustDomains: [\"*a\", \"a*\", \"*\"]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {notTrustDomains: [a*b]}}]}]}",
        &[(
            'E',
            "spec.rules[0].from[0].source.notTrustDomains[0]",
            "one `*`",
        )],
        "{rules: [{from: [{source: {notTrustDomains: [a.b]}}]}]}",
    ),
    (
        "{rules: [{from: [{source: {trustDomains: [a/b]}}]}]}",
        &[('E', "spec.rules[0].from[0].source.trustDomains[0]", "`/`")],
        "{rules: [{from: [{source: {namespaces: [a/b, \"*a*\"]}}]}]}",
    ),
];

const OPERATIONS: [Rule; 12] = [
    (
        "{rules: [{to: [{}]}]}",
        &[('E', "spec.rules[0].to[0].operation", "needed")],
        "{rules: [{to: []}]}",
    ),
    (
        "{rules: [{to: [{operation: {}}]}]}",
        &[('E', "spec.rules[0].to[0].operation", "no condition")],
        "{rules: [{to: [{operation: {notMethods: [GET]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {hosts: [\"\"], notHosts: [\"\"], methods: [\"\"]}}]}]}",
        &[
            ('E', "spec.rules[0].to[0].operation.hosts[0]", "empty"),
            ('E', "spec.rules[0].to[0].operation.notHosts[0]", "empty"),
            ('E', "spec.rules[0].to[0].operation.methods[0]", "empty"),
        ],
        "{rules: [{to: [{operation: {hosts: [\"*\", a b], methods: [get, G*T]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {ports: [\"65536\"]}}]}]}",
        &[('E', "spec.rules[0].to[0].operation.ports[0]", "not a port")],
        "{rules: [{to: [{operation: {ports: [\"65535\", \"0\", \"0080\"]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {notPorts: [\"+80\", http]}}]}]}",
        &[
            (
                'E',
                "spec.rules[0].to[0].operation.notPorts[0]",
                "not a port",
            ),
            (
                'E',
                "spec.rules[0].to[0].operation.notPorts[1]",
                "not a port",
            ),
        ],
        "{rules: [{to: [{operation: {notPorts: [\"80\"]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {paths: [\"/a{*}\"]}}]}]}",
        &[('E', "spec.rules[0].to[0].operation.paths[0]", "brace")],
        "{rules: [{to: [{operation: {paths: [\"/a/{*}/\"]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {paths: [\"/a/{b}\", \"/}\"]}}]}]}",
        &[
            ('E', "spec.rules[0].to[0].operation.paths[0]", "brace"),
            ('E', "spec.rules[0].to[0].operation.paths[1]", "brace"),
        ],
        "{rules: [{to: [{operation: {paths: [\"/a//b c/*\", \"/\"]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {notPaths: [\"/{**}/{*}\"]}}]}]}",
        &[(
            'E',
            "spec.rules[0].to[0].operation.notPaths[0]",
            "after `{**}`",
        )],
        "{rules: [{to: [{operation: {notPaths: [\"/{*}/{**}\"]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {paths: [\"/{**}/a/{**}\"]}}]}]}",
        &[(
            'E',
            "spec.rules[0].to[0].operation.paths[0]",
            "after `{**}`",
        )],
        "{rules: [{to: [{operation: {paths: [\"/{**}/a/b\"]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {paths: [\"/{*}/a*\"]}}]}]}",
        &[('E', "spec.rules[0].to[0].operation.paths[0]", "template")],
        "{rules: [{to: [{operation: {paths: [\"/{*}/a-._~%!$&'()+,;:@=\"]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {paths: [\"/{*}//a\"]}}]}]}",
        &[('E', "spec.rules[0].to[0].operation.paths[0]", "template")],
        "{rules: [{to: [{operation: {paths: [\"//{*}/a//\"]}}]}]}",
    ),
    (
        "{rules: [{to: [{operation: {paths: [\"\"], notPaths: [\"\"]}}]}]}",
        &[
            ('E', "spec.rules[0].to[0].operation.paths[0]", "empty"),
            ('E', "spec.rules[0].to[0].operation.notPaths[0]", "empty"),
        ],
        "{rules: [{to: [{operation: {paths: [\"*\"]}}]}]}",
    ),
];

const CONDITIONS: [Rule; 18] = [
    (
        "{rules: [{when: [{values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "needed")],
        "{rules: [{when: [{key: connection.sni, values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: source.namespace}]}]}",
        &[('E', "spec.rules[0].when[0].values", "needed")],
        "{rules: [{when: [{key: source.namespace, notValues: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: source.namespace, values: [\"\"], notValues: [\"\"]}]}]}",
        &[
            ('E', "spec.rules[0].when[0].values[0]", "empty"),
            ('E', "spec.rules[0].when[0].notValues[0]", "empty"),
        ],
        "{rules: [{when: [{key: source.namespace, values: [\"*\"]}]}]}",
    ),
    (
        "{rules: [{when: [{key: source.Namespace, values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "not a known attribute")],
        "{rules: [{when: [{key: source.principal, values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: request.headers, values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "a[b]")],
        "{rules: [{when: [{key: 'request.headers[a]', values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: 'request.headers[]', values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "a[b]")],
        "{rules: [{when: [{key: 'request.headers-of[a]', values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: 'request.auth.claims[a', values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "a[b]")],
        "{rules: [{when: [{key: 'request.auth.claims[a][b]', values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: experimental.envoy.filters.a.b, values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "a[b]")],
        "{rules: [{when: [{key: 'experimental.envoy.filters.a.b[c]', values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: source.ip, values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].values[0]", "neither an address")],
        "{rules: [{when: [{key: source.ip, values: [1.2.3.4/8]}]}]}",
    ),
    (
        "{rules: [{when: [{key: remote.ip, notValues: [a]}, {key: destination.ip, values: [a]}]}]}",
        &[
            (
                'E',
                "spec.rules[0].when[0].notValues[0]",
                "neither an address",
            ),
            ('E', "spec.rules[0].when[1].values[0]", "neither an address"),
        ],
        "{rules: [{when: [{key: remote.ip, notValues: [1.2.3.4]}, {key: destination.ip, values: [\"::1\"]}]}]}",
    ),
    (
        "{rules: [{when: [{key: destination.port, values: [\"-1\"]}]}]}",
        &[('E', "spec.rules[0].when[0].values[0]", "not a port")],
        "{rules: [{when: [{key: destination.port, values: [\"0\"]}]}]}",
    ),
    (
        "{rules: [{when: [{key: source.serviceAccount, values: [a/]}]}]}",
        &[('E', "spec.rules[0].when[0].values[0]", "namespace/account")],
        "{rules: [{when: [{key: source.serviceAccount, values: [a/b, c]}]}]}",
    ),
    (
        "{rules: [{when: [{key: source.trustDomain, values: [\"**\"]}]}]}",
        &[('E', "spec.rules[0].when[0].values[0]", "one `*`")],
        "{rules: [{when: [{key: source.trustDomain, values: [\"*\"]}]}]}",
    ),
    (
        "{rules: [{when: [{key: destination.namespace, values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "own namespace")],
        "{rules: [{when: [{key: request.auth.principal, values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: 'destination.labels[a]', values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "selector")],
        "{rules: [{when: [{key: request.auth.audiences, values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: destination.name, values: [a]}, {key: destination.user, values: [a]}]}]}",
        &[
            ('E', "spec.rules[0].when[0].key", "any more"),
            ('E', "spec.rules[0].when[1].key", "any more"),
        ],
        "{rules: [{when: [{key: request.auth.presenter, values: [a]}]}]}",
    ),
    (
        "{rules: [{when: [{key: request.auth.other, values: [a]}]}]}",
        &[('E', "spec.rules[0].when[0].key", "not a known attribute")],
        "{rules: [{when: []}]}",
    ),
    (
        "{rules: [{when: [{key: source.ip, values: [\"\"]}]}]}",
        &[('E', "spec.rules[0].when[0].values[0]", "empty")],
        "{rules: [{when: [{key: source.ip, values: [\"::\"]}]}]}",
    ),
];

const DENY_ON_TCP: [Rule; 5] = [
    (
        "{action: DENY, rules: [{to: [{operation: {paths: [/a]}}], from: [{source: {namespaces: [a]}}]}]}",
        &[('W', "spec.rules[0]", "TCP")],
        "{action: DENY, rules: [{to: [{operation: {paths: [/a]}}, {operation: {notPorts: [\"80\"]}}]}]}",
    ),
    (
        "{action: DENY, rules: [{to: [{operation: {methods: [GET]}}], when: [{key: source.ip, values: [1.2.3.4]}]}]}",
        &[('W', "spec.rules[0]", "TCP")],
        "{action: DENY, rules: [{when: [{key: 'request.headers[a]', values: [b]}]}]}",
    ),
    (
        "{action: DENY, rules: [{}, {from: [{source: {requestPrincipals: [a], notTrustDomains: [b]}}]}]}",
        &[('W', "spec.rules[1]", "TCP")],
        "{action: DENY, rules: [{}, {from: [{source: {requestPrincipals: [a]}}, {source: {ipBlocks: [1.2.3.4]}}]}]}",
    ),
    (
        "{action: DENY, rules: [{from: [{source: {notRequestPrincipals: [\"*\"]}}]}]}",
        &[('W', "spec.rules[0]", "TCP")],
        "{action: DENY, rules: [{from: [{source: {notRequestPrincipals: [\"*\"]}}], to: [{operation: {ports: [\"80\"]}}]}]}",
    ),
    (
        "{action: DENY, rules: [{to: [{operation: {hosts: [a]}}]}]}",
        &[('W', "spec.rules[0]", "TCP")],
        "{action: ALLOW, rules: [{to: [{operation: {hosts: [a]}}]}]}",
    ),
];

#[test]
fn authorization_policies() {
    let kind = Kind::AuthorizationPolicy;
    check(kind, &[], &ATTACHMENT);
    check(kind, &[], &ACTIONS);
    check(kind, &[], &SOURCES);
    check(kind, &[], &OPERATIONS);
    check(kind, &[], &CONDITIONS);
    check(kind, &[], &DENY_ON_TCP);
}

#[test]
fn a_service_account_has_320_characters_at_most() {
    let spec = |length: usize| {
        let account = "é".repeat(length);
        format!("{{rules: [{{from: [{{source: {{serviceAccounts: [{account}]}}}}]}}]}}")
    };
    let kind = Kind::AuthorizationPolicy;
    let field = "spec.rules[0].from[0].source.serviceAccounts[0]";
    assert_said("321", &judge(kind, "", &spec(321)), &[('E', field, "320")]);
    assert_said("320", &judge(kind, "", &spec(320)), &[]);
}

#[test]
fn only_allow_and_deny_are_tried() {
    let field = "metadata.annotations[\"istio.io/dry-run\"]";
    let kind = Kind::AuthorizationPolicy;
    for value in [
        "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
    ] {
        let annotation = format!("istio.io/dry-run: \"{value}\"");
        assert_said(value, &judge(kind, &annotation, "{}"), &[]);
        assert_said(
            value,
            &judge(kind, &annotation, "{action: AUDIT}"),
            &[('E', field, "AUDIT")],
        );
    }
    for value in ["", "yes", "tRUE"] {
        let annotation = format!("istio.io/dry-run: \"{value}\"");
        let said = [('E', field, "neither true nor false")];
        let spec = "{action: DENY, rules: [{}]}";
        assert_said(value, &judge(kind, &annotation, spec), &said);
    }
}

#[test]
fn internal_annotations_are_refused_for_every_kind() {
    for kind in Kind::all().filter(|kind| kind.is_istio()) {
        for name in [
            "internal.istio.io/webhook-always-reject",
            "internal.istio.io/parents",
            "internal.istio.io/parent-namespace",
        ] {
            let faults = judge(kind, &format!("{name}: \"\""), "{}");
            let field = format!("metadata.annotations[\"{name}\"]");
            assert!(
                faults.iter().any(|f| f.is_refusal() && f.field == field),
                "{kind}"
            );
        }
        let faults = judge(kind, "istio.io/dry-run: \"true\"", "{}");
        let refused = faults.iter().any(|fault| fault.field.contains("dry-run"));
        assert_eq!(refused, kind != Kind::AuthorizationPolicy, "{kind}");
    }
}

const PEERS: [Rule; 6] = [
    (
        "{selector: {}}",
        &[('W', "spec.selector", "no labels")],
        "{selector: {matchLabels: {app: a}}}",
    ),
    (
        "{selector: {matchLabels: {\"a*\": a}}}",
        &[('E', "spec.selector.matchLabels", "does not select")],
        "{selector: {matchLabels: {\"a/\": a}}, mtls: {mode: UNSET}}",
    ),
    (
        "{portLevelMtls: {\"80\": {mode: DISABLE}}}",
        &[('E', "spec.portLevelMtls", "selector")],
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {\"80\": {mode: DISABLE}}}",
    ),
    (
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {}}",
        &[('E', "spec.portLevelMtls", "no ports")],
        "{portLevelMtls: null}",
    ),
    (
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {\"0\": {}, \"1\": {}}}",
        &[('E', "spec.portLevelMtls.0", "not a port")],
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {\"1\": {}, \"65535\": null}}",
    ),
    (
        "{selector: {matchLabels: {app: a}}, portLevelMtls: {\"65536\": {mode: STRICT}}}",
        &[('E', "spec.portLevelMtls.65536", "not a port")],
        "{mtls: {mode: STRICT}}",
    ),
];

#[test]
fn peer_authentications() {
    check(Kind::PeerAuthentication, &[], &PEERS);
    let both = judge(
        Kind::PeerAuthentication,
        "",
        "{selector: {}, portLevelMtls: {\"80\": {}}}",
    );
    let said = [
        ('W', "spec.selector", "no labels"),
        ('E', "spec.portLevelMtls", "selector"),
    ];
    assert_said("an empty selector", &both, &said);
}

const TOKENS: [Rule; 13] = [
    (
        "{jwtRules: [{}]}",
        &[('E', "spec.jwtRules[0].issuer", "jwksUri")],
        "{jwtRules: [{jwksUri: 'https://a.com'}]}",
    ),
    (
        "{jwtRules: [{jwks: '{\"keys\": []}'}]}",
        &[('E', "spec.jwtRules[0].issuer", "jwksUri")],
        "{jwtRules: [{issuer: a, jwks: '{\"keys\": []}', jwks_uri: 'http://a'}]}",
    ),
    (
        "{jwtRules: [{issuer: a, audiences: [a, \"\"]}]}",
        &[('E', "spec.jwtRules[0].audiences[1]", "empty")],
        "{jwtRules: [{issuer: a, audiences: [a, b]}]}",
    ),
    (
        "{jwtRules: [{issuer: a, jwksUri: 'ftp://a.com'}]}",
        &[('E', "spec.jwtRules[0].jwksUri", "http://")],
        "{jwtRules: [{issuer: a, jwksUri: 'HTTPS://a.com'}]}",
    ),
    (
        "{jwtRules: [{issuer: a, jwksUri: 'a.com/keys'}]}",
        &[('E', "spec.jwtRules[0].jwksUri", "http://")],
        "{jwtRules: [{issuer: a, jwksUri: 'https://a.com:8443/keys'}]}",
    ),
    (
        "{jwtRules: [{issuer: a, jwksUri: 'https://a.com:x/keys'}]}",
        &[('E', "spec.jwtRules[0].jwksUri", "port")],
        "{jwtRules: [{issuer: a, jwksUri: 'https://a.com:99999/keys'}]}",
    ),
    (
        "{jwtRules: [{issuer: a, jwksUri: 'https://a.com:99999999999999999999'}]}",
        &[('E', "spec.jwtRules[0].jwksUri", "port")],
        "{jwtRules: [{issuer: a, jwksUri: 'https://a.com:'}]}",
    ),
    (
        "{jwtRules: [{issuer: a, jwksUri: \"https://a.com/\\u0007\"}]}",
        &[('E', "spec.jwtRules[0].jwksUri", "control")],
        "{jwtRules: [{issuer: a, jwksUri: \"https://a.com/ \"}]}",
    ),
    (
        "{jwtRules: [{issuer: a, fromHeaders: [{prefix: b}]}]}",
        &[('E', "spec.jwtRules[0].fromHeaders[0].name", "name")],
        "{jwtRules: [{issuer: a, fromHeaders: [{name: 'a b'}]}]}",
    ),
    (
        "{jwtRules: [{issuer: a, fromParams: [\"\"], fromCookies: [\"\"]}]}",
        &[
            ('E', "spec.jwtRules[0].fromParams[0]", "empty"),
            ('E', "spec.jwtRules[0].fromCookies[0]", "empty"),
        ],
        "{jwtRules: [{issuer: a, fromParams: [' '], fromCookies: [';'], outputPayloadToHeader: ' '}]}",
    ),
    (
        "{jwtRules: [{issuer: a, outputClaimToHeaders: [{header: h}, {claim: c}]}]}",
        &[
            (
                'E',
                "spec.jwtRules[0].outputClaimToHeaders[0].claim",
                "claim",
            ),
            (
                'E',
                "spec.jwtRules[0].outputClaimToHeaders[1].header",
                "header",
            ),
        ],
        "{jwtRules: [{issuer: a, outputClaimToHeaders: [{header: x-h_1, claim: 'a b'}]}]}",
    ),
    (
        "{jwtRules: [{issuer: a, outputClaimToHeaders: [{header: x.h, claim: c}]}]}",
        &[(
            'E',
            "spec.jwtRules[0].outputClaimToHeaders[0].header",
            "x.h",
        )],
        "{jwtRules: []}",
    ),
    (
        "{jwtRules: [{issuer: a, timeout: 0.5ms}, {issuer: a, timeout: 1.5ms}]}",
        &[
            ('E', "spec.jwtRules[0].timeout", "too short"),
            ('E', "spec.jwtRules[1].timeout", "milliseconds"),
        ],
        "{jwtRules: [{issuer: a, timeout: 1ms}]}",
    ),
];

#[test]
fn request_authentications() {
    check(Kind::RequestAuthentication, &[], &ATTACHMENT);
    check(Kind::RequestAuthentication, &[], &TOKENS);
}

#[test]
fn inline_keys() {
    let field = "spec.jwtRules[0].jwks";
    let key = |keys: &str| {
        let spec = format!("{{jwtRules: [{{issuer: a, jwks: '{keys}'}}]}}");
        judge(Kind::RequestAuthentication, "", &spec)
    };
    for public in [
        r#"{"keys": []}"#,
        r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "a"}]}"#,
        r#"{"kty": "RSA", "n": "AQAB", "e": "AQAB"}"#,
        r#"{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQ=="}"#,
        r#"{"kty": "OKP", "crv": "Ed25519", "x": "-_+/"}"#,
    ] {
        assert_said(public, &key(public), &[]);
    }
    for (secret, fragment) in [
        (r#"{"kty": "oct", "k": "AQAB"}"#, "the key 0"),
        (
            r#"{"keys": [{"kty": "RSA", "n": "A_", "e": "A_"}, {"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB"}]}"#,
            "the key 1",
        ),
    ] {
        assert_said(secret, &key(secret), &[('W', field, fragment)]);
    }
    for (bad, fragment) in [
        ("a", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "no `kty`"),
        (r#"{"keys": {}}"#, "not a list"),
        (r#"{"keys": [1]}"#, "the key 0"),
        (r#"{"keys": [{"kty": "rsa"}]}"#, "`rsa`"),
        (r#"{"kty": "RSA", "n": "AQAB"}"#, "needs `e`"),
        (
            r#"{"kty": "RSA", "n": "A", "e": "AQAB"}"#,
            "`n` is not base64url",
        ),
        (
            r#"{"kty": "RSA", "n": 1, "e": "AQAB"}"#,
            "`n` is not base64url",
        ),
        (r#"{"kty": "EC", "crv": "P-256", "x": "AQAB"}"#, "needs `y`"),
        (r#"{"kty": "EC", "x": "AQAB", "y": "AQAB"}"#, "needs `crv`"),
        (
            r#"{"kty": "EC", "crv": "P-1", "x": "AQAB", "y": "AQAB"}"#,
            "`P-1`",
        ),
        (r#"{"kty": "OKP", "crv": "X25519"}"#, "needs `x`"),
        (r#"{"kty": "oct"}"#, "needs `k`"),
    ] {
        assert_said(bad, &key(bad), &[('E', field, fragment)]);
    }
}

const POLICY: &str = "
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]
  targetRef: {group: core, kind: Service, name: a, namespace: b}
  selector: {matchLabels: {app: a}}
  action: CUSTOM
  provider: {name: p}
  rules:
  - from:
    - source:
        principals: [a]
        notPrincipals: [a]
        requestPrincipals: [a]
        notRequestPrincipals: [a]
        namespaces: [a]
        notNamespaces: [a]
        serviceAccounts: [a/b]
        notServiceAccounts: [a]
        trustDomains: [a*]
        notTrustDomains: [a]
        ipBlocks: [10.0.0.0/8]
        notIpBlocks: [10.0.0.1]
        remoteIpBlocks: [10.0.0.1]
        notRemoteIpBlocks: [10.0.0.1]
    to:
    - operation:
        hosts: [a]
        notHosts: [a]
        ports: [\"80\"]
        notPorts: [\"80\"]
        methods: [GET]
        notMethods: [GET]
        paths: ['/{*}/a', '/{**}']
        notPaths: [/a]
    when: [{key: 'request.headers[a]', values: [a], notValues: [b]}]
";

const PEER: &str = "
  selector: {matchLabels: {app: a}}
  mtls: {mode: STRICT}
  portLevelMtls: {\"80\": {mode: DISABLE}, \"81\": {}}
";

const TOKEN: &str = "
  targetRefs: [{kind: Service, name: a}]
  jwtRules:
  - issuer: a
    audiences: [a]
    jwksUri: https://a.com:80/x
    jwks: '{\"keys\": [{\"kty\": \"oct\", \"k\": \"a\"}]}'
    fromHeaders: [{name: a, prefix: b}]
    fromParams: [a]
    fromCookies: [a]
    outputPayloadToHeader: a
    forwardOriginalToken: true
    outputClaimToHeaders: [{header: a, claim: b}]
    timeout: 5s
    spaceDelimitedClaims: [a]
    presence: REQUIRED
";

proptest! {
    #[test]
    fn any_authorization_policy_reads_back(changes in changes()) {
        round_trip::<AuthorizationPolicy>(Kind::AuthorizationPolicy, changed(POLICY, &changes));
    }

    #[test]
    fn any_peer_authentication_reads_back(changes in changes()) {
        round_trip::<PeerAuthentication>(Kind::PeerAuthentication, changed(PEER, &changes));
    }

    #[test]
    fn any_request_authentication_reads_back(changes in changes()) {
        round_trip::<RequestAuthentication>(Kind::RequestAuthentication, changed(TOKEN, &changes));
    }
}
