//! The state of the mesh as people see it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::{Supervisor, controller, tell};
use crate::network::BRIDGE;
use crate::plan::MeshPlan;
use crate::pod::{ContainerState, ContainerStatus, Phase, PodEntry};
use crate::protocol::{Event, MeshStatus, PodSummary};
use crate::workload::{Strategy, WorkloadPlan};

/// Shortest time between two reports.
const PAUSE: Duration = Duration::from_millis(100);

/// Tells the starting process how far the mesh is until it is up.
pub(super) async fn report(supervisor: Arc<Supervisor>) {
    let mut changes = supervisor.context.pods.watch();
    loop {
        let version = *changes.borrow_and_update();
        let status = supervisor.status();
        if status.ready {
            let mut published = supervisor.published.clone();
            if published.wait_for(|v| *v >= version).await.is_err() {
                return;
            }
            tell(&Event::Ready(status));
            return;
        }
        tell(&Event::Progress(status));
        tokio::time::sleep(PAUSE).await;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl Supervisor {
    /// State of the whole mesh.
    pub(super) fn status(&self) -> MeshStatus {
        let plan = crate::lock(&self.desired).plan();
        let pods = self.context.pods.all();
        MeshStatus {
            name: self.state.name().as_str().to_owned(),
            ready: is_ready(&plan, &pods),
            ingress: self.spec.ingress.clone(),
            bridge: BRIDGE.to_owned(),
            pods: pods.iter().map(|p| summary(p)).collect(),
            problems: crate::lock(&self.problems).clone(),
        }
    }
}

fn is_ready(plan: &MeshPlan, pods: &[Arc<PodEntry>]) -> bool {
    plan.workloads
        .iter()
        .all(|workload| is_complete(workload, pods))
}

fn is_complete(workload: &WorkloadPlan, pods: &[Arc<PodEntry>]) -> bool {
    let own = pods
        .iter()
        .filter(|p| p.plan.workload == workload.key && p.deletion().is_none());
    let current =
        own.filter(|p| p.plan.revision == workload.revision || workload.strategy == Strategy::Keep);
    if let Strategy::Completions { wanted, .. } = workload.strategy {
        return current.filter(|p| p.phase() == Phase::Succeeded).count() >= wanted;
    }
    current
        .filter(|p| controller::view(p, workload).available)
        .count()
        >= workload.replicas
}

fn summary(pod: &PodEntry) -> PodSummary {
    let containers = pod.containers();
    let running: Vec<&ContainerStatus> =
        containers.iter().filter(|c| !c.init || c.sidecar).collect();
    let (status, message) = status(pod, &containers);
    let label = |key: &str| {
        pod.plan
            .pod
            .metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(key))
            .cloned()
    };
    PodSummary {
        name: pod.key().name,
        namespace: pod.key().namespace,
        workload: format!("{}/{}", pod.plan.workload.kind, pod.plan.workload.name),
        ready: (running.iter().filter(|c| c.ready).count(), running.len()),
        status,
        message,
        restarts: containers.iter().map(|c| c.restarts).sum(),
        ip: pod.ip.to_string(),
        version: label("version")
            .or_else(|| label("app.kubernetes.io/version"))
            .unwrap_or_default(),
        spiffe: spiffe(pod),
        containers: containers.iter().map(|c| c.name.clone()).collect(),
        age: u64::try_from(Timestamp::now().as_second() - pod.created.as_second()).unwrap_or(0),
    }
}

/// One word as kubectl prints it, and more where something is wrong.
fn status(pod: &PodEntry, containers: &[ContainerStatus]) -> (String, String) {
    if pod.deletion().is_some() {
        return ("Terminating".to_owned(), String::new());
    }
    let reason = |c: &ContainerStatus| match &c.state {
        ContainerState::Waiting { reason, message } if *reason != "PodInitializing" => {
            Some(((*reason).to_owned(), message.clone()))
        }
        _ => None,
    };
    if let Some(found) = containers.iter().find_map(reason) {
        return found;
    }
    (pod.phase().as_str().to_owned(), String::new())
}

/// Identity of a pod with a proxy.
fn spiffe(pod: &PodEntry) -> String {
    let spec = pod.plan.spec();
    let names = spec
        .iter()
        .flat_map(|s| {
            s.containers
                .iter()
                .chain(s.init_containers.iter().flatten())
        })
        .map(|c| c.name.as_str());
    if !names.into_iter().any(|name| name == "istio-proxy") {
        return String::new();
    }
    let account = spec
        .and_then(|s| s.service_account_name.as_deref())
        .filter(|a| !a.is_empty())
        .unwrap_or("default");
    format!(
        "spiffe://cluster.local/ns/{}/sa/{account}",
        pod.key().namespace
    )
}
