//! In front of hyper's HTTP/1 server: where messages begin and end is decided here, once and strictly (S18).
//!
//! hyper reads leniently and answers what it cannot read with an empty 400 that nobody logs. The [`Guard`] stands between
//! the connection and hyper: it hands over one whole head at a time ([`head`]), follows bodies to their end ([`chunked`]),
//! keeps what a client sends ahead until the request before it is answered, and gives the connection back when a request
//! cannot be read, so that it is answered and logged as any other ([`refusal`]).

mod chunked;
mod fuzzing;
mod guard;
mod head;
mod refusal;
mod signals;

pub(super) use guard::Guard;
pub(super) use head::HeadRules;
pub(super) use refusal::{Refusal, log_unread, refuse, refuse_stream};
pub(crate) use signals::Signals;

#[cfg(test)]
mod tests;

pub use fuzzing::{head as fuzz, stream as fuzz_stream};
