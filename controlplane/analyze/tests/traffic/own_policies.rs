//! Analyzers of our own: AuthorizationPolicies and mutual TLS.

use super::support::{Case, codes, files, run};

const MATCHES: Case<'static> = Case {
    code: "LAT0004",
    analyzer: "lateen.AuthorizationMatchAnalyzer",
    object: "AuthorizationPolicy default/one",
    ..Case::NEW
};
const SHADOWS: Case<'static> = Case {
    code: "LAT0005",
    analyzer: "lateen.AuthorizationShadowAnalyzer",
    ..Case::NEW
};
const PATHS: Case<'static> = Case {
    code: "LAT0006",
    analyzer: "lateen.PathNormalizationAnalyzer",
    ..Case::NEW
};
const TLS: Case<'static> = Case {
    code: "LAT0008",
    analyzer: "lateen.MutualTlsAnalyzer",
    ..Case::NEW
};

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

#[test]
fn contradictions_never_match() {
    for (raises, text, near) in [
        (
            "from: [{source: {principals: [a/ns/x/sa/y], notPrincipals: ['a/*']}}]",
            "excluded again by notPrincipals",
            "from: [{source: {principals: [a/ns/x/sa/y, b/ns/x/sa/y], notPrincipals: ['a/*']}}]",
        ),
        (
            "from: [{source: {ipBlocks: [10.1.0.0/16], notIpBlocks: [10.0.0.0/8]}}]",
            "ipBlocks",
            "from: [{source: {ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.0.0/16]}}]",
        ),
        (
            "from: [{source: {principals: [td/ns/x/sa/y], namespaces: [z]}}]",
            "namespaces are not those of the principals",
            "from: [{source: {principals: ['td/ns/x/*', '*'], namespaces: [z]}}]",
        ),
        (
            "from: [{source: {principals: ['spiffe://td/ns/x/sa/y']}}]",
            "without spiffe://",
            "from: [{source: {principals: [td/ns/x/sa/y]}}]",
        ),
        (
            "from: [{source: {namespaces: [x]}}], when: [{key: source.namespace, values: [y]}]",
            "contradict the condition on source.namespace",
            "from: [{source: {namespaces: [x]}}], when: [{key: source.namespace, values: ['*']}]",
        ),
        (
            "when: [{key: source.ip, values: [10.0.0.1], notValues: [10.0.0.0/24]}]",
            "among its notValues",
            "when: [{key: source.ip, values: [10.0.0.1], notValues: [10.0.1.0/24]}]",
        ),
        (
            "when: [{key: 'request.headers[a]', values: [x]}, {key: 'request.headers[a]', values: [y]}]",
            "another condition on request.headers[a]",
            "when: [{key: 'request.headers[a]', values: [x]}, {key: 'request.headers[b]', values: [y]}]",
        ),
        (
            "to: [{operation: {methods: [get, Post]}}]",
            "in capitals",
            "to: [{operation: {methods: [get, POST]}}]",
        ),
        (
            "to: [{operation: {paths: [admin]}}]",
            "begins with /",
            "to: [{operation: {paths: ['*admin', /admin]}}]",
        ),
        (
            "to: [{operation: {hosts: [A.com], notHosts: [a.com]}}]",
            "hosts",
            "to: [{operation: {hosts: [A.com], notHosts: [b.com]}}]",
        ),
    ] {
        let spec = |rule: &str| policy("one", &format!("{{action: DENY, rules: [{{{rule}}}]}}"));
        let (raises, near) = (spec(raises), spec(near));
        Case {
            raises: &raises,
            text: &["rule 0", "default/one", text],
            near: &near,
            ..MATCHES
        }
        .check();
    }
}

const WORKLOAD: &str = r"
apiVersion: v1
kind: Service
metadata: {name: app}
spec:
  selector: {app: app}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: mysql, port: 3306}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, ports: [{containerPort: 8080}, {containerPort: 9090, name: metrics}]}]}
";

