//! MeshConfig and MeshNetworks.

use proptest::prelude::*;

use super::rules::{Rule, assert_said, changed, changes};
use crate::mesh::{MeshConfig, MeshNetworks, parse_mesh_config, parse_mesh_networks};
use crate::validate::{Fault, validate_mesh_config, validate_mesh_networks};

fn mesh(text: &str) -> Vec<Fault> {
    let (config, problems) = parse_mesh_config("mesh.yaml", text).expect("settings");
    assert_eq!(problems, [], "{text}");
    validate_mesh_config(&config)
}

fn networks(text: &str) -> Vec<Fault> {
    let (networks, problems) = parse_mesh_networks("networks.yaml", text).expect("networks");
    assert_eq!(problems, [], "{text}");
    validate_mesh_networks(&networks)
}

fn check(judge: impl Fn(&str) -> Vec<Fault>, rules: &[Rule]) {
    for (bad, said, good) in rules {
        assert_said(bad, &judge(bad), said);
        assert_said(good, &judge(good), &[]);
    }
}

#[test]
fn the_defaults_are_fine() {
    assert_eq!(validate_mesh_config(&MeshConfig::default()), []);
    assert_eq!(validate_mesh_networks(&MeshNetworks::default()), []);
}

const MESH: [Rule; 17] = [
    (
        "{proxyListenPort: 0}",
        &[('E', "proxyListenPort", "not a port")],
        "{proxyListenPort: 65535, proxyInboundListenPort: 0}",
    ),
    (
        "{proxyListenPort: -1}",
        &[('E', "proxyListenPort", "not a port")],
        "{proxyListenPort: 1}",
    ),
    (
        "{connectTimeout: 0.9ms}",
        &[('E', "connectTimeout", "1ms to 1h")],
        "{connectTimeout: 1ms}",
    ),
    (
        "{connectTimeout: 1h1ms}",
        &[('E', "connectTimeout", "1ms to 1h")],
        "{connectTimeout: 1h}",
    ),
    (
        "{connectTimeout: 1.5ms}",
        &[('E', "connectTimeout", "milliseconds")],
        "{connectTimeout: 1.5s}",
    ),
    (
        "{protocolDetectionTimeout: 0.5ms}",
        &[('E', "protocolDetectionTimeout", "milliseconds")],
        "{protocolDetectionTimeout: 0s}",
    ),
    (
        "{localityLbSetting: {failover: [{from: a, to: a}]}}",
        &[('E', "localityLbSetting.failover[0]", "")],
        "{localityLbSetting: {failover: [{from: a, to: b}]}, zoneAwareLbSetting: {failover: [{from: a, to: b}]}}",
    ),
    (
        "{zoneAwareLbSetting: {failoverPriority: [topology.istio.io/subzone]}}",
        &[('E', "zoneAwareLbSetting.failoverPriority[0]", "")],
        "{zoneAwareLbSetting: {failoverPriority: [version]}, localityLbSetting: {failoverPriority: [topology.istio.io/subzone]}}",
    ),
    (
        "{serviceSettings: [{hosts: [a.com, 10.0.0.1]}]}",
        &[('E', "serviceSettings[0].hosts[1]", "10.0.0.1")],
        "{serviceSettings: [{settings: {clusterLocal: true}, hosts: ['*.a.com', '*']}]}",
    ),
    (
        "{trustDomain: a_b, trustDomainAliases: ['']}",
        &[
            ('E', "trustDomain", "`a_b`"),
            ('E', "trustDomainAliases[0]", "not a trust domain"),
        ],
        "{trustDomain: a.b., trustDomainAliases: ['1.2']}",
    ),
    (
        "{meshMTLS: {ecdhCurves: [P-256]}}",
        &[('E', "meshMTLS.ecdhCurves", "fixed")],
        "{meshMTLS: {minProtocolVersion: TLSV1_3, cipherSuites: [any]}}",
    ),
    (
        "{tlsDefaults: {ecdhCurves: [P-256, CECPQ2, P-256, CECPQ2]}}",
        &[
            ('W', "tlsDefaults.ecdhCurves[1]", "not a known curve"),
            ('W', "tlsDefaults.ecdhCurves[2]", "twice"),
            ('W', "tlsDefaults.ecdhCurves[3]", "not a known curve"),
        ],
        "{tlsDefaults: {ecdhCurves: [P-224, P-256, P-384, P-521, X25519, X25519Kyber768Draft00, X25519MLKEM768]}}",
    ),
    (
        "{defaultTrafficPolicy: {connectionPool: {http: {maxRetries: -1}}}}",
        &[(
            'E',
            "defaultTrafficPolicy.connectionPool.http.maxRetries",
            "negative",
        )],
        "{defaultTrafficPolicy: {connectionPool: {http: {http2KeepAlive: {}}}}}",
    ),
    (
        "{defaultTrafficPolicy: {outlierDetection: {maxEjectionPercent: 101}}}",
        &[(
            'E',
            "defaultTrafficPolicy.outlierDetection.maxEjectionPercent",
            "101",
        )],
        "{defaultTrafficPolicy: {outlierDetection: {maxEjectionPercent: 100, consecutiveErrors: 5}}}",
    ),
    (
        "{defaultInboundHttpRetryPolicy: {attempts: 1, retryOn: 'a'}}",
        &[('E', "defaultInboundHttpRetryPolicy.retryOn", "`a`")],
        "{defaultInboundHttpRetryPolicy: {attempts: 1, retryOn: '5xx', backoff: 1s}, defaultHttpRetryPolicy: {retryOn: a}}",
    ),
    (
        "{defaultInboundHttpRetryPolicy: {attempts: 0, backoff: 1s}}",
        &[('E', "defaultInboundHttpRetryPolicy.backoff", "0 attempts")],
        "{defaultInboundHttpRetryPolicy: {attempts: 0}}",
    ),
    (
        "{defaultInboundHttpRetryPolicy: {attempts: 1, perTryTimeout: 1s, retryRemoteLocalities: false, retryIgnorePreviousHosts: true}}",
        &[
            (
                'W',
                "defaultInboundHttpRetryPolicy.perTryTimeout",
                "does not count",
            ),
            (
                'W',
                "defaultInboundHttpRetryPolicy.retryRemoteLocalities",
                "does not count",
            ),
            (
                'W',
                "defaultInboundHttpRetryPolicy.retryIgnorePreviousHosts",
                "does not count",
            ),
        ],
        "{extensionProviders: [{name: '', zipkin: {}}]}",
    ),
];

