//! Clients that use TLS without checking the server's certificate.

use lateen_api::networking::{ClientTlsMode, ClientTlsSettings};
use lateen_api::object::{Kind, Object};

use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::{
    NO_SERVER_CERTIFICATE_VERIFICATION_DESTINATION_LEVEL,
    NO_SERVER_CERTIFICATE_VERIFICATION_PORT_LEVEL,
};
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "destinationrule.CaCertificateAnalyzer",
    description: "Finds DestinationRules that start TLS without authorities to check the server's certificate against",
    inputs: &[Input::Kind(Kind::DestinationRule)],
    run: |cluster, _, messages| run(cluster, messages),
};

fn run(cluster: &Cluster, messages: &mut Messages) {
    for object in cluster.of(Kind::DestinationRule) {
        let Some(rule) = object.spec.as_destination_rule() else {
            continue;
        };
        let Some(policy) = &rule.traffic_policy else {
            continue;
        };
        let selects = rule.workload_selector.is_some();
        if let Some(tls) = policy.tls.as_ref().filter(|tls| is_unchecked(tls, selects)) {
            let text = text(object, &rule.host, tls, "");
            let code = NO_SERVER_CERTIFICATE_VERIFICATION_DESTINATION_LEVEL;
            messages.field(code, object, "spec.trafficPolicy.tls", text);
        }
        for (index, level) in policy.port_level_settings.iter().enumerate() {
            let Some(tls) = level.tls.as_ref().filter(|tls| is_unchecked(tls, selects)) else {
                continue;
            };
            let number = level.port.as_ref().map_or(0, |port| port.number);
            let text = text(
                object,
                &rule.host,
                tls,
                &format!(" on port number:{number}"),
            );
            let field = format!("spec.trafficPolicy.portLevelSettings[{index}].tls");
            let code = NO_SERVER_CERTIFICATE_VERIFICATION_PORT_LEVEL;
            messages.field(code, object, &field, text);
        }
    }
}

/// Whether a server's certificate goes unchecked. A rule for some workloads takes its authorities from the secret.
const fn is_unchecked(tls: &ClientTlsSettings, selects_workloads: bool) -> bool {
    matches!(tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual)
        && tls.ca_certificates.is_empty()
        && (!selects_workloads || tls.credential_name.is_empty())
}

fn text(object: &Object, host: &str, tls: &ClientTlsSettings, port: &str) -> String {
    format!(
        "DestinationRule {} in namespace {} starts TLS (mode {}) to {host}{port} without checking the server's certificate; name the \
         authorities to trust in caCertificates",
        object.key.name, object.key.namespace, tls.mode
    )
}
