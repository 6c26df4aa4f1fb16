//! Settings of the mesh.

use std::collections::BTreeSet;

use lateen_api::mesh::{MeshConfig, Provider};
use lateen_api::networking::OutboundTrafficPolicyMode;
use lateen_controlplane_model::generate::Rejection;
use lateen_controlplane_model::snapshot::Snapshot;

use super::Findings;
use crate::access_log;

pub(super) fn check(snapshot: &Snapshot, out: &mut BTreeSet<Rejection>) {
    let mesh = &snapshot.mesh;
    let config = &mesh.config;
    let mut findings = Findings {
        kind: "MeshConfig",
        object: "mesh".into(),
        out,
    };
    for (field, reason) in access_log::problems(config) {
        findings.add(field, reason);
    }
    for (field, wrong, reason) in unsupported(config, mesh.outbound_mode()) {
        findings.when(wrong, field, reason);
    }
    metrics(config, &mut findings);
}

fn unsupported(
    config: &MeshConfig,
    outbound: OutboundTrafficPolicyMode,
) -> [(&'static str, bool, &'static str); 9] {
    let tls = |own: &Option<lateen_api::mesh::MeshTlsConfig>| {
        own.as_ref()
            .is_some_and(|own| !own.cipher_suites.is_empty() || !own.ecdh_curves.is_empty())
    };
    [
        (
            "outboundTrafficPolicy.mode",
            outbound == OutboundTrafficPolicyMode::AllowAnyDynamicDns,
            "ALLOW_ANY_DYNAMIC_DNS is not supported: ALLOW_ANY is used",
        ),
        (
            "zoneAwareLbSetting",
            config.zone_aware_lb_setting.is_some(),
            "not supported: use localityLbSetting",
        ),
        (
            "inboundClusterStatName",
            !config.inbound_cluster_stat_name.is_empty(),
            "not supported",
        ),
        (
            "outboundClusterStatName",
            !config.outbound_cluster_stat_name.is_empty(),
            "not supported",
        ),
        (
            "enableEnvoyAccessLogService",
            config.enable_envoy_access_log_service,
            "not supported: use accessLogFile",
        ),
        (
            "serviceEntryVisibility",
            config.service_entry_visibility.is_some(),
            "not supported: use exportTo",
        ),
        (
            "meshMTLS",
            tls(&config.mesh_mtls),
            "cipherSuites and ecdhCurves are not supported: the default ones are used",
        ),
        (
            "tlsDefaults",
            config.tls_defaults.is_some(),
            "not supported",
        ),
        (
            "discoverySelectors",
            !config.discovery_selectors.is_empty(),
            "not supported: every namespace is read",
        ),
    ]
}

fn metrics(config: &MeshConfig, findings: &mut Findings<'_>) {
    let names = config
        .default_providers
        .iter()
        .flat_map(|providers| &providers.metrics)
        .enumerate();
    for (i, name) in names {
        let declared = config
            .extension_providers
            .iter()
            .find(|provider| provider.name == *name);
        let known = match declared.map(|provider| &provider.provider) {
            Some(provider) => matches!(provider, Some(Provider::Prometheus(_))),
            None => name == "prometheus",
        };
        let reason = format!("`{name}` is no provider of metrics: only prometheus is supported");
        if !known {
            findings.add(format!("defaultProviders.metrics[{i}]"), reason);
        }
    }
}
