//! Volumes and mounts of the proxy (contract/inject.md §4).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    CSIVolumeSource, ClusterTrustBundleProjection, ConfigMapVolumeSource, DownwardAPIVolumeFile,
    DownwardAPIVolumeSource, EmptyDirVolumeSource, ObjectFieldSelector, ProjectedVolumeSource,
    SecretVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::parts::{mount, volume};
use crate::context::Context;
use crate::error::InjectError;
use crate::names;

const BOOTSTRAP: &str = "custom-bootstrap-volume";
const GKE_CERTIFICATES: &str = "gke-workload-certificate";

/// The volumes of a sidecar.
pub(super) fn sidecar(context: &Context<'_>) -> Result<Vec<Volume>, InjectError> {
    let mut volumes = vec![
        volume("workload-socket"),
        volume("credential-socket"),
        certificates(context, None),
    ];
    common(context, &mut volumes);
    if context.trusts_istiod() {
        volumes.push(Volume {
            config_map: Some(ConfigMapVolumeSource {
                name: "istio-ca-crl".to_owned(),
                optional: Some(true),
                ..ConfigMapVolumeSource::default()
            }),
            ..volume("istio-ca-crl")
        });
    }
    volumes.extend(mtls_certs(context));
    volumes.extend(user_items(context, names::USER_VOLUME)?);
    Ok(volumes)
}

/// The volumes of a gateway.
pub(super) fn gateway(context: &Context<'_>) -> Result<Vec<Volume>, InjectError> {
    let empty = EmptyDirVolumeSource::default;
    let sockets = Volume {
        empty_dir: Some(empty()),
        ..volume("credential-socket")
    };
    let mut volumes = vec![
        volume("workload-socket"),
        sockets,
        certificates(context, Some(empty())),
    ];
    common(context, &mut volumes);
    volumes.extend(mtls_certs(context));
    Ok(volumes)
}

/// The mounts of a sidecar.
pub(super) fn sidecar_mounts(context: &Context<'_>) -> Result<Vec<VolumeMount>, InjectError> {
    let mut mounts = mounts(context, true);
    mounts.extend(user_items(context, names::USER_VOLUME_MOUNT)?);
    Ok(mounts)
}

/// The mounts of a gateway.
pub(super) fn gateway_mounts(context: &Context<'_>) -> Vec<VolumeMount> {
    mounts(context, false)
}

fn mounts(context: &Context<'_>, revocations: bool) -> Vec<VolumeMount> {
    let mut mounts = vec![
        mount("workload-socket", "/var/run/secrets/workload-spiffe-uds"),
        mount("credential-socket", "/var/run/secrets/credential-uds"),
        certificates_mount(context),
    ];
    if context.trusts_istiod() {
        mounts.push(mount("istiod-ca-cert", "/var/run/secrets/istio"));
        if revocations {
            mounts.push(mount("istio-ca-crl", "/var/run/secrets/istio/crl"));
        }
    }
    mounts.push(mount("istio-data", "/var/lib/istio/data"));
    if context.pod.annotation(names::BOOTSTRAP_OVERRIDE).is_some() {
        mounts.push(mount(BOOTSTRAP, "/etc/istio/custom-bootstrap"));
    }
    mounts.push(mount("istio-envoy", "/etc/istio/proxy"));
    mounts.push(mount("istio-token", "/var/run/secrets/tokens"));
    if context.settings.values.global.mount_mtls_certs {
        mounts.push(VolumeMount {
            read_only: Some(true),
            ..mount("istio-certs", "/etc/certs/")
        });
    }
    mounts.push(mount("istio-podinfo", "/etc/istio/pod"));
    mounts
}

/// The volumes between the sockets and the ones of the user.
fn common(context: &Context<'_>, volumes: &mut Vec<Volume>) {
    if let Some(name) = context.pod.annotation(names::BOOTSTRAP_OVERRIDE) {
        let source = ConfigMapVolumeSource {
            name: name.to_owned(),
            ..ConfigMapVolumeSource::default()
        };
        volumes.push(Volume {
            config_map: Some(source),
            ..volume(BOOTSTRAP)
        });
    }
    let memory = EmptyDirVolumeSource {
        medium: Some("Memory".to_owned()),
        ..EmptyDirVolumeSource::default()
    };
    volumes.push(Volume {
        empty_dir: Some(memory),
        ..volume("istio-envoy")
    });
    volumes.push(Volume {
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..volume("istio-data")
    });
    volumes.push(pod_info());
    volumes.push(token(context));
    if context.trusts_istiod() {
        volumes.push(root_certificate(context));
    }
}