#[test]
fn mesh_settings() {
    check(mesh, &MESH);
}

/// Rules on `defaultConfig`, whose fields are named without it.
const PROXY: [Rule; 28] = [
    (
        "configPath: ''",
        &[('E', "configPath", "path")],
        "configPath: a",
    ),
    (
        "binaryPath: ''",
        &[('E', "binaryPath", "path")],
        "binaryPath: a",
    ),
    (
        "serviceCluster: ''",
        &[('E', "serviceCluster", "name")],
        "tracingServiceName: CANONICAL_NAME_ONLY",
    ),
    (
        "drainDuration: 1.5s",
        &[('E', "drainDuration", "whole seconds")],
        "drainDuration: 1s",
    ),
    (
        "drainDuration: 0s",
        &[('E', "drainDuration", "whole seconds")],
        "drainDuration: 1h, terminationDrainDuration: 0s",
    ),
    (
        "discoveryAddress: istiod",
        &[('E', "discoveryAddress", "with a port")],
        "discoveryAddress: 'istiod:15012'",
    ),
    (
        "discoveryAddress: ''",
        &[('E', "discoveryAddress", "with a port")],
        "discoveryAddress: '10.0.0.1:1'",
    ),
    (
        "discoveryAddress: '::1:80'",
        &[('E', "discoveryAddress", "with a port")],
        "discoveryAddress: '[::1]:80'",
    ),
    (
        "discoveryAddress: 'a:65536'",
        &[('E', "discoveryAddress", "with a port")],
        "discoveryAddress: 'a:65535'",
    ),
    (
        "discoveryAddress: 'a_b:80'",
        &[('E', "discoveryAddress", "with a port")],
        "discoveryAddress: 'a-b.:80'",
    ),
    (
        "proxyAdminPort: 0",
        &[('E', "proxyAdminPort", "not a port")],
        "proxyAdminPort: 1",
    ),
    (
        "statusPort: 65536",
        &[('E', "statusPort", "not a port")],
        "statusPort: 65535",
    ),
    (
        "controlPlaneAuthPolicy: INHERIT",
        &[('E', "controlPlaneAuthPolicy", "MUTUAL_TLS")],
        "controlPlaneAuthPolicy: NONE",
    ),
    (
        "tracing: {zipkin: {}}",
        &[('E', "tracing.zipkin.address", "with a port")],
        "tracing: {zipkin: {address: '$(HOST_IP):9411'}}",
    ),
    (
        "tracing: {datadog: {address: '$(HOST_IP)'}}",
        &[('E', "tracing.datadog.address", "with a port")],
        "tracing: {datadog: {address: '$(HOST_IP):8126'}}",
    ),
    (
        "tracing: {lightstep: {address: '$(HOST_IP):80'}}",
        &[
            ('E', "tracing.lightstep.address", "with a port"),
            ('E', "tracing.lightstep.accessToken", "token"),
        ],
        "tracing: {lightstep: {address: 'a:80', accessToken: b}}",
    ),
    (
        "tracing: {tlsSettings: {mode: MUTUAL, privateKey: a}}",
        &[('E', "tracing.tlsSettings.clientCertificate", "MUTUAL")],
        "tracing: {tlsSettings: {mode: SIMPLE}, customTags: {a: null}, openCensusAgent: {}}",
    ),
    (
        "statsdUdpAddress: a",
        &[('E', "statsdUdpAddress", "with a port")],
        "statsdUdpAddress: 'a:1'",
    ),
    (
        "envoyMetricsServiceAddress: a, envoyMetricsService: {address: b}, envoyAccessLogService: {address: c}",
        &[
            ('E', "envoyMetricsServiceAddress", "with a port"),
            ('E', "envoyMetricsService.address", "with a port"),
            ('E', "envoyAccessLogService.address", "with a port"),
        ],
        "envoyMetricsServiceAddress: 'a:1', envoyMetricsService: {}, envoyAccessLogService: {address: 'c:1'}",
    ),
    (
        "proxyMetadata: {ISTIO_META_DNS_AUTO_ALLOCATE: ''}",
        &[(
            'W',
            "proxyMetadata.ISTIO_META_DNS_AUTO_ALLOCATE",
            "take it out",
        )],
        "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}",
    ),
    (
        "privateKeyProvider: {}",
        &[('E', "privateKeyProvider", "needed")],
        "privateKeyProvider: {cryptomb: {pollDelay: 1ns}}",
    ),
    (
        "privateKeyProvider: {cryptomb: {fallback: true}}",
        &[('E', "privateKeyProvider.cryptomb.pollDelay", "other than 0")],
        "privateKeyProvider: {qat: {pollDelay: 10ms}}",
    ),
    (
        "privateKeyProvider: {qat: {pollDelay: 0s}}",
        &[('E', "privateKeyProvider.qat.pollDelay", "other than 0")],
        "privateKeyProvider: null",
    ),
    (
        "connectionSettings: {listenerPerConnectionBufferLimitBytes: -1, clusterPerConnectionBufferLimitBytes: -1}",
        &[
            (
                'E',
                "connectionSettings.listenerPerConnectionBufferLimitBytes",
                "at least 0",
            ),
            (
                'E',
                "connectionSettings.clusterPerConnectionBufferLimitBytes",
                "at least 0",
            ),
        ],
        "connectionSettings: {listenerPerConnectionBufferLimitBytes: 0, clusterPerConnectionBufferLimitBytes: 0}",
    ),
    (
        "connectionSettings: {httpMaxConcurrentStreams: 0, listenerConnectionLimit: 0, globalDownstreamConnectionLimit: 0}",
        &[
            (
                'E',
                "connectionSettings.httpMaxConcurrentStreams",
                "at least 1",
            ),
            (
                'E',
                "connectionSettings.listenerConnectionLimit",
                "at least 1",
            ),
            (
                'E',
                "connectionSettings.globalDownstreamConnectionLimit",
                "at least 1",
            ),
        ],
        "connectionSettings: {httpMaxConcurrentStreams: 1, listenerConnectionLimit: 1, globalDownstreamConnectionLimit: 1}",
    ),
    (
        "connectionSettings: {http2InitialStreamWindowSize: 65534, http2InitialConnectionWindowSize: 65534}",
        &[
            (
                'E',
                "connectionSettings.http2InitialStreamWindowSize",
                "at least 65535",
            ),
            (
                'E',
                "connectionSettings.http2InitialConnectionWindowSize",
                "at least 65535",
            ),
        ],
        "connectionSettings: {http2InitialStreamWindowSize: 65535, http2InitialConnectionWindowSize: 65535}",
    ),
    (
        "connectionSettings: {httpIdleTimeout: -1s, httpRequestTimeout: -1s, httpStreamIdleTimeout: -1s, httpRequestHeadersTimeout: -1s}",
        &[
            ('E', "connectionSettings.httpIdleTimeout", "negative"),
            ('E', "connectionSettings.httpRequestTimeout", "negative"),
            ('E', "connectionSettings.httpStreamIdleTimeout", "negative"),
            (
                'E',
                "connectionSettings.httpRequestHeadersTimeout",
                "negative",
            ),
        ],
        "connectionSettings: {httpIdleTimeout: 0s, httpRequestTimeout: 0s, httpStreamIdleTimeout: 1ns}",
    ),
    (
        "tracing: {zipkin: {address: 'a:b'}}",
        &[('E', "tracing.zipkin.address", "with a port")],
        "tracing: {stackdriver: {}}",
    ),
];

