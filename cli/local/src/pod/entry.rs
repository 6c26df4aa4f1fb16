//! What is known of one pod while it runs.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::status::{ContainerState, ContainerStatus, Phase};
use crate::images::Program;
use crate::logs::LogBuffer;

/// Namespace and name of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PodKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// Kind, namespace and name of what pods are made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WorkloadKey {
    /// Such as `Deployment`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A pod to run.
#[derive(Debug, Clone)]
pub(crate) struct PodPlan {
    /// What it is made from.
    pub workload: WorkloadKey,
    /// Fingerprint of the template; a pod with another one is out of date.
    pub revision: String,
    /// The pod, injected, with name, namespace and uid.
    pub pod: Pod,
    /// Program of each container, by the container's name.
    pub programs: BTreeMap<String, Program>,
}

/// When a pod was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deletion {
    /// When.
    pub at: Timestamp,
    /// Time it gets.
    pub grace: Duration,
}

/// One pod while it runs.
#[derive(Debug)]
pub(crate) struct PodEntry {
    /// What it runs.
    pub plan: PodPlan,
    /// Its address.
    pub ip: Ipv4Addr,
    /// When it was made.
    pub created: Timestamp,
    /// Output of its containers.
    pub logs: BTreeMap<String, Arc<LogBuffer>>,
    /// Process that holds its namespaces, once there is one.
    pub sandbox: OnceLock<u32>,
    /// Asks the pod to end by an instant.
    pub stop: watch::Sender<Option<Instant>>,
    live: Mutex<Live>,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Live {
    containers: Vec<ContainerStatus>,
    deletion: Option<Deletion>,
    ready_since: Option<Timestamp>,
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl PodPlan {
    /// Key of the pod.
    #[must_use]
    pub(crate) fn key(&self) -> PodKey {
        let meta = &self.pod.metadata;
        PodKey {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }

    /// Spec of the pod.
    #[must_use]
    pub(crate) fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }
}

impl PodEntry {
    /// A pod that has got its address. Changes of its state are told to `changed`.
    #[must_use]
    pub(crate) fn new(plan: PodPlan, ip: Ipv4Addr, changed: watch::Sender<u64>) -> Self {
        let containers: Vec<ContainerStatus> = statuses(&plan.pod);
        let logs = containers
            .iter()
            .map(|c| (c.name.clone(), Arc::new(LogBuffer::default())))
            .collect();
        Self {
            plan,
            ip,
            created: Timestamp::now(),
            logs,
            sandbox: OnceLock::new(),
            stop: watch::Sender::new(None),
            live: Mutex::new(Live {
                containers,
                deletion: None,
                ready_since: None,
            }),
            changed,
        }
    }

    /// Key of the pod.
    #[must_use]
    pub(crate) fn key(&self) -> PodKey {
        self.plan.key()
    }

    /// State of all containers: init containers first.
    #[must_use]
    pub(crate) fn containers(&self) -> Vec<ContainerStatus> {
        crate::lock(&self.live).containers.clone()
    }

    /// State of one container.
    #[must_use]
    pub(crate) fn container(&self, name: &str) -> Option<ContainerStatus> {
        crate::lock(&self.live)
            .containers
            .iter()
            .find(|c| c.name == name)
            .cloned()
    }

    /// Phase of the pod.
    #[must_use]
    pub(crate) fn phase(&self) -> Phase {
        Phase::of(&crate::lock(&self.live).containers)
    }

    /// All containers are ready.
    #[must_use]
    pub(crate) fn is_ready(&self) -> bool {
        all_ready(&crate::lock(&self.live).containers)
    }

    /// Since when all containers have been ready.
    #[must_use]
    pub(crate) fn ready_since(&self) -> Option<Timestamp> {
        crate::lock(&self.live).ready_since
    }

    /// When the pod was asked to end.
    #[must_use]
    pub(crate) fn deletion(&self) -> Option<Deletion> {
        crate::lock(&self.live).deletion
    }

    /// Marks the pod as ending; false when it was before.
    pub(crate) fn mark_deleted(&self, grace: Duration) -> bool {
        let mut live = crate::lock(&self.live);
        let first = live.deletion.is_none();
        if first {
            live.deletion = Some(Deletion {
                at: Timestamp::now(),
                grace,
            });
        }
        drop(live);
        if first {
            self.bump();
        }
        first
    }

    /// Changes the state of one container.
    pub(crate) fn update(&self, container: &str, change: impl FnOnce(&mut ContainerStatus)) {
        let mut live = crate::lock(&self.live);
        let Some(status) = live.containers.iter_mut().find(|c| c.name == container) else {
            return;
        };
        let before = status.clone();
        change(status);
        let differs = before != *status;
        let ready = all_ready(&live.containers);
        match (ready, live.ready_since) {
            (true, None) => live.ready_since = Some(Timestamp::now()),
            (false, Some(_)) => live.ready_since = None,
            _ => {}
        }
        drop(live);
        if differs {
            self.bump();
        }
    }

    /// Sets one container to waiting, with a reason.
    pub(crate) fn set_waiting(&self, container: &str, reason: &'static str, message: &str) {
        self.update(container, |status| {
            status.state = ContainerState::Waiting {
                reason,
                message: message.to_owned(),
            };
            status.ready = false;
            status.started = false;
        });
    }

    /// Sets all containers that have not been started to waiting, with a reason.
    pub(crate) fn set_pending(&self, reason: &'static str, message: &str) {
        for container in self.containers() {
            if matches!(container.state, ContainerState::Waiting { .. }) {
                self.set_waiting(&container.name, reason, message);
            }
        }
    }

    /// Time the pod gets to end (`terminationGracePeriodSeconds`).
    #[must_use]
    pub(crate) fn grace(&self) -> Duration {
        let seconds = self
            .plan
            .spec()
            .and_then(|s| s.termination_grace_period_seconds)
            .unwrap_or(30);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    fn bump(&self) {
        self.changed.send_modify(|version| *version += 1);
    }
}

fn statuses(pod: &Pod) -> Vec<ContainerStatus> {
    let Some(spec) = &pod.spec else {
        return Vec::new();
    };
    let image = |c: &Container| c.image.clone().unwrap_or_default();
    let inits = spec.init_containers.iter().flatten();
    let inits = inits.map(|c| ContainerStatus::waiting(&c.name, &image(c), true, is_sidecar(c)));
    inits
        .chain(
            spec.containers
                .iter()
                .map(|c| ContainerStatus::waiting(&c.name, &image(c), false, false)),
        )
        .collect()
}

/// An init container that keeps running beside the others.
pub(super) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn all_ready(containers: &[ContainerStatus]) -> bool {
    containers
        .iter()
        .filter(|c| !c.init || c.sidecar)
        .all(|c| c.ready)
}
