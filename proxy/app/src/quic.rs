//! The life of a QUIC connection, in travel order.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use lateen_proxy_listen::{QuicListening, QuicLoad};
use lateen_proxy_model::{
    ClientAddr, Connection, ConnectionLimit, FilterChain, Listener, LocalAddr, NetworkFilter,
    OriginalDst, QuicOptions, ServerTls, Transport,
};
use lateen_proxy_relay::http::ConnectionFacts;
use lateen_proxy_tls::{QuicAgreed, QuicHandshake, QuicHello, TlsError};
use quinn::{IdleTimeout, Incoming, ServerConfig, TransportConfig, VarInt};
use tokio::task::spawn_local;

use crate::connection::{Accepted, admitted};
use crate::worker::{Phase, Worker};
use crate::{http, tcp};

/// Handshakes under way on a worker from which on clients must prove their addresses first.
const PROVE_ABOVE: usize = 128;
/// The same from which on there are no more.
const REFUSE_ABOVE: usize = 4096;
/// Streams of a client beside requests.
const ASIDE: u32 = 16;
/// Bytes under way to a client.
const SEND_WINDOW: u64 = 4 * 1024 * 1024;
/// H3_NO_ERROR.
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// What protects first packets, before it is known what for.
pub(crate) fn first_packets() -> io::Result<ServerConfig> {
    let handshake = QuicHandshake::new(None).map_err(io::Error::other)?;
    Ok(ServerConfig::with_crypto(Arc::new(handshake)))
}

/// Accepts this worker's connections of a listener.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    mut listening: QuicListening,
    listener: Rc<RefCell<Arc<Listener>>>,
) {
    let handshakes = Rc::new(Cell::new(0));
    while let Some(incoming) = listening.next().await {
        let listener = Arc::clone(&listener.borrow());
        let Some(quic) = listener.socket.quic.clone().filter(|quic| quic.enabled) else {
            incoming.ignore();
            continue;
        };
        if handshakes.get() >= REFUSE_ABOVE {
            incoming.refuse();
            continue;
        }
        if handshakes.get() >= PROVE_ABOVE && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        let local = local(&incoming, listening.local());
        let arrival = Arrival {
            incoming,
            local,
            config: listening.config().clone(),
            load: listening.enter(),
            handshake: Handshaking::begin(&handshakes),
        };
        spawn_local(serve(Rc::clone(&worker), listener, quic, arrival));
    }
}

/// A connection that nothing was done for.
struct Arrival {
    incoming: Incoming,
    local: SocketAddr,
    config: ServerConfig,
    load: QuicLoad,
    handshake: Handshaking,
}

/// Counts a handshake as long as it is under way.
struct Handshaking(Rc<Cell<usize>>);

