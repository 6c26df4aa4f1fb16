//! Requests through the whole HTTP path, in process: real connections to a real upstream, the rooms as the proxy joins
//! them.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../../src/http/admission.rs"]
mod admission;
#[path = "../../src/http/bodies.rs"]
mod bodies;
#[path = "../../src/http/ext_authz.rs"]
mod ext_authz;
#[path = "../../src/http/ext_proc/mod.rs"]
mod ext_proc;
#[path = "../../src/http/filters.rs"]
mod filters;
#[path = "../../src/http/forward_proxy.rs"]
mod forward_proxy;
#[path = "../../src/http/internal_redirect.rs"]
mod internal_redirect;
#[allow(dead_code, reason = "what only listeners start")]
#[path = "../../src/http/jwt.rs"]
mod jwt;
#[path = "../../src/http/rate_limits.rs"]
mod rate_limits;
#[path = "../../src/http/request.rs"]
mod request;

mod mesh;

mod checks;
mod ends;
mod faults;
mod hashing;
mod headers;
mod overload;
mod policy;
mod retries;
mod streams;
mod tls;