#[test]
fn settings_of_all_proxies() {
    for (bad, said, good) in &PROXY {
        let judge = |text: &str| mesh(&format!("{{defaultConfig: {{{text}}}}}"));
        let faults: Vec<Fault> = judge(bad)
            .into_iter()
            .map(|fault| Fault {
                field: fault
                    .field
                    .strip_prefix("defaultConfig.")
                    .expect("a path")
                    .to_owned(),
                ..fault
            })
            .collect();
        assert_said(bad, &faults, said);
        assert_said(good, &judge(good), &[]);
    }
}

const NETWORKS: [Rule; 7] = [
    (
        "{networks: {n: {endpoints: [{fromCidr: 10.0.0.0/33}]}}}",
        &[('E', "networks.n.endpoints[0].fromCidr", "10.0.0.0/33")],
        "{networks: {n: {endpoints: [{fromCidr: 10.0.0.1/8}, {fromCidr: '::1'}, {}]}}}",
    ),
    (
        "{networks: {a.b: {endpoints: [{fromRegistry: a.b}]}}}",
        &[('E', "networks[\"a.b\"].endpoints[0].fromRegistry", "`a.b`")],
        "{networks: {a.b: {endpoints: [{fromRegistry: Kubernetes-1}]}}}",
    ),
    (
        "{networks: {n: {gateways: [{registryServiceName: 10.0.0.1, port: 443}]}}}",
        &[(
            'E',
            "networks.n.gateways[0].registryServiceName",
            "full name",
        )],
        "{networks: {n: {gateways: [{registryServiceName: gw.istio-system.svc.cluster.local, port: 443}]}}}",
    ),
    (
        "{networks: {n: {gateways: [{address: 'a_b', port: 443}]}}}",
        &[('E', "networks.n.gateways[0].address", "`a_b`")],
        "{networks: {n: {gateways: [{address: a.com, port: 443}, {address: 10.0.0.1, port: 443}]}}}",
    ),
    (
        "{networks: {n: {gateways: [{address: '*.a.com', port: 443}]}}}",
        &[('E', "networks.n.gateways[0].address", "neither")],
        "{networks: {n: {gateways: [{port: 443, locality: any}]}}}",
    ),
    (
        "{networks: {n: {gateways: [{address: a.com}]}}}",
        &[('E', "networks.n.gateways[0].port", "not a port")],
        "{networks: {n: {gateways: [{address: a.com, port: 1}]}}}",
    ),
    (
        "{networks: {n: {gateways: [{port: 65536}]}}}",
        &[('E', "networks.n.gateways[0].port", "not a port")],
        "{networks: {n: null}}",
    ),
];

