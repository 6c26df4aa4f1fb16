//! TLS of the data path: accepting, connecting and verifying SPIFFE peers with the settings of `model`.
//!
//! Configurations are compiled on first use and again when a secret rotates; a handshake only looks at a cache. Two rules
//! differ from plain rustls: a peer is verified by its URI and DNS names against the matchers of the configuration and not
//! by a host name, and protocols that do not overlap end no handshake (DESIGN: no ALPN overlap is no error).

mod accept;
mod block;
mod certificates;
mod compile;
mod connect;
mod details;
mod error;
mod peer;
mod quic;
mod read_ahead;
mod reason;
mod rewind;
mod subject;
mod tickets;
mod verify;

pub use accept::{ServerStream, accept};
pub use block::{BLOCK, Block};
pub use connect::{ClientStream, connect};
pub use details::ShownChain;
pub use error::TlsError;
pub use peer::PeerCertificate;
pub use quic::{ChooseTls, QuicAgreed, QuicHandshake, QuicHello};
pub use read_ahead::ReadAhead;
pub use rewind::Rewind;
