//! Listening sockets and what the kernel knows of accepted ones.

use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use lateen_proxy_model::{ListenSocket, Pipe, SocketOption};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::stream::Downstream;

/// A listening socket of one worker.
#[derive(Debug)]
pub enum Listening {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listening {
    /// Takes over a socket that listens. Must be called within the worker's runtime.
    pub(crate) fn new(socket: Socket, pipe: bool) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(if pipe {
            Self::Unix(UnixListener::from_std(socket.into())?)
        } else {
            Self::Tcp(TcpListener::from_std(socket.into())?)
        })
    }

    /// The next connection with its client's address; those over Unix sockets have none.
    pub async fn accept(&self) -> io::Result<(Downstream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // Small writes are sent at once.
                let _ = stream.set_nodelay(true);
                Ok((Downstream::Tcp(stream), Some(canonical(client))))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Downstream::Unix(stream), None))
            }
        }
    }
}

/// Binds and listens on `address`.
///
/// Errors are the kernel's: the address is in use or not ours, or a privileged port without the privilege.
pub(crate) fn bind(address: SocketAddr, settings: &ListenSocket) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!settings.dual_stack.contains(&address))?;
    }
    socket.set_reuse_address(true)?;
    if settings.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if settings.transparent {
        set(&socket, address, SocketOption::Transparent(true))?;
    }
    if settings.freebind {
        set(&socket, address, SocketOption::Freebind(true))?;
    }
    if let Some(keepalive) = &settings.keepalive {
        let mut own = TcpKeepalive::new();
        if let Some(time) = keepalive.time {
            own = own.with_time(time);
        }
        if let Some(interval) = keepalive.interval {
            own = own.with_interval(interval);
        }
        if let Some(probes) = keepalive.probes {
            own = own.with_retries(probes);
        }
        // Accepted connections inherit it.
        socket.set_tcp_keepalive(&own)?;
    }
    for option in &settings.options {
        set(&socket, address, *option)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog(settings))?;
    Ok(socket)
}

/// Binds a UDP socket for QUIC.
///
/// Errors are the kernel's.
pub(crate) fn bind_udp(address: SocketAddr, settings: &ListenSocket) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!settings.dual_stack.contains(&address))?;
    }
    // The process that takes this one's place binds a socket of its own beside this one.
    if settings.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if settings.transparent {
        set(&socket, address, SocketOption::Transparent(true))?;
    }
    if settings.freebind {
        set(&socket, address, SocketOption::Freebind(true))?;
    }
    for option in &settings.options {
        set(&socket, address, *option)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Binds and listens on a Unix socket. A file that nobody listens on any more is replaced.
pub(crate) fn bind_pipe(pipe: &Pipe, settings: &ListenSocket) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let bytes = pipe.path.as_os_str().as_bytes();
    if let Some(name) = bytes.strip_prefix(b"@") {
        let mut own = vec![0];
        own.extend(name);
        let own = PathBuf::from(std::ffi::OsStr::from_bytes(&own));
        socket.bind(&SockAddr::unix(own)?)?;
        socket.listen(backlog(settings))?;
        return Ok(socket);
    }
    let address = SockAddr::unix(&pipe.path)?;
    if let Err(error) = socket.bind(&address) {
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        if error.kind() != io::ErrorKind::AddrInUse || probe.connect(&address).is_ok() {
            return Err(error);
        }
        std::fs::remove_file(&pipe.path)?;
        socket.bind(&address)?;
    }
    if pipe.mode != 0 {
        let mode = std::fs::Permissions::from_mode(pipe.mode);
        std::fs::set_permissions(&pipe.path, mode)?;
    }
    socket.listen(backlog(settings))?;
    Ok(socket)
}

/// Where the client wanted to go before a REDIRECT rule changed it; `None` when no rule did. With TPROXY that is the
/// connection's own local address.
pub fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let local = stream.local_addr().ok()?;
    let socket = SockRef::from(stream);
    let original = if local.ip().to_canonical().is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    original.ok()?.as_socket()
}

/// IPv4 addresses that come over a socket of both families are IPv4 addresses.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn backlog(settings: &ListenSocket) -> i32 {
    i32::try_from(settings.backlog).unwrap_or(i32::MAX)
}

fn set(socket: &Socket, address: SocketAddr, option: SocketOption) -> io::Result<()> {
    match option {
        SocketOption::KeepAlive(on) => socket.set_keepalive(on),
        SocketOption::ReceiveBuffer(size) => socket.set_recv_buffer_size(size as usize),
        SocketOption::SendBuffer(size) => socket.set_send_buffer_size(size as usize),
        SocketOption::Mark(mark) => socket.set_mark(mark),
        SocketOption::Priority(priority) => socket.set_priority(priority),
        SocketOption::ReuseAddress(on) => socket.set_reuse_address(on),
        SocketOption::ReusePort(on) => socket.set_reuse_port(on),
        SocketOption::Tos(tos) => socket.set_tos_v4(tos),
        SocketOption::Freebind(on) if address.is_ipv4() => socket.set_freebind_v4(on),
        SocketOption::Freebind(on) => socket.set_freebind_v6(on),
        SocketOption::Transparent(on) if address.is_ipv4() => socket.set_ip_transparent_v4(on),
        SocketOption::Transparent(on) => socket.set_ip_transparent_v6(on),
        SocketOption::NoDelay(on) => socket.set_tcp_nodelay(on),
        SocketOption::KeepIdle(time) => {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time))
        }
        SocketOption::KeepInterval(time) => {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_interval(time))
        }
        SocketOption::KeepProbes(count) => {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_retries(count))
        }
        SocketOption::UserTimeout(time) => socket.set_tcp_user_timeout(Some(time)),
    }
}
