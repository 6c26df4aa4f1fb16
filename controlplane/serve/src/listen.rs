//! Sockets of the control plane. Each connection says who is at its other end ([`Connection`]) to the layer above.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lateen_controlplane_model::caller::Connection;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Longest time a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time; more wait in the socket's backlog.
const HANDSHAKES: usize = 256;
/// Accepted connections that wait for the layer above.
const QUEUE: usize = 64;
/// Rest after a failed accept, such as out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket that does not accept yet, so that every port can be bound before anything is served.
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
}

/// Accepted connections, for tonic as a stream and for axum as a listener.
pub struct Incoming {
    accepted: mpsc::Receiver<Stream>,
    address: SocketAddr,
}

/// One connection.
pub struct Stream {
    transport: Transport,
    connection: Connection,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// [`Connection`] as axum hands it to a request.
#[derive(Debug, Clone)]
pub struct Peer(pub Connection);

/// Binds an address; port 0 takes a free one.
///
/// # Errors
/// What the system says, such as that the port is in use.
pub async fn bind(address: SocketAddr) -> io::Result<Bound> {
    let socket = TcpListener::bind(address).await?;
    let address = socket.local_addr()?;
    Ok(Bound { socket, address })
}

impl Bound {
    /// The address with the port that was given.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to accept, over TLS if a configuration is given; stops when the result is dropped.
    #[must_use]
    pub fn accept(self, tls: Option<Arc<ServerConfig>>) -> Incoming {
        let (sender, accepted) = mpsc::channel(QUEUE);
        let address = self.address;
        tokio::spawn(accept_all(self.socket, tls.map(TlsAcceptor::from), sender));
        Incoming { accepted, address }
    }
}

impl futures_util::Stream for Incoming {
    type Item = io::Result<Stream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

impl axum::serve::Listener for Incoming {
    type Io = Stream;
    type Addr = Connection;

    async fn accept(&mut self) -> (Stream, Connection) {
        match self.accepted.recv().await {
            Some(stream) => {
                let connection = stream.connection.clone();
                (stream, connection)
            }
            // The accepting task ended with the runtime: nothing will come any more.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Connection> {
        Ok(Connection::plain(self.address))
    }
}

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, Incoming>> for Peer {
    fn connect_info(stream: axum::serve::IncomingStream<'_, Incoming>) -> Self {
        Self(stream.remote_addr().clone())
    }
}

impl tonic::transport::server::Connected for Stream {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.connection.clone()
    }
}

async fn accept_all(socket: TcpListener, tls: Option<TlsAcceptor>, sender: mpsc::Sender<Stream>) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = sender.closed() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (tls, sender) = (tls.clone(), sender.clone());
        tokio::spawn(async move {
            match timeout(HANDSHAKE, open(stream, remote, tls)).await {
                // A closed receiver means that the server stops.
                Ok(Ok(stream)) => drop(sender.send(stream).await),
                Ok(Err(error)) => tracing::debug!(%remote, %error, "handshake failed"),
                Err(_) => tracing::debug!(%remote, "handshake took too long"),
            }
            drop(slot);
        });
    }
}

async fn open(
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<TlsAcceptor>,
) -> io::Result<Stream> {
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(Stream {
            transport: Transport::Plain(stream),
            connection: Connection::plain(remote),
        });
    };
    let stream = tls.accept(stream).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates = chain
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    let connection = Connection {
        remote,
        encrypted: true,
        certificates,
    };
    Ok(Stream {
        transport: Transport::Tls(Box::new(stream)),
        connection,
    })
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
