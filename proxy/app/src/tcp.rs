//! A TCP chain: exchange metadata, choose a cluster and an endpoint, connect, copy, report.

mod mongo;
mod tunnel;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::BytesMut;
use http::Version;
use lateen_proxy_dial::{TcpUpstream, UpstreamStream};
use lateen_proxy_listen::Drain;
use lateen_proxy_model::{
    Balance, Choice, Cluster, ClusterKind, ClusterRef, FilterChain, Listener, NetworkFilter,
    OriginalDst, Outcome, ResetReason, SendFailure, SubsetCriteria, Target, TcpProxy,
    TrafficDirection, UpstreamConnection,
};
use lateen_proxy_relay::exchange::{self, Turn, exchange, peer_of};
use lateen_proxy_relay::http::{ConnectionFacts, KnownCluster};
use lateen_proxy_relay::splice::splice;
use lateen_proxy_relay::tcp::{TcpEnd, Transferred, copy};
use lateen_proxy_route::{Chosen, choose_cluster, source_hash};
use lateen_proxy_telemetry::{
    Exchange, Flags, LogType, Peer, TCP_REPORT_INTERVAL, TcpRecord, TcpReporter,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use crate::connection::{Accepted, RawTcp};
use crate::gate::{Decided, Decision};
use crate::listener_stats::TcpCounters;
use crate::network::{Passed, Refusal};
use crate::worker::Worker;
use mongo::{Meter, Metered};
use tunnel::Upstream;

/// Most bytes of a client that wait for its upstream.
const MOST_EARLY: usize = 64 * 1024;

/// One connection as metrics and access logs will tell it.
struct Session {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    chain: Arc<FilterChain>,
    facts: ConnectionFacts,
    decision: Option<Decision>,
    alpn: Option<Vec<u8>>,
    begin: (SystemTime, Instant),
    counts: Transferred,
    /// What the client sent before its upstream was there.
    early: BytesMut,
    reporter: Option<TcpReporter>,
    counters: Option<Rc<TcpCounters>>,
    /// Bytes that the counters know of.
    told: (u64, u64),
    cluster: Option<Rc<KnownCluster>>,
    upstream: Option<Arc<UpstreamConnection>>,
    peer: Option<Arc<Peer>>,
    failure: Option<Arc<str>>,
    flags: Flags,
}

/// Serves a connection of a TCP chain until it ends.
pub(crate) async fn serve<S>(accepted: Accepted<S>, proxy: &TcpProxy, passed: &Passed)
where
    S: AsyncRead + AsyncWrite + RawTcp + Unpin,
{
    let Accepted {
        worker,
        listener,
        chain,
        mut stream,
        facts,
        alpn,
        drain,
        held: _held,
        decision,
    } = accepted;
    let counters = worker.known.tcp(worker.blueprint.metrics.stats(), proxy);
    if let Some(counters) = &counters {
        counters.begin();
    }
    let mut session = Session {
        counters,
        told: (0, 0),
        reporter: chain.stats.as_ref().map(|_| TcpReporter::default()),
        worker,
        listener,
        chain,
        facts,
        decision,
        alpn,
        begin: (SystemTime::now(), Instant::now()),
        counts: Transferred::default(),
        early: BytesMut::new(),
        cluster: None,
        upstream: None,
        peer: None,
        failure: None,
        flags: Flags::NONE,
    };
    if proxy.log_moments.start {
        session.log(proxy, LogType::Start, &session.counts);
    }
    if session.greet_downstream(&mut stream).await
        && session.first_bytes(&mut stream, proxy).await
        && let Some(mut upstream) = session.connect(proxy, passed).await
        && session.greet(&mut upstream).await
    {
        session.relay(&mut stream, upstream, proxy, drain).await;
    }
    session.finish(proxy);
}

/// Logs a connection that a network filter ended before this chain's TCP proxy saw it.
pub(crate) fn log_refused<S>(accepted: &Accepted<S>, refusal: Refusal) {
    let NetworkFilter::Tcp(proxy) = &accepted.chain.filter else {
        return;
    };
    let facts = &accepted.facts;
    let exchange = Exchange {
        side: accepted.worker.side(&accepted.listener),
        start: SystemTime::now(),
        flags: refusal.flags,
        details: refusal.details,
        termination_details: refusal.termination.as_deref(),
        downstream_local: Some(facts.destination.0),
        downstream_remote: Some(facts.client.0),
        downstream_direct_remote: Some(facts.direct),
        sni: facts.sni.as_deref(),
        ..Exchange::default()
    };
    let record = TcpRecord { exchange };
    accepted
        .worker
        .access_logs(&proxy.access_log)
        .iter()
        .for_each(|log| log.tcp(&record));
}

/// Tells the listener's access log of a connection when it is over; bytes and protocol are told by its filter's own log.
pub(crate) struct ConnectionLog {
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    facts: ConnectionFacts,
    begin: (SystemTime, Instant),
}

impl ConnectionLog {
    /// Nothing for listeners that log nothing.
    pub(crate) fn begin<S>(accepted: &Accepted<S>) -> Option<Self> {
        (!accepted.listener.access_log.is_empty()).then(|| Self {
            worker: Rc::clone(&accepted.worker),
            listener: Arc::clone(&accepted.listener),
            facts: accepted.facts.clone(),
            begin: (SystemTime::now(), Instant::now()),
        })
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        let exchange = Exchange {
            side: self.worker.side(&self.listener),
            start: self.begin.0,
            duration: self.begin.1.elapsed(),
            ..of_connection(&self.facts)
        };
        log_all(&self.worker, &self.listener, exchange);
    }
}

/// Logs a connection whose handshake failed.
pub(crate) fn log_failed_handshake(
    worker: &Worker,
    listener: &Listener,
    facts: &ConnectionFacts,
    failure: &str,
) {
    let exchange = Exchange {
        side: worker.side(listener),
        start: SystemTime::now(),
        downstream_failure: Some(failure).filter(|text| !text.is_empty()),
        ..of_connection(facts)
    };
    log_all(worker, listener, exchange);
}

fn of_connection(facts: &ConnectionFacts) -> Exchange<'_> {
    Exchange {
        downstream_local: Some(facts.destination.0),
        downstream_remote: Some(facts.client.0),
        downstream_direct_remote: Some(facts.direct),
        sni: facts.sni.as_deref(),
        certificate: facts.peer_view(),
        downstream_tls: facts.handshake.as_deref(),
        ..Exchange::default()
    }
}

