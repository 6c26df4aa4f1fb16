//! ConfigMaps and Secrets of the mesh, and whether pods ask for ones that are not there.

use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret};
use lateen_api::object::{Object, Problem, Severity, Spec};

use crate::facts::{Data, Settings};

/// ConfigMap with the root certificate, which comes once lateend has made it.
pub(crate) const ROOT_CERTIFICATE: &str = "istio-ca-root-cert";

/// ConfigMaps and Secrets among the objects.
pub(super) fn collect(objects: &[Object]) -> Settings {
    let mut settings = Settings::default();
    for object in objects {
        let key = (object.key.namespace.clone(), object.key.name.clone());
        match &object.spec {
            Spec::ConfigMap(map) => {
                settings.config_maps.insert(key, config_map(map));
            }
            Spec::Secret(secret) => {
                settings.secrets.insert(key, self::secret(secret));
            }
            _ => {}
        }
    }
    settings
}

fn config_map(map: &ConfigMap) -> Data {
    let text = map
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map
        .binary_data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()));
    text.chain(binary).collect()
}

fn secret(secret: &Secret) -> Data {
    let binary = secret
        .data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.0.clone()));
    let text = secret
        .string_data
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    binary.chain(text).collect()
}

/// ConfigMaps and Secrets that a pod needs and that nothing gives.
pub(super) fn missing(
    object: &Object,
    prefix: &str,
    spec: &PodSpec,
    settings: &Settings,
) -> Vec<Problem> {
    let namespace = &object.key.namespace;
    let mut problems = Vec::new();
    let mut need = |kind: &str, name: &str, optional: Option<bool>, field: String| {
        let key = (namespace.clone(), name.to_owned());
        let there = if kind == "ConfigMap" {
            name == ROOT_CERTIFICATE || settings.config_maps.contains_key(&key)
        } else {
            settings.secrets.contains_key(&key)
        };
        if !there && optional != Some(true) {
            let message =
                format!("{kind} \"{name}\" is not in namespace \"{namespace}\"; add it with -f");
            problems.push(object.problem(Severity::Error, &field, message));
        }
    };
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        let field = format!("{prefix}.volumes[{index}]");
        if let Some(map) = &volume.config_map {
            need("ConfigMap", &map.name, map.optional, field.clone());
        }
        if let Some(secret) = &volume.secret {
            need(
                "Secret",
                secret.secret_name.as_deref().unwrap_or_default(),
                secret.optional,
                field.clone(),
            );
        }
        for source in volume
            .projected
            .iter()
            .flat_map(|p| p.sources.iter().flatten())
        {
            if let Some(map) = &source.config_map {
                need("ConfigMap", &map.name, map.optional, field.clone());
            }
            if let Some(secret) = &source.secret {
                need("Secret", &secret.name, secret.optional, field.clone());
            }
        }
    }
    for (index, container) in spec.containers.iter().enumerate() {
        for (kind, name, optional) in references(container) {
            need(
                kind,
                &name,
                optional,
                format!("{prefix}.containers[{index}]"),
            );
        }
    }
    problems
}

/// ConfigMaps and Secrets that a container's environment names.
fn references(container: &Container) -> Vec<(&'static str, String, Option<bool>)> {
    let mut found = Vec::new();
    for source in container.env_from.iter().flatten() {
        found.extend(
            source
                .config_map_ref
                .iter()
                .map(|r| ("ConfigMap", r.name.clone(), r.optional)),
        );
        found.extend(
            source
                .secret_ref
                .iter()
                .map(|r| ("Secret", r.name.clone(), r.optional)),
        );
    }
    for source in container
        .env
        .iter()
        .flatten()
        .filter_map(|e| e.value_from.as_ref())
    {
        found.extend(
            source
                .config_map_key_ref
                .iter()
                .map(|r| ("ConfigMap", r.name.clone(), r.optional)),
        );
        found.extend(
            source
                .secret_key_ref
                .iter()
                .map(|r| ("Secret", r.name.clone(), r.optional)),
        );
    }
    found
}
