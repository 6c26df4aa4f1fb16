//! Brings the pods to what the plan says, whenever either changes.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;

use super::Supervisor;
use crate::pod::{self, PodEntry, PodPlan};
use crate::workload::{PodView, Step, Strategy, WorkloadPlan, next_steps};

/// How often availability by time (`minReadySeconds`) is looked at.
const TICK: Duration = Duration::from_secs(1);

/// Works until the mesh ends.
pub(super) async fn run(supervisor: Arc<Supervisor>) {
    let mut changes = supervisor.context.pods.watch();
    loop {
        changes.mark_unchanged();
        step(&supervisor);
        tokio::select! {
            _ = changes.changed() => {}
            () = supervisor.changed.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

fn step(supervisor: &Arc<Supervisor>) {
    let plan = crate::lock(&supervisor.desired).plan();
    for workload in &plan.workloads {
        let pods: Vec<PodView> = supervisor
            .context
            .pods
            .of(&workload.key)
            .iter()
            .map(|p| view(p, workload))
            .collect();
        for step in next_steps(workload, &pods) {
            match step {
                Step::Create(name) => create(supervisor, workload, name),
                Step::Delete(key) => {
                    if let Some(pod) = supervisor.context.pods.find(&key) {
                        supervisor.end_pod(pod);
                    }
                }
            }
        }
    }
    let planned = |pod: &PodEntry| plan.workloads.iter().any(|w| w.key == pod.plan.workload);
    for pod in supervisor
        .context
        .pods
        .all()
        .into_iter()
        .filter(|p| p.deletion().is_none() && !planned(p))
    {
        supervisor.end_pod(pod);
    }
}

/// What the controllers see of a pod.
pub(super) fn view(pod: &PodEntry, workload: &WorkloadPlan) -> PodView {
    let long_enough = |since: Timestamp| {
        let age = Timestamp::now()
            .as_second()
            .saturating_sub(since.as_second());
        u64::try_from(age).unwrap_or(0) >= workload.min_ready_seconds
    };
    PodView {
        key: pod.key(),
        revision: pod.plan.revision.clone(),
        available: pod.deletion().is_none() && pod.ready_since().is_some_and(long_enough),
        deleting: pod.deletion().is_some(),
        phase: pod.phase(),
    }
}

fn create(supervisor: &Arc<Supervisor>, workload: &WorkloadPlan, name: Option<String>) {
    let plan = instance(workload, name);
    match supervisor.context.pods.add(plan) {
        Ok(entry) => {
            tokio::spawn(pod::run(Arc::clone(&supervisor.context), entry));
        }
        Err(error) => tracing::error!(workload = %workload.key, %error, "pod cannot be made"),
    }
}

/// One pod of a workload, with its name, identity and owner.
fn instance(workload: &WorkloadPlan, name: Option<String>) -> PodPlan {
    let mut pod = workload.template.clone();
    let uid = uuid::Uuid::new_v4();
    let random: String = uid.simple().to_string().chars().take(5).collect();
    let replicated = workload.key.kind == "Deployment";
    let set = format!("{}-{}", workload.key.name, workload.revision);
    let name = name
        .or_else(|| pod.metadata.name.clone())
        .unwrap_or_else(|| {
            if replicated {
                format!("{set}-{random}")
            } else {
                format!("{}-{random}", workload.key.name)
            }
        });
    if matches!(workload.strategy, Strategy::Ordinal { .. })
        && let Some(spec) = pod.spec.as_mut()
    {
        spec.hostname = Some(name.clone());
    }
    let labels = pod.metadata.labels.get_or_insert_default();
    if replicated {
        labels.insert("pod-template-hash".to_owned(), workload.revision.clone());
    }
    if workload.key.kind != "Pod" {
        pod.metadata.owner_references = Some(vec![owner(workload, &set, replicated)]);
    }
    pod.metadata.name = Some(name);
    pod.metadata.uid = Some(uid.to_string());
    PodPlan {
        workload: workload.key.clone(),
        revision: workload.revision.clone(),
        pod,
        programs: workload.programs.clone(),
    }
}

fn owner(workload: &WorkloadPlan, set: &str, replicated: bool) -> OwnerReference {
    let key = &workload.key;
    let (kind, name) = if replicated {
        ("ReplicaSet", set)
    } else {
        (key.kind.as_str(), key.name.as_str())
    };
    let api_version = match key.kind.as_str() {
        "Job" => "batch/v1",
        "ReplicationController" => "v1",
        _ => "apps/v1",
    };
    OwnerReference {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: format!("{}.{}.{name}", kind.to_ascii_lowercase(), key.namespace),
        controller: Some(true),
        block_owner_deletion: None,
    }
}