fn log_all(worker: &Worker, listener: &Listener, exchange: Exchange<'_>) {
    let record = TcpRecord { exchange };
    let logs = worker.access_logs(&listener.access_log);
    logs.iter().for_each(|log| log.tcp(&record));
}

/// Logs a connection that no chain takes; it is closed.
pub(crate) fn log_unmatched(
    worker: &Worker,
    listener: &Listener,
    destination: OriginalDst,
    (client, direct): (SocketAddr, SocketAddr),
    sni: Option<&str>,
) {
    let exchange = Exchange {
        side: worker.side(listener),
        start: SystemTime::now(),
        flags: Flags::NO_ROUTE,
        details: Some("filter_chain_not_found"),
        downstream_local: Some(destination.0),
        downstream_remote: Some(client),
        downstream_direct_remote: Some(direct),
        sni,
        ..Exchange::default()
    };
    let record = TcpRecord { exchange };
    worker
        .access_logs(&listener.access_log)
        .iter()
        .for_each(|log| log.tcp(&record));
}

impl Session {
    /// Metadata of the client, where the handshake agreed on the exchange; false when it failed.
    async fn greet_downstream<S>(&mut self, stream: &mut S) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if self.alpn.as_deref() != Some(exchange::ALPN) || !self.chain.metadata_exchange {
            return true;
        }
        let own = Arc::clone(&self.worker.blueprint.own_frame);
        match exchange(stream, &own, Turn::Server).await {
            Ok(theirs) => {
                if self.listener.direction == TrafficDirection::Inbound {
                    self.peer = peer_of(&theirs);
                }
                true
            }
            Err(error) => {
                tracing::debug!(client = %self.facts.client, %error, "metadata exchange with a client failed");
                self.flags = Flags::DOWNSTREAM_PROTOCOL;
                false
            }
        }
    }

    /// Metadata of the endpoint, where the handshake agreed on the exchange; false when it failed.
    async fn greet_upstream(&mut self, upstream: &mut TcpUpstream) -> bool {
        if upstream.connection.alpn.as_deref() != Some(exchange::ALPN) {
            return true;
        }
        let own = Arc::clone(&self.worker.blueprint.own_frame);
        match exchange(&mut upstream.stream, &own, Turn::Client).await {
            Ok(theirs) => {
                self.peer = peer_of(&theirs);
                true
            }
            Err(error) => {
                self.flags = Flags::UPSTREAM_PROTOCOL;
                self.failure = Some(error.to_string().into());
                false
            }
        }
    }

    /// Waits for bytes of the client, where the upstream is not connected to before; false when it ends without any.
    async fn first_bytes<S>(&mut self, stream: &mut S, proxy: &TcpProxy) -> bool
    where
        S: AsyncRead + Unpin,
    {
        let Some(most) = proxy.early_data else {
            return true;
        };
        self.early.reserve(most.clamp(1, MOST_EARLY));
        let read = stream.read_buf(&mut self.early);
        let read = match proxy.idle_timeout {
            None => read.await,
            Some(limit) => match tokio::time::timeout(limit, read).await {
                Ok(read) => read,
                Err(_) => return false,
            },
        };
        matches!(read, Ok(1..))
    }

    /// The same through a tunnel, which exchanges nothing.
    async fn greet(&mut self, upstream: &mut Upstream) -> bool {
        match upstream {
            Upstream::Direct(upstream) => self.greet_upstream(upstream).await,
            Upstream::Tunnel(..) => true,
        }
    }

    /// An upstream connection, after as many tries as the filter allows.
    async fn connect(&mut self, proxy: &TcpProxy, passed: &Passed) -> Option<Upstream> {
        let chosen = match &passed.cluster {
            Some(named) => named.as_ref().map(|slot| (slot, None)),
            None => match choose_cluster(&proxy.cluster, fastrand::u64(..)) {
                Some((Chosen::Slot(slot), weighted)) => Some((slot, weighted)),
                // A connection has no headers; no configuration says so.
                Some((Chosen::Header(_), _)) | None => None,
            },
        };
        let subset = match chosen.and_then(|(_, weighted)| weighted) {
            Some(weighted) => weighted.subset.as_deref(),
            None => proxy.subset.as_deref(),
        };
        let chosen = chosen.map(|(slot, _)| slot);
        let known = chosen.and_then(|slot| Some((slot, self.worker.http.cluster(slot)?)));
        let Some((slot, known)) = known else {
            self.flags = Flags::NO_CLUSTER;
            return None;
        };
        self.cluster = Some(Rc::clone(&known));
        let mut tried = Vec::new();
        let attempts = proxy.max_connect_attempts.max(1);
        for attempt in 1..=attempts {
            let member = match &known.cluster.kind {
                ClusterKind::Aggregate { .. } => self.worker.balancer.member(&known.cluster),
                _ => None,
            };
            let of = match &member {
                Some((slot, cluster)) => (slot, cluster),
                None => (slot, &known.cluster),
            };
            match self
                .try_once(of, &mut tried, (proxy, subset, passed.port))
                .await
            {
                Ok(upstream) => {
                    self.upstream = Some(Arc::clone(upstream.connection()));
                    return Some(upstream);
                }
                Err(None) => {
                    self.flags = Flags::NO_HEALTHY_UPSTREAM;
                    return None;
                }
                Err(Some(failure)) => self.note_failure(failure, attempt == attempts),
            }
            if let Some((base, longest)) = proxy.backoff.filter(|_| attempt < attempts) {
                let doubled = base.saturating_mul(1 << attempt.saturating_sub(1).min(20));
                let wait = doubled.min(longest).mul_f64(fastrand::f64());
                tokio::time::sleep(wait).await;
            }
        }
        None
    }

    /// One try; `Err(None)` when there is no endpoint.
    async fn try_once(
        &self,
        (slot, cluster): (&ClusterRef, &Arc<Cluster>),
        tried: &mut Vec<u64>,
        (proxy, subset, port): (&TcpProxy, Option<&SubsetCriteria>, Option<u16>),
    ) -> Result<Upstream, Option<SendFailure>> {
        let destination = self.facts.destination.0;
        let balancer = &self.worker.balancer;
        let choice = Choice {
            original_dst: Some(destination),
            tried,
            selection_attempts: 3,
            avoid: &[],
            priorities: None,
            hash: proxy
                .hash_source
                .then(|| source_hash(self.facts.client.0.ip())),
            subset,
            headers: None,
            server_name: self.facts.sni.as_deref().map(|name| (name, port)),
            session: None,
        };
        let endpoint = balancer.choose(slot, cluster, &choice).ok_or(None)?;
        tried.push(endpoint.id);
        let target = Target {
            slot,
            cluster,
            endpoint: &endpoint,
            downstream: Version::HTTP_11,
            istio_alpn: false,
            host: self.facts.sni.as_deref(),
            downstream_addresses: Some((self.facts.client.0, destination)),
            source: self.facts.source,
            high: false,
            connection: 0,
        };
        let connected = self.reach(target, proxy.tunnel.as_deref()).await;
        let outcome = if connected.is_ok() {
            Outcome::Success
        } else {
            Outcome::LocalFailure
        };
        balancer.report(cluster, &endpoint, outcome);
        connected.map_err(Some)
    }

    fn note_failure(&mut self, failure: SendFailure, last: bool) {
        self.flags = match failure.reason {
            ResetReason::Overflow => Flags::UPSTREAM_OVERFLOW,
            _ => Flags::UPSTREAM_CONNECT_FAILURE,
        };
        if last && self.flags != Flags::UPSTREAM_OVERFLOW {
            self.flags.insert(Flags::RETRIES_EXHAUSTED);
        }
        self.failure = failure.transport;
    }

    /// Copies until the end, reporting every few seconds.
    async fn relay<S>(
        &mut self,
        stream: &mut S,
        mut upstream: Upstream,
        proxy: &TcpProxy,
        mut drain: Drain,
    ) where
        S: AsyncRead + AsyncWrite + RawTcp + Unpin,
    {
        let counts = std::mem::take(&mut self.counts);
        let early = std::mem::take(&mut self.early);
        if !early.is_empty() {
            counts.up.set(early.len() as u64);
            if let Err(error) = upstream.write(&early).await {
                self.flags = Flags::UPSTREAM_CLOSED;
                self.failure = Some(error.to_string().into());
                return;
            }
        }
        if proxy.log_moments.connected {
            self.log(proxy, LogType::Connected, &counts);
        }
        let life = proxy.max_duration.map(|life| {
            let more = life.mul_f64(fastrand::f64() * proxy.max_duration_jitter / 100.0);
            (self.begin.1 + life.saturating_add(more)).into()
        });
        let mut logged = proxy.log_moments.interval.map(|each| {
            let mut ticks = interval_at(tokio::time::Instant::now() + each, each);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let mut reporter = self.reporter.take();
        let (counters, mut told) = (self.counters.clone(), self.told);
        let stats = self.chain.stats.as_ref();
        let period = stats.and_then(|stats| stats.report_interval);
        let period = period.unwrap_or(TCP_REPORT_INTERVAL);
        let mut due = interval_at(tokio::time::Instant::now(), period);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let worker = Rc::clone(&self.worker);
        let mut meter = Meter::of(&self.chain, worker.blueprint.metrics.stats());
        let end = {
            let with = (proxy.idle_timeout, meter.as_mut());
            let copying = copied(stream, &mut upstream, with, &counts);
            tokio::pin!(copying);
            loop {
                tokio::select! {
                    end = &mut copying => break Some(end),
                    () = drain.closing() => break None,
                    () = until(life) => {
                        self.flags = Flags::DURATION_TIMEOUT;
                        if let Some(counters) = &counters {
                            counters.too_long();
                        }
                        break None;
                    }
                    () = next(&mut logged) => self.log(proxy, LogType::Periodic, &counts),
                    _ = due.tick(), if reporter.is_some() || counters.is_some() => {
                        if let Some(counters) = &counters {
                            counters.moved(&counts, &mut told);
                        }
                        if let Some(reporter) = &mut reporter {
                            reporter.progress(&self.worker.http.recorder, &self.record(&counts));
                        }
                    }
                }
            }
        };
        self.reporter = reporter;
        self.counts = counts;
        self.told = told;
        if let (Some(TcpEnd::Idle), Some(counters)) = (&end, &counters) {
            counters.idle();
        }
        if let Some(TcpEnd::Upstream(error)) = end {
            self.flags = Flags::UPSTREAM_CLOSED;
            self.failure = Some(error.to_string().into());
        }
    }

    fn finish(mut self, proxy: &TcpProxy) {
        let refused = self.decided().and_then(|decided| {
            let refusal = decided.refusal.as_ref()?;
            Some((refusal.flags, decided.first))
        });
        if let Some((flags, first)) = refused {
            self.flags = flags;
            self.counts.up.set(first);
        }
        let reporter = self.reporter.take();
        if let Some(counters) = &self.counters {
            counters.moved(&self.counts, &mut self.told);
            if self.flags.contains(Flags::NO_CLUSTER) {
                counters.no_route();
            }
        }
        let record = self.record(&self.counts);
        if let Some(reporter) = reporter {
            reporter.finish(&self.worker.http.recorder, &record);
        }
        self.worker
            .access_logs(&proxy.access_log)
            .iter()
            .for_each(|log| log.tcp(&record));
    }

    fn decided(&self) -> Option<&Decided> {
        self.decision.as_ref()?.get()
    }

    /// A line of the access log before the connection's end.
    fn log(&self, proxy: &TcpProxy, log_type: LogType, counts: &Transferred) {
        let mut record = self.record(counts);
        record.exchange.log_type = log_type;
        self.worker
            .access_logs(&proxy.access_log)
            .iter()
            .for_each(|log| log.tcp(&record));
    }

    fn record(&self, counts: &Transferred) -> TcpRecord<'_> {
        let inbound = self.listener.direction == TrafficDirection::Inbound;
        let upstream = self.upstream.as_deref();
        let downstream_peer = self
            .facts
            .peer
            .as_ref()
            .and_then(|peer| peer.identity.as_ref());
        let upstream_peer = upstream.and_then(|connection| connection.peer.as_ref());
        let principal = if inbound {
            downstream_peer
        } else {
            upstream_peer
        };
        let exchange = Exchange {
            tls: self.facts.tls,
            side: self.worker.side(&self.listener),
            start: self.begin.0,
            duration: self.begin.1.elapsed(),
            flags: self.flags,
            bytes_received: counts.up.get(),
            bytes_sent: counts.down.get(),
            upstream_failure: self.failure.as_deref(),
            details: (self.decided())
                .and_then(|decided| decided.refusal.as_ref())
                .and_then(|refusal| refusal.details),
            metadata: match self.decided() {
                Some(decided) if !decided.metadata.is_empty() => Some(&decided.metadata),
                _ => self.facts.proxied.as_deref(),
            },
            upstream_host: upstream.map(|connection| connection.remote),
            upstream_local: upstream.and_then(|connection| connection.local),
            cluster: self.cluster.as_ref().map(|known| &*known.cluster.name),
            downstream_local: Some(self.facts.destination.0),
            downstream_remote: Some(self.facts.client.0),
            downstream_direct_remote: Some(self.facts.direct),
            sni: self.facts.sni.as_deref(),
            certificate: self.facts.peer_view(),
            downstream_tls: self.facts.handshake.as_deref(),
            upstream_tls: upstream.and_then(|connection| connection.handshake.as_deref()),
            peer: self.peer.as_ref(),
            peer_principal: principal.map(|identity| &identity.0),
            service: self.cluster.as_ref().map(|known| &known.service),
            metric_overrides: (self.chain.stats.as_ref())
                .and_then(|stats| stats.overrides.as_ref()),
            mtls: if inbound {
                downstream_peer.is_some()
            } else {
                upstream_peer.is_some()
            },
            ..Exchange::default()
        };
        TcpRecord { exchange }
    }
}

