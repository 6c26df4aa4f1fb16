//! How a listener's sockets are set up.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::TcpKeepalive;

/// Connections the kernel holds before they are accepted, where the configuration does not say.
pub const BACKLOG: u32 = 4096;

/// Settings of a listener's sockets.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenSocket {
    /// Connections to any address are taken (`IP_TRANSPARENT`), as TPROXY rules send them.
    pub transparent: bool,
    /// Addresses that this host does not have yet may be bound.
    pub freebind: bool,
    /// Every worker has a socket of its own (`SO_REUSEPORT`); else they share one.
    pub reuse_port: bool,
    /// Connections the kernel holds before they are accepted.
    pub backlog: u32,
    /// Connections accepted at one wake-up, at most.
    pub accepts: Option<u32>,
    /// Keep-alive of accepted connections.
    pub keepalive: Option<TcpKeepalive>,
    /// Addresses of IPv6 that take IPv4 connections too.
    pub dual_stack: Vec<SocketAddr>,
    /// Further options, in order.
    pub options: Vec<SocketOption>,
    /// The socket is a Unix socket at this place.
    pub pipe: Option<Pipe>,
    /// The sockets are UDP ones, and speak QUIC.
    pub quic: Option<QuicOptions>,
}

/// QUIC of a listener. Envoy's `QuicProtocolOptions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicOptions {
    /// New connections are served.
    pub enabled: bool,
    /// Requests that a client may have under way.
    pub max_streams: u32,
    /// Flow control of a stream, bytes.
    pub stream_window: u32,
    /// Flow control of a connection, bytes.
    pub connection_window: u32,
    /// Time without any packet.
    pub idle_timeout: Duration,
    /// Time for the handshake.
    pub handshake_timeout: Duration,
    /// Time between packets that keep a connection alive; `None` sends none.
    pub keepalive: Option<Duration>,
    /// Longest packet that is sent; `None` finds it out.
    pub max_packet: Option<u16>,
    /// Clients are told not to change their address.
    pub no_migration: bool,
}

impl ListenSocket {
    /// Whether sockets of one are those of the other; what holds for connections may differ.
    pub fn binds_as(&self, other: &Self) -> bool {
        let bare = |settings: &Self| Self {
            quic: settings.quic.as_ref().map(|_| QuicOptions::default()),
            ..settings.clone()
        };
        bare(self) == bare(other)
    }
}

impl Default for QuicOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            max_streams: 100,
            stream_window: 1024 * 1024,
            connection_window: 4 * 1024 * 1024,
            idle_timeout: Duration::from_secs(300),
            handshake_timeout: Duration::from_secs(20),
            keepalive: None,
            max_packet: None,
            no_migration: false,
        }
    }
}

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipe {
    /// Its file; a name that begins with `@` is in the kernel's own space of names.
    pub path: PathBuf,
    /// Permissions of the file; 0 leaves them alone.
    pub mode: u32,
}

/// A socket option that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `SO_KEEPALIVE`.
    KeepAlive(bool),
    /// `SO_RCVBUF`, bytes.
    ReceiveBuffer(u32),
    /// `SO_SNDBUF`, bytes.
    SendBuffer(u32),
    /// `SO_MARK`.
    Mark(u32),
    /// `SO_PRIORITY`.
    Priority(u32),
    /// `SO_REUSEADDR`.
    ReuseAddress(bool),
    /// `SO_REUSEPORT`.
    ReusePort(bool),
    /// `IP_TOS`.
    Tos(u32),
    /// `IP_FREEBIND`.
    Freebind(bool),
    /// `IP_TRANSPARENT`.
    Transparent(bool),
    /// `TCP_NODELAY`.
    NoDelay(bool),
    /// `TCP_KEEPIDLE`.
    KeepIdle(Duration),
    /// `TCP_KEEPINTVL`.
    KeepInterval(Duration),
    /// `TCP_KEEPCNT`.
    KeepProbes(u32),
    /// `TCP_USER_TIMEOUT`.
    UserTimeout(Duration),
}

impl Default for ListenSocket {
    fn default() -> Self {
        Self {
            transparent: false,
            freebind: false,
            reuse_port: true,
            backlog: BACKLOG,
            accepts: None,
            keepalive: None,
            dual_stack: Vec::new(),
            options: Vec::new(),
            pipe: None,
            quic: None,
        }
    }
}
