//! Debug pages about what the sources gave.

use lateen_controlplane_model::endpoint::{Address, Endpoint, Health};
use lateen_controlplane_model::service::Service;
use lateen_controlplane_serve::debug::Debug;
use serde_json::{Value, json};

use crate::pipeline::Current;

/// Adds `registryz`, `endpointz` and `mesh`.
pub(crate) fn add(debug: Debug, current: &Current) -> Debug {
    let (registry, endpoints, mesh) = (
        Current::clone(current),
        Current::clone(current),
        Current::clone(current),
    );
    debug
        .with_page("registryz", Box::new(move || registryz(&registry)))
        .with_page("endpointz", Box::new(move || endpointz(&endpoints)))
        .with_page("mesh", Box::new(move || mesh_page(&mesh)))
}

fn registryz(current: &Current) -> Value {
    let Some(snapshot) = current.load_full() else {
        return json!([]);
    };
    snapshot
        .services
        .iter()
        .map(|(_, service)| describe(service))
        .collect()
}

fn describe(service: &Service) -> Value {
    let ports = service.ports.iter().map(|port| json!({ "name": &*port.name, "port": port.number, "protocol": port.protocol.to_string() }));
    json!({
        "hostname": &*service.host,
        "namespace": &*service.namespace,
        "addresses": service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "ports": ports.collect::<Vec<_>>(),
        "registry": format!("{:?}", service.registry),
        "resolution": format!("{:?}", service.resolution),
        "meshExternal": service.mesh_external,
        "selector": service.selector,
    })
}

fn endpointz(current: &Current) -> Value {
    let Some(snapshot) = current.load_full() else {
        return json!([]);
    };
    let services = snapshot.services.iter().filter_map(|(_, service)| {
        let endpoints = snapshot.endpoints_of(service)?;
        Some(json!({
            "svc": &*service.host,
            "namespace": &*service.namespace,
            "ep": endpoints.list.iter().map(endpoint).collect::<Vec<_>>(),
        }))
    });
    services.collect()
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let address = match &endpoint.address {
        Address::Ip(ip) => ip.to_string(),
        Address::Name(name) | Address::Pipe(name) => name.to_string(),
    };
    json!({
        "address": address,
        "port": endpoint.port,
        "portName": &*endpoint.port_name,
        "health": health(endpoint.health),
        "workload": &*endpoint.workload.workload,
        "serviceAccount": &*endpoint.workload.service_account,
    })
}

fn health(health: Health) -> String {
    format!("{health:?}")
}

fn mesh_page(current: &Current) -> Value {
    let Some(snapshot) = current.load_full() else {
        return Value::Null;
    };
    serde_json::to_value(&snapshot.mesh.config).unwrap_or_default()
}
