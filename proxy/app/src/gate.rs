//! Connections whose first bytes wait until a service has decided: what the upstream says first passes meanwhile.

use std::cell::OnceCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use lateen_proxy_admit::{ConnectionAnswer, check_connection, connection_answer};
use lateen_proxy_model::{
    ConnectionFilter, DynamicMetadata, FilterChain, GrpcSettings, NetworkAuthz, NetworkFilter,
    RequestFacts, grpc_call,
};
use lateen_proxy_relay::cells::Cells;
use lateen_proxy_relay::http::{ConnectionFacts, ServiceCalls, Upstreams};
use lateen_proxy_telemetry::Flags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::spawn_local;

use crate::connection::{Accepted, RawTcp};
use crate::network::Refusal;
use crate::worker::Worker;

/// Where answers are noted.
const NAMESPACE: &str = "envoy.filters.network.ext_authz";
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// First bytes that are read before the decision.
const FIRST: usize = 16 * 1024;

/// Places of the counters.
const TOTAL: usize = 0;
const OK: usize = 1;
const DENIED: usize = 2;
const ERROR: usize = 3;
const CLOSED: usize = 4;
const ALLOWED: usize = 5;
const DISABLED: usize = 6;

/// What was decided, for the access log.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// Why the connection ends, if it does.
    pub(crate) refusal: Option<Refusal>,
    /// What services said of it.
    pub(crate) metadata: DynamicMetadata,
    /// First bytes that came.
    pub(crate) first: u64,
}

/// What is decided when the first bytes have come.
pub(crate) type Decision = Rc<OnceCell<Decided>>;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A connection whose first bytes wait.
pub(crate) struct Gated {
    inner: Box<dyn Duplex>,
    state: State,
}

enum State {
    Closed {
        ask: Option<oneshot::Sender<u64>>,
        verdict: oneshot::Receiver<bool>,
        first: Bytes,
        /// A client that ends without a byte is asked about too: only half of such a connection is over.
        at_end: bool,
    },
    Open {
        first: Bytes,
    },
    Refused,
}

/// Whether some filter of a chain decides at the first byte.
pub(crate) fn is_needed(chain: &FilterChain) -> bool {
    let authz = |filter: &ConnectionFilter| matches!(filter, ConnectionFilter::Authz(_));
    chain.filters.iter().any(|entry| authz(&entry.filter))
}

/// Puts the gate before a connection.
pub(crate) fn close<S>(accepted: Accepted<S>) -> Accepted<Gated>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (ask, asked) = oneshot::channel();
    let (decide, verdict) = oneshot::channel();
    let decision = Decision::default();
    let at_end = matches!(accepted.chain.filter, NetworkFilter::Tcp(_));
    let (worker, chain) = (Rc::clone(&accepted.worker), Arc::clone(&accepted.chain));
    let (facts, place) = (accepted.facts.clone(), Rc::clone(&decision));
    spawn_local(async move {
        // A connection that ended before its first byte asks nothing.
        if let Ok(first) = asked.await {
            let mut decide = decide;
            let deciding = decided(&worker, &chain, &facts);
            tokio::select! {
                mut decided = deciding => {
                    decided.first = first;
                    let passes = decided.refusal.is_none();
                    let _ = place.set(decided);
                    let _ = decide.send(passes);
                }
                () = decide.closed() => {}
            }
        }
    });
    Accepted {
        worker: accepted.worker,
        listener: accepted.listener,
        chain: accepted.chain,
        stream: Gated {
            inner: Box::new(accepted.stream),
            state: State::Closed {
                ask: Some(ask),
                verdict,
                first: Bytes::new(),
                at_end,
            },
        },
        facts: accepted.facts,
        alpn: accepted.alpn,
        drain: accepted.drain,
        held: accepted.held,
        decision: Some(decision),
    }
}

