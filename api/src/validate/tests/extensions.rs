//! WasmPlugin, TrafficExtension, ProxyConfig and EnvoyFilter.

use proptest::prelude::*;

use super::rules::{Rule, Said, assert_said, changed, changes, check, judge, round_trip};
use crate::extensions::{TrafficExtension, WasmPlugin};
use crate::networking::{EnvoyFilter, ProxyConfig};
use crate::object::{Kind, Spec};
use crate::validate::patches_to_check;

const PLUGINS: [Rule; 14] = [
    ("{}", &[('E', "spec.url", "needed")], "{url: ghcr.io/a/b:1}"),
    (
        "{url: a, selector: {}, targetRefs: [{kind: Service, name: a}]}",
        &[
            ('W', "spec.selector", "no labels"),
            ('E', "spec.targetRefs", "only one of"),
        ],
        "{url: a, targetRefs: [{kind: Service, name: a}]}",
    ),
    (
        "{url: 'ftp://a/b'}",
        &[('E', "spec.url", "`ftp`")],
        "{url: 'OCI://a/b'}",
    ),
    (
        "{url: 'host:5000/x'}",
        &[('E', "spec.url", "`host`")],
        "{url: '10.0.0.1:5000/x'}",
    ),
    (
        "{url: 'registry.a.com:5000/x'}",
        &[('E', "spec.url", "oci://")],
        "{url: 'registry.a.com/x:5000'}",
    ),
    (
        "{url: 'https://a:b/x'}",
        &[('E', "spec.url", "port")],
        "{url: 'https://a:1/x'}",
    ),
    (
        "{url: '[::1'}",
        &[('E', "spec.url", "not a URL")],
        "{url: 'file:///opt/a.wasm'}",
    ),
    (
        "{url: a, sha256: abc}",
        &[('E', "spec.sha256", "64 hexadecimal")],
        "{url: a, sha256: \"\"}",
    ),
    (
        "{url: a, sha256: 1EF0C9A92B0420CF25F7FE5D481B231464BC88F486CA3B9C83ED5CC21D2F6210}",
        &[('E', "spec.sha256", "lower case")],
        "{url: a, sha256: 1ef0c9a92b0420cf25f7fe5d481b231464bc88f486ca3b9c83ed5cc21d2f6210}",
    ),
    (
        "{url: a, vmConfig: {env: [{value: b}]}}",
        &[('E', "spec.vmConfig.env[0].name", "name")],
        "{url: a, vmConfig: {env: [{name: a b, value: b}]}}",
    ),
    (
        "{url: a, vmConfig: {env: [{name: b}, {name: c}, {name: b}]}}",
        &[('E', "spec.vmConfig.env[2].name", "twice")],
        "{url: a, vmConfig: {env: [{name: b}, {name: B}]}}",
    ),
    (
        "{url: a, vmConfig: {env: [{name: b, valueFrom: HOST, value: c}]}}",
        &[('E', "spec.vmConfig.env[0].value", "HOST")],
        "{url: a, vmConfig: {env: [{name: b, valueFrom: HOST}, {name: c, valueFrom: INLINE, value: d}]}}",
    ),
    (
        "{url: a, match: [{ports: [{number: 1}, {}]}]}",
        &[('E', "spec.match[0].ports[1].number", "not a port")],
        "{url: a, match: [{}, {mode: UNDEFINED, ports: [{number: 1}]}]}",
    ),
    (
        "{url: a, match: [{ports: [{number: 65536}]}]}",
        &[('E', "spec.match[0].ports[0].number", "not a port")],
        "{url: a, match: [{ports: [{number: 65535}]}], type: NETWORK, priority: -5}",
    ),
];

#[test]
fn wasm_plugins() {
    check(Kind::WasmPlugin, &[], &PLUGINS);
}

