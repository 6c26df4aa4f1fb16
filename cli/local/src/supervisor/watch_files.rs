//! Follows the user's files, and lateend's root certificate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{Supervisor, lines, tell};
use crate::protocol::Event;
use crate::state::{StateDir, write_atomic};

/// A file is read when nothing happened for this long: editors and shells write in several steps.
const QUIET: Duration = Duration::from_millis(40);
/// But it is read after this long at the latest.
const AT_LATEST: Duration = Duration::from_millis(300);

/// Watches the folders of all sources for as long as the mesh runs.
pub(super) fn start(supervisor: &Arc<Supervisor>) -> anyhow::Result<()> {
    let (tell, told) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading is no news; a full channel means that a look is due anyway.
        if event.is_ok_and(|e| {
            !matches!(
                e.kind,
                notify::EventKind::Access(notify::event::AccessKind::Open(_))
            )
        }) {
            let _ = tell.try_send(());
        }
    })?;
    let mut folders: Vec<PathBuf> = supervisor
        .spec
        .sources
        .iter()
        .map(|s| folder(&s.path))
        .collect();
    folders.extend([
        supervisor.state.authority(),
        supervisor.state.operator_source(),
    ]);
    folders.sort();
    folders.dedup();
    for folder in folders {
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    }
    tokio::spawn(follow(Arc::clone(supervisor), watcher, told));
    Ok(())
}

fn folder(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.to_owned()
    } else {
        path.parent().unwrap_or(path).to_owned()
    }
}

async fn follow(
    supervisor: Arc<Supervisor>,
    watcher: impl Watcher + Send,
    mut told: mpsc::Receiver<()>,
) {
    let mut said = String::new();
    loop {
        let (changed, problems) = {
            let mut desired = crate::lock(&supervisor.desired);
            let root = desired.read_root();
            match desired.reload() {
                Ok(files) => (
                    root || files,
                    if files { Some(String::new()) } else { None },
                ),
                Err(problems) => (root, Some(lines(&problems))),
            }
        };
        copy_operator(&supervisor.state);
        if changed {
            supervisor.changed.notify_one();
        }
        if let Some(now) = problems.filter(|now| *now != said) {
            said = now;
            *crate::lock(&supervisor.problems) = said.lines().map(str::to_owned).collect();
            if !said.is_empty() {
                tell(&Event::Note(format!(
                    "{said}\n(the mesh goes on with the last valid state)"
                )));
            }
        }
        if told.recv().await.is_none() {
            break;
        }
        settle(&mut told).await;
    }
    drop(watcher);
}

/// Copies the operator's certificate to where the operator's tools look for it. lateend runs as another user.
fn copy_operator(state: &StateDir) {
    for file in std::fs::read_dir(state.operator_source())
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = file.file_name();
        let target = state.operator().join(&name);
        let Ok(content) = std::fs::read(file.path()) else {
            continue;
        };
        let known = std::fs::read(&target).is_ok_and(|old| old == content);
        if known || !name.to_string_lossy().ends_with(".pem") {
            continue;
        }
        if let Err(error) = write_atomic(&target, &content, 0o600) {
            tracing::warn!(path = %target.display(), %error, "certificate of the operator could not be written");
        }
    }
}

/// Waits until nothing more happens.
async fn settle(told: &mut mpsc::Receiver<()>) {
    let latest = tokio::time::Instant::now() + AT_LATEST;
    while tokio::time::timeout_at(latest.min(tokio::time::Instant::now() + QUIET), told.recv())
        .await
        .is_ok_and(|t| t.is_some())
    {}
}