#[test]
fn ports_are_those_of_the_pods() {
    for (rule, text) in [
        (
            "action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]",
            Some("80 is a Service's port, and the pods are reached at 8080"),
        ),
        (
            "rules: [{to: [{operation: {ports: ['1234']}}]}]",
            Some("no Service leads to port 1234"),
        ),
        (
            "action: DENY, rules: [{to: [{operation: {ports: ['1234']}}]}]",
            None,
        ),
        ("rules: [{to: [{operation: {ports: ['9090']}}]}]", None),
        ("rules: [{to: [{operation: {ports: ['15090']}}]}]", None),
        (
            "rules: [{to: [{operation: {ports: ['80', '8080']}}]}]",
            None,
        ),
        (
            "rules: [{to: [{operation: {ports: ['3306'], methods: [GET]}}]}]",
            Some("only HTTP requests have"),
        ),
        (
            "rules: [{to: [{operation: {ports: ['3306']}}], when: [{key: 'request.headers[a]', values: [b]}]}]",
            Some("only HTTP requests have"),
        ),
        (
            "rules: [{to: [{operation: {ports: ['3306', '8080'], methods: [GET]}}]}]",
            None,
        ),
        ("rules: [{to: [{operation: {methods: [GET]}}]}]", None),
        (
            "action: DENY, rules: [{to: [{operation: {ports: ['3306'], methods: [GET]}}]}]",
            None,
        ),
    ] {
        let spec = format!("{{selector: {{matchLabels: {{app: app}}}}, {rule}}}");
        let input = files(&format!("{WORKLOAD}{}", policy("one", &spec)), "");
        let messages = run(MATCHES.analyzer, input);
        match text {
            None => assert_eq!(messages, Vec::new(), "{rule}"),
            Some(text) => {
                assert_eq!(
                    codes(&messages),
                    ["LAT0004 AuthorizationPolicy default/one"],
                    "{rule}"
                );
                assert!(messages[0].text.contains(text), "{}", messages[0].text);
            }
        }
    }
}

#[test]
fn identities_of_tokens_need_tokens_to_be_checked() {
    let by_token = policy(
        "one",
        "{rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}",
    );
    let check = |namespace: &str| {
        format!(
            "---\napiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: jwt, namespace: {namespace}}}\nspec: \
             {{jwtRules: [{{issuer: a}}]}}\n"
        )
    };
    let raises = format!("{WORKLOAD}{by_token}{}", check("other"));
    let near = format!("{WORKLOAD}{by_token}{}", check("istio-system"));
    Case {
        raises: &raises,
        text: &["no RequestAuthentication"],
        near: &near,
        ..MATCHES
    }
    .check();
    // Where the files hold none at all, they are kept elsewhere; to ask for no identity is fine.
    let none = policy(
        "one",
        "{action: DENY, rules: [{from: [{source: {notRequestPrincipals: ['*']}}]}]}",
    );
    for text in [
        format!("{WORKLOAD}{by_token}"),
        format!("{WORKLOAD}{none}{}", check("other")),
    ] {
        assert_eq!(run(MATCHES.analyzer, files(&text, "")), Vec::new());
    }
}

/// What two policies give, as rule and policy that are reported.
fn shadowed(one: &str, two: &str) -> Vec<String> {
    let text = format!("{}{}", policy("a", one), policy("b", two));
    let messages = run(SHADOWS.analyzer, files(&text, ""));
    messages
        .iter()
        .map(|message| {
            let name = message.origin.as_ref().map(|origin| origin.name.clone());
            format!("{} {}", name.unwrap_or_default(), message.field)
        })
        .collect()
}

