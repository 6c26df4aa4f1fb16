//! The client's side of a handshake.

use std::net::IpAddr;

use lateen_proxy_model::ClientTls;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{PeerCertificate, ReadAhead, TlsError, compile};

/// An upstream connection after its handshake.
pub type ClientStream<S> = TlsStream<ReadAhead<S>>;

/// Starts TLS on `stream` towards the endpoint at `address`; also gives the server's verified certificate.
///
/// `alpn` replaces the protocols of the settings (the `istio.alpn` filter); `host` is the request's host, sent as server
/// name where the settings ask for `auto_sni`. The caller sets the time limit, which spans TCP connect and TLS together.
pub async fn connect<S>(
    tls: &ClientTls,
    alpn: Option<&[Vec<u8>]>,
    host: Option<&str>,
    address: IpAddr,
    stream: S,
) -> Result<(ClientStream<S>, Option<PeerCertificate>), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = compile::client(tls, alpn.unwrap_or(&tls.alpn))?;
    let name = server_name(tls, host, address)?;
    let stream = TlsConnector::from(config)
        .connect(name, ReadAhead::new(stream))
        .await
        .map_err(TlsError::Handshake)?;
    let leaf = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let peer = leaf.and_then(PeerCertificate::parse);
    Ok((stream, peer))
}

fn server_name(
    tls: &ClientTls,
    host: Option<&str>,
    address: IpAddr,
) -> Result<ServerName<'static>, TlsError> {
    let name = match (&tls.sni, host) {
        (Some(name), _) => &**name,
        (None, Some(host)) if tls.auto_sni => host_without_port(host),
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