/// Asks the services of a chain, one after the other.
async fn decided(worker: &Worker, chain: &FilterChain, facts: &ConnectionFacts) -> Decided {
    let mut decided = Decided::default();
    for entry in &chain.filters {
        if let ConnectionFilter::Authz(authz) = &entry.filter {
            decided.refusal = Box::pin(ask(worker, authz, facts, &mut decided.metadata)).await;
            if decided.refusal.is_some() {
                break;
            }
        }
    }
    decided
}

async fn ask(
    worker: &Worker,
    authz: &NetworkAuthz,
    facts: &ConnectionFacts,
    metadata: &mut DynamicMetadata,
) -> Option<Refusal> {
    let cells = Cells(worker.blueprint.metrics.stats());
    let count = |place| authz.stats.inc(place, &cells);
    let condition = authz.enabled_metadata.as_ref();
    if condition.is_some_and(|it| !it.matches(facts.metadata())) {
        count(DISABLED);
        return None;
    }
    count(TOTAL);
    let upstreams = Upstreams {
        balance: Rc::clone(&worker.balancer),
        dial: Rc::clone(&worker.pools),
    };
    let calls = ServiceCalls::new(upstreams, Rc::clone(&worker.http));
    let question = check_connection(authz, facts);
    let settings = GrpcSettings {
        timeout: authz.timeout,
        authority: authz.service.authority.as_ref(),
        metadata: &authz.service.metadata,
    };
    let asked = grpc_call(&calls, &authz.service.cluster, CHECK, &question, settings);
    let answer = match asked.await {
        Ok(answer) => connection_answer(answer),
        Err(error) => {
            tracing::debug!(%error, "no authorisation of a connection");
            ConnectionAnswer::Error
        }
    };
    let details = match answer {
        ConnectionAnswer::Allowed(noted) => {
            count(OK);
            metadata.merge(NAMESPACE, noted);
            return None;
        }
        ConnectionAnswer::Denied(noted) => {
            count(DENIED);
            metadata.merge(NAMESPACE, noted);
            "ext_authz_denied"
        }
        ConnectionAnswer::Error => {
            count(ERROR);
            if authz.failure_mode_allow {
                count(ALLOWED);
                return None;
            }
            "ext_authz_error"
        }
    };
    if authz.shadow {
        return None;
    }
    count(CLOSED);
    Some(Refusal {
        flags: Flags::UNAUTHORIZED_EXTERNAL,
        details: Some(details),
        ..Refusal::default()
    })
}

fn refused() -> io::Error {
    io::Error::from(io::ErrorKind::ConnectionAborted)
}

impl Gated {
    /// Reads the first bytes, and waits for what is decided then.
    fn poll_decision(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State::Closed {
            ask,
            verdict,
            first,
            at_end,
        } = &mut self.state
        else {
            return Poll::Ready(Ok(()));
        };
        if ask.is_some() {
            let mut buffer = vec![0; FIRST];
            let mut read = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
            *first = Bytes::copy_from_slice(read.filled());
            if first.is_empty() && !*at_end {
                self.state = State::Open {
                    first: Bytes::new(),
                };
                return Poll::Ready(Ok(()));
            }
            if let Some(ask) = ask.take() {
                let _ = ask.send(first.len() as u64);
            }
        }
        let passes = ready!(Pin::new(verdict).poll(cx)).unwrap_or(false);
        let first = std::mem::take(first);
        self.state = match passes {
            true => State::Open { first },
            false => State::Refused,
        };
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_decision(cx))?;
        match &mut this.state {
            State::Open { first } if !first.is_empty() => {
                let count = first.len().min(buffer.remaining());
                buffer.put_slice(first.get(..count).unwrap_or_default());
                first.advance(count);
                Poll::Ready(Ok(()))
            }
            State::Open { .. } => Pin::new(&mut this.inner).poll_read(cx, buffer),
            State::Closed { .. } | State::Refused => Poll::Ready(Err(refused())),
        }
    }
}

impl AsyncWrite for Gated {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &self.state {
            State::Refused => Poll::Ready(Err(refused())),
            _ => Pin::new(&mut self.get_mut().inner).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl RawTcp for Gated {
    fn raw_tcp(&mut self) -> Option<(Bytes, &TcpStream)> {
        None
    }
}
