//! QUIC: one UDP socket for each address, whose packets one worker takes in and whose connections all workers share.
//! See docs/decisions/http3.md for why it is one.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lateen_proxy_model::ListenSocket;
use quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, VarInt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::socket::bind_udp;

/// Connections that may wait to be looked at.
const MAX_INCOMING: usize = 4096;
/// Bytes held of packets that come before a connection is looked at.
const HELD_EACH: u64 = 64 * 1024;
const HELD: u64 = 4 * 1024 * 1024;

/// One worker's share of an address.
#[derive(Debug)]
pub struct QuicListening {
    incoming: mpsc::UnboundedReceiver<Incoming>,
    load: Arc<AtomicUsize>,
    config: ServerConfig,
    local: SocketAddr,
}

/// Counts a connection of a worker as long as it lives.
#[derive(Debug)]
pub struct QuicLoad(Arc<AtomicUsize>);

/// The socket of one address.
#[derive(Debug)]
pub(crate) struct QuicGroup {
    endpoint: Endpoint,
    config: ServerConfig,
    local: SocketAddr,
    workers: Arc<Mutex<Vec<Share>>>,
    dispatch: AbortHandle,
    pub(crate) users: usize,
}

/// Where a worker gets its connections, and how many it has.
#[derive(Debug)]
struct Share {
    to: mpsc::UnboundedSender<Incoming>,
    load: Arc<AtomicUsize>,
}

impl QuicListening {
    /// The next connection; `None` when the address is closed.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }

    /// What connections are accepted with, but for their handshake.
    pub fn config(&self) -> &ServerConfig {
        &self.config
    }

    /// The address of the socket.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Counts a connection.
    pub fn enter(&self) -> QuicLoad {
        self.load.fetch_add(1, Ordering::Relaxed);
        QuicLoad(Arc::clone(&self.load))
    }
}

impl Drop for QuicLoad {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl QuicGroup {
    /// Binds an address. The calling worker takes packets in. Must be called within its runtime.
    pub(crate) fn bind(
        address: SocketAddr,
        settings: &ListenSocket,
        mut config: ServerConfig,
    ) -> io::Result<Self> {
        config
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(HELD_EACH)
            .incoming_buffer_size_total(HELD);
        let socket = bind_udp(address, settings)?;
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            Some(config.clone()),
            socket.into(),
            Arc::new(TokioRuntime),
        )?;
        let local = endpoint.local_addr()?;
        let workers: Arc<Mutex<Vec<Share>>> = Arc::default();
        let (shares, from) = (Arc::clone(&workers), endpoint.clone());
        let dispatch = tokio::spawn(async move {
            while let Some(incoming) = from.accept().await {
                hand_out(&shares, incoming);
            }
        });
        Ok(Self {
            endpoint,
            config,
            local,
            workers,
            dispatch: dispatch.abort_handle(),
            users: 0,
        })
    }

    /// Ends all connections.
    pub(crate) fn close(&self) {
        // H3_NO_ERROR.
        self.endpoint.close(VarInt::from_u32(0x100), b"");
    }

    /// A further worker's share.
    pub(crate) fn share(&mut self) -> QuicListening {
        let (to, incoming) = mpsc::unbounded_channel();
        let load = Arc::new(AtomicUsize::new(0));
        let share = Share {
            to,
            load: Arc::clone(&load),
        };
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(share);
        self.users += 1;
        QuicListening {
            incoming,
            load,
            config: self.config.clone(),
            local: self.local,
        }
    }
}

impl Drop for QuicGroup {
    /// Connections that there are go on; the socket is closed when the last one has ended.
    fn drop(&mut self) {
        self.dispatch.abort();
        self.endpoint.set_server_config(None);
    }
}

/// Gives a connection to the worker that has the fewest.
fn hand_out(shares: &Mutex<Vec<Share>>, mut incoming: Incoming) {
    let mut workers = shares.lock().unwrap_or_else(PoisonError::into_inner);
    while let Some((place, share)) = workers
        .iter()
        .enumerate()
        .min_by_key(|(_, share)| share.load.load(Ordering::Relaxed))
    {
        match share.to.send(incoming) {
            Ok(()) => return,
            // That worker has no such listener any more.
            Err(back) => {
                incoming = back.0;
                workers.swap_remove(place);
            }
        }
    }
    incoming.ignore();
}