/// Copies between the two connections, within the kernel where no TLS stands between.
async fn copied<S>(
    stream: &mut S,
    upstream: &mut Upstream,
    (idle, meter): (Option<Duration>, Option<&mut Meter<'_>>),
    counts: &Transferred,
) -> TcpEnd
where
    S: AsyncRead + AsyncWrite + RawTcp + Unpin,
{
    if let Some(meter) = meter {
        let mut stream = Metered::new(stream, meter);
        return match upstream {
            Upstream::Tunnel(tunnel, _) => {
                copy(&mut stream, &mut tunnel.stream, idle, counts).await
            }
            Upstream::Direct(direct) => copy(&mut stream, &mut direct.stream, idle, counts).await,
        };
    }
    let plain = match upstream {
        Upstream::Tunnel(tunnel, _) => {
            return copy(stream, &mut tunnel.stream, idle, counts).await;
        }
        Upstream::Direct(upstream) => match &mut upstream.stream {
            UpstreamStream::Plain(plain) => plain,
            tls => return copy(stream, tls, idle, counts).await,
        },
    };
    match stream.raw_tcp() {
        Some((head, raw)) => splice((&head, raw), plain, idle, counts).await,
        None => copy(stream, plain, idle, counts).await,
    }
}

async fn until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn next(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}
