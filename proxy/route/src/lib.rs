//! Permit and request to route decision: virtual host, route, cluster or answer, and the changes a request gets on its
//! way. Pure: no I/O, no clock, randomness passed in.
//!
//! The order of use, as Envoy's: [`normalize_path`] when the request arrives, [`find`] for the route whose fault and
//! cross-origin policy admission needs, [`decide`] with the [`Permit`](lateen_proxy_model::Permit) that admission gave,
//! [`Target::finish_request`] before the request is sent and [`Target::finish_response`] (or
//! [`Answer::finish_response`]) before the answer goes back.

mod answer;
mod cors;
mod decide;
mod find;
mod finish;
mod hash;
mod host;
mod path;
mod timeout;

pub use answer::Answer;
pub use cors::{Cors, CorsGrant, cors};
pub use decide::{ByName, Chosen, Decision, Target, choose_cluster, decide, fixed_draw};
pub use find::{Found, find, holds};
pub use finish::{NewHost, Rewritten};
pub use hash::{HashAddresses, HashResult, hash, source_hash};
pub use host::{find_host, strip_port};
pub use path::{BadPath, cut_fragment, has_escaped_slash, normalize_path};
pub use timeout::{Times, grpc_timeout_text};
