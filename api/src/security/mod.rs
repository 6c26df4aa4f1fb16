//! The kinds of the group `security.istio.io` that are served: PeerAuthentication.

mod peer_authentication;

pub use peer_authentication::{MutualTls, MutualTlsMode, PeerAuthentication};
