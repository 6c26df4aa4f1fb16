//! Hot restart: a new process takes over the listening sockets of the one before it, which drains and ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lateen_proxy_agent::Ask;
use lateen_proxy_listen::{Ancestor, Heir, Request, Sockets};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::data_path::Control;

/// How often it is looked whether this process serves.
const LOOK: Duration = Duration::from_millis(10);
/// Longest wait until it does; the process before it drains then all the same.
const START: Duration = Duration::from_secs(30);

/// Settings of hot restart.
#[derive(Clone, Debug)]
pub(crate) struct RestartConfig {
    /// Tells apart families of processes on one machine; `None` takes a free one.
    pub(crate) base_id: Option<u32>,
    /// File that tells the base id.
    pub(crate) base_id_path: Option<PathBuf>,
    /// How many processes of the family were there before.
    pub(crate) epoch: u32,
    /// Time after which the process before this one ends.
    pub(crate) parent_shutdown: Duration,
}

/// This process's place in its family.
#[derive(Debug)]
pub(crate) struct Restart {
    heir: Heir,
    ancestor: Option<Ancestor>,
    parent_shutdown: Duration,
}

impl Restart {
    /// Takes the sockets of the process before this one, if there is one.
    ///
    /// # Errors
    /// When it cannot be found, or another process is of this epoch.
    pub(crate) fn begin(config: &RestartConfig, sockets: &Sockets) -> anyhow::Result<Self> {
        let (base_id, heir) = match config.base_id {
            Some(base_id) => {
                let heir = Heir::listen(base_id, config.epoch);
                let taken = || {
                    format!(
                        "base id {base_id}, restart epoch {}: another process has them",
                        config.epoch
                    )
                };
                (base_id, heir.with_context(taken)?)
            }
            None if config.epoch > 0 => bail!("a restart epoch needs the base id of its family"),
            None => free()?,
        };
        if let Some(path) = &config.base_id_path {
            std::fs::write(path, base_id.to_string())
                .with_context(|| path.display().to_string())?;
        }
        let ancestor = match config.epoch.checked_sub(1) {
            None => None,
            Some(before) => {
                let ancestor = Ancestor::find(base_id, before)
                    .with_context(|| format!("no process of restart epoch {before}"))?;
                let count = ancestor.sockets(sockets).context("listening sockets")?;
                tracing::info!(count, before, "took over the listening sockets");
                ancestor.ask(Request::Admin).context("admin pages")?;
                Some(ancestor)
            }
        };
        Ok(Self {
            heir,
            ancestor,
            parent_shutdown: config.parent_shutdown,
        })
    }

    /// Lets the process before this one go once this one serves, and waits for the next. Needs a runtime.
    pub(crate) fn follow(
        self,
        sockets: &Arc<Sockets>,
        control: Arc<Control>,
        admin: Option<AbortHandle>,
        asks: mpsc::Sender<Ask>,
        serving: impl Fn() -> bool + Send + Sync + 'static,
    ) {
        let Self {
            heir,
            ancestor,
            parent_shutdown,
        } = self;
        if let Some(ancestor) = ancestor {
            let sockets = Arc::clone(sockets);
            tokio::spawn(async move {
                let served = async {
                    while !serving() {
                        tokio::time::sleep(LOOK).await;
                    }
                };
                let _ = tokio::time::timeout(START, served).await;
                sockets.forget_inherited();
                if let Err(error) = ancestor.ask(Request::Drain) {
                    return tracing::warn!(%error, "the process before this one does not drain");
                }
                tokio::time::sleep(parent_shutdown).await;
                let _ = ancestor.ask(Request::Terminate);
            });
        }
        let sockets = Arc::clone(sockets);
        std::thread::spawn(move || {
            heir.serve(&sockets, |request| match request {
                Request::Sockets => {}
                Request::Admin => admin.iter().for_each(AbortHandle::abort),
                Request::Drain => control.hand_over(),
                Request::Terminate => drop(asks.blocking_send(Ask::Quit)),
            });
        });
    }
}

fn free() -> anyhow::Result<(u32, Heir)> {
    for _ in 0..100 {
        let base_id = fastrand::u32(1..);
        if let Ok(heir) = Heir::listen(base_id, 0) {
            return Ok((base_id, heir));
        }
    }
    bail!("no free base id")
}
