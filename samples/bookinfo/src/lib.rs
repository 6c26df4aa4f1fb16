//! What the four services share: serving until asked to stop, and calling each other with the caller's headers.

mod caller;
mod serve;

pub use caller::{CallError, Caller};
pub use serve::serve;
