//! The client's side of a handshake.

use std::net::IpAddr;

use lateen_proxy_model::{ClientTls, Handshake};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::details::{ShownChain, handshake};
use crate::{PeerCertificate, ReadAhead, TlsError, compile};

/// An upstream connection after its handshake.
pub type ClientStream<S> = TlsStream<ReadAhead<S>>;

/// Starts TLS on `stream` towards the endpoint at `address`; also gives the server's verified certificate, and what the
/// handshake agreed on.
///
/// `alpn` replaces the protocols of the settings (the `istio.alpn` filter); `host` is the request's host, sent as server
/// name where the settings ask for `auto_sni`. The caller sets the time limit, which spans TCP connect and TLS together.
pub async fn connect<S>(
    tls: &ClientTls,
    alpn: Option<&[Vec<u8>]>,
    host: Option<&str>,
    address: IpAddr,
    stream: S,
) -> Result<(ClientStream<S>, Option<PeerCertificate>, Handshake), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = compile::client(tls, alpn.unwrap_or(&tls.alpn))?;
    let name = server_name(tls, host, address)?;
    let stream = TlsConnector::from(config)
        .connect(name, ReadAhead::new(stream))
        .await
        .map_err(TlsError::Handshake)?;
    let state = stream.get_ref().1;
    let theirs = state.peer_certificates().map(ShownChain::new);
    let peer = theirs.as_ref().and_then(PeerCertificate::of);
    let own = tls.identity.as_ref().and_then(|slot| slot.load_full());
    let own = own.map(|identity| ShownChain::new(&identity.chain));
    let agreed = handshake(state, theirs, own);
    Ok((stream, peer, agreed))
}

fn server_name(
    tls: &ClientTls,
    host: Option<&str>,
    address: IpAddr,
) -> Result<ServerName<'static>, TlsError> {
    let name = match (&tls.sni, host) {
        (_, Some(host)) if tls.auto_sni => host_without_port(host),
        (Some(name), _) => &**name,
        _ => return Ok(ServerName::IpAddress(address.into())),
    };
    ServerName::try_from(name)
        .map(|name| name.to_owned())
        .map_err(|_| TlsError::ServerName(name.into()))
}

fn host_without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !name.ends_with(']') && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    }
}
