//! The server's side of a QUIC handshake. The settings are chosen when the ClientHello is there, as on TCP: until then the
//! session only collects it.

use std::any::Any;
use std::io::Cursor;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use lateen_proxy_model::{CompiledServer, Handshake, ServerTls};
use quinn_proto::crypto::rustls::QuicServerConfig;
use quinn_proto::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig,
    UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::AlertDescription;
use rustls::quic::{KeyChange, Secrets, ServerConnection, Suite, Version};
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::accept::{peer, shown};
use crate::details::{ShownChain, handshake};
use crate::{PeerCertificate, TlsError, compile};

/// Longest ClientHello.
const LONGEST_HELLO: usize = 64 * 1024;
/// Longest payload of a TLS record.
const RECORD: usize = 16 * 1024;
/// Bytes before the content of a handshake message.
const MESSAGE_HEAD: usize = 4;

/// What a ClientHello says of where it wants to go.
#[derive(Debug)]
pub struct QuicHello<'h> {
    /// Server name, lower case.
    pub server_name: Option<&'h str>,
    /// Protocols offered.
    pub alpn: Vec<Vec<u8>>,
}

/// Chooses settings for a connection.
pub type ChooseTls = dyn Fn(QuicHello<'_>) -> Option<Arc<ServerTls>> + Send + Sync;

/// What a handshake of QUIC agreed on.
#[derive(Debug)]
pub struct QuicAgreed {
    /// The client's verified certificate.
    pub peer: Option<PeerCertificate>,
    /// Version, algorithms and certificates.
    pub handshake: Handshake,
    /// The protocol.
    pub alpn: Option<Vec<u8>>,
}

/// The handshake of one connection.
pub struct QuicHandshake {
    choose: Option<Box<ChooseTls>>,
    failure: Mutex<Option<TlsError>>,
    base: Arc<QuicServerConfig>,
    suite: Suite,
}

impl std::fmt::Debug for QuicHandshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuicHandshake").finish_non_exhaustive()
    }
}

/// Who has no certificate.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

impl QuicHandshake {
    /// A handshake that chooses its settings by the ClientHello; without a choice it serves first packets alone.
    ///
    /// # Errors
    /// When the cryptography at hand lacks what QUIC begins with.
    pub fn new(choose: Option<Box<ChooseTls>>) -> Result<Self, TlsError> {
        let (base, suite) = base()?;
        Ok(Self {
            choose,
            failure: Mutex::default(),
            base,
            suite,
        })
    }

    /// Why the handshake failed here, where it did.
    pub fn failure(&self) -> Option<TlsError> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }

    fn fail(&self, error: TlsError, alert: AlertDescription) -> TransportError {
        let refused = refused(alert, &error.to_string());
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        *failure = Some(error);
        refused
    }
}

/// What protects first packets, whatever is chosen then.
fn base() -> Result<(Arc<QuicServerConfig>, Suite), TlsError> {
    static BASE: OnceLock<Option<(Arc<QuicServerConfig>, Suite)>> = OnceLock::new();
    let made = BASE.get_or_init(|| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let suite = provider.cipher_suites.iter().find_map(|suite| {
            let first = suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
            suite.tls13().filter(|_| first)?.quic_suite()
        })?;
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .ok()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
        let base = QuicServerConfig::with_initial(Arc::new(config), suite).ok()?;
        Some((Arc::new(base), suite))
    });
    let none = || rustls::Error::General("no cryptography for QUIC".to_owned());
    made.clone().ok_or_else(|| TlsError::Settings(none()))
}

fn refused(alert: AlertDescription, why: &str) -> TransportError {
    TransportError {
        code: TransportErrorCode::crypto(alert.into()),
        frame: None,
        reason: why.to_owned(),
    }
}

fn version_of(version: u32) -> Version {
    match version {
        0xff00_001d..=0xff00_0020 => Version::V1Draft,
        _ => Version::V1,
    }
}

impl ServerConfig for QuicHandshake {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.base.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.base.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        let mut written = Vec::new();
        params.write(&mut written);
        Box::new(Session {
            version: version_of(version),
            handshake: self,
            state: State::Waiting {
                hello: Vec::new(),
                params: written,
            },
            next: None,
        })
    }
}

struct Session {
    version: Version,
    handshake: Arc<QuicHandshake>,
    state: State,
    next: Option<Secrets>,
}

enum State {
    Waiting { hello: Vec<u8>, params: Vec<u8> },
    Running(Box<Running>),
}

struct Running {
    connection: ServerConnection,
    compiled: Arc<CompiledServer>,
    own: Option<Arc<ShownChain>>,
}

