//! The decision on bytes in hand, without I/O.

use bytes::Bytes;
use rustls::server::Acceptor;

use crate::http::{HttpVersion, Verdict, http_version};
use crate::{DetectError, Detected};

/// First byte of every TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// The parts of a ClientHello that chains match.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// Server name, lower case.
    pub server_name: Option<String>,
    /// Protocols offered, in order.
    pub alpn: Vec<Vec<u8>>,
}

/// What a connection opens with.
#[derive(Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// TLS.
    Tls(ClientHello),
    /// HTTP in the clear.
    Http(HttpVersion),
    /// Neither.
    Other,
}

impl FirstBytes {
    pub(crate) fn into_detected(self, head: Bytes) -> Detected {
        match self {
            Self::Tls(hello) => Detected {
                application: hello.alpn.clone(),
                hello: Some(hello),
                http: None,
                head,
            },
            Self::Http(version) => {
                let application = vec![version.chain_name().as_bytes().to_vec()];
                Detected {
                    hello: None,
                    http: Some(version),
                    head,
                    application,
                }
            }
            Self::Other => Detected {
                head,
                ..Detected::default()
            },
        }
    }
}

/// Decides on `head`, or asks for more bytes with `None`.
pub(crate) fn look(head: &[u8], tls: bool, http: bool) -> Result<Option<FirstBytes>, DetectError> {
    if tls && head.first() == Some(&TLS_HANDSHAKE) {
        return Ok(client_hello(head)?.map(FirstBytes::Tls));
    }
    if !http {
        return Ok(Some(FirstBytes::Other));
    }
    Ok(match http_version(head) {
        Verdict::Http(version) => Some(FirstBytes::Http(version)),
        Verdict::Other => Some(FirstBytes::Other),
        Verdict::NeedsMore => None,
    })
}

fn client_hello(head: &[u8]) -> Result<Option<ClientHello>, DetectError> {
    let mut acceptor = Acceptor::default();
    let mut rest = head;
    while !rest.is_empty() {
        acceptor.read_tls(&mut rest)?;
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                return Ok(Some(ClientHello {
                    server_name: hello.server_name().map(str::to_ascii_lowercase),
                    alpn: hello
                        .alpn()
                        .map(|offered| offered.map(<[u8]>::to_vec).collect())
                        .unwrap_or_default(),
                }));
            }
            Ok(None) => {}
            Err((error, _)) => return Err(error.into()),
        }
    }
    Ok(None)
}