#[test]
fn mesh_networks() {
    check(networks, &NETWORKS);
}

const SAMPLE: &str = "
  proxyListenPort: 15001
  connectTimeout: 10s
  protocolDetectionTimeout: 5s
  trustDomain: a
  trustDomainAliases: [b]
  localityLbSetting: {distribute: [{from: a/*, to: {b: 100}}], failoverPriority: [a]}
  zoneAwareLbSetting: {failover: [{from: a, to: b}]}
  serviceSettings: [{hosts: [a.com]}]
  meshMTLS: {ecdhCurves: [a]}
  tlsDefaults: {ecdhCurves: [P-256]}
  defaultInboundHttpRetryPolicy: {attempts: 1, retryOn: '503,5xx', backoff: 1s}
  defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {idleTimeout: 1s}}, outlierDetection: {interval: 1s}}
  defaultConfig:
    discoveryAddress: a:1
    drainDuration: 1s
    tracing: {zipkin: {address: a:1}, tlsSettings: {mode: MUTUAL, credentialName: 'configmap://a/b'}}
    privateKeyProvider: {qat: {pollDelay: 1s}}
    connectionSettings: {httpIdleTimeout: 1s, httpMaxConcurrentStreams: 1}
";

const NETWORK: &str = "
  networks:
    n:
      endpoints: [{fromCidr: 10.0.0.0/8}, {fromRegistry: r}]
      gateways: [{address: 1.2.3.4, port: 443, locality: a/b}, {registryServiceName: a.b, port: 1}]
";

proptest! {
    #[test]
    fn any_mesh_settings_have_a_verdict(changes in changes()) {
        if let Ok(config) = serde_json::from_value::<MeshConfig>(changed(SAMPLE, &changes)) {
            let faults = validate_mesh_config(&config);
            let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
            prop_assert!(fields.iter().all(|field| !field.starts_with("spec")), "{:?}", fields);
        }
    }

    #[test]
    fn any_networks_read_back(changes in changes()) {
        if let Ok(networks) = serde_json::from_value::<MeshNetworks>(changed(NETWORK, &changes)) {
            let written = serde_json::to_value(&networks).expect("JSON");
            prop_assert_eq!(&serde_json::from_value::<MeshNetworks>(written).expect("networks"), &networks);
            let _ = validate_mesh_networks(&networks);
        }
    }
}