#[test]
fn texts_of_modules_have_a_longest_length() {
    for (name, field, most) in [
        ("imagePullSecret: ", "imagePullSecret", 253),
        ("pluginName: ", "pluginName", 256),
        ("vmConfig: {env: [{name: ", "vmConfig.env[0].name", 256),
    ] {
        let close = if name.contains('[') { "}]}" } else { "" };
        for kind in [Kind::WasmPlugin, Kind::TrafficExtension] {
            let (prefix, open, end) = if kind == Kind::WasmPlugin {
                ("spec", "{", "}")
            } else {
                ("spec.wasm", "{wasm: {", "}}")
            };
            let spec = |length: usize| {
                let text = "a".repeat(length);
                format!("{open}url: a, {name}{text}{close}{end}")
            };
            assert_said(name, &judge(kind, "", &spec(most)), &[]);
            let faults = judge(kind, "", &spec(most + 1));
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].field, format!("{prefix}.{field}"));
            assert!(faults[0].is_refusal());
        }
    }
}

const EXTENSIONS: [Rule; 7] = [
    (
        "{}",
        &[('E', "spec", "one of wasm and lua")],
        "{wasm: {url: a}}",
    ),
    (
        "{wasm: {}}",
        &[('E', "spec.wasm.url", "needed")],
        "{wasm: {url: 'oci://a:5000/b', sha256: \"\"}}",
    ),
    (
        "{wasm: {url: 's3://a', sha256: A}}",
        &[
            ('E', "spec.wasm.url", "`s3`"),
            ('E', "spec.wasm.sha256", "64 hexadecimal"),
        ],
        "{wasm: {url: 'http://a'}, phase: AUTHN}",
    ),
    (
        "{lua: {}}",
        &[('E', "spec.lua.inlineCode", "0 bytes")],
        "{lua: {inlineCode: \"-\"}}",
    ),
    (
        "{lua: {inlineCode: a}, match: [{ports: [{}]}]}",
        &[('E', "spec.match[0].ports[0].number", "not a port")],
        "{lua: {inlineCode: a}, match: [{mode: SERVER}]}",
    ),
    (
        "{lua: {inlineCode: a}, selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]}",
        &[('E', "spec.targetRefs", "only one of")],
        "{lua: {inlineCode: a}, selector: {matchLabels: {a: b}}, targetRef: {}}",
    ),
    (
        "{wasm: {url: a, vmConfig: {env: [{name: b, valueFrom: HOST, value: c}]}}}",
        &[('E', "spec.wasm.vmConfig.env[0].value", "HOST")],
        "{wasm: {url: a, vmConfig: {}}}",
    ),
];

#[test]
fn traffic_extensions() {
    check(Kind::TrafficExtension, &[], &EXTENSIONS);
    let script = |length: usize| format!("{{lua: {{inlineCode: {}}}}}", "a".repeat(length));
    let kind = Kind::TrafficExtension;
    assert_said("", &judge(kind, "", &script(65_536)), &[]);
    let said = [('E', "spec.lua.inlineCode", "65537 bytes")];
    assert_said("", &judge(kind, "", &script(65_537)), &said);
}

const PROXIES: [Rule; 3] = [
    (
        "{concurrency: -1}",
        &[('E', "spec.concurrency", "negative")],
        "{concurrency: 0, image: {imageType: any}, environmentVariables: {A: b}}",
    ),
    (
        "{selector: {}}",
        &[('W', "spec.selector", "no labels")],
        "{selector: {matchLabels: {app: a}}}",
    ),
    (
        "{selector: {matchLabels: {app: '*'}}}",
        &[('E', "spec.selector.matchLabels", "does not select")],
        "{}",
    ),
];

#[test]
fn proxy_configs() {
    check(Kind::ProxyConfig, &[], &PROXIES);
}

const INTERNALS: [Said; 1] = [('W', "spec", "changes internals")];

