//! Processes of containers, as children of the supervisor.

use std::io;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::container::ContainerSpec;
use crate::hidden::CONTAINER;

/// Where a process's streams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// Output is read by the supervisor, there is no input.
    Output,
    /// Input, output and errors belong to a caller (`exec`).
    All,
    /// Nothing: probes.
    None,
}

/// Starts a process that becomes what the spec says.
///
/// # Errors
/// When the spec cannot be written or the process cannot be made.
pub(crate) fn spawn(
    executable: &Path,
    folder: &Path,
    spec: &ContainerSpec,
    streams: Streams,
) -> io::Result<Child> {
    let path = folder.join(format!("spec-{}.json", uuid::Uuid::new_v4().simple()));
    spec.write(&path)?;
    let output = |wanted: bool| {
        if wanted {
            Stdio::piped()
        } else {
            Stdio::null()
        }
    };
    let mut command = Command::new(executable);
    command.arg(CONTAINER).arg(&path).kill_on_drop(true);
    command.stdin(output(streams == Streams::All));
    command
        .stdout(output(streams != Streams::None))
        .stderr(output(streams != Streams::None));
    command.spawn()
}

/// The spec of a command inside a running container, for a caller of the supervisor.
///
/// # Errors
/// A text for people: the container does not run, or its environment cannot be made.
pub(crate) fn exec_spec(
    environment: &super::PodEnvironment,
    container: &str,
    argv: Vec<String>,
    settings: &crate::facts::Settings,
) -> Result<ContainerSpec, String> {
    let entry = &environment.entry;
    let status = entry
        .container(container)
        .ok_or_else(|| format!("pod {} has no container \"{container}\"", entry.key()))?;
    let running = status.process().zip(entry.sandbox.get().copied());
    let (process, sandbox) = running.ok_or_else(|| {
        format!(
            "container \"{container}\" of pod {} is not running",
            entry.key()
        )
    })?;
    let spec = entry.plan.spec();
    let all = spec.iter().flat_map(|s| {
        s.containers
            .iter()
            .chain(s.init_containers.iter().flatten())
    });
    let found = all.into_iter().find(|c| c.name == container);
    let found =
        found.ok_or_else(|| format!("pod {} has no container \"{container}\"", entry.key()))?;
    environment
        .join(found, (sandbox, process), argv, settings)
        .map_err(|e| e.to_string())
}

/// Sends a signal to the container's first process.
pub(super) fn signal(process: u32, signal: Signal) {
    if let Some(pid) = pid(process) {
        // It may have ended meanwhile.
        let _ = kill(pid, signal);
    }
}

/// Kills whatever of the container is left.
pub(super) fn kill_all(process: u32) {
    if let Some(pid) = pid(process) {
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = kill(pid, Signal::SIGKILL);
    }
}

/// Exit code as a shell would give it.
pub(super) fn exit_code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Waits until the pod is asked to end; gives the instant by which it must have ended.
pub(super) async fn stopped(stop: &mut watch::Receiver<Option<Instant>>) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}

fn pid(process: u32) -> Option<Pid> {
    i32::try_from(process)
        .ok()
        .filter(|p| *p > 1)
        .map(Pid::from_raw)
}