fn pod_info() -> Volume {
    let file = |name: &str| DownwardAPIVolumeFile {
        path: name.to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: None,
            field_path: format!("metadata.{name}"),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let source = DownwardAPIVolumeSource {
        items: Some(vec![file("labels"), file("annotations")]),
        default_mode: None,
    };
    Volume {
        downward_api: Some(source),
        ..volume("istio-podinfo")
    }
}

fn token(context: &Context<'_>) -> Volume {
    let token = ServiceAccountTokenProjection {
        audience: Some(context.settings.values.global.sds.token.aud.clone()),
        expiration_seconds: Some(43_200),
        path: "istio-token".to_owned(),
    };
    let projection = VolumeProjection {
        service_account_token: Some(token),
        ..VolumeProjection::default()
    };
    projected("istio-token", projection)
}

fn root_certificate(context: &Context<'_>) -> Volume {
    if context
        .settings
        .values
        .pilot_flag("ENABLE_CLUSTER_TRUST_BUNDLE_API")
    {
        let bundle = ClusterTrustBundleProjection {
            name: Some("istio.io:istiod-ca:root-cert".to_owned()),
            path: "root-cert.pem".to_owned(),
            ..ClusterTrustBundleProjection::default()
        };
        let projection = VolumeProjection {
            cluster_trust_bundle: Some(bundle),
            ..VolumeProjection::default()
        };
        return projected("istiod-ca-cert", projection);
    }
    let source = ConfigMapVolumeSource {
        name: "istio-ca-root-cert".to_owned(),
        ..ConfigMapVolumeSource::default()
    };
    Volume {
        config_map: Some(source),
        ..volume("istiod-ca-cert")
    }
}

fn projected(name: &str, source: VolumeProjection) -> Volume {
    let source = ProjectedVolumeSource {
        sources: Some(vec![source]),
        default_mode: None,
    };
    Volume {
        projected: Some(source),
        ..volume(name)
    }
}

fn certificates(context: &Context<'_>, empty_dir: Option<EmptyDirVolumeSource>) -> Volume {
    if !gke_certificates(context) {
        return Volume {
            empty_dir,
            ..volume("workload-certs")
        };
    }
    let driver = "workloadcertificates.security.cloud.google.com".to_owned();
    Volume {
        csi: Some(CSIVolumeSource {
            driver,
            ..CSIVolumeSource::default()
        }),
        ..volume(GKE_CERTIFICATES)
    }
}

fn certificates_mount(context: &Context<'_>) -> VolumeMount {
    const PATH: &str = "/var/run/secrets/workload-spiffe-credentials";
    if gke_certificates(context) {
        return VolumeMount {
            read_only: Some(true),
            ..mount(GKE_CERTIFICATES, PATH)
        };
    }
    mount("workload-certs", PATH)
}

fn gke_certificates(context: &Context<'_>) -> bool {
    context.settings.values.global.ca_name == "GkeWorkloadCertificate"
}

/// The legacy secret of the service account.
fn mtls_certs(context: &Context<'_>) -> Option<Volume> {
    if !context.settings.values.global.mount_mtls_certs {
        return None;
    }
    let account = context
        .pod
        .spec()
        .and_then(|spec| spec.get("serviceAccountName"))
        .and_then(Value::as_str);
    let source = SecretVolumeSource {
        secret_name: Some(format!(
            "istio.{}",
            account.filter(|name| !name.is_empty()).unwrap_or("default")
        )),
        optional: Some(true),
        ..SecretVolumeSource::default()
    };
    Some(Volume {
        secret: Some(source),
        ..volume("istio-certs")
    })
}

/// The items of an annotation that maps names to volumes or mounts, by name.
fn user_items<T: DeserializeOwned>(
    context: &Context<'_>,
    key: &'static str,
) -> Result<Vec<T>, InjectError> {
    let Some(text) = context.pod.annotation(key).filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let wrong = |reason: String| InjectError::Annotation { key, reason };
    let given: BTreeMap<String, Value> =
        serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let typed = |(name, mut spec): (String, Value)| {
        let fields = spec
            .as_object_mut()
            .ok_or_else(|| wrong(format!("`{name}` is not a mapping")))?;
        fields.insert("name".to_owned(), Value::String(name.clone()));
        serde_json::from_value(spec).map_err(|error| wrong(format!("`{name}`: {error}")))
    };
    given.into_iter().map(typed).collect()
}
