//! Analyzers of pods, of what selects them, and of the mesh's own installation.

use super::{
    Analyzer, annotations, application_uid, authorization, conditions, deployment_services,
    deprecation, external_control_plane, injection, injection_image, kubernetes_gateway,
    mesh_networks, multi_cluster, port_name, sidecar, telemetry, webhook,
};

pub(super) fn pods_family() -> Vec<Analyzer> {
    vec![
        annotations::KUBERNETES,
        application_uid::ANALYZER,
        authorization::POLICIES,
        authorization::BLOCKED_CIDRS,
        conditions::ANALYZER,
        deployment_services::ANALYZER,
        deprecation::ANALYZER,
        external_control_plane::ANALYZER,
        injection::ANALYZER,
        injection_image::IMAGE,
        injection_image::IMAGE_AUTO,
        kubernetes_gateway::SELECTOR,
        kubernetes_gateway::CRD_VERSION,
        mesh_networks::ANALYZER,
        multi_cluster::ANALYZER,
        port_name::ANALYZER,
        sidecar::ANALYZER,
        telemetry::PROVIDER,
        telemetry::SELECTOR,
        telemetry::DEFAULT_SELECTOR,
        telemetry::LIGHTSTEP,
        webhook::ANALYZER,
    ]
}

pub(super) fn on_request() -> Vec<Analyzer> {
    vec![annotations::ALPHA]
}