const PATCHES: [Rule; 27] = [
    (
        "{workloadSelector: {}}",
        &[('W', "spec.workloadSelector", "no labels")],
        "{workloadSelector: {labels: {app: a}}, targetRefs: [{kind: any}]}",
    ),
    (
        "{workloadSelector: {labels: {app: '*'}}, configPatches: [{}]}",
        &[('E', "spec.workloadSelector.labels", "does not select")],
        "{workloadSelector: {labels: {app: \"\"}}}",
    ),
    (
        "{configPatches: [{}]}",
        &[('E', "spec.configPatches[0].applyTo", "needed")],
        "{configPatches: [{match: {context: WAYPOINT}}]}",
    ),
    (
        "{configPatches: [{applyTo: CLUSTER}]}",
        &[('E', "spec.configPatches[0].patch", "needed")],
        "{configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE}}]}",
    ),
    (
        "{configPatches: [{applyTo: CLUSTER, patch: {}}]}",
        &[('E', "spec.configPatches[0].patch.operation", "needed")],
        "{configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: {}}}]}",
    ),
    (
        "{configPatches: [{applyTo: BOOTSTRAP, patch: {operation: MERGE}}]}",
        &[('E', "spec.configPatches[0].patch.value", "but REMOVE")],
        "{configPatches: [{applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {}}}]}",
    ),
    (
        "{configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE}, match: {proxy: {proxyVersion: '^1\\.(2'}}}]}",
        &[(
            'E',
            "spec.configPatches[0].match.proxy.proxyVersion",
            "not an expression",
        )],
        "{configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE}, match: {proxy: {proxyVersion: '^1\\.2.*'}}}]}",
    ),
    (
        "{configPatches: [{applyTo: LISTENER, patch: {operation: REMOVE}, match: {cluster: {}}}]}",
        &[('E', "spec.configPatches[0].match", "part of a listener")],
        "{configPatches: [{applyTo: LISTENER, patch: {operation: REMOVE}, match: {listener: {}}}]}",
    ),
    (
        "{configPatches: [{applyTo: FILTER_CHAIN, patch: {operation: REMOVE}, match: {waypoint: {}}}]}",
        &[('E', "spec.configPatches[0].match", "part of a listener")],
        "{configPatches: [{applyTo: FILTER_CHAIN, patch: {operation: REMOVE}, match: {context: GATEWAY}}]}",
    ),
    (
        "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {routeConfiguration: {}}}]}",
        &[('E', "spec.configPatches[0].match", "part of a listener")],
        "{configPatches: [{applyTo: LISTENER_FILTER, patch: {operation: REMOVE}, match: {routeConfiguration: {}}}]}",
    ),
    (
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {routeConfiguration: {}}}]}",
        &[('E', "spec.configPatches[0].match", "part of a listener")],
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {}}}}}]}",
        &[(
            'E',
            "spec.configPatches[0].match.listener.filterChain.filter.name",
            "needed",
        )],
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: a}}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: LISTENER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: a}}}}}]}",
        &[(
            'W',
            "spec.configPatches[0].match.listener.filterChain.filter",
            "LISTENER",
        )],
        "{configPatches: [{applyTo: LISTENER, patch: {operation: REMOVE}, match: {listener: {listenerFilter: a}}}]}",
    ),
    (
        "{configPatches: [{applyTo: FILTER_CHAIN, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {}}}}}]}",
        &[
            (
                'W',
                "spec.configPatches[0].match.listener.filterChain.filter",
                "FILTER_CHAIN",
            ),
            (
                'E',
                "spec.configPatches[0].match.listener.filterChain.filter.name",
                "needed",
            ),
        ],
        "{configPatches: [{applyTo: FILTER_CHAIN, patch: {operation: REMOVE}, match: {listener: {filterChain: {name: a}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: a}}}}}}]}",
        &[(
            'E',
            "spec.configPatches[0].match.listener.filterChain.filter.subFilter",
            "HTTP_FILTER only",
        )],
        "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: a}}}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: a, subFilter: {name: b}}}}}}]}",
        &[(
            'E',
            "spec.configPatches[0].match.listener.filterChain.filter.name",
            "stands in",
        )],
        "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: a}}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.http_connection_manager, subFilter: {}}}}}}]}",
        &[(
            'E',
            "spec.configPatches[0].match.listener.filterChain.filter.subFilter.name",
            "needed",
        )],
        "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.http_connection_managers}}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.http_connection_manager, subFilter: {name: envoy.router}}}}}}]}",
        &[
            (
                'W',
                "spec.configPatches[0].match.listener.filterChain.filter.name",
                "old name",
            ),
            (
                'W',
                "spec.configPatches[0].match.listener.filterChain.filter.subFilter.name",
                "old name",
            ),
        ],
        "{configPatches: [{applyTo: HTTP_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.filters.network.http_connection_manager, subFilter: {name: envoy.filters.http.router}}}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.listener.tls_inspector}}}}}]}",
        &[(
            'W',
            "spec.configPatches[0].match.listener.filterChain.filter.name",
            "old name",
        )],
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.tls_inspector}}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.tcp_proxy}}}}}]}",
        &[(
            'W',
            "spec.configPatches[0].match.listener.filterChain.filter.name",
            "old name",
        )],
        "{configPatches: [{applyTo: NETWORK_FILTER, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {name: envoy.listener.tcp_proxy}}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: ROUTE_CONFIGURATION, patch: {operation: REMOVE}, match: {listener: {}}}]}",
        &[('E', "spec.configPatches[0].match", "part of routes")],
        "{configPatches: [{applyTo: ROUTE_CONFIGURATION, patch: {operation: REMOVE}, match: {routeConfiguration: {}}}]}",
    ),
    (
        "{configPatches: [{applyTo: VIRTUAL_HOST, patch: {operation: REMOVE}, match: {cluster: {}}}]}",
        &[('E', "spec.configPatches[0].match", "part of routes")],
        "{configPatches: [{applyTo: VIRTUAL_HOST, patch: {operation: REMOVE}, match: {}}]}",
    ),
    (
        "{configPatches: [{applyTo: HTTP_ROUTE, patch: {operation: REMOVE}, match: {listener: {filterChain: {filter: {}}}}}]}",
        &[('E', "spec.configPatches[0].match", "part of routes")],
        "{configPatches: [{applyTo: HTTP_ROUTE, patch: {operation: REMOVE}, match: {routeConfiguration: {vhost: {}}}}]}",
    ),
    (
        "{configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE}, match: {listener: {}}}]}",
        &[('E', "spec.configPatches[0].match", "`cluster`")],
        "{configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE}, match: {cluster: {}}}]}",
    ),
    (
        "{configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE}}, {applyTo: INVALID}]}",
        &[('E', "spec.configPatches[1].applyTo", "needed")],
        "{configPatches: [{applyTo: EXTENSION_CONFIG, patch: {operation: ADD, value: {}}, match: {listener: {}}}]}",
    ),
    (
        "{configPatches: [{applyTo: CLUSTER, match: {proxy: {proxyVersion: '('}, listener: {}}}]}",
        &[('E', "spec.configPatches[0].patch", "needed")],
        "{configPatches: [{match: {context: WAYPOINT, proxy: {proxyVersion: '('}, listener: {}}}]}",
    ),
    (
        "{configPatches: [null]}",
        &[('E', "spec.configPatches[0].applyTo", "needed")],
        "{configPatches: []}",
    ),
];

