//! HTTP/3 (RFC 9114) towards clients, on streams of QUIC.
//!
//! It is done here and not by a crate, see docs/decisions/http3.md: whatever a client sends is bounded before it is held,
//! and heads are judged as strictly as in the other versions. There is no push, no dynamic table and no datagram.

mod answer;
mod body;
mod code;
mod connection;
mod frame;
mod head;
mod huffman;
mod qpack;
mod stream;
mod tables;
mod tunnel;

pub use body::Http3Body;
pub use connection::serve_http3;
pub use frame::StreamError;
pub(crate) use head::ExtendedConnect;
pub(crate) use tunnel::{Tunnel, TunnelIo};
