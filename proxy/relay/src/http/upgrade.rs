//! Bytes both ways after an upgrade. hyper holds what a client sent too early until the upgrade is accepted (S18).

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use lateen_proxy_telemetry::Flags;
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::Exchange;
use crate::tcp::{TcpEnd, Transferred, copy};

/// Copies until both ends are done; the exchange ends with it.
pub(crate) fn splice(exchange: Box<Exchange>, downstream: OnUpgrade, upstream: OnUpgrade) {
    tokio::task::spawn_local(async move {
        let ends = futures_util::future::try_join(downstream, upstream).await;
        if let Ok((downstream, upstream)) = ends {
            both_ways(exchange, downstream, TokioIo::new(upstream)).await;
        }
    });
}

/// The same where the upstream's end is no upgraded connection.
pub(crate) fn bridge<S>(exchange: Box<Exchange>, downstream: OnUpgrade, upstream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    tokio::task::spawn_local(async move {
        if let Ok(downstream) = downstream.await {
            both_ways(exchange, downstream, upstream).await;
        }
    });
}

async fn both_ways<S>(mut exchange: Box<Exchange>, downstream: Upgraded, mut upstream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut downstream = TokioIo::new(downstream);
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
}