#[test]
fn envoy_filters() {
    check(Kind::EnvoyFilter, &INTERNALS, &PATCHES);
}

#[test]
fn a_long_version_is_not_looked_at() {
    let spec = |version: &str| {
        format!(
            "{{configPatches: [{{applyTo: CLUSTER, patch: {{operation: REMOVE}}, match: {{proxy: {{proxyVersion: '{version}'}}}}}}]}}"
        )
    };
    let field = "spec.configPatches[0].match.proxy.proxyVersion";
    let faults = judge(Kind::EnvoyFilter, "", &spec(&"(".repeat(1025)));
    let said = [INTERNALS[0], ('W', field, "does not count")];
    assert_said("1025", &faults, &said);
    let faults = judge(Kind::EnvoyFilter, "", &spec(&"a".repeat(1024)));
    assert_said("1024", &faults, &INTERNALS);
}

#[test]
fn every_old_name_is_known() {
    for name in [
        "buffer",
        "cors",
        "csrf",
        "http_dynamo_filter",
        "ext_authz",
        "fault",
        "grpc_http1_bridge",
        "grpc_json_transcoder",
        "grpc_web",
        "gzip",
        "health_check",
        "ip_tagging",
        "lua",
        "rate_limit",
        "router",
        "squash",
        "client_ssl_auth",
        "http_connection_manager",
        "mongo_proxy",
        "ratelimit",
        "redis_proxy",
        "tcp_proxy",
        "listener.http_inspector",
        "listener.original_dst",
        "listener.original_src",
        "listener.proxy_protocol",
        "listener.tls_inspector",
    ] {
        let spec = format!(
            "{{configPatches: [{{applyTo: NETWORK_FILTER, patch: {{operation: REMOVE}}, match: {{listener: {{filterChain: {{filter: {{name: envoy.{name}}}}}}}}}}}]}}"
        );
        assert_eq!(judge(Kind::EnvoyFilter, "", &spec).len(), 2, "{name}");
    }
}

