//! What overload does to connections and requests.

use std::fmt;
use std::sync::Arc;

use lateen_proxy_model::{FilterStats, Overload, OverloadAction, ShedPoint};
use lateen_proxy_telemetry::{Counter, Recorder};
use tokio::sync::watch;

use super::exchange::Exchange;
use super::reply::LocalReply;
use crate::cells::Cells;

const REQUESTS: usize = 0;
const KEEPALIVE: usize = 1;

/// Names of a connection manager's counters of overload.
const COUNTERS: [&str; 2] = [
    "downstream_rq_overload_close",
    "downstream_cx_overload_disable_keepalive",
];

/// How overloaded the process is, as its workers ask for it.
#[derive(Clone)]
pub struct Shedding {
    /// The strengths now.
    pub state: Arc<Overload>,
    /// A number that grows whenever they change.
    pub changes: watch::Receiver<u64>,
    /// What each place has shed so far, in the order of [`ShedPoint::ALL`].
    pub shed: [Counter; ShedPoint::ALL.len()],
}

/// Overload as the connections of one connection manager meet it.
#[derive(Debug)]
pub struct ChainOverload {
    pub(crate) state: Arc<Overload>,
    shedding: Shedding,
    stats: FilterStats<2>,
}

impl fmt::Debug for Shedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shedding").field(&self.state).finish()
    }
}

impl Shedding {
    /// Whether a place sheds this one; it is counted then.
    pub fn sheds(&self, point: ShedPoint) -> bool {
        let shed = self.state.sheds(point, draw);
        if shed && let Some(count) = self.shed.get(point as usize) {
            count.inc();
        }
        shed
    }

    /// Whether an action takes this one.
    pub fn hits(&self, action: OverloadAction) -> bool {
        self.state.hits(action, draw)
    }
}

impl ChainOverload {
    /// For the manager that counts under `prefix`.
    pub(crate) fn new(shedding: Shedding, prefix: &str) -> Self {
        Self {
            state: Arc::clone(&shedding.state),
            shedding,
            stats: FilterStats::new(format!("http.{prefix}."), &COUNTERS),
        }
    }

    /// Tells of changes from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        let mut changes = self.shedding.changes.clone();
        changes.mark_unchanged();
        changes
    }

    pub(crate) fn sheds(&self, point: ShedPoint) -> bool {
        self.shedding.sheds(point)
    }

    /// Whether a connection ends with the answer that is made now.
    pub(crate) fn ends_connection(&self, recorder: &Recorder) -> bool {
        let ends = self.shedding.hits(OverloadAction::DisableKeepalive);
        if ends {
            self.stats.inc(KEEPALIVE, &Cells(recorder.stats()));
        }
        ends
    }
}

impl Exchange {
    /// Refuses the request when the process is overloaded.
    ///
    /// # Errors
    /// The reply.
    pub fn shed(&self) -> Result<(), LocalReply> {
        let chain = &self.conn.chain;
        let Some(overload) = &chain.overload else {
            return Ok(());
        };
        let shedding = &overload.shedding;
        if shedding.sheds(ShedPoint::Request) || shedding.hits(OverloadAction::StopRequests) {
            let cells = Cells(chain.worker.recorder.stats());
            overload.stats.inc(REQUESTS, &cells);
            return Err(LocalReply::overloaded());
        }
        Ok(())
    }
}

fn draw() -> u32 {
    fastrand::u32(..1_000_000)
}
