//! Where the pod of a workload's manifest is, and the zero values with which Kubernetes' own tools print it (contract/inject.md §9).

use serde_json::{Map, Value, json};

use crate::pod::{PodObject, array, object};

/// A kind that holds a pod. The kind's name alone decides, whatever the API version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    Pod,
    /// `spec.template`.
    Template,
    /// `spec.jobTemplate.spec.template`, with the metadata of `spec.jobTemplate`.
    CronJob,
}

impl Workload {
    pub(crate) fn of_kind(kind: &str) -> Option<Self> {
        match kind {
            "Pod" => Some(Self::Pod),
            "CronJob" => Some(Self::CronJob),
            "ReplicationController"
            | "Deployment"
            | "DaemonSet"
            | "ReplicaSet"
            | "StatefulSet"
            | "Job"
            | "DeploymentConfig" => Some(Self::Template),
            _ => None,
        }
    }

    /// The path of the pod's spec in the manifest, for error texts.
    pub(crate) const fn spec_path(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &["spec"],
            Self::Template => &["spec", "template", "spec"],
            Self::CronJob => &["spec", "jobTemplate", "spec", "template", "spec"],
        }
    }

    /// The path of the metadata that counts as the pod's.
    const fn metadata_path(self) -> &'static [&'static str] {
        match self {
            Self::Pod => &["metadata"],
            Self::Template => &["spec", "template", "metadata"],
            Self::CronJob => &["spec", "jobTemplate", "metadata"],
        }
    }

    /// The pod of a manifest; `None` when the manifest has no pod spec.
    pub(crate) fn pod(self, manifest: &Map<String, Value>) -> Option<PodObject> {
        let spec = at(manifest, self.spec_path())?.as_object()?.clone();
        let metadata = at(manifest, self.metadata_path())
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        Some(PodObject(Map::from_iter([
            ("metadata".to_owned(), metadata.into()),
            ("spec".to_owned(), spec.into()),
        ])))
    }

    /// Puts a pod back.
    pub(crate) fn put(self, manifest: &mut Map<String, Value>, mut pod: PodObject) {
        for (path, key) in [
            (self.metadata_path(), "metadata"),
            (self.spec_path(), "spec"),
        ] {
            if let (Some(part), Some((last, parents))) =
                (pod.0.shift_remove(key), path.split_last())
            {
                parents
                    .iter()
                    .fold(&mut *manifest, |map, step| object(map, step))
                    .insert((*last).to_owned(), part);
            }
        }
    }
}

fn at<'a>(manifest: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(manifest.get(*first)?, |value, step| value.get(*step))
}

/// Adds the fields that Go prints even when they are zero.
pub(crate) fn zero_values(kind: &str, workload: Workload, manifest: &mut Map<String, Value>) {
    let spec_path = workload.spec_path();
    let spec = spec_path
        .iter()
        .fold(&mut *manifest, |map, step| object(map, step));
    for key in ["containers", "initContainers"] {
        for container in spec
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            container.entry("resources").or_insert_with(|| json!({}));
        }
    }
    if let Some((_, parents)) = spec_path.split_last() {
        object(
            parents
                .iter()
                .fold(&mut *manifest, |map, step| object(map, step)),
            "metadata",
        );
    }
    let (spec_fields, status) = printed(kind);
    let spec = object(manifest, "spec");
    for key in spec_fields {
        object(spec, key);
    }
    if spec.contains_key("volumeClaimTemplates") {
        for claim in array(spec, "volumeClaimTemplates")
            .iter_mut()
            .filter_map(Value::as_object_mut)
        {
            object(object(claim, "spec"), "resources");
            object(claim, "status");
        }
    }
    let shown = object(manifest, "status");
    for counter in status {
        shown.entry(*counter).or_insert_with(|| json!(0));
    }
}

/// The empty objects of a kind's spec, and the counters of its status.
fn printed(kind: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match kind {
        "Deployment" => (&["strategy"], &[]),
        "DaemonSet" => (
            &["updateStrategy"],
            &[
                "currentNumberScheduled",
                "desiredNumberScheduled",
                "numberMisscheduled",
                "numberReady",
            ],
        ),
        "StatefulSet" => (&["updateStrategy"], &["availableReplicas", "replicas"]),
        "ReplicaSet" | "ReplicationController" => (&[], &["replicas"]),
        "DeploymentConfig" => (
            &["strategy"],
            &[
                "availableReplicas",
                "latestVersion",
                "observedGeneration",
                "replicas",
                "unavailableReplicas",
                "updatedReplicas",
            ],
        ),
        _ => (&[], &[]),
    }
}
