//! The kinds of the group `security.istio.io`, with every field of the API (versions v1 and v1beta1 are alike).

mod authorization_policy;
mod peer_authentication;
mod request_authentication;

pub use authorization_policy::{
    AuthorizationAction, AuthorizationActionDetail, AuthorizationCondition,
    AuthorizationExtensionProvider, AuthorizationFrom, AuthorizationOperation, AuthorizationPolicy,
    AuthorizationRule, AuthorizationSource, AuthorizationTo,
};
pub use peer_authentication::{MutualTls, MutualTlsMode, PeerAuthentication};
pub use request_authentication::{
    ClaimToHeader, JwtHeader, JwtPresence, JwtRule, RequestAuthentication,
};
