//! The HTTP relay. A request's way, in the order of the modules: [`connection`] speaks the client's protocol,
//! [`exchange`] remembers the request, [`sanitize`] makes its head fit to be trusted, [`forward`] tries endpoints until
//! an answer comes (`tries`, `retry`, `limits`, `request_body`, `mirror`), [`answer`] brings the answer, or a [`reply`]
//! made here, back to the client. `app` puts routing and admission between them.

mod anew;
mod answer;
mod answer_body;
mod batch;
mod call;
mod caller;
mod chain;
mod changed;
mod client_body;
mod connection;
mod counters;
mod exchange;
mod expand;
mod forward;
mod frames;
mod grpc;
mod hedge;
mod http1;
mod http3;
mod interim;
mod life;
mod limits;
mod load;
mod local_reply;
mod log_service;
mod look_up;
mod mirror;
mod number;
mod origin;
mod overload;
pub(crate) mod peer;
mod pipe;
mod reply;
mod request_body;
mod request_id;
mod retry;
mod route_counters;
mod sanitize;
#[cfg(test)]
mod sizes;
mod switches;
mod throttle;
mod trace;
mod tracer;
mod tries;
mod tunnel;
mod upgrade;
mod worker;
mod xfcc;

pub use answer::DownstreamBody;
pub use answer_body::{AnswerBody, OwnBody};
pub use call::{ServiceCalls, ServiceStream};
pub use caller::{CallFailed, Called, Caller, Pieces};
pub use chain::{ChainFilter, FilterCounters, HttpChain};
pub use changed::BodyLink;
pub use client_body::{ClientBody, ClientBodyError, ReadAhead};
pub use connection::{Connection, ConnectionFacts, DrainSignal, KnownProtocol, serve_connection};
pub use exchange::{Exchange, is_grpc};
pub use expand::Expander;
pub use forward::{ForwardPlan, Upstreams, append_forwarded_host, forward};
pub use http3::{Http3Body, StreamError, serve_http3};
pub use log_service::ServiceEntries;
pub use look_up::failure as lookup_failure;
pub use overload::{ChainOverload, Shedding};
pub use peer::OwnMetadata;
pub use reply::{LocalReply, ReplyParts, explain_to_grpc};
pub use request_body::RequestBody;
pub use sanitize::{
    check, early, forwarded_scheme, normal_host, path, scheme, set_path, strip_hop, trust,
};
pub use trace::Node;
pub use tunnel::{Tunnel, TunnelStream, open_tunnel};
pub use worker::{KnownCluster, KnownTable, Worker};

/// What fuzz targets call, which connections reach by themselves.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::frames::fuzz as frames;
    pub use super::http1::{fuzz as head, fuzz_stream as stream};
    pub use super::load::fuzz as load_report;
    pub use super::peer::fuzz as peer;
    pub use super::sanitize::fuzz as forwarded;
    pub use super::xfcc::fuzz as xfcc_value;
}
