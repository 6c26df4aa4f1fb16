//! Sockets of the data path: bound once for all workers, original destinations read back, connections drained.

mod drain;
mod handover;
mod quic;
mod socket;
mod sockets;
mod stream;

pub use drain::{Drain, DrainTrigger, Held, drain};
pub use handover::{Ancestor, Heir, Request};
pub use quic::{QuicListening, QuicLoad};
pub use socket::{Listening, original_destination};
pub use sockets::{Lease, Place, Sockets};
pub use stream::Downstream;
