//! Bytes both ways after an upgrade. hyper holds what a client sent too early until the upgrade is accepted (S18).

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use lateen_proxy_telemetry::Flags;

use super::exchange::Exchange;
use crate::tcp::{TcpEnd, Transferred, copy};

/// Copies until both ends are done; the exchange ends with it.
pub(crate) fn splice(mut exchange: Box<Exchange>, downstream: OnUpgrade, upstream: OnUpgrade) {
    tokio::task::spawn_local(async move {
        let ends = futures_util::future::try_join(downstream, upstream).await;
        let Ok((downstream, upstream)) = ends else {
            return;
        };
        let (mut downstream, mut upstream) = (TokioIo::new(downstream), TokioIo::new(upstream));
        exchange.complete = true;
        let counts = Transferred::default();
        let end = copy(&mut downstream, &mut upstream, exchange.idle, &counts).await;
        exchange.note_spliced(counts.up.get(), counts.down.get());
        match end {
            TcpEnd::Closed => {}
            TcpEnd::Idle => exchange.flags.insert(Flags::STREAM_IDLE),
            TcpEnd::Downstream(_) => exchange.flags.insert(Flags::DOWNSTREAM_CLOSED),
            TcpEnd::Upstream(_) => exchange.flags.insert(Flags::UPSTREAM_CLOSED),
        }
    });
}
