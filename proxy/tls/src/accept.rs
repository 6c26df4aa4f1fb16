//! The server's side of a handshake.

use std::time::Duration;

use lateen_proxy_model::ServerTls;
use rustls::pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{PeerCertificate, ReadAhead, TlsError, compile};

/// A downstream connection after its handshake.
pub type ServerStream<S> = TlsStream<ReadAhead<S>>;

/// Terminates TLS on `stream` with the settings of a filter chain; also gives the client's verified certificate.
///
/// A client whose protocols do not overlap with ours goes on without ALPN.
pub async fn accept<S>(
    tls: &ServerTls,
    stream: S,
    timeout: Option<Duration>,
) -> Result<(ServerStream<S>, Option<PeerCertificate>), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let compiled = compile::server(tls)?;
    let handshake = async {
        let start =
            LazyConfigAcceptor::new(rustls::server::Acceptor::default(), ReadAhead::new(stream))
                .await
                .map_err(TlsError::Handshake)?;
        if tls.require_sni && start.client_hello().server_name().is_none() {
            return Err(TlsError::NoServerName);
        }
        let overlaps = start.client_hello().alpn().is_none_or(|mut offered| {
            offered.any(|protocol| tls.alpn.iter().any(|ours| ours == protocol))
        });
        let config = if overlaps {
            &compiled.config
        } else {
            &compiled.config_without_alpn
        };
        start
            .into_stream(config.clone())
            .await
            .map_err(TlsError::Handshake)
    };
    let stream = match timeout {
        Some(limit) => tokio::time::timeout(limit, handshake)
            .await
            .map_err(|_| TlsError::TimedOut)?,
        None => handshake.await,
    }?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = chain.split_first().and_then(|(leaf, rest)| {
        if let Some(strict) = &compiled.strict {
            // Who was only let in is nobody.
            strict
                .verify_client_cert(leaf, rest, UnixTime::now())
                .ok()?;
        }
        PeerCertificate::parse(leaf)
    });
    Ok((stream, peer))
}
