//! Small builders for tests of this crate.

use crate::service::{
    Distribution, Registry, Resolution, Service, ServicePort, TargetPort, Visibility,
};
use lateen_api::protocol::Protocol;

/// A Kubernetes Service with port 9080 `http` and one address.
pub(crate) fn service(host: &str, namespace: &str) -> Service {
    Service {
        host: host.into(),
        name: host.split('.').next().unwrap_or_default().into(),
        namespace: namespace.into(),
        registry: Registry::Kubernetes,
        object: host.split('.').next().unwrap_or_default().into(),
        addresses: vec!["10.96.0.1/32".parse().expect("a network")],
        ports: vec![ServicePort {
            name: "http".into(),
            number: 9080,
            protocol: Protocol::Http,
            target: TargetPort::Number(9080),
        }],
        resolution: Resolution::Static,
        headless: false,
        mesh_external: false,
        export_to: Visibility::Public,
        selector: Default::default(),
        labels: Default::default(),
        created: 0,
        subject_alt_names: Vec::new(),
        publish_not_ready: false,
        node_local: false,
        distribution: Distribution::Any,
        auto_address: None,
    }
}
