//! Ending connections in order: a trigger on one side, any number of connections on the other.

use tokio::sync::watch;

/// A connection's view of the drain: asks whether it began, waits for its start or for its deadline.
#[derive(Clone, Debug)]
pub struct Drain {
    phase: watch::Receiver<Phase>,
    held: watch::Sender<()>,
}

/// Starts the drain and waits until every [`Held`] is gone.
#[derive(Debug)]
pub struct DrainTrigger {
    phase: watch::Sender<Phase>,
    held: watch::Sender<()>,
}

/// Counts one connection for as long as it lives.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "counted by being alive")] watch::Receiver<()>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Serving,
    Draining,
    Closing,
}

/// A new drain, not started.
pub fn drain() -> (DrainTrigger, Drain) {
    let (phase, seen) = watch::channel(Phase::Serving);
    let (held, _) = watch::channel(());
    (
        DrainTrigger {
            phase,
            held: held.clone(),
        },
        Drain { phase: seen, held },
    )
}

impl DrainTrigger {
    /// Connections end when their current work does: answers say `connection: close`, HTTP/2 says GOAWAY.
    pub fn start(&self) {
        self.phase
            .send_if_modified(|phase| advance(phase, Phase::Draining));
    }

    /// Connections still open end now, idle ones at once and others with their current request.
    pub fn close(&self) {
        self.phase
            .send_if_modified(|phase| advance(phase, Phase::Closing));
    }

    /// Connections alive.
    pub fn held(&self) -> usize {
        self.held.receiver_count()
    }

    /// Resolves when no connection is alive.
    pub async fn idle(&self) {
        self.held.closed().await;
    }
}

impl Drain {
    /// Counts a connection until the result is dropped.
    pub fn hold(&self) -> Held {
        Held(self.held.subscribe())
    }

    /// Whether the drain began.
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Resolves when the drain begins; never when it cannot any more.
    pub async fn draining(&mut self) {
        self.reach(Phase::Draining).await;
    }

    /// Resolves when idle connections must end too.
    pub async fn closing(&mut self) {
        self.reach(Phase::Closing).await;
    }

    async fn reach(&mut self, wanted: Phase) {
        if self.phase.wait_for(|phase| *phase >= wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn advance(phase: &mut Phase, to: Phase) -> bool {
    let later = to > *phase;
    if later {
        *phase = to;
    }
    later
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_trigger_waits_for_held_connections() {
        let (trigger, mut view) = drain();
        let held = view.hold();
        assert_eq!(trigger.held(), 1);
        trigger.start();
        view.draining().await;
        assert!(view.is_draining());
        let ended = tokio::spawn(async move { trigger.idle().await });
        drop(held);
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn closing_comes_after_draining() {
        let (trigger, mut view) = drain();
        trigger.close();
        trigger.start();
        view.closing().await;
        view.draining().await;
    }
}
