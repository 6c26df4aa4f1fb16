//! From a name as people write it to a pod, a container or a workload.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Container;

use super::Supervisor;
use crate::pod::{PodEntry, PodKey, WorkloadKey};

/// Annotation that names the container meant when none is given.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

impl Supervisor {
    /// A pod by `NAME`, `NAME.NAMESPACE`, `NAMESPACE/NAME`, `deployment/NAME`, or the name of its workload.
    pub(super) fn pod(&self, text: &str) -> Result<Arc<PodEntry>, String> {
        let pods = self.context.pods.all();
        let direct = candidates(text, &self.spec.namespace)
            .into_iter()
            .find_map(|key| self.context.pods.find(&key));
        if let Some(pod) = direct {
            return Ok(pod);
        }
        let (name, namespace) = split(text);
        let name = name.split_once('/').map_or(name, |(_, name)| name);
        let fits = |p: &&Arc<PodEntry>| {
            let key = p.key();
            (key.name == name || p.plan.workload.name == name)
                && namespace.is_none_or(|n| n == key.namespace)
        };
        let mut found: Vec<&Arc<PodEntry>> = pods.iter().filter(fits).collect();
        // Of several pods of a workload: one that serves.
        found.sort_by_key(|p| (p.deletion().is_some(), !p.is_ready()));
        found
            .first()
            .map(|p| Arc::clone(p))
            .ok_or_else(|| format!("no pod \"{text}\"; `lateenctl local status` lists them"))
    }

    /// A workload by `KIND/NAME`, `NAME` or `NAME.NAMESPACE`.
    pub(super) fn workload(&self, text: &str) -> Result<WorkloadKey, String> {
        let (kind, rest) = text
            .split_once('/')
            .map_or((None, text), |(kind, rest)| (Some(kind), rest));
        let (name, namespace) = split(rest);
        let plan = crate::lock(&self.desired).plan();
        let kinds = |key: &WorkloadKey| {
            let full = key.kind.to_ascii_lowercase();
            kind.is_none_or(|k| {
                full == k || full.starts_with(k.trim_end_matches('s')) || alias(k) == full
            })
        };
        let found = plan.workloads.iter().map(|w| &w.key).find(|key| {
            kinds(key)
                && (key.name == name && namespace.is_none_or(|n| n == key.namespace)
                    || key.name == rest)
        });
        found
            .cloned()
            .ok_or_else(|| format!("no workload \"{text}\"; name one as deployment/NAME"))
    }
}

/// Short names of kinds.
fn alias(kind: &str) -> &str {
    match kind {
        "sts" => "statefulset",
        "ds" => "daemonset",
        "rs" => "replicaset",
        "po" => "pod",
        other => other,
    }
}

fn candidates(text: &str, namespace: &str) -> Vec<PodKey> {
    let key = |namespace: &str, name: &str| PodKey {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    };
    let mut keys = vec![key(namespace, text)];
    keys.extend(
        text.rsplit_once('.')
            .map(|(name, namespace)| key(namespace, name)),
    );
    keys.extend(text.split_once('/').map(|(first, name)| {
        if matches!(first, "pod" | "pods" | "po") {
            key(namespace, name)
        } else {
            key(first, name)
        }
    }));
    keys
}

fn split(text: &str) -> (&str, Option<&str>) {
    text.rsplit_once('.')
        .map_or((text, None), |(name, namespace)| (name, Some(namespace)))
}

/// The container that is meant: the given one, else the pod's default, else its first app container.
pub(super) fn container(pod: &PodEntry, given: Option<&str>) -> Result<String, String> {
    let names: Vec<String> = pod.containers().into_iter().map(|c| c.name).collect();
    if let Some(given) = given {
        let known = names.iter().any(|n| n == given);
        let error = || {
            format!(
                "pod {} has no container \"{given}\"; it has {}",
                pod.key(),
                names.join(", ")
            )
        };
        return if known {
            Ok(given.to_owned())
        } else {
            Err(error())
        };
    }
    let annotated = pod
        .plan
        .pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get(DEFAULT_CONTAINER));
    let main: &[Container] = pod.plan.spec().map_or(&[], |s| &s.containers);
    let app = main
        .iter()
        .map(|c| &c.name)
        .find(|n| *n != "istio-proxy")
        .or_else(|| main.first().map(|c| &c.name));
    annotated
        .filter(|n| names.contains(n))
        .or(app)
        .cloned()
        .ok_or_else(|| format!("pod {} has no container", pod.key()))
}
