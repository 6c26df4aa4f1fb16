//! The life of a pod, in order: sandbox, volumes, init containers, containers; then its end as under a kubelet.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::entry::{PodEntry, is_sidecar};
use super::hook::Runner;
use super::process::stopped;
use super::registry::Pods;
use super::sandbox::Sandbox;
use super::spec::PodEnvironment;
use super::supervise::{Progress, Restart, Supervised};
use crate::facts::Settings;
use crate::state::StateDir;
use crate::tokens::TokenIssuer;
use crate::volumes::VolumeError;

/// Pause before a failed sandbox or volume is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// What every pod needs of its mesh.
pub(crate) struct PodContext {
    /// Folder of the mesh.
    pub state: StateDir,
    /// Signs the pods' tokens.
    pub issuer: TokenIssuer,
    /// ConfigMaps and Secrets, as they change.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// All pods.
    pub pods: Arc<Pods>,
    /// lateenctl itself: containers start as a hidden command of it.
    pub executable: PathBuf,
}

/// A container that runs, and the way to end it.
struct Running {
    task: JoinHandle<()>,
    stop: watch::Sender<Option<Instant>>,
    progress: watch::Receiver<Progress>,
}

/// Runs a pod to its end and forgets it.
pub(crate) async fn run(context: Arc<PodContext>, entry: Arc<PodEntry>) {
    let mut stop = entry.stop.subscribe();
    let environment = Arc::new(PodEnvironment::new(Arc::clone(&entry), &context.state));
    tokio::select! {
        biased;
        _ = stopped(&mut stop) => {}
        sandbox = prepare(&context, &environment) => {
            let fresh = tokio::spawn(keep_fresh(Arc::clone(&context), Arc::clone(&environment)));
            containers(&context, &environment, &sandbox).await;
            if entry.deletion().is_none() {
                // It has run to its end; it stays in the list until someone deletes it.
                stopped(&mut stop).await;
            }
            fresh.abort();
            drop(sandbox);
        }
    }
    if let Err(error) = std::fs::remove_dir_all(environment.folder()) {
        tracing::debug!(pod = %entry.key(), %error, "files of the pod could not be removed");
    }
    context.pods.remove(&entry);
}

