//! TCP copy and HTTP forward: retries, timeouts, upgrades and bodies.

pub mod cells;
pub mod exchange;
pub mod http;
pub mod mongo;
pub mod splice;
pub mod tcp;
