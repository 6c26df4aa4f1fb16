//! Redirect rules of a pod: `istio-iptables` with its flags (contract/inject.md §4, §8).
//!
//! [`rules`](rules::restore_input) turns options into the input of `iptables-restore`, a pure function; [`apply`] runs it.
//! Our chains are written anew each time and jumps into them are added only where they are missing, so running twice
//! gives what running once gives.

mod apply;
mod options;
mod rules;

pub use apply::{ApplyError, apply};
pub use options::{Args, Cidrs, Mode, Options, OptionsError, Ports};
pub use rules::{Family, restore_input};
