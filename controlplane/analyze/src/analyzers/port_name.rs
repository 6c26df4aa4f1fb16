//! Ports of Services that do not tell their protocol.

use lateen_api::object::{Kind, Object};
use lateen_api::protocol::Protocol;

use super::Analyzer;
use super::application_uid::is_control_plane;
use super::deployment_services::{MANAGED, target};
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "service.PortNameAnalyzer",
    description: "Ports of Services whose names do not tell their protocol",
    inputs: &[Input::Kind(Kind::Service)],
    run: |cluster, _, messages| run(cluster, messages),
};

/// Controllers whose Services have ports that a Gateway names.
const CONTROLLERS: [&str; 3] = [
    "istio.io-gateway-controller",
    "istio.io-mesh-controller",
    "istio.io-eastwest-controller",
];

fn run(cluster: &Cluster, messages: &mut Messages) {
    for object in cluster.given(Kind::Service) {
        let manager = object.meta.labels.get(MANAGED);
        let is_managed = manager.is_some_and(|manager| CONTROLLERS.contains(&manager.as_str()));
        if !is_managed && !is_control_plane(object) {
            check(object, messages);
        }
    }
}

fn check(object: &Object, messages: &mut Messages) {
    let Some(spec) = object
        .spec
        .as_service()
        .and_then(|service| service.spec.as_ref())
    else {
        return;
    };
    let is_external = spec.type_.as_deref() == Some("ExternalName");
    for (number, port) in spec.ports.iter().flatten().enumerate() {
        if port.protocol.as_deref() == Some("UDP") {
            continue;
        }
        let name = port.name.as_deref().unwrap_or_default();
        let app_protocol = port.app_protocol.as_deref();
        // Whatever carries the port, its name alone is judged here.
        let protocol = Protocol::of_service_port(port.port, name, app_protocol, "TCP");
        let field = format!("spec.ports[{number}].port");
        if is_external && (protocol.is_unsupported() || name == "tcp") {
            messages.scalar(
                code::EXTERNAL_NAME_SERVICE_TYPE_INVALID_PORT_NAME,
                object,
                &field,
                "a port of an ExternalName Service has to tell a protocol other than plain tcp, for it would take all traffic of its number: name it after its protocol, such as https",
            );
        } else if protocol.is_unsupported() {
            messages.scalar(
                code::PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION,
                object,
                &field,
                format!(
                    "the name `{name}` of port {} (target port {}) does not tell its protocol: name it <protocol> or <protocol>-<suffix>, such as http-{}, or set appProtocol",
                    port.port,
                    target(port),
                    if name.is_empty() { "web" } else { name },
                ),
            );
        }
    }
}
