//! The client's side of TLS in a case.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use serde::Deserialize;

use super::super::observation::Observation;
use super::certificates::Certificates;

/// Longest wait for the server in a handshake.
const LIMIT: Duration = Duration::from_secs(8);
/// Longest wait for what a server says right after a handshake.
const AFTER: Duration = Duration::from_millis(400);

/// The `tls` of a case.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in super::super) struct ClientTls {
    /// Server name sent; none is sent without.
    pub(in super::super) sni: Option<String>,
    /// Protocols offered.
    pub(in super::super) alpn: Vec<String>,
    /// Name of the certificate shown.
    pub(in super::super) cert: Option<String>,
    /// The only version offered, 12 or 13.
    pub(in super::super) version: u8,
    /// The only type of key that is verified: `rsa` or `ecdsa`.
    pub(in super::super) keys: Option<String>,
}

/// A client's connection.
pub(in super::super) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// Any certificate will do: what a proxy shows is compared, not believed.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

impl ClientTls {
    pub(in super::super) fn name(&self) -> Result<ServerName<'static>> {
        Ok(match &self.sni {
            Some(name) => ServerName::try_from(name.clone())?,
            None => ServerName::IpAddress(Ipv4Addr::LOCALHOST.into()),
        })
    }

    pub(in super::super) fn config(&self, certificates: &Certificates) -> Result<ClientConfig> {
        let versions: &[&SupportedProtocolVersion] = match self.version {
            12 => &[&TLS12],
            13 => &[&TLS13],
            _ => &[&TLS13, &TLS12],
        };
        let all = default_provider();
        let mut schemes = all.signature_verification_algorithms.supported_schemes();
        let ecdsa = |scheme: &SignatureScheme| format!("{scheme:?}").starts_with("ECDSA");
        match self.keys.as_deref() {
            Some("rsa") => schemes.retain(|scheme| !ecdsa(scheme)),
            Some("ecdsa") => schemes.retain(ecdsa),
            _ => {}
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(all))
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(schemes)));
        let mut config = match &self.cert {
            Some(name) => {
                let (chain, key) = certificates.identity(name)?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|it| it.clone().into_bytes()).collect();
        Ok(config)
    }
}

/// A handshake, as far as the server lets it come; `None` when it refuses.
pub(in super::super) fn connect(
    tls: &ClientTls,
    certificates: &Certificates,
    mut stream: TcpStream,
    seen: &mut Observation,
) -> Result<Option<ClientStream>> {
    let config = Arc::new(tls.config(certificates)?);
    let mut connection = ClientConnection::new(config, tls.name()?)?;
    stream.set_read_timeout(Some(LIMIT))?;
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut stream) {
            refused(&error, seen);
            return Ok(None);
        }
    }
    describe(&connection, certificates, seen);
    stream.set_read_timeout(Some(AFTER))?;
    // A server of TLS 1.3 judges the client's certificate after the client is done.
    let late = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    while late && connection.tls13_tickets_received() == 0 {
        let read = connection.read_tls(&mut stream);
        let processed = match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => connection.process_new_packets().map_err(io::Error::other),
            Err(error) if is_pause(&error) => break,
            Err(error) => Err(error),
        };
        if let Err(error) = processed {
            refused(&error, seen);
            return Ok(None);
        }
    }
    let stream = StreamOwned::new(connection, stream);
    Ok(Some(ClientStream::Tls(Box::new(stream))))
}

/// Notes how a handshake failed.
pub(in super::super) fn refused(error: &io::Error, seen: &mut Observation) {
    seen.tls = "refused".to_owned();
    seen.end = "refused".to_owned();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    seen.alert = match inner {
        Some(rustls::Error::AlertReceived(alert)) => format!("{alert:?}"),
        Some(other) => other.to_string(),
        None => "ended".to_owned(),
    };
}

/// Notes what a handshake agreed on.
pub(in super::super) fn describe(
    connection: &ClientConnection,
    certificates: &Certificates,
    seen: &mut Observation,
) {
    let leaf = connection
        .peer_certificates()
        .and_then(|chain| chain.first());
    let alpn = connection.alpn_protocol().map(String::from_utf8_lossy);
    seen.tls = format!(
        "{:?} alpn {:?} certificate {}",
        connection.protocol_version(),
        alpn,
        leaf.map_or("none", |leaf| certificates.name(leaf)),
    );
}

fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

impl ClientStream {
    pub(in super::super) fn set_read_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => &stream.sock,
        }
        .set_read_timeout(Some(limit))
    }

    /// Ends the client's side.
    pub(in super::super) fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()?;
                stream.sock.shutdown(Shutdown::Write)
            }
        }
    }
}

impl Read for ClientStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for ClientStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
