//! What runs, told to everyone who must know: files for lateend, names, translated addresses.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::dns::Zone;
use crate::endpoints::{Backend, slices, virtual_ports, zone};
use crate::facts::NODE;
use crate::network::GATEWAY;
use crate::pod::{ContainerState, PodEntry, Pods};
use crate::state::write_atomic;
use crate::translation::{self, VirtualPort};

/// Objects of the cluster that the plan gives: namespaces, Services, Secrets, service accounts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Declared {
    /// Services with their addresses.
    pub services: Vec<Service>,
    /// Other objects, as JSON.
    pub objects: Vec<Value>,
}

/// Writes the running state as it changes.
#[derive(Debug)]
pub(crate) struct Publisher {
    folder: PathBuf,
    written: BTreeMap<String, Vec<u8>>,
    rules: Option<Vec<VirtualPort>>,
    zone: watch::Sender<Arc<Zone>>,
}

impl Publisher {
    /// Writes to a folder of its own.
    #[must_use]
    pub(crate) const fn new(folder: PathBuf, zone: watch::Sender<Arc<Zone>>) -> Self {
        Self {
            folder,
            written: BTreeMap::new(),
            rules: None,
            zone,
        }
    }

    /// Publishes whenever a pod or the declared objects change; tells the number of the change that is out.
    pub(crate) async fn run(
        mut self,
        pods: Arc<Pods>,
        mut declared: watch::Receiver<Arc<Declared>>,
        published: watch::Sender<u64>,
    ) {
        let mut changed = pods.watch();
        loop {
            let version = *changed.borrow_and_update();
            let current = Arc::clone(&declared.borrow_and_update());
            self.publish(&current, &pods.all()).await;
            published.send_replace(version);
            tokio::select! {
                change = changed.changed() => if change.is_err() { return },
                change = declared.changed() => if change.is_err() { return },
            }
        }
    }

    async fn publish(&mut self, declared: &Declared, entries: &[Arc<PodEntry>]) {
        let backends: Vec<Backend> = entries.iter().filter_map(|e| Backend::of(e)).collect();
        if let Err(error) = self.write_files(declared, entries, &backends) {
            tracing::error!(folder = %self.folder.display(), %error, "running state could not be written");
        }
        self.zone
            .send_replace(Arc::new(zone(&declared.services, &backends)));
        let rules = virtual_ports(&declared.services, &backends);
        if self.rules.as_ref() != Some(&rules) {
            match translation::apply(&rules).await {
                Ok(()) => self.rules = Some(rules),
                Err(error) => {
                    tracing::error!(%error, "addresses of Services could not be translated")
                }
            }
        }
    }

    fn write_files(
        &mut self,
        declared: &Declared,
        entries: &[Arc<PodEntry>],
        backends: &[Backend],
    ) -> io::Result<()> {
        let services = declared.services.iter().map(|s| object("v1", "Service", s));
        let pods = entries.iter().map(|e| pod_object(e));
        let endpoint_slices = declared.services.iter().flat_map(|s| slices(s, backends));
        let objects = declared
            .objects
            .iter()
            .cloned()
            .chain(services)
            .chain(pods)
            .chain(endpoint_slices);
        let wanted: BTreeMap<String, Vec<u8>> = objects
            .map(|o| Ok((file_name(&o), serde_json::to_vec_pretty(&o)?)))
            .collect::<io::Result<_>>()?;
        for (name, content) in &wanted {
            if self.written.get(name) != Some(content) {
                write_atomic(&self.folder.join(name), content, 0o644)?;
            }
        }
        for gone in self
            .written
            .keys()
            .filter(|name| !wanted.contains_key(*name))
        {
            std::fs::remove_file(self.folder.join(gone))?;
        }
        self.written = wanted;
        Ok(())
    }
}

/// A typed object with its API version and kind.
#[must_use]
pub(crate) fn object(api_version: &str, kind: &str, object: &impl serde::Serialize) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".to_owned(), json!(api_version));
        map.insert("kind".to_owned(), json!(kind));
    }
    value
}

fn file_name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_ascii_lowercase();
    let meta = &object["metadata"];
    format!(
        "{}.{}.{}.json",
        text(&object["kind"]),
        text(&meta["namespace"]),
        text(&meta["name"])
    )
}

/// The pod as an API server would show it.
fn pod_object(entry: &PodEntry) -> Value {
    let mut pod = object("v1", "Pod", &entry.plan.pod);
    let deletion = entry.deletion();
    if let Some(meta) = pod["metadata"].as_object_mut() {
        meta.insert(
            "creationTimestamp".to_owned(),
            json!(seconds(entry.created)),
        );
        if let Some(deletion) = deletion {
            meta.insert("deletionTimestamp".to_owned(), json!(seconds(deletion.at)));
            meta.insert(
                "deletionGracePeriodSeconds".to_owned(),
                json!(deletion.grace.as_secs()),
            );
        }
    }
    if let Some(spec) = pod["spec"].as_object_mut() {
        spec.insert("nodeName".to_owned(), json!(NODE));
    }
    if let Some(map) = pod.as_object_mut() {
        map.insert("status".to_owned(), status(entry));
    }
    pod
}

fn status(entry: &PodEntry) -> Value {
    let condition = |kind: &str, holds: bool| json!({ "type": kind, "status": if holds { "True" } else { "False" } });
    let ready = entry.is_ready();
    let mut condition_ready = condition("Ready", ready);
    if let (Some(since), Some(map)) = (entry.ready_since(), condition_ready.as_object_mut()) {
        map.insert("lastTransitionTime".to_owned(), json!(seconds(since)));
    }
    let containers: Vec<Value> = entry
        .containers()
        .iter()
        .filter(|c| !c.init)
        .map(container_status)
        .collect();
    let inits: Vec<Value> = entry
        .containers()
        .iter()
        .filter(|c| c.init)
        .map(container_status)
        .collect();
    json!({
        "phase": entry.phase().as_str(),
        "podIP": entry.ip,
        "podIPs": [{ "ip": entry.ip }],
        "hostIP": GATEWAY,
        "startTime": seconds(entry.created),
        "conditions": [condition("PodScheduled", true), condition("ContainersReady", ready), condition_ready],
        "initContainerStatuses": inits,
        "containerStatuses": containers,
    })
}

fn container_status(status: &crate::pod::ContainerStatus) -> Value {
    let state = match &status.state {
        ContainerState::Waiting { reason, message } => {
            json!({ "waiting": { "reason": reason, "message": message } })
        }
        ContainerState::Running { since, .. } => {
            json!({ "running": { "startedAt": seconds(*since) } })
        }
        ContainerState::Terminated { exit_code, at } => {
            let reason = if *exit_code == 0 {
                "Completed"
            } else {
                "Error"
            };
            json!({ "terminated": { "exitCode": exit_code, "reason": reason, "finishedAt": seconds(*at) } })
        }
    };
    json!({
        "name": status.name,
        "image": status.image,
        "imageID": status.image,
        "ready": status.ready,
        "started": status.started,
        "restartCount": status.restarts,
        "state": state,
    })
}

/// A time as Kubernetes writes it: RFC 3339 in whole seconds.
fn seconds(time: k8s_openapi::jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
