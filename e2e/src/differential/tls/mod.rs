//! TLS of cases: certificates, the client's side and servers behind the proxies.

pub(super) mod certificates;
pub(super) mod client;
pub(super) mod upstream;