impl Session {
    fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Waiting { .. } => None,
            State::Running(running) => Some(running),
        }
    }

    /// Chooses settings once the ClientHello is whole.
    fn begin(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let State::Waiting { hello, params } = &mut self.state else {
            return Ok(false);
        };
        hello.extend_from_slice(bytes);
        if hello.len() > LONGEST_HELLO {
            return Err(refused(AlertDescription::DecodeError, "a long ClientHello"));
        }
        let whole = match hello[..] {
            [_, a, b, c, ..] => MESSAGE_HEAD + u32::from_be_bytes([0, a, b, c]) as usize,
            _ => return Ok(false),
        };
        if hello.len() < whole {
            return Ok(false);
        }
        let (hello, params) = (std::mem::take(hello), std::mem::take(params));
        let fail = |error, alert| self.handshake.fail(error, alert);
        let accepted = read(&hello)
            .map_err(|error| fail(TlsError::Handshake(error), AlertDescription::DecodeError))?;
        let seen = accepted.client_hello();
        let alpn = seen
            .alpn()
            .map(|offered| offered.map(<[u8]>::to_vec).collect());
        let wanted = QuicHello {
            server_name: seen.server_name(),
            alpn: alpn.unwrap_or_default(),
        };
        let tls = self
            .handshake
            .choose
            .as_ref()
            .and_then(|choose| choose(wanted));
        let Some(tls) = tls else {
            return Err(refused(
                AlertDescription::HandshakeFailure,
                "no filter chain",
            ));
        };
        if tls.require_sni && seen.server_name().is_none() {
            return Err(fail(
                TlsError::NoServerName,
                AlertDescription::UnrecognisedName,
            ));
        }
        let compiled =
            compile::server(&tls).map_err(|error| fail(error, AlertDescription::InternalError))?;
        let own = shown(&compiled, accepted.client_hello());
        let config = Arc::clone(&compiled.config);
        let mut connection = ServerConnection::new(config, self.version, params)
            .map_err(|error| fail(TlsError::Settings(error), AlertDescription::InternalError))?;
        let taken = connection.read_hs(&hello);
        taken.map_err(|error| failed(&self.handshake, &connection, error))?;
        self.state = State::Running(Box::new(Running {
            connection,
            compiled,
            own,
        }));
        Ok(true)
    }
}

fn failed(
    handshake: &QuicHandshake,
    connection: &ServerConnection,
    error: rustls::Error,
) -> TransportError {
    let alert = connection
        .alert()
        .unwrap_or(AlertDescription::HandshakeFailure);
    handshake.fail(TlsError::Handshake(std::io::Error::other(error)), alert)
}

/// Reads a ClientHello as TLS over TCP has it: in records.
fn read(hello: &[u8]) -> std::io::Result<rustls::server::Accepted> {
    let mut records = Vec::with_capacity(hello.len() + 16);
    for part in hello.chunks(RECORD) {
        let length = u16::try_from(part.len()).unwrap_or_default().to_be_bytes();
        records.extend([22, 3, 1]);
        records.extend(length);
        records.extend_from_slice(part);
    }
    let mut acceptor = Acceptor::default();
    let mut from = Cursor::new(&records);
    while acceptor.read_tls(&mut from)? > 0 {
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted),
            Ok(None) => {}
            Err((error, _)) => return Err(std::io::Error::other(error)),
        }
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

impl crypto::Session for Session {
    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        let side = match side {
            Side::Client => rustls::Side::Client,
            Side::Server => rustls::Side::Server,
        };
        keys(self.handshake.suite.keys(dst_cid, side, self.version))
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let running = self.running()?;
        let connection = &running.connection;
        let chain = connection.peer_certificates().unwrap_or_default();
        let theirs = (!chain.is_empty()).then(|| ShownChain::new(chain));
        Some(Box::new(QuicAgreed {
            peer: peer(&running.compiled, chain, theirs.as_ref()),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            handshake: handshake(connection, theirs, running.own.clone()),
        }))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        let keys = self.running()?.connection.zero_rtt_keys()?;
        Some((Box::new(keys.header), Box::new(keys.packet)))
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        self.running()
            .is_none_or(|it| it.connection.is_handshaking())
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let State::Running(running) = &mut self.state else {
            return self.begin(bytes);
        };
        let taken = running.connection.read_hs(bytes);
        taken.map_err(|error| failed(&self.handshake, &running.connection, error))?;
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let theirs = self
            .running()
            .and_then(|it| it.connection.quic_transport_parameters());
        theirs
            .map(|bytes| TransportParameters::read(Side::Server, &mut Cursor::new(bytes)))
            .transpose()
            .map_err(Into::into)
    }

    fn write_handshake(&mut self, to: &mut Vec<u8>) -> Option<Keys> {
        let State::Running(running) = &mut self.state else {
            return None;
        };
        Some(keys(match running.connection.write_hs(to)? {
            KeyChange::Handshake { keys } => keys,
            KeyChange::OneRtt { keys, next } => {
                self.next = Some(next);
                keys
            }
        }))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        let keys = self.next.as_mut()?.next_packet_keys();
        Some(KeyPair {
            local: Box::new(keys.local),
            remote: Box::new(keys.remote),
        })
    }

    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        // Servers get none.
        false
    }

    fn export_keying_material(
        &self,
        _: &mut [u8],
        _: &[u8],
        _: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        // Nobody here asks for any.
        Err(ExportKeyingMaterialError)
    }
}

fn keys(keys: rustls::quic::Keys) -> Keys {
    Keys {
        header: KeyPair {
            local: Box::new(keys.local.header),
            remote: Box::new(keys.remote.header),
        },
        packet: KeyPair {
            local: Box::new(keys.local.packet),
            remote: Box::new(keys.remote.packet),
        },
    }
}
