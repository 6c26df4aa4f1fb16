//! Bytes both ways after an upgrade. hyper holds what a client sent too early until the upgrade is accepted (S18).

use http::Extensions;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use lateen_proxy_telemetry::Flags;
use tokio::io::{AsyncRead, AsyncWrite};

use super::exchange::Exchange;
use super::http3::{Tunnel, TunnelIo};
use super::pipe::PipeWriter;
use crate::tcp::{TcpEnd, Transferred, copy};

/// An upgrade that was asked for.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// The client's end.
    pub(crate) end: ClientEnd,
    /// Where the bytes of a CONNECT that ends here are written.
    pub(crate) connect_end: Option<PipeWriter>,
}

/// The client's end of an upgrade.
#[derive(Debug)]
pub(crate) enum ClientEnd {
    /// HTTP/1 or HTTP/2.
    Hyper(OnUpgrade),
    /// HTTP/3.
    Tunnel(Tunnel),
}

/// The same once the upgrade is accepted.
enum OpenEnd {
    Hyper(TokioIo<Upgraded>),
    Tunnel(Box<TunnelIo>),
}

impl Upgrade {
    /// Takes it from a request.
    pub(crate) fn take(extensions: &mut Extensions) -> Option<Box<Self>> {
        let tunnel = extensions.remove().map(ClientEnd::Tunnel);
        let end = tunnel.or_else(|| extensions.remove().map(ClientEnd::Hyper))?;
        Some(Box::new(Self {
            end,
            connect_end: None,
        }))
    }
}

impl ClientEnd {
    /// To be called before the answer is on its way.
    fn open(self) -> impl Future<Output = Option<OpenEnd>> {
        // A stream of HTTP/3 is kept for the tunnel from now on.
        let opening = match self {
            Self::Hyper(upgrade) => Ok(upgrade),
            Self::Tunnel(tunnel) => Err(tunnel.open()),
        };
        async move {
            Some(match opening {
                Ok(upgrade) => OpenEnd::Hyper(TokioIo::new(upgrade.await.ok()?)),
                Err(tunnel) => OpenEnd::Tunnel(Box::new(tunnel.await?)),
            })
        }
    }
}

/// Copies until both ends are done; the exchange ends with it.
pub(crate) fn splice(exchange: Box<Exchange>, downstream: ClientEnd, upstream: OnUpgrade) {
    let downstream = downstream.open();
    tokio::task::spawn_local(async move {
        let ends = futures_util::future::join(downstream, upstream).await;
        if let (Some(downstream), Ok(upstream)) = ends {
            both_ways(exchange, downstream, TokioIo::new(upstream)).await;
        }
    });
}

/// The same where the upstream's end is no upgraded connection.
pub(crate) fn bridge<S>(exchange: Box<Exchange>, downstream: ClientEnd, upstream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let downstream = downstream.open();
    tokio::task::spawn_local(async move {
        if let Some(downstream) = downstream.await {
            both_ways(exchange, downstream, upstream).await;
        }
    });
}

async fn both_ways<S>(mut exchange: Box<Exchange>, downstream: OpenEnd, mut upstream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    exchange.complete = true;
    let counts = Transferred::default();
    let end = match downstream {
        OpenEnd::Hyper(mut client) => {
            copy(&mut client, &mut upstream, exchange.idle, &counts).await
        }
        OpenEnd::Tunnel(mut client) => {
            copy(&mut client, &mut upstream, exchange.idle, &counts).await
        }
    };
    exchange.note_spliced(counts.up.get(), counts.down.get());
    match end {
        TcpEnd::Closed => {}
        TcpEnd::Idle => exchange.flags.insert(Flags::STREAM_IDLE),
        TcpEnd::Downstream(_) => exchange.flags.insert(Flags::DOWNSTREAM_CLOSED),
        TcpEnd::Upstream(_) => exchange.flags.insert(Flags::UPSTREAM_CLOSED),
    }
}