#[test]
fn values_are_checked_where_nothing_else_is_wrong() {
    for (patches, checked) in [
        (
            "[{}, {applyTo: CLUSTER, patch: {operation: ADD, value: {}}}]",
            vec![1],
        ),
        ("[{applyTo: CLUSTER, patch: {operation: REMOVE}}]", vec![0]),
        (
            "[{applyTo: CLUSTER, match: {context: WAYPOINT}, patch: {operation: ADD, value: {}}}]",
            vec![],
        ),
        (
            "[{applyTo: LISTENER, match: {cluster: {}}, patch: {operation: REMOVE}}]",
            vec![],
        ),
        (
            "[{applyTo: CLUSTER, match: {listener: {}}, patch: {operation: REMOVE}}]",
            vec![0],
        ),
        (
            "[{applyTo: HTTP_ROUTE, match: {cluster: {}}, patch: {operation: REMOVE}}]",
            vec![0],
        ),
        (
            "[{applyTo: LISTENER, match: {listener: {filterChain: {filter: {name: envoy.lua}}}}, patch: {operation: REMOVE}}]",
            vec![0],
        ),
        (
            "[{applyTo: CLUSTER, match: {proxy: {proxyVersion: '('}}, patch: {operation: REMOVE}}]",
            vec![],
        ),
    ] {
        let spec: serde_json::Value = read(&format!("\n  configPatches: {patches}\n"));
        let filter: EnvoyFilter = serde_json::from_value(spec).expect("a filter");
        assert_eq!(patches_to_check(&filter), checked, "{patches}");
    }
    let spec = read(
        "\n  workloadSelector: {labels: {a: '*'}}\n  configPatches: [{applyTo: CLUSTER, patch: {operation: REMOVE}}]\n",
    );
    let filter: EnvoyFilter = serde_json::from_value(spec).expect("a filter");
    assert_eq!(patches_to_check(&filter), Vec::<usize>::new());
}

fn read(sample: &str) -> serde_json::Value {
    changed(sample, &[])
}

