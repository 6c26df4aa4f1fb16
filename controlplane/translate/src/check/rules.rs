//! DestinationRules, Gateways and Sidecars.

use std::collections::BTreeSet;

use lateen_api::networking::{
    LoadBalancerPolicy, LoadBalancerSettings, OutboundTrafficPolicyMode, OutlierDetection,
    ServerTlsMode, TrafficPolicy,
};
use lateen_controlplane_model::generate::Rejection;
use lateen_controlplane_model::snapshot::Snapshot;

use super::Findings;
use crate::servers::servers;

pub(super) fn check(snapshot: &Snapshot, out: &mut BTreeSet<Rejection>) {
    for destination in snapshot.destinations.iter() {
        let rule = &destination.rule;
        let mut findings = Findings {
            kind: "DestinationRule",
            object: rule.full_name(),
            out: &mut *out,
        };
        policy(
            rule.spec.traffic_policy.as_ref(),
            "spec.trafficPolicy",
            &mut findings,
        );
        for (i, subset) in rule.spec.subsets.iter().enumerate() {
            policy(
                subset.traffic_policy.as_ref(),
                &format!("spec.subsets[{i}].trafficPolicy"),
                &mut findings,
            );
        }
    }
    gateways(snapshot, out);
    sidecars(snapshot, out);
}

fn policy(policy: Option<&TrafficPolicy>, path: &str, findings: &mut Findings<'_>) {
    let Some(policy) = policy else { return };
    balancer(
        policy.load_balancer.as_ref(),
        &format!("{path}.loadBalancer"),
        findings,
    );
    outlier(
        policy.outlier_detection.as_ref(),
        &format!("{path}.outlierDetection"),
        findings,
    );
    for (i, port) in policy.port_level_settings.iter().enumerate() {
        let path = format!("{path}.portLevelSettings[{i}]");
        balancer(
            port.load_balancer.as_ref(),
            &format!("{path}.loadBalancer"),
            findings,
        );
        outlier(
            port.outlier_detection.as_ref(),
            &format!("{path}.outlierDetection"),
            findings,
        );
        findings.when(
            port.port.is_none(),
            &format!("{path}.port"),
            "settings of a port need its number",
        );
    }
}

fn balancer(settings: Option<&LoadBalancerSettings>, path: &str, findings: &mut Findings<'_>) {
    let Some(settings) = settings else { return };
    match &settings.lb_policy {
        Some(LoadBalancerPolicy::BackendUtilization(_)) => {
            findings.add(
                format!("{path}.backendUtilization"),
                "not supported: least request is used",
            );
        }
        Some(LoadBalancerPolicy::ConsistentHash(hash)) => {
            findings.when(
                hash.hash_key.is_none(),
                &format!("{path}.consistentHash"),
                "nothing to hash: name a header, cookie, query parameter or the source address",
            );
        }
        _ => {}
    }
    let zone = settings.zone_aware_lb_setting.is_some();
    findings.when(
        zone,
        &format!("{path}.zoneAwareLbSetting"),
        "not supported: use localityLbSetting",
    );
}

fn outlier(wanted: Option<&OutlierDetection>, path: &str, findings: &mut Findings<'_>) {
    let Some(wanted) = wanted else { return };
    findings.when(
        wanted.consecutive_errors != 0,
        &format!("{path}.consecutiveErrors"),
        "no longer used: write consecutive5xxErrors",
    );
    let codes = !wanted.outlier_detection_http_error_codes.is_empty();
    findings.when(
        codes,
        &format!("{path}.outlierDetectionHttpErrorCodes"),
        "not supported: every 5xx counts",
    );
}

fn gateways(snapshot: &Snapshot, out: &mut BTreeSet<Rejection>) {
    // Conflicts arise between Gateways that select the same pods; their selectors stand for those pods.
    let selectors: BTreeSet<_> = snapshot
        .gateways
        .iter()
        .map(|gateway| gateway.spec.selector.clone())
        .collect();
    for labels in selectors {
        servers(snapshot, "", &labels, |rejection| {
            out.insert(rejection);
        });
    }
    for gateway in snapshot.gateways.iter() {
        let mut findings = Findings {
            kind: "Gateway",
            object: gateway.full_name(),
            out: &mut *out,
        };
        for (i, server) in gateway.spec.servers.iter().enumerate() {
            let Some(tls) = server.tls.as_ref().filter(|tls| !tls.https_redirect) else {
                continue;
            };
            let own = matches!(
                tls.mode,
                ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual
            );
            let named = !tls.credential_name.is_empty() || !tls.credential_names.is_empty();
            let filed = !tls.server_certificate.is_empty() || !tls.tls_certificates.is_empty();
            findings.when(
                own && !named && !filed,
                &format!("spec.servers[{i}].tls"),
                "a server needs a certificate: credentialName, or serverCertificate with privateKey; it is left out",
            );
        }
    }
}

fn sidecars(snapshot: &Snapshot, out: &mut BTreeSet<Rejection>) {
    for sidecar in snapshot.sidecars.iter() {
        let mut findings = Findings {
            kind: "Sidecar",
            object: sidecar.full_name(),
            out: &mut *out,
        };
        for (i, ingress) in sidecar.spec.ingress.iter().enumerate() {
            findings.when(
                ingress.tls.is_some(),
                &format!("spec.ingress[{i}].tls"),
                "TLS of the application's own on inbound listeners is not supported",
            );
            let unix = ingress.bind.starts_with("unix://");
            findings.when(
                unix,
                &format!("spec.ingress[{i}].bind"),
                "a Unix domain socket is not supported here: use an IP address",
            );
        }
        for (i, egress) in sidecar.spec.egress.iter().enumerate() {
            let unix = egress.bind.starts_with("unix://");
            findings.when(
                unix,
                &format!("spec.egress[{i}].bind"),
                "a Unix domain socket is not supported here: use an IP address",
            );
        }
        let policy = sidecar.spec.outbound_traffic_policy.as_ref();
        let dynamic = policy
            .is_some_and(|policy| policy.mode == OutboundTrafficPolicyMode::AllowAnyDynamicDns);
        findings.when(
            dynamic,
            "spec.outboundTrafficPolicy.mode",
            "ALLOW_ANY_DYNAMIC_DNS is not supported: ALLOW_ANY is used",
        );
    }
}
