//! The life of a connection, in travel order.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use lateen_proxy_detect::{Detected, HttpVersion, detect};
use lateen_proxy_listen::{Downstream, Drain, Held, original_destination};
use lateen_proxy_model::{
    ClientAddr, Connection, ConnectionLimit, DynamicMetadata, FilterChain, Handshake, Listener,
    LocalAddr, NO_ADDRESS, NetworkFilter, OriginalDst, UpstreamSource,
};
use lateen_proxy_relay::http::{ConnectionFacts, KnownProtocol};
use lateen_proxy_tls::{PeerCertificate, Rewind, ServerStream, accept};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::data_path::Active;
use crate::gate::{self, Decision};
use crate::listener_stats::Counted;
use crate::network::Passed;
use crate::worker::Worker;
use crate::{http, network, tcp};

/// A connection whose filter chain is known and whose TLS, if the chain has any, is done.
pub(crate) struct Accepted<S> {
    pub(crate) worker: Rc<Worker>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) chain: Arc<FilterChain>,
    pub(crate) stream: S,
    pub(crate) facts: ConnectionFacts,
    /// The protocol agreed in the TLS handshake.
    pub(crate) alpn: Option<Vec<u8>>,
    /// When it shall end.
    pub(crate) drain: Drain,
    /// Counts the connection until it ends.
    pub(crate) held: (Held, Active, Counted),
    /// What is decided at its first bytes, where anything is.
    pub(crate) decision: Option<Decision>,
}

impl<S> Accepted<S> {
    /// The same over another stream, and the one before.
    fn over<T>(self, stream: T) -> (Accepted<T>, S) {
        let made = Accepted {
            worker: self.worker,
            listener: self.listener,
            chain: self.chain,
            stream,
            facts: self.facts,
            alpn: self.alpn,
            drain: self.drain,
            held: self.held,
            decision: self.decision,
        };
        (made, self.stream)
    }
}

/// A connection that may be plain TCP underneath.
pub(crate) trait RawTcp {
    /// The TCP connection and the bytes that were read from it before; `None` where bytes are not sent as they are.
    fn raw_tcp(&mut self) -> Option<(Bytes, &TcpStream)>;
}

impl RawTcp for Rewind<Downstream> {
    fn raw_tcp(&mut self) -> Option<(Bytes, &TcpStream)> {
        self.inner().tcp()?;
        let head = self.take_head();
        Some((head, self.inner().tcp()?))
    }
}

impl<S> RawTcp for ServerStream<S> {
    fn raw_tcp(&mut self) -> Option<(Bytes, &TcpStream)> {
        None
    }
}

/// Takes one connection until its chain is known and its TLS is done. All that it needs for that lives in a task of its own
/// and goes with it; the connection itself may then wait for hours in a smaller one.
/// `client` is `None` over a Unix socket.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    mut stream: Downstream,
    client: Option<SocketAddr>,
) {
    let Some(active) = worker.let_in(&listener) else {
        return;
    };
    let local = stream.local().unwrap_or(NO_ADDRESS);
    let direct = client.unwrap_or(NO_ADDRESS);
    let mut destination = destination(&listener, &stream, local);
    let listener = worker.hand_over(&listener, destination);
    let permit = listener.limit.as_ref().map(ConnectionLimit::enter);
    if matches!(permit, Some(None)) {
        return worker.count(&listener, "downstream_cx_overflow");
    }
    let mut detected = match detect(&mut stream, &listener.filters, destination.port()).await {
        Ok(detected) => detected,
        Err(error) => {
            return tracing::debug!(client = %direct, listener = %listener.name, %error, "connection ended");
        }
    };
    let (client, proxied) = detected.proxied.unwrap_or((direct, destination.0));
    destination = OriginalDst(proxied);
    let Some(chain) = choose(&listener, &detected, destination, (client, direct)) else {
        worker.count(&listener, "no_filter_chain_match");
        let sni = detected.server_name();
        return tcp::log_unmatched(&worker, &listener, destination, (client, direct), sni);
    };
    let drain = worker.drain_of(&listener, &chain);
    let held = drain.hold();
    let counted = worker
        .known
        .connected(worker.blueprint.metrics.stats(), &listener);
    let head = std::mem::take(&mut detected.head);
    let source = detected.source.map(|(client, mark)| UpstreamSource {
        ip: client.unwrap_or(direct).ip(),
        mark,
    });
    let facts = ConnectionFacts {
        direct,
        source,
        ..facts(detected, destination, client, local)
    };
    let stream = Rewind::new(head, stream);
    let plain = Accepted {
        worker,
        listener,
        chain,
        stream,
        facts,
        alpn: None,
        drain,
        held: (held, active, counted),
        decision: None,
    };
    match plain.chain.tls.clone() {
        None => filter(plain),
        Some(tls) => {
            let timeout = plain.worker.handshake_time(&plain.chain, &plain.listener);
            let (plain, raw) = plain.over(());
            match accept(&tls, raw, timeout).await {
                Ok((stream, peer, agreed)) => {
                    let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
                    let (mut made, ()) = plain.over(stream);
                    made.facts = secured(made.facts, (peer, agreed), alpn.as_deref());
                    made.alpn = alpn;
                    filter(made);
                }
                Err(error) => {
                    plain.worker.count(&plain.listener, "ssl.connection_error");
                    tracing::debug!(%client, listener = %plain.listener.name, %error, "handshake failed");
                    tcp::log_failed_handshake(
                        &plain.worker,
                        &plain.listener,
                        &plain.facts,
                        &error.reason(),
                    );
                }
            }
        }
    }
}

