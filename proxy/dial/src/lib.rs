//! Endpoint to connection: pools, limits and upstream TLS.
//!
//! [`Pools`] belongs to one worker and shares nothing: its connections are driven by tasks of the worker's own runtime
//! (`spawn_local`). A pool is one way to reach one endpoint: cluster, endpoint, transport, protocol and, where the host
//! goes into the handshake, the host. What workers share of a cluster are the counters of its circuit breakers.

mod auto;
mod body;
mod connect;
mod exec;
mod failure;
mod guard;
mod health;
mod http1;
mod http2;
mod pool;
mod proxy_protocol;
mod raw;
mod stream;
mod sweep;
mod tcp;

pub use body::ResponseBody;
pub use guard::ConnectionGuard;
pub use health::check_health;
pub use pool::Pools;
pub use stream::UpstreamStream;
pub use tcp::{TcpUpstream, connect_tcp};