#[test]
fn wider_rules_leave_narrower_ones_without_effect() {
    let get = "{rules: [{to: [{operation: {methods: [GET], paths: [/a/b]}}]}]}";
    for (one, two, reported) in [
        // The same rule twice, in one policy or in two.
        (get, get, &["b spec.rules[0]"][..]),
        (
            "{rules: [{from: [{source: {namespaces: [x]}}]}, {from: [{source: {namespaces: [x]}}]}]}",
            "{}",
            &["a spec.rules[1]"],
        ),
        // What is wider counts wherever it stands.
        (
            get,
            "{rules: [{to: [{operation: {paths: ['/a/*']}}]}]}",
            &["a spec.rules[0]"],
        ),
        (get, "{rules: [{}]}", &["a spec.rules[0]"]),
        (
            "{selector: {matchLabels: {app: x}}, rules: [{from: [{source: {namespaces: [x]}}]}]}",
            "{rules: [{from: [{source: {namespaces: ['x*']}}]}]}",
            &["a spec.rules[0]"],
        ),
        (
            "{rules: [{from: [{source: {ipBlocks: [10.1.0.0/16]}}]}]}",
            "{rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}",
            &["a spec.rules[0]"],
        ),
        // A denial comes before what is allowed.
        (get, "{action: DENY, rules: [{}]}", &["a spec.rules[0]"]),
        // Near misses.
        (
            get,
            "{rules: [{to: [{operation: {paths: ['/b/*']}}]}]}",
            &[],
        ),
        (
            get,
            "{rules: [{to: [{operation: {paths: ['/a/*'], hosts: [h]}}]}]}",
            &[],
        ),
        (get, "{rules: [{from: [{source: {namespaces: [x]}}]}]}", &[]),
        (get, "{selector: {matchLabels: {app: x}}, rules: [{}]}", &[]),
        (get, "{action: AUDIT, rules: [{}]}", &[]),
        (get, "{}", &[]),
        (
            "{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}",
            "{rules: [{}]}",
            &[],
        ),
        (
            "{rules: [{from: [{source: {namespaces: [x]}}]}]}",
            "{rules: [{from: [{source: {namespaces: ['*'], notNamespaces: [x]}}]}]}",
            &[],
        ),
        (
            "{rules: [{when: [{key: 'request.headers[a]', values: [x]}]}]}",
            "{rules: [{when: [{key: 'request.headers[b]', values: [x]}]}]}",
            &[],
        ),
    ] {
        assert_eq!(shadowed(one, two), reported, "{one} {two}");
    }
}

#[test]
fn a_shadowed_rule_names_what_shadows_it() {
    let raises = format!(
        "{}---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: narrow}}\nspec:\n  rules:\n  - to: [{{operation: {{methods: [GET]}}}}] #!\n",
        policy("deny", "{action: DENY, rules: [{}]}")
    );
    let near = raises.replace(
        "metadata: {name: deny}",
        "metadata: {name: deny, annotations: {istio.io/dry-run: 'true'}}",
    );
    Case {
        raises: &raises,
        object: "AuthorizationPolicy default/narrow",
        text: &["rule 0", "DENY policy default/deny", "matches everything"],
        near: &near,
        ..SHADOWS
    }
    .check();
}

/// The text about a denied path beside an ALLOW policy, under a normalization.
fn open_path(deny: &str, allow: &str, normalization: &str) -> String {
    let text = format!(
        "{}{}",
        policy("allow", allow),
        policy("deny", &format!("{{action: DENY, {deny}}}"))
    );
    let mesh = format!("pathNormalization: {{normalization: {normalization}}}");
    let messages = run(PATHS.analyzer, files(&text, &mesh));
    messages
        .first()
        .map(|message| message.text.clone())
        .unwrap_or_default()
}