impl Handshaking {
    fn begin(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Handshaking {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Chooses the filter chain when the ClientHello is there.
#[derive(Debug)]
struct Choice {
    listener: Arc<Listener>,
    client: SocketAddr,
    local: SocketAddr,
    made: OnceLock<Chosen>,
}

/// What was found for the server name that the client asked for.
type Chosen = (Option<Arc<FilterChain>>, Option<Arc<str>>);

impl Choice {
    /// What is known before the handshake is done.
    fn facts(&self) -> ConnectionFacts {
        ConnectionFacts {
            client: ClientAddr(self.client),
            direct: self.client,
            source: None,
            local: LocalAddr(self.local),
            destination: OriginalDst(self.local),
            proxied: None,
            peer: None,
            tls: true,
            handshake: None,
            sni: self.made.get().and_then(|(_, sni)| sni.clone()),
            protocol: None,
        }
    }

    fn choose(&self, hello: &QuicHello<'_>) -> Option<Arc<ServerTls>> {
        let chain = self.listener.chains.find(&Connection {
            destination: OriginalDst(self.local),
            source: self.client,
            direct_source: self.client,
            transport: Transport::Quic,
            server_name: hello.server_name,
            application: &hello.alpn,
        });
        let tls = chain.and_then(|chain| chain.tls.clone());
        let _ = self
            .made
            .set((chain.cloned(), hello.server_name.map(Arc::from)));
        tls
    }
}

async fn serve(worker: Rc<Worker>, listener: Arc<Listener>, quic: QuicOptions, arrival: Arrival) {
    let Arrival {
        incoming,
        local,
        mut config,
        load: _load,
        handshake,
    } = arrival;
    let permit = listener.limit.as_ref().map(ConnectionLimit::enter);
    if matches!(permit, Some(None)) {
        worker.count(&listener, "downstream_cx_overflow");
        return incoming.refuse();
    }
    let Some(active) = worker.let_in(&listener) else {
        return incoming.refuse();
    };
    let client = canonical(incoming.remote_address());
    let choice = Arc::new(Choice {
        listener: Arc::clone(&listener),
        client,
        local,
        made: OnceLock::new(),
    });
    let chooser = Arc::clone(&choice);
    let choose = Box::new(move |hello: QuicHello<'_>| chooser.choose(&hello));
    let Ok(crypto) = QuicHandshake::new(Some(choose)).map(Arc::new) else {
        return incoming.refuse();
    };
    config.crypto = Arc::clone(&crypto) as _;
    config.transport = Arc::new(transport(&quic));
    config.migration(!quic.no_migration);
    let shaken = async { incoming.accept_with(Arc::new(config))?.await };
    let shaken = tokio::time::timeout(quic.handshake_timeout, shaken).await;
    drop(handshake);
    let facts = choice.facts();
    let connection = match shaken {
        Ok(Ok(connection)) => connection,
        failed => {
            let why = failed
                .err()
                .map_or_else(|| crypto.failure(), |_| Some(TlsError::TimedOut));
            return not_shaken(&worker, &listener, (&choice, &facts), why);
        }
    };
    let agreed = connection
        .handshake_data()
        .map(|data| data.downcast::<QuicAgreed>());
    let (Some(Ok(agreed)), Some((Some(chain), _))) = (agreed, choice.made.get()) else {
        return;
    };
    let drain = worker.drain_of(&listener, chain);
    let held = drain.hold();
    let counted = worker
        .known
        .connected(worker.blueprint.metrics.stats(), &listener);
    let accepted = Accepted {
        chain: Arc::clone(chain),
        stream: connection,
        facts: ConnectionFacts {
            peer: agreed.peer,
            handshake: Some(Arc::new(agreed.handshake)),
            ..facts
        },
        alpn: agreed.alpn,
        drain,
        held: (held, active, counted),
        decision: None,
        worker,
        listener,
    };
    filter(accepted).await;
}

/// The chain's filters take over.
async fn filter(accepted: Accepted<quinn::Connection>) {
    let NetworkFilter::Http(manager) = &accepted.chain.filter else {
        return;
    };
    let manager = Arc::clone(manager);
    let _told = tcp::ConnectionLog::begin(&accepted);
    let Some(_passed) = admitted(&accepted).await else {
        return;
    };
    let connection = accepted.stream.clone();
    let mut phase = accepted.worker.blueprint.phase.clone();
    tokio::select! {
        () = http::serve_quic(accepted, &manager) => {}
        // Its packets may go to the process that takes this one's place.
        _ = phase.wait_for(|phase| *phase == Phase::Handing) => connection.close(NO_ERROR, b"restart"),
    }
}

fn not_shaken(
    worker: &Worker,
    listener: &Arc<Listener>,
    (choice, facts): (&Choice, &ConnectionFacts),
    why: Option<TlsError>,
) {
    let client = facts.client.0;
    if let Some((None, sni)) = choice.made.get() {
        worker.count(listener, "no_filter_chain_match");
        let clients = (client, client);
        return tcp::log_unmatched(worker, listener, facts.destination, clients, sni.as_deref());
    }
    worker.count(listener, "ssl.connection_error");
    let why = why.map(|why| why.reason()).unwrap_or_default();
    tracing::debug!(%client, listener = %listener.name, why, "handshake failed");
    tcp::log_failed_handshake(worker, listener, facts, &why);
}

/// The transport of a listener's connections.
fn transport(quic: &QuicOptions) -> TransportConfig {
    let mut made = TransportConfig::default();
    made.max_concurrent_bidi_streams(quic.max_streams.into())
        .max_concurrent_uni_streams(ASIDE.into())
        .stream_receive_window(quic.stream_window.into())
        .receive_window(quic.connection_window.into())
        .send_window(SEND_WINDOW)
        .max_idle_timeout(IdleTimeout::try_from(quic.idle_timeout).ok())
        .keep_alive_interval(quic.keepalive)
        .datagram_receive_buffer_size(None);
    if let Some(length) = quic.max_packet {
        made.initial_mtu(length).mtu_discovery_config(None);
    }
    made
}

/// Our end of a connection.
fn local(incoming: &Incoming, bound: SocketAddr) -> SocketAddr {
    let ip = incoming.local_ip().unwrap_or(bound.ip());
    canonical(SocketAddr::new(ip, bound.port()))
}

/// IPv4 addresses that come over a socket of both families are IPv4 addresses.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
