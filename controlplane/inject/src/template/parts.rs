//! Small pieces of containers.

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, ExecAction, HTTPGetAction, LifecycleHandler,
    ObjectFieldSelector, Probe, ResourceFieldSelector, ResourceRequirements, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The port of the proxy's readiness page.
pub(super) const READY_PORT: i32 = 15021;

/// A variable with a value; an empty value is left out, as Kubernetes prints it.
pub(super) fn var(name: &str, value: impl Into<String>) -> EnvVar {
    let value = value.into();
    EnvVar {
        name: name.to_owned(),
        value: (!value.is_empty()).then_some(value),
        value_from: None,
    }
}

/// A variable with the value of a field of the pod.
pub(super) fn var_of_field(name: &str, path: &str) -> EnvVar {
    let field_ref = ObjectFieldSelector {
        api_version: None,
        field_path: path.to_owned(),
    };
    let source = EnvVarSource {
        field_ref: Some(field_ref),
        ..EnvVarSource::default()
    };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(source),
    }
}

/// A variable with a limit of the container.
pub(super) fn var_of_limit(name: &str, resource: &str) -> EnvVar {
    let selector = ResourceFieldSelector {
        container_name: None,
        divisor: Some(Quantity("1".to_owned())),
        resource: format!("limits.{resource}"),
    };
    let source = EnvVarSource {
        resource_field_ref: Some(selector),
        ..EnvVarSource::default()
    };
    EnvVar {
        name: name.to_owned(),
        value: None,
        value_from: Some(source),
    }
}

pub(super) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

pub(super) fn volume(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        ..Volume::default()
    }
}

/// The port of the proxy's own metrics.
pub(super) fn metrics_port() -> ContainerPort {
    ContainerPort {
        container_port: 15090,
        name: Some("http-envoy-prom".to_owned()),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

/// A check of the proxy's readiness page, with three seconds to answer.
pub(super) fn ready_probe(initial_delay: u32, period: u32, failures: u32) -> Probe {
    let shown = |count: u32| i32::try_from(count).ok().filter(|count| *count != 0);
    let get = HTTPGetAction {
        path: Some("/healthz/ready".to_owned()),
        port: IntOrString::Int(READY_PORT),
        ..HTTPGetAction::default()
    };
    Probe {
        http_get: Some(get),
        initial_delay_seconds: shown(initial_delay),
        period_seconds: shown(period),
        failure_threshold: shown(failures),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

pub(super) fn exec(command: &[&str]) -> LifecycleHandler {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    LifecycleHandler {
        exec: Some(ExecAction {
            command: Some(command),
        }),
        ..LifecycleHandler::default()
    }
}

/// Resources as Kubernetes prints their amounts.
pub(super) fn canonical(mut resources: ResourceRequirements) -> ResourceRequirements {
    for amounts in [&mut resources.limits, &mut resources.requests]
        .into_iter()
        .flatten()
    {
        for amount in amounts.values_mut() {
            if let Ok(printed) = crate::quantity::canonical(&amount.0) {
                amount.0 = printed;
            }
        }
    }
    resources
}

/// A container with a name and an image, and all else to be set.
pub(super) fn container(name: &str, image: String) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image),
        ..Container::default()
    }
}
