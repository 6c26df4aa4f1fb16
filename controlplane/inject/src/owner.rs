//! The workload that a pod belongs to (contract/inject.md §2, Owner of pods).

use serde_json::Value;

use crate::pod::PodObject;
use crate::settings::Owner;

/// The workload of a pod as its controller made it; a pod of nobody is its own.
pub(crate) fn of_pod(pod: &PodObject) -> Owner {
    let generated = pod
        .0
        .get("metadata")
        .and_then(|meta| meta.get("generateName"))
        .and_then(Value::as_str)
        .is_some_and(|name| !name.is_empty());
    let found = if generated {
        controller(pod).map(|reference| of_controller(pod, reference))
    } else {
        None
    };
    let mut owner = found.unwrap_or_else(|| Owner {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        ..Owner::default()
    });
    if owner.name.is_empty() {
        owner.name = pod.name().to_owned();
    }
    owner.namespace = pod.namespace().to_owned();
    owner
}

fn controller(pod: &PodObject) -> Option<&Value> {
    let references = pod.0.get("metadata")?.get("ownerReferences")?.as_array()?;
    references.iter().find(|reference| {
        reference
            .get("controller")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    })
}

fn of_controller(pod: &PodObject, reference: &Value) -> Owner {
    let text = |key: &str| {
        reference
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (api_version, kind, name) = (text("apiVersion"), text("kind"), text("name"));
    let owner = |api_version: String, kind: &str, name: &str| Owner {
        api_version,
        kind: kind.to_owned(),
        name: name.to_owned(),
        namespace: String::new(),
    };
    let without_hash = |label: &str| -> Option<String> {
        let hash = pod.label(label)?;
        Some(name.strip_suffix(hash)?.strip_suffix('-')?.to_owned())
    };
    match kind.as_str() {
        "ReplicaSet" => {
            if let Some(rollout) = without_hash("rollouts-pod-template-hash") {
                return owner("v1alpha1".to_owned(), "Rollout", &rollout);
            }
            if let Some(deployment) = without_hash("pod-template-hash") {
                return owner(api_version, "Deployment", &deployment);
            }
        }
        "ReplicationController" => {
            if let Some(config) = pod.label("deploymentconfig") {
                return owner(api_version, "DeploymentConfig", config);
            }
        }
        "Job" => {
            if let Some((cron_job, digits)) = name.rsplit_once('-')
                && (8..=10).contains(&digits.len())
                && digits.bytes().all(|digit| digit.is_ascii_digit())
            {
                return owner("batch/v1".to_owned(), "CronJob", cron_job);
            }
        }
        _ => {}
    }
    owner(api_version, &kind, &name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn controllers_are_followed_to_what_people_wrote() {
        for (reference, labels, expected) in [
            (
                json!(["apps/v1", "ReplicaSet", "web-abc"]),
                json!({"pod-template-hash": "abc"}),
                ["apps/v1", "Deployment", "web"],
            ),
            (
                json!(["apps/v1", "ReplicaSet", "web-abc"]),
                json!({}),
                ["apps/v1", "ReplicaSet", "web-abc"],
            ),
            (
                json!(["apps/v1", "ReplicaSet", "r-x"]),
                json!({"rollouts-pod-template-hash": "x"}),
                ["v1alpha1", "Rollout", "r"],
            ),
            (
                json!(["v1", "ReplicationController", "c-1"]),
                json!({"deploymentconfig": "c"}),
                ["v1", "DeploymentConfig", "c"],
            ),
            (
                json!(["batch/v1", "Job", "tick-12345678"]),
                json!({}),
                ["batch/v1", "CronJob", "tick"],
            ),
            (
                json!(["batch/v1", "Job", "tick-1234567"]),
                json!({}),
                ["batch/v1", "Job", "tick-1234567"],
            ),
            (
                json!(["apps/v1", "StatefulSet", "db"]),
                json!({}),
                ["apps/v1", "StatefulSet", "db"],
            ),
        ] {
            let pod = json!({"metadata": {"generateName": "x-", "namespace": "n", "labels": labels, "ownerReferences": [
                {"apiVersion": reference[0], "kind": reference[1], "name": reference[2], "controller": true}
            ]}});
            let found = of_pod(&PodObject(pod.as_object().cloned().unwrap_or_default()));
            assert_eq!(
                [
                    found.api_version.as_str(),
                    &found.kind,
                    &found.name,
                    &found.namespace
                ],
                [expected[0], expected[1], expected[2], "n"]
            );
        }
        let pod = json!({"metadata": {"name": "alone"}});
        let found = of_pod(&PodObject(pod.as_object().cloned().unwrap_or_default()));
        assert_eq!((found.kind.as_str(), found.name.as_str()), ("Pod", "alone"));
    }
}
