//! HTTP connections: the chain's connection manager on this worker, and the rooms a request goes through.

mod filters;
mod request;

use std::rc::Rc;
use std::sync::Arc;

use lateen_proxy_listen::Drain;
use lateen_proxy_model::HttpManager;
use lateen_proxy_relay::http::{Connection, DrainSignal, Upstreams, serve_connection};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::connection::Accepted;

/// Serves a connection whose chain ends in a connection manager, until it ends.
pub(crate) async fn serve<S>(accepted: Accepted<S>, manager: &Arc<HttpManager>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let worker = accepted.worker;
    let chain = worker.http_chain(manager, &accepted.listener);
    let drain = Ending(worker.drain_of(&accepted.listener));
    let upstreams = Upstreams {
        balance: Rc::clone(&worker.balancer),
        dial: Rc::clone(&worker.pools),
    };
    let connection = Rc::new(Connection::new(chain, accepted.facts));
    serve_connection(
        accepted.stream,
        connection,
        drain,
        move |connection, request| request::handle(upstreams.clone(), connection, request),
    )
    .await;
    drop(accepted.held);
}

/// The drain of `listen`, as the relay asks for it.
struct Ending(Drain);

impl DrainSignal for Ending {
    async fn draining(&mut self) {
        self.0.draining().await;
    }

    async fn closing(&mut self) {
        self.0.closing().await;
    }
}
