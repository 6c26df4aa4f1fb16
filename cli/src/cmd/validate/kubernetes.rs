//! What the mesh wants of Kubernetes' own objects: ports that tell their protocol, and labels that telemetry goes by.

use lateen_api::labels::label;
use lateen_api::object::Object;
use lateen_api::protocol::Protocol;

/// Ports of a Service that do not tell their protocol, with their fields.
pub(super) fn port_faults(object: &Object) -> Vec<(String, String)> {
    let ports = object
        .spec
        .as_service()
        .and_then(|service| service.spec.as_ref())
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default();
    let mut faults = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let transport = port.protocol.as_deref().unwrap_or_default();
        if port.app_protocol.is_some() || transport.eq_ignore_ascii_case("UDP") {
            continue;
        }
        let rule = "name it <protocol> or <protocol>-<any>, such as http-api, or give appProtocol";
        match port.name.as_deref() {
            None => faults.push((
                format!("spec.ports[{number}]"),
                format!(
                    "port {} has no name to tell its protocol: {rule}",
                    port.port
                ),
            )),
            Some(name) if Protocol::of_service_port(0, name, None, "TCP").is_unsupported() => {
                faults.push((
                    format!("spec.ports[{number}].name"),
                    format!("the port name \"{name}\" does not begin with a protocol: {rule}"),
                ));
            }
            Some(_) => {}
        }
    }
    faults
}

/// What a Deployment lacks for its pods to be told apart in telemetry.
pub(super) fn label_hint(object: &Object) -> Option<String> {
    let deployment = object.spec.as_deployment()?;
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let given = template
        .and_then(|template| template.metadata.as_ref())
        .and_then(|meta| meta.labels.clone())
        .unwrap_or_default();
    let has = |names: [&str; 3]| names.iter().any(|name| given.contains_key(*name));
    let service = has([label::CANONICAL_NAME, "app.kubernetes.io/name", "app"]);
    let revision = has([
        label::CANONICAL_REVISION,
        "app.kubernetes.io/version",
        "version",
    ]);
    let missing = match (service, revision) {
        (true, true) => return None,
        (false, true) => "app",
        (true, false) => "version",
        (false, false) => "app and version",
    };
    Some(format!(
        "telemetry may not tell its pods apart: the pod template has no label {missing}"
    ))
}