/// The chain's filters take over; those that decide at the first bytes stand before the others.
fn filter<S>(accepted: Accepted<S>)
where
    S: AsyncRead + AsyncWrite + RawTcp + Unpin + Send + 'static,
{
    match gate::is_needed(&accepted.chain) {
        false => filtered(accepted),
        true => filtered(gate::close(accepted)),
    }
}

/// The terminal filter, in a task as large as it needs.
fn filtered<S>(accepted: Accepted<S>)
where
    S: AsyncRead + AsyncWrite + RawTcp + Unpin + Send + 'static,
{
    let chain = Arc::clone(&accepted.chain);
    let told = tcp::ConnectionLog::begin(&accepted);
    match &chain.filter {
        NetworkFilter::Http(manager) => {
            let manager = Arc::clone(manager);
            spawn_local(async move {
                let _told = told;
                if let Some(passed) = admitted(&accepted).await {
                    let mut accepted = accepted;
                    noted(&mut accepted.facts, &passed);
                    http::serve(accepted, &manager).await;
                }
            })
        }
        NetworkFilter::Tcp(proxy) => {
            let proxy = Arc::clone(proxy);
            spawn_local(async move {
                let _told = told;
                if let Some(passed) = admitted(&accepted).await {
                    let mut accepted = accepted;
                    noted(&mut accepted.facts, &passed);
                    tcp::serve(accepted, &proxy, &passed).await;
                }
            })
        }
        NetworkFilter::Echo => spawn_local(async move {
            let _told = told;
            if let Some(_passed) = admitted(&accepted).await {
                network::echo(accepted.stream).await;
            }
        }),
        NetworkFilter::DirectResponse(response) => {
            let response = response.clone();
            spawn_local(async move {
                let _told = told;
                if let Some(_passed) = admitted(&accepted).await {
                    network::direct_response(accepted.stream, &response).await;
                }
            })
        }
    };
}

/// What the filters before the terminal one decided; `None` ends the connection.
pub(crate) async fn admitted<S>(accepted: &Accepted<S>) -> Option<Passed> {
    if accepted.chain.filters.is_empty() {
        return Some(Passed::default());
    }
    let admission = network::admit(&accepted.worker, &accepted.chain, &accepted.facts);
    match Box::pin(admission).await {
        Ok(passed) => Some(passed),
        Err(refusal) => {
            tcp::log_refused(accepted, refusal);
            None
        }
    }
}

/// What filters noted goes to that of the PROXY protocol.
fn noted(facts: &mut ConnectionFacts, passed: &Passed) {
    if !passed.metadata.is_empty() {
        let known = facts.proxied.get_or_insert_default();
        Arc::make_mut(known).share_all(&passed.metadata);
    }
}

fn destination(listener: &Listener, stream: &Downstream, local: SocketAddr) -> OriginalDst {
    let redirected = listener.filters.original_dst()
        || matches!(
            listener.bind,
            lateen_proxy_model::ListenerBind::Socket {
                use_original_dst: true
            }
        );
    OriginalDst(
        redirected
            .then(|| original_destination(stream.tcp()?))
            .flatten()
            .unwrap_or(local),
    )
}

fn choose(
    listener: &Listener,
    detected: &Detected,
    destination: OriginalDst,
    (source, direct_source): (SocketAddr, SocketAddr),
) -> Option<Arc<FilterChain>> {
    let connection = Connection {
        destination,
        source,
        direct_source,
        transport: detected.transport(),
        server_name: detected.server_name(),
        application: &detected.application,
    };
    listener.chains.find(&connection).cloned()
}

fn facts(
    detected: Detected,
    destination: OriginalDst,
    client: SocketAddr,
    local: SocketAddr,
) -> ConnectionFacts {
    ConnectionFacts {
        client: ClientAddr(client),
        direct: client,
        source: None,
        local: LocalAddr(local),
        destination,
        proxied: (!detected.metadata.is_empty()).then(|| proxied(&detected.metadata)),
        peer: None,
        tls: false,
        handshake: None,
        sni: detected.server_name().map(Arc::from),
        protocol: detected.http.map(|version| match version {
            HttpVersion::Http2 => KnownProtocol::Http2,
            HttpVersion::Http10 | HttpVersion::Http11 => KnownProtocol::Http1,
        }),
    }
}

/// TLVs as dynamic metadata; what is no text in them is replaced, as in Envoy.
fn proxied(tlvs: &[(Arc<str>, Arc<str>, Bytes)]) -> Arc<DynamicMetadata> {
    let mut metadata = DynamicMetadata::default();
    for (namespace, key, value) in tlvs {
        let value = Value::String(String::from_utf8_lossy(value).into_owned());
        metadata.merge(namespace, Map::from_iter([(key.to_string(), value)]));
    }
    Arc::new(metadata)
}

/// What the handshake adds: who the client is, and the protocol where ALPN says it.
fn secured(
    facts: ConnectionFacts,
    (peer, agreed): (Option<PeerCertificate>, Handshake),
    alpn: Option<&[u8]>,
) -> ConnectionFacts {
    let protocol = match alpn {
        Some(b"h2" | b"istio-h2") => Some(KnownProtocol::Http2),
        Some(b"http/1.1" | b"http/1.0" | b"istio-http/1.1" | b"istio-http/1.0") => {
            Some(KnownProtocol::Http1)
        }
        _ => None,
    };
    ConnectionFacts {
        peer,
        tls: true,
        handshake: Some(Arc::new(agreed)),
        protocol,
        ..facts
    }
}
