//! The decision on bytes in hand, without I/O.

use rustls::server::Acceptor;

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

/// What the bytes so far are.
pub(crate) enum Hello {
    /// A whole ClientHello.
    Tls(ClientHello),
    /// No TLS.
    Other,
    /// More bytes are needed.
    NeedsMore,
}

/// Reads a ClientHello that comes in parts: each byte is looked at once.
#[derive(Default)]
pub(crate) struct HelloReader {
    acceptor: Acceptor,
    /// Bytes of the head that the acceptor has.
    taken: usize,
}

impl HelloReader {
    /// `head` is what was there before with what came since behind it.
    pub(crate) fn read(&mut self, head: &[u8]) -> Result<Hello, rustls::Error> {
        match head.first() {
            None => return Ok(Hello::NeedsMore),
            Some(&TLS_HANDSHAKE) => {}
            Some(_) => return Ok(Hello::Other),
        }
        let mut rest = head.get(self.taken..).unwrap_or_default();
        self.taken = head.len();
        while !rest.is_empty() {
            if self.acceptor.read_tls(&mut rest).is_err() {
                return Err(rustls::Error::General("unreadable".to_owned()));
            }
            match self.acceptor.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    return Ok(Hello::Tls(ClientHello {
                        server_name: hello.server_name().map(str::to_ascii_lowercase),
                        alpn: hello
                            .alpn()
                            .map(|offered| offered.map(<[u8]>::to_vec).collect())
                            .unwrap_or_default(),
                    }));
                }
                Ok(None) => {}
                Err((error, _)) => return Err(error),
            }
        }
        Ok(Hello::NeedsMore)
    }
}
