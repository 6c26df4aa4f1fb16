//! Configuration objects as rules, with names in full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use k8s_openapi::api::core::v1::Secret;
use lateen_api::host::expand;
use lateen_api::networking::{DestinationRule, Gateway, Sidecar, VirtualService};
use lateen_api::object::Object;
use lateen_api::security::PeerAuthentication;
use lateen_controlplane_model::generate::Rejection;
use lateen_controlplane_model::routing;
use lateen_controlplane_model::rule::Rule;
use lateen_controlplane_model::service::Visibility;
use lateen_controlplane_model::snapshot::{Mesh, SecretData};

use crate::kubernetes::created;
use crate::store::Id;

/// VirtualServices as written, and as they are in effect.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    written: BTreeMap<Id, Arc<Rule<VirtualService>>>,
    effective: BTreeMap<Id, Arc<Rule<VirtualService>>>,
    rejections: BTreeMap<Id, Vec<Rejection>>,
}

/// A rule in effect before and after.
pub(crate) type RouteChange = (
    Option<Arc<Rule<VirtualService>>>,
    Option<Arc<Rule<VirtualService>>>,
);

fn rule<T>(object: &Object, export_to: Visibility, spec: T) -> Rule<T> {
    Rule {
        namespace: object.key.namespace.as_str().into(),
        name: object.key.name.as_str().into(),
        created: created(&object.meta),
        export_to,
        spec,
    }
}

/// A VirtualService with names in full.
fn virtual_service(object: &Object, spec: &VirtualService, mesh: &Mesh) -> Rule<VirtualService> {
    let mut spec = spec.clone();
    routing::qualify(&mut spec, &object.key.namespace, &mesh.domain);
    let export = Visibility::parse(
        &spec.export_to,
        &mesh.config.default_virtual_service_export_to,
        &object.key.namespace,
    );
    rule(object, export, spec)
}

/// A DestinationRule with its host in full.
pub(crate) fn destination_rule(
    object: &Object,
    spec: &DestinationRule,
    mesh: &Mesh,
) -> Rule<DestinationRule> {
    let mut spec = spec.clone();
    spec.host = expand(&spec.host, &object.key.namespace, &mesh.domain).into_owned();
    let export = Visibility::parse(
        &spec.export_to,
        &mesh.config.default_destination_rule_export_to,
        &object.key.namespace,
    );
    rule(object, export, spec)
}

/// A Gateway.
pub(crate) fn gateway(object: &Object, spec: &Gateway) -> Rule<Gateway> {
    rule(object, Visibility::Public, spec.clone())
}

/// A Sidecar with its egress proxy in full.
pub(crate) fn sidecar(object: &Object, spec: &Sidecar, mesh: &Mesh) -> Rule<Sidecar> {
    let mut spec = spec.clone();
    let proxy = spec
        .outbound_traffic_policy
        .as_mut()
        .and_then(|policy| policy.egress_proxy.as_mut());
    if let Some(proxy) = proxy {
        proxy.host = expand(&proxy.host, &object.key.namespace, &mesh.domain).into_owned();
    }
    rule(object, Visibility::Public, spec)
}

/// A PeerAuthentication.
pub(crate) fn peer(object: &Object, spec: &PeerAuthentication) -> Rule<PeerAuthentication> {
    rule(object, Visibility::Public, spec.clone())
}

/// The parts of a Secret that proxies use, by either set of names; `None` for any other Secret.
pub(crate) fn secret(kube: &Secret) -> Option<SecretData> {
    let data = kube.data.as_ref()?;
    let text = kube.string_data.as_ref();
    let value = |keys: [&str; 2]| {
        keys.iter().find_map(|key| {
            let stated = text
                .and_then(|text| text.get(*key))
                .map(|text| Bytes::from(text.clone()));
            stated.or_else(|| data.get(*key).map(|bytes| Bytes::from(bytes.0.clone())))
        })
    };
    let secret = SecretData {
        certificate: value(["cert", "tls.crt"]),
        key: value(["key", "tls.key"]),
        authorities: value(["cacert", "ca.crt"]),
        revocations: value(["crl", "ca.crl"]),
        ocsp: value(["tls.ocsp-staple", "tls.ocsp-staple"]),
    };
    (secret.certificate.is_some() || secret.authorities.is_some()).then_some(secret)
}

impl Routes {
    /// Takes changed objects in; the rules in effect before and after come back, for every rule that differs.
    pub(crate) fn update(
        &mut self,
        stale: &BTreeSet<Id>,
        objects: &BTreeMap<Id, Arc<Object>>,
        mesh: &Mesh,
    ) -> Vec<RouteChange> {
        for id in stale {
            match objects.get(id).and_then(|object| {
                Some(virtual_service(
                    object,
                    object.spec.as_virtual_service()?,
                    mesh,
                ))
            }) {
                Some(rule) => drop(self.written.insert(id.clone(), Arc::new(rule))),
                None => drop(self.written.remove(id)),
            }
        }
        let delegating = self
            .written
            .iter()
            .filter(|(_, rule)| delegates(rule))
            .map(|(id, _)| id.clone());
        let again: BTreeSet<Id> = stale.iter().cloned().chain(delegating).collect();
        let mut changes = Vec::new();
        for id in again {
            let (new, problems) = self.join(&id);
            if problems.is_empty() {
                self.rejections.remove(&id);
            } else {
                self.rejections.insert(id.clone(), problems);
            }
            let old = self.effective.get(&id).cloned();
            if old.as_deref() == new.as_deref() {
                continue;
            }
            match &new {
                Some(rule) => drop(self.effective.insert(id, Arc::clone(rule))),
                None => drop(self.effective.remove(&id)),
            }
            changes.push((old, new));
        }
        changes
    }

    /// The rules in effect.
    pub(crate) fn effective(&self) -> Vec<Arc<Rule<VirtualService>>> {
        self.effective.values().cloned().collect()
    }

    /// Delegations that lead nowhere.
    pub(crate) fn rejections(&self) -> impl Iterator<Item = &Rejection> {
        self.rejections.values().flatten()
    }

    /// A rule in effect: delegates stand for nothing of their own, roots have theirs merged in.
    fn join(&self, id: &Id) -> (Option<Arc<Rule<VirtualService>>>, Vec<Rejection>) {
        let Some(rule) = self
            .written
            .get(id)
            .filter(|rule| !rule.spec.hosts.is_empty())
        else {
            return (None, Vec::new());
        };
        if !delegates(rule) {
            return (Some(Arc::clone(rule)), Vec::new());
        }
        let find = |namespace: &str, name: &str| {
            self.written.get(&(namespace.into(), name.into())).cloned()
        };
        let (merged, problems) = routing::with_delegates(rule, find);
        let problems = problems.into_iter().map(|problem| Rejection {
            kind: "VirtualService".into(),
            object: rule.full_name(),
            field: problem.field,
            reason: problem.reason,
        });
        (Some(Arc::new(merged)), problems.collect())
    }
}

fn delegates(rule: &Rule<VirtualService>) -> bool {
    !rule.spec.hosts.is_empty() && rule.spec.http.iter().any(|route| route.delegate.is_some())
}
