//! The server's side of a handshake.

use std::sync::Arc;
use std::time::Duration;

use lateen_proxy_model::{CompiledServer, Handshake, ServerTls};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ClientHello;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::details::{ShownChain, handshake};
use crate::{PeerCertificate, ReadAhead, TlsError, compile};

/// A downstream connection after its handshake.
pub type ServerStream<S> = TlsStream<ReadAhead<S>>;

/// Terminates TLS on `stream` with the settings of a filter chain; also gives the client's verified certificate, and what
/// the handshake agreed on.
///
/// A client whose protocols do not overlap with ours goes on without ALPN.
pub async fn accept<S>(
    tls: &ServerTls,
    stream: S,
    timeout: Option<Duration>,
) -> Result<(ServerStream<S>, Option<PeerCertificate>, Handshake), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let compiled = compile::server(tls)?;
    let shaken = async {
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
        let own = shown(&compiled, start.client_hello());
        let stream = start.into_stream(config.clone()).await;
        Ok((stream.map_err(TlsError::Handshake)?, own))
    };
    let (stream, own) = match timeout {
        Some(limit) => tokio::time::timeout(limit, shaken)
            .await
            .map_err(|_| TlsError::TimedOut)?,
        None => shaken.await,
    }?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let theirs = (!chain.is_empty()).then(|| ShownChain::new(chain));
    let peer = peer(&compiled, chain, theirs.as_ref());
    let agreed = handshake(stream.get_ref().1, theirs, own);
    Ok((stream, peer, agreed))
}

/// The client, where its certificate is trusted.
pub(crate) fn peer(
    compiled: &CompiledServer,
    chain: &[CertificateDer<'_>],
    theirs: Option<&Arc<ShownChain>>,
) -> Option<PeerCertificate> {
    let (leaf, rest) = chain.split_first()?;
    if let Some(strict) = &compiled.strict {
        // Who was only let in is nobody.
        strict
            .verify_client_cert(leaf, rest, UnixTime::now())
            .ok()?;
    }
    PeerCertificate::of(theirs?)
}

/// The certificate that a client is shown.
pub(crate) fn shown(compiled: &CompiledServer, hello: ClientHello<'_>) -> Option<Arc<ShownChain>> {
    if let [only] = &*compiled.identities {
        return Some(ShownChain::new(&only.chain));
    }
    let key = compiled.config.cert_resolver.resolve(hello)?;
    Some(ShownChain::new(&key.cert))
}
