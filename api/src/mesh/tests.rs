//! Defaults and what is laid over them.

use serde_json::json;

use super::*;
use crate::Duration;
use crate::yaml;

fn over_mesh(text: &str) -> MeshConfig {
    let documents = yaml::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let read = yaml::read_with(&documents[0].root, |input| {
        MeshConfig::default().overlay(input)
    });
    read.unwrap_or_else(|e| panic!("{e}")).0
}

fn over_proxy(base: &ProxyConfig, text: &str) -> ProxyConfig {
    let documents = yaml::parse(text).unwrap_or_else(|e| panic!("{e}"));
    yaml::read_with(&documents[0].root, |input| base.overlay(input))
        .unwrap_or_else(|e| panic!("{e}"))
        .0
}

#[test]
fn a_mesh_text_is_laid_over_the_defaults() {
    let mesh = over_mesh(
        "accessLogFile: /dev/stdout\nenableTracing: false\ndefaultProviders: {metrics: [prometheus]}\ntrust_domain: td\n\
         meshMTLS: {minProtocolVersion: TLSV1_3}\nprotocolDetectionTimeout: null\n\
         extensionProviders: [{name: envoy, envoyFileAccessLog: {path: /x}}, {name: z, zipkin: {service: z, port: 9411}}]\n\
         defaultConfig: {concurrency: 0, proxyMetadata: {A: b}}\n",
    );
    assert_eq!(
        (
            mesh.access_log_file.as_str(),
            mesh.enable_tracing,
            mesh.trust_domain.as_str()
        ),
        ("/dev/stdout", false, "td")
    );
    assert_eq!(mesh.proxy_listen_port, 15001);
    assert_eq!(mesh.connect_timeout, Some(Duration::from_secs(10)));
    assert_eq!(
        mesh.protocol_detection_timeout,
        Some(Duration::ZERO),
        "null changes nothing"
    );
    assert_eq!(
        mesh.mesh_mtls.map(|tls| tls.min_protocol_version),
        Some(MeshTlsProtocol::V1_3)
    );
    let names: Vec<_> = mesh
        .extension_providers
        .iter()
        .map(|provider| provider.name.as_str())
        .collect();
    assert_eq!(names, ["envoy", "z", "prometheus", "stackdriver"]);
    assert_eq!(mesh.default_config.concurrency, Some(0));
    assert_eq!(mesh.default_config.status_port, 15020);
}

#[test]
fn proxy_settings_merge_field_by_field() {
    let base = over_proxy(
        &ProxyConfig::default(),
        "{tracing: {sampling: 5, zipkin: {address: 'z:9411'}}, proxyMetadata: {A: a, B: b}, drainDuration: 23s,\n\
         proxyHeaders: {server: {value: x}, requestId: {disabled: true}}, terminationDrainDuration: 9s}",
    );
    let merged = over_proxy(
        &base,
        "{tracing: {sampling: 10}, proxyMetadata: {B: c}, proxyHeaders: {server: {disabled: true}}, holdApplicationUntilProxyStarts: false}",
    );
    let tracing = merged.tracing.as_ref().expect("tracing");
    assert_eq!(
        (tracing.sampling, tracing.tracer.is_some()),
        (10.0, false),
        "a field replaces the lower one whole"
    );
    let metadata: Vec<_> = merged
        .proxy_metadata
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(metadata, ["A=a", "B=c"]);
    assert_eq!(
        merged.without_defaults(),
        json!({
            "drainDuration": "23s",
            "tracing": {"sampling": 10},
            "proxyMetadata": {"A": "a", "B": "c"},
            "terminationDrainDuration": "9s",
            "holdApplicationUntilProxyStarts": false,
            "proxyHeaders": {"requestId": {"disabled": true}, "server": {"disabled": true}},
        })
    );
}

#[test]
fn settings_without_a_difference_are_written_as_nothing() {
    assert_eq!(ProxyConfig::default().without_defaults(), json!({}));
    let explicit = over_proxy(
        &ProxyConfig::default(),
        "{concurrency: 0, tracing: {}, statusPort: 15020, drainDuration: 45s}",
    );
    assert_eq!(
        explicit.without_defaults(),
        json!({"concurrency": 0, "tracing": {}})
    );
}

#[test]
fn a_mesh_config_reads_what_it_writes() {
    let mesh = over_mesh(
        "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}, caCertificates: [{pem: x, certSigners: [a]}]}",
    );
    let json = serde_json::to_value(&mesh).unwrap_or_else(|e| panic!("{e}"));
    let again: MeshConfig = serde_json::from_value(json).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(again, mesh);
}

#[test]
fn both_spellings_of_connection_settings_are_read() {
    let proxy = over_proxy(
        &ProxyConfig::default(),
        "{connectionSettings: {profile: EDGE, httpHeadersWithUnderscoresAction: HEADERS_WITH_UNDERSCORES_REJECT_REQUEST,\n\
          httpPathWithEscapedSlashesAction: UNESCAPE_AND_REDIRECT, http2InitialStreamWindowSize: 65536}}",
    );
    let settings = proxy.connection_settings.expect("settings");
    assert_eq!(settings.profile, ConnectionProfile::Edge);
    assert_eq!(
        settings.http_headers_with_underscores_action,
        UnderscoresAction::RejectRequest
    );
    assert_eq!(
        settings.http_path_with_escaped_slashes_action,
        EscapedSlashesAction::UnescapeAndRedirect
    );
}

#[test]
fn texts_of_settings_name_their_mistakes() {
    let (mesh, problems) =
        parse_mesh_config("mesh.yaml", "trustDomain: td\nenableTracig: true\n").expect("settings");
    assert_eq!(mesh.trust_domain, "td");
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        ["mesh.yaml:2:1: enableTracig: unknown field, without effect"]
    );
    let wrong = parse_mesh_config("mesh.yaml", "defaultConfig:\n  drainDuration: 5\n")
        .expect_err("a number");
    assert!(
        wrong
            .to_string()
            .starts_with("mesh.yaml:2:18: defaultConfig.drainDuration: invalid type: integer `5`"),
        "{wrong}"
    );
    assert_eq!(
        parse_mesh_config("mesh.yaml", "").map(|(mesh, _)| mesh),
        Ok(MeshConfig::default())
    );
    assert!(parse_proxy_config("annotation", "a: [", &ProxyConfig::default()).is_err());
}