#[test]
fn another_spelling_of_a_denied_path_slips_past() {
    const ALL: &str = "{rules: [{}]}";
    let paths = |paths: &str| format!("rules: [{{to: [{{operation: {{paths: [{paths}]}}}}]}}]");
    for (denied, allow, normalization, spelling) in [
        ("/admin", ALL, "BASE", Some("/admin/ is not")),
        ("/admin, /admin/", ALL, "BASE", Some("//admin is not")),
        ("'/admin*'", ALL, "DEFAULT", Some("//admin is not")),
        ("'/admin*'", ALL, "NONE", Some("/./admin is not")),
        ("'/a/b*'", ALL, "MERGE_SLASHES", Some("/a%2Fb is not")),
        (
            "'/admin*'",
            "{rules: [{to: [{operation: {paths: ['/*']}}]}]}",
            "BASE",
            Some("ALLOW policy default/allow"),
        ),
        ("'/admin*'", ALL, "MERGE_SLASHES", None),
        ("'/a/b*'", ALL, "DECODE_AND_MERGE_SLASHES", None),
        ("'/admin*', '//*'", ALL, "BASE", None),
        (
            "'/admin*'",
            "{rules: [{to: [{operation: {paths: [/shop]}}]}]}",
            "BASE",
            None,
        ),
        ("'*.php'", ALL, "BASE", None),
        ("/admin", "{}", "BASE", None),
        (
            "/admin",
            "{selector: {matchLabels: {app: x}}, rules: [{}]}",
            "BASE",
            Some("/admin/ is not"),
        ),
    ] {
        let found = open_path(&paths(denied), allow, normalization);
        match spelling {
            Some(spelling) => assert!(
                found.contains(spelling),
                "{denied} {normalization}: {found:?}"
            ),
            None => assert_eq!(found, "", "{denied} {allow} {normalization}"),
        }
    }
    // Those whom the policy allows are those whom the denial leaves out.
    let deny =
        "rules: [{from: [{source: {notNamespaces: [ops]}}], to: [{operation: {paths: [/admin]}}]}]";
    assert_eq!(
        open_path(
            deny,
            "{rules: [{from: [{source: {namespaces: [ops]}}]}]}",
            "BASE"
        ),
        ""
    );
    assert_ne!(
        open_path(
            deny,
            "{rules: [{from: [{source: {namespaces: [web]}}]}]}",
            "BASE"
        ),
        ""
    );
}

#[test]
fn an_exception_from_what_is_allowed_is_a_denial_too() {
    let rule = |operation: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: most}}\nspec:\n  rules:\n  - to:\n    - \
             operation:\n        paths: ['/*']\n        {operation}\n"
        )
    };
    let raises = rule("notPaths: [/admin] #!");
    let near = rule("notPaths: [/admin, '/admin/*', '//*']");
    Case {
        raises: &raises,
        object: "AuthorizationPolicy default/most",
        text: &["/admin is denied but /admin/ is not", "the rule itself"],
        near: &near,
        ..PATHS
    }
    .check();
}

const SERVICE: &str = r"
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {selector: {app: app}, ports: [{name: http, port: 80, targetPort: web}, {name: tcp, port: 90}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, ports: [{containerPort: 8080, name: web}]}]}
";

fn mutual_tls(policies: &[(&str, &str)], rule: &str) -> Vec<String> {
    let mut text = format!(
        "{SERVICE}---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: app}}\nspec: {rule}\n"
    );
    for (number, (namespace, spec)) in policies.iter().enumerate() {
        text.push_str(&format!(
            "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: p{number}, namespace: {namespace}}}\nspec: \
             {spec}\n"
        ));
    }
    let messages = run(TLS.analyzer, files(&text, ""));
    messages
        .iter()
        .map(|message| format!("{}: {}", message.field, message.text))
        .collect()
}

const STRICT: &str = "{mtls: {mode: STRICT}}";
const PLAIN: &str = "{host: app, trafficPolicy: {tls: {mode: DISABLE}}}";

/// A PeerAuthentication for the workload.
fn own(mtls: &str) -> String {
    format!("{{selector: {{matchLabels: {{app: app}}}}, {mtls}}}")
}

