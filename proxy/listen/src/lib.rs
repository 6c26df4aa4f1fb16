//! Sockets of the data path: bound once a worker, original destinations read back, connections drained.

mod drain;
mod socket;

pub use drain::{Drain, DrainTrigger, Held, drain};
pub use socket::{bind, original_destination, prepare};
