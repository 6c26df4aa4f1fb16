//! What a cluster of files has although no file holds it: the ingress gateway, which most repositories refer to and few contain.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lateen_api::object::{Kind, Metadata, Object, ObjectKey, Spec};

use crate::pods::PROXY;

/// The ingress gateway's Service.
const SERVICE: &str = "istio-ingressgateway";
/// A pod behind it.
const POD: &str = "istio-ingressgateway-dummypod";
/// The ports on which it is reached.
const PORTS: [i32; 4] = [80, 443, 31400, 15443];

/// The pod and the Service of the ingress gateway.
pub(crate) fn ingress_gateway(namespace: &str) -> [Object; 2] {
    let labels = || BTreeMap::from([("istio".to_owned(), "ingressgateway".to_owned())]);
    let container = Container {
        name: PROXY.to_owned(),
        ..Default::default()
    };
    let pod = Pod {
        spec: Some(PodSpec {
            containers: vec![container],
            ..Default::default()
        }),
        ..Default::default()
    };
    let ports = PORTS.map(|port| ServicePort {
        name: Some(format!("tcp-{port}")),
        port,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(port)),
        ..Default::default()
    });
    let service = Service {
        spec: Some(ServiceSpec {
            ports: Some(ports.into()),
            selector: Some(labels()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let object = |kind, name: &str, labels, spec| Object {
        key: ObjectKey::new(kind, namespace, name),
        meta: Metadata {
            labels,
            ..Default::default()
        },
        spec,
        status: None,
        source: None,
    };
    [
        object(Kind::Pod, POD, labels(), Spec::from(pod)),
        object(Kind::Service, SERVICE, BTreeMap::new(), Spec::from(service)),
    ]
}
