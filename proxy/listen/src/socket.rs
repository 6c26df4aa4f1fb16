//! Listening sockets and what the kernel knows of accepted ones.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections the kernel holds before they are accepted.
const BACKLOG: i32 = 4096;

/// Binds and listens on `address` for one worker: every worker binds the same address (`SO_REUSEPORT`), and the kernel
/// spreads connections over them. Must be called within the worker's runtime.
///
/// Errors are the kernel's: the address is in use or not ours, or a privileged port without the privilege.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Settings of an accepted connection: small writes are sent at once.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)
}

/// Where the client wanted to go before a REDIRECT rule changed it; `None` when no rule did.
pub fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let local = stream.local_addr().ok()?;
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    original.ok()?.as_socket()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn workers_share_a_port() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = first.local_addr().unwrap();
        let second = bind(address).unwrap();
        assert_eq!(second.local_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn a_connection_that_nothing_redirected_has_no_original_destination() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (_client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (server, _) = server.unwrap();
        prepare(&server).unwrap();
        assert!(original_destination(&server).is_none_or(|original| original == address));
    }
}