const PLUGIN: &str = "
  selector: {matchLabels: {app: a}}
  targetRef: {kind: Service, name: a}
  targetRefs: [{kind: Service, name: a}]
  url: oci://a/b:1
  sha256: a
  imagePullPolicy: Always
  imagePullSecret: s
  verificationKey: k
  pluginConfig: {a: [1, {b: null}]}
  pluginName: n
  phase: AUTHN
  priority: 0
  failStrategy: FAIL_OPEN
  vmConfig: {env: [{name: A, valueFrom: HOST}, {name: B, value: c}]}
  match: [{mode: CLIENT_AND_SERVER, ports: [{number: 80}]}]
  type: NETWORK
";

const EXTENSION: &str = "
  selector: {matchLabels: {app: a}}
  targetRefs: [{kind: Service, name: a}]
  phase: STATS
  priority: 5
  match: [{mode: SERVER, ports: [{number: 80}]}]
  wasm:
    url: oci://a/b:1
    sha256: a
    imagePullPolicy: IfNotPresent
    imagePullSecret: s
    verificationKey: k
    pluginConfig: {a: b}
    pluginName: n
    failStrategy: FAIL_RELOAD
    vmConfig: {env: [{name: A, valueFrom: HOST}]}
    type: HTTP
";

const PROXY: &str = "
  selector: {matchLabels: {app: a}}
  concurrency: 0
  environmentVariables: {A: b}
  image: {imageType: debug}
";

const FILTER: &str = "
  workloadSelector: {labels: {app: a}}
  targetRefs: [{kind: Service, name: a}]
  priority: -1
  configPatches:
  - applyTo: HTTP_FILTER
    match:
      context: GATEWAY
      proxy: {proxyVersion: '^1', metadata: {a: b}}
      listener:
        portNumber: 80
        portName: p
        name: n
        listenerFilter: f
        filterChain:
          name: n
          sni: s
          transportProtocol: tls
          transportSocket: t
          applicationProtocols: h2
          destinationPort: 80
          filter: {name: envoy.http_connection_manager, subFilter: {name: envoy.router}}
    patch: {operation: INSERT_BEFORE, filterClass: AUTHN, value: {a: {b: [1]}}}
  - applyTo: HTTP_ROUTE
    match:
      routeConfiguration:
        portNumber: 80
        portName: p
        gateway: a/b
        name: n
        vhost: {name: n, domainName: d, route: {name: n, action: ROUTE}}
    patch: {operation: MERGE_AND_REPLACE_LIST, value: {}}
  - applyTo: CLUSTER
    match: {cluster: {portNumber: 80, service: s, subset: t, name: n}}
    patch: {operation: REMOVE}
  - applyTo: BOOTSTRAP
    match: {waypoint: {portNumber: 80, filter: {name: a}, route: {name: b}}}
    patch: {operation: MERGE, value: {}}
";

#[test]
fn samples_have_no_error_but_what_they_show() {
    let spec = serde_json::from_value::<WasmPlugin>(read(PLUGIN)).expect("a plugin");
    assert!(matches!(Spec::from(spec), Spec::WasmPlugin(_)));
    let spec = serde_json::from_value::<EnvoyFilter>(read(FILTER)).expect("a filter");
    assert_eq!(patches_to_check(&spec), [0, 1, 2, 3]);
}

proptest! {
    #[test]
    fn any_wasm_plugin_reads_back(changes in changes()) {
        round_trip::<WasmPlugin>(Kind::WasmPlugin, changed(PLUGIN, &changes));
    }

    #[test]
    fn any_traffic_extension_reads_back(changes in changes()) {
        round_trip::<TrafficExtension>(Kind::TrafficExtension, changed(EXTENSION, &changes));
    }

    #[test]
    fn any_proxy_config_reads_back(changes in changes()) {
        round_trip::<ProxyConfig>(Kind::ProxyConfig, changed(PROXY, &changes));
    }

    #[test]
    fn any_envoy_filter_reads_back(changes in changes()) {
        round_trip::<EnvoyFilter>(Kind::EnvoyFilter, changed(FILTER, &changes));
    }
}
