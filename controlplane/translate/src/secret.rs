//! Secrets of Kubernetes for gateways (SDS). A proxy gets those of its own namespace and no others.

use bytes::Bytes;
use lateen_controlplane_model::proxy::Proxy;
use lateen_controlplane_model::snapshot::{SecretData, Snapshot};

use crate::pb::core::{DataSource, data_source};
use crate::pb::tls::{CertificateValidationContext, Secret, TlsCertificate, secret};

const AUTHORITIES: &str = "-cacert";

/// The secret of an SDS name for a proxy; `None` when there is no such Secret or it belongs to another namespace.
pub(crate) fn secret(snapshot: &Snapshot, proxy: &Proxy, name: &str) -> Option<Secret> {
    let path = name
        .strip_prefix("kubernetes://")
        .or_else(|| name.strip_prefix("kubernetes-gateway://"))?;
    let (namespace, object) = path.split_once('/').unwrap_or((&proxy.namespace, path));
    if *namespace != *proxy.namespace {
        return None;
    }
    let kind = match object.strip_suffix(AUTHORITIES) {
        Some(base) => {
            let find = |name: &str| {
                snapshot
                    .secrets
                    .value(namespace, name)
                    .and_then(|data| authorities(data))
            };
            find(object).or_else(|| find(base))?
        }
        None => certificate(snapshot.secrets.value(namespace, object)?)?,
    };
    Some(Secret {
        name: name.to_owned(),
        r#type: Some(kind),
    })
}

fn certificate(data: &SecretData) -> Option<secret::Type> {
    Some(secret::Type::TlsCertificate(TlsCertificate {
        certificate_chain: Some(inline(data.certificate.as_ref()?)),
        private_key: Some(inline(data.key.as_ref()?)),
        ocsp_staple: data.ocsp.as_ref().map(inline),
        ..Default::default()
    }))
}

fn authorities(data: &SecretData) -> Option<secret::Type> {
    Some(secret::Type::ValidationContext(
        CertificateValidationContext {
            trusted_ca: Some(inline(data.authorities.as_ref()?)),
            crl: data.revocations.as_ref().map(inline),
            ..Default::default()
        },
    ))
}

fn inline(bytes: &Bytes) -> DataSource {
    DataSource {
        specifier: Some(data_source::Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    }
}
