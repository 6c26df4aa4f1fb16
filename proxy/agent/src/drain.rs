//! The end of a pod: connections are asked to end, then the process does.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::DrainSettings;

/// What the data path does when the pod ends.
pub trait DrainHandle: Send + Sync {
    /// Asks connections to end after the request they carry: `Connection: close`, GOAWAY. New ones are still served,
    /// since other proxies learn of the end a little later. A second call changes nothing.
    fn drain(&self);

    /// The same for connections of inbound listeners alone.
    fn drain_inbound(&self) {
        self.drain();
    }

    /// Downstream connections that are open now.
    fn active_connections(&self) -> u64;
}

/// What somebody on this machine asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Drain, go on living: the hook before a native sidecar's end.
    Drain,
    /// Drain and end.
    Quit,
}

/// Signals that end a process.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Starts listening; from now on the signals do not kill the process.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for a signal or a request to end, drains, and returns when the process may end. A second signal ends it at once.
pub async fn until_end(
    settings: DrainSettings,
    handle: Arc<dyn DrainHandle>,
    mut asks: mpsc::Receiver<Ask>,
    mut signals: Signals,
) {
    loop {
        tokio::select! {
            () = signals.next() => break,
            ask = asks.recv() => match ask {
                Some(Ask::Drain) => {
                    tracing::info!("drain asked for");
                    handle.drain();
                }
                Some(Ask::Quit) | None => break,
            },
        }
    }
    tracing::info!(
        active = handle.active_connections(),
        "ending: connections are drained"
    );
    handle.drain();
    tokio::select! {
        () = drained(settings, &*handle) => tracing::info!(active = handle.active_connections(), "drained"),
        () = signals.next() => tracing::warn!("second signal: ending at once"),
    }
}

async fn drained(settings: DrainSettings, handle: &dyn DrainHandle) {
    if !settings.exit_on_zero_connections {
        sleep(settings.termination).await;
        return;
    }
    sleep_until(Instant::now() + settings.minimum).await;
    while handle.active_connections() > 0 {
        sleep(Duration::from_secs(1)).await;
    }
}
