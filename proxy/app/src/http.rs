//! HTTP connections: the chain's connection manager on this worker, and the rooms a request goes through.

mod admission;
mod bodies;
mod ext_authz;
mod ext_proc;
mod filters;
mod forward_proxy;
mod internal_redirect;
mod jwt;
mod rate_limits;
mod request;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use lateen_proxy_balance::Balancer;
use lateen_proxy_dial::Pools;
use lateen_proxy_listen::{Drain, Held};
use lateen_proxy_model::{HttpFilter, HttpManager};
use lateen_proxy_relay::http::{
    Connection, DrainSignal, RequestBody, ServiceCalls, Upstreams, serve_connection, serve_http3,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::Accepted;
use crate::data_path::Active;
use crate::listener_stats::Counted;

/// Serves a connection whose chain ends in a connection manager, until it ends.
pub(crate) async fn serve<S>(accepted: Accepted<S>, manager: &Arc<HttpManager>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = begin(accepted, manager);
    let upstreams = begun.upstreams;
    serve_connection(
        begun.stream,
        begun.connection,
        begun.drain,
        move |connection, request| request::handle(upstreams.clone(), connection, request),
    )
    .await;
    drop(begun.held);
}

/// The same over QUIC.
pub(crate) async fn serve_quic(accepted: Accepted<quinn::Connection>, manager: &Arc<HttpManager>) {
    let begun = begin(accepted, manager);
    let upstreams = begun.upstreams;
    serve_http3(
        begun.stream,
        begun.connection,
        begun.drain,
        move |connection, request| request::handle(upstreams.clone(), connection, request),
    )
    .await;
    drop(begun.held);
}

/// A connection that is to be served.
struct Begun<S> {
    stream: S,
    connection: Rc<Connection>,
    drain: Ending,
    upstreams: Upstreams<Balancer, Pools<RequestBody>>,
    held: (Held, Active, Counted),
}

fn begin<S>(accepted: Accepted<S>, manager: &Arc<HttpManager>) -> Begun<S> {
    let worker = accepted.worker;
    let chain = worker.http_chain(manager, &accepted.listener);
    let drain = Ending {
        drain: accepted.drain,
        over: worker.blueprint.drain_over,
    };
    let upstreams = Upstreams {
        balance: Rc::clone(&worker.balancer),
        dial: Rc::clone(&worker.pools),
    };
    for filter in &chain.filters {
        if let HttpFilter::Jwt(jwt) = &filter.entry.filter {
            let calls = ServiceCalls::new(upstreams.clone(), Rc::clone(&worker.http));
            jwt::keep_ahead(jwt, &calls);
        }
    }
    Begun {
        stream: accepted.stream,
        connection: Rc::new(Connection::new(chain, accepted.facts)),
        drain,
        upstreams,
        held: accepted.held,
    }
}

/// The drain of `listen`, as the relay asks for it: its connections are asked to end at times spread over `over`.
struct Ending {
    drain: Drain,
    over: Duration,
}

impl DrainSignal for Ending {
    async fn draining(&mut self) {
        self.drain.draining().await;
        if !self.over.is_zero() {
            let wait = self.over.mul_f64(fastrand::f64());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.drain.closing() => {}
            }
        }
    }

    async fn closing(&mut self) {
        self.drain.closing().await;
    }
}