/// Makes sandbox and volumes, as often as it takes.
async fn prepare(context: &PodContext, environment: &PodEnvironment) -> Sandbox {
    let entry = &environment.entry;
    let sandbox = loop {
        match Sandbox::create(context, entry).await {
            Ok(sandbox) => break sandbox,
            Err(error) => {
                tracing::warn!(pod = %entry.key(), %error, "sandbox of the pod");
                entry.set_pending("FailedCreatePodSandBox", &error.to_string());
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    let _ = entry.sandbox.set(sandbox.process);
    let mut settings = context.settings.clone();
    loop {
        let current = Arc::clone(&settings.borrow_and_update());
        match environment.volumes.write(&current, &context.issuer) {
            Ok(()) => return sandbox,
            Err(error) => {
                entry.set_pending("ContainerCreating", &error.to_string());
                wait_for_settings(&mut settings, &error).await;
            }
        }
    }
}

async fn wait_for_settings(settings: &mut watch::Receiver<Arc<Settings>>, error: &VolumeError) {
    if matches!(error, VolumeError::Absent { .. } | VolumeError::Key(..)) {
        let _ = settings.changed().await;
    } else {
        tracing::warn!(%error, "volumes of a pod");
        tokio::time::sleep(RETRY).await;
    }
}

/// Writes tokens anew before they expire, and settings when they change.
async fn keep_fresh(context: Arc<PodContext>, environment: Arc<PodEnvironment>) {
    let mut settings = context.settings.clone();
    loop {
        let wait = environment
            .volumes
            .renewal()
            .unwrap_or(Duration::from_secs(86_400));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = settings.changed() => if changed.is_err() { return },
        }
        let current = Arc::clone(&settings.borrow_and_update());
        if let Err(error) = environment.volumes.write(&current, &context.issuer) {
            tracing::warn!(pod = %environment.entry.key(), %error, "volumes of the pod could not be brought up to date");
        }
    }
}

/// Starts all containers in order, waits until the pod is asked to end or all have ended, and ends them.
async fn containers(
    context: &Arc<PodContext>,
    environment: &Arc<PodEnvironment>,
    sandbox: &Sandbox,
) {
    let entry = &environment.entry;
    let mut stop = entry.stop.subscribe();
    let mut sidecars = Vec::new();
    let mut main = Vec::new();
    let start = |container: &Container| begin(context, environment, container, sandbox.process);
    tokio::select! {
        biased;
        _ = stopped(&mut stop) => {}
        () = async {
            if init(entry, &mut sidecars, &start).await {
                launch(entry, &mut main, &start).await;
                for container in &main {
                    ended(container).await;
                }
            }
        } => {}
    }
    let deadline = (*entry.stop.borrow()).unwrap_or_else(|| Instant::now() + entry.grace());
    end_all(&mut main, deadline).await;
    while let Some(sidecar) = sidecars.pop() {
        end_all(&mut vec![sidecar], deadline).await;
    }
}

/// Init containers one after the other; false when one failed for good.
async fn init(
    entry: &PodEntry,
    running: &mut Vec<Running>,
    start: &impl Fn(&Container) -> Running,
) -> bool {
    let inits = entry
        .plan
        .spec()
        .and_then(|s| s.init_containers.clone())
        .unwrap_or_default();
    for container in &inits {
        let begun = start(container);
        let mut progress = begun.progress.clone();
        running.push(begun);
        let wanted = |p: &Progress| {
            if is_sidecar(container) {
                *p >= Progress::Started
            } else {
                matches!(p, Progress::Ended(_))
            }
        };
        let reached = progress.wait_for(wanted).await.map(|p| *p);
        if matches!(reached, Ok(Progress::Ended(code)) if code != 0) || reached.is_err() {
            return false;
        }
    }
    true
}

/// Containers in order; the next starts when the one before has run its postStart hook.
async fn launch(
    entry: &PodEntry,
    running: &mut Vec<Running>,
    start: &impl Fn(&Container) -> Running,
) {
    for container in entry
        .plan
        .spec()
        .map(|s| s.containers.clone())
        .unwrap_or_default()
    {
        let begun = start(&container);
        let mut progress = begun.progress.clone();
        running.push(begun);
        let _ = progress.wait_for(|p| *p >= Progress::Launched).await;
    }
}

fn begin(
    context: &Arc<PodContext>,
    environment: &Arc<PodEnvironment>,
    container: &Container,
    sandbox: u32,
) -> Running {
    let entry = &environment.entry;
    let (stop, stop_rx) = watch::channel(None);
    let (progress, progress_rx) = watch::channel(Progress::None);
    let init = entry.container(&container.name).is_some_and(|s| s.init);
    let runner = Runner {
        context: Arc::clone(context),
        environment: Arc::clone(environment),
        container: container.name.clone(),
        ip: entry.ip,
    };
    let restart = restart_policy(entry, container, init);
    let supervised = Supervised {
        runner,
        container: container.clone(),
        sandbox,
        restart,
        progress,
    };
    Running {
        task: tokio::spawn(supervised.run(stop_rx)),
        stop,
        progress: progress_rx,
    }
}

fn restart_policy(entry: &PodEntry, container: &Container, init: bool) -> Restart {
    let pod = entry
        .plan
        .spec()
        .and_then(|s| s.restart_policy.as_deref())
        .unwrap_or("Always");
    match (init, is_sidecar(container), pod) {
        (true, true, _) | (false, _, "Always") => Restart::Always,
        (true, false, "Never") | (false, _, "Never") => Restart::Never,
        _ => Restart::OnFailure,
    }
}

async fn ended(container: &Running) {
    let mut progress = container.progress.clone();
    let _ = progress.wait_for(|p| matches!(p, Progress::Ended(_))).await;
}

/// Ends containers at the same time and waits for all.
async fn end_all(containers: &mut Vec<Running>, deadline: Instant) {
    for container in containers.iter() {
        container.stop.send_replace(Some(deadline));
    }
    for container in containers.drain(..) {
        let _ = container.task.await;
    }
}