#[test]
fn plain_text_to_a_strict_service_is_reported() {
    let strict = own("mtls: {mode: STRICT}");
    let port = own("portLevelMtls: {8080: {mode: STRICT}}");
    let plain_only = own("mtls: {mode: DISABLE}");
    for (policies, rule, reported) in [
        (
            &[("default", STRICT)][..],
            PLAIN,
            "spec.trafficPolicy.tls.mode: trafficPolicy.tls.mode DISABLE sends plain text to port 80",
        ),
        (
            &[("istio-system", STRICT)],
            PLAIN,
            "PeerAuthentication istio-system/p0",
        ),
        (&[("default", &*strict)], PLAIN, "port 80"),
        (&[("default", &*port)], PLAIN, "port 80"),
        (
            &[("default", STRICT)],
            "{host: '*.local', trafficPolicy: {tls: {mode: DISABLE}}}",
            "port 80 of app.default",
        ),
        (
            &[("default", STRICT)],
            "{host: app, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 90}, tls: {mode: DISABLE}}]}}",
            "portLevelSettings[0].tls.mode DISABLE sends plain text to port 90",
        ),
        (
            &[("default", STRICT)],
            "{host: app, subsets: [{name: a, labels: {app: app}, trafficPolicy: {tls: {mode: DISABLE}}}]}",
            "spec.subsets[0].trafficPolicy.tls.mode",
        ),
        // The reverse.
        (
            &[("default", &*plain_only)],
            "{host: app, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}",
            "plain text only (PeerAuthentication default/p0: DISABLE)",
        ),
    ] {
        let found = mutual_tls(policies, rule);
        assert_eq!(found.len(), 1, "{policies:?} {rule} {found:?}");
        assert!(found[0].contains(reported), "{found:?}");
    }
}

#[test]
fn what_fits_together_is_not_reported() {
    let strict = own("mtls: {mode: STRICT}");
    let loose = own("mtls: {mode: PERMISSIVE}");
    let port = own("portLevelMtls: {8080: {mode: STRICT}}");
    let other_port =
        own("mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}, 90: {mode: PERMISSIVE}}");
    for (policies, rule) in [
        (&[("default", STRICT), ("default", &*loose)][..], PLAIN),
        (&[("default", &*other_port)], PLAIN),
        (&[("other", STRICT)], PLAIN),
        (&[("istio-system", &*strict)], PLAIN),
        (
            &[
                ("istio-system", STRICT),
                ("default", "{mtls: {mode: PERMISSIVE}}"),
            ],
            PLAIN,
        ),
        (
            &[("default", STRICT)],
            "{host: app, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}",
        ),
        (
            &[("default", STRICT)],
            "{host: app, trafficPolicy: {loadBalancer: {simple: RANDOM}}}",
        ),
        (
            &[("default", STRICT)],
            "{host: elsewhere, trafficPolicy: {tls: {mode: DISABLE}}}",
        ),
        (
            &[("default", &*port)],
            "{host: app, trafficPolicy: {tls: {mode: DISABLE}, portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: RANDOM}}]}}",
        ),
    ] {
        let found = mutual_tls(policies, rule);
        assert_eq!(found, Vec::<String>::new(), "{policies:?} {rule}");
    }
}

#[test]
fn pods_outside_of_the_mesh_take_what_they_like() {
    let text = format!(
        r"{SERVICE}---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app}}
spec:
  host: app
  trafficPolicy:
    tls: {{mode: DISABLE}} #!
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: strict}}
spec: {{mtls: {{mode: STRICT}}}}
"
    );
    for change in [
        (
            "metadata: {labels: {app: app}}",
            "metadata: {labels: {app: app, sidecar.istio.io/inject: 'false'}}",
        ),
        (
            "metadata: {labels: {app: app}}",
            "metadata: {labels: {app: app}, annotations: {traffic.sidecar.istio.io/excludeInboundPorts: '8080, 90'}}",
        ),
        (
            "    spec: {containers",
            "    spec: {hostNetwork: true, containers",
        ),
    ] {
        let near = text.replace(change.0, change.1);
        assert_ne!(near, text);
        Case {
            raises: &text,
            object: "DestinationRule default/app",
            text: &["app.default.svc.cluster.local", "default/strict"],
            near: &near,
            ..TLS
        }
        .check();
    }
    // The namespace is known, and nothing is injected there.
    let told =
        format!("{text}---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: default}}}}\n");
    assert_eq!(run(TLS.analyzer, files(&told, "")), Vec::new());
}
