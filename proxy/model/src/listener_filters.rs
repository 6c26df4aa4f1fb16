//! What looks at a connection before its filter chain is chosen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The listener filters of a listener, in order.
#[derive(Clone, Debug, Default)]
pub struct ListenerFilters {
    /// The filters.
    pub entries: Vec<ListenerFilterEntry>,
    /// Longest wait for first bytes; `None` waits for ever.
    pub timeout: Option<Duration>,
    /// After the time out the connection goes on with what is known.
    pub continue_on_timeout: bool,
}

/// One listener filter.
#[derive(Clone, Debug)]
pub struct ListenerFilterEntry {
    /// Connections that the filter stays away from.
    pub disabled: Option<ListenerPredicate>,
    /// What it does.
    pub filter: ListenerFilter,
}

/// What a listener filter does.
#[derive(Clone, Debug)]
pub enum ListenerFilter {
    /// Looks for TLS: server name and ALPN.
    TlsInspector {
        /// Most bytes of a ClientHello.
        max_hello: usize,
        /// A ClientHello that cannot be read ends the connection; else it counts as no TLS.
        close_on_error: bool,
    },
    /// Looks for HTTP in the clear.
    HttpInspector,
    /// The original destination is read from the socket.
    OriginalDst,
    /// The PROXY protocol's header is read and taken away.
    ProxyProtocol(Arc<ProxyProtocolRules>),
    /// No more than so many connections in a time.
    LocalRateLimit(Arc<ConnectionRate>),
    /// Upstream connections come from the client's address; with a mark other than 0 they have it.
    OriginalSrc(u32),
}

/// A condition on a connection's destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerPredicate {
    /// Always.
    Any,
    /// Not this.
    Not(Box<ListenerPredicate>),
    /// All of these.
    And(Vec<ListenerPredicate>),
    /// One of these.
    Or(Vec<ListenerPredicate>),
    /// The destination port lies in this half-open range.
    Port(u32, u32),
}

/// How the PROXY protocol is read.
#[derive(Clone, Debug, Default)]
pub struct ProxyProtocolRules {
    /// Connections may come without the header.
    pub optional: bool,
    /// Version 1 is not accepted (or, where the header is optional, not read).
    pub refuse_v1: bool,
    /// The same for version 2.
    pub refuse_v2: bool,
    /// TLVs that become dynamic metadata.
    pub rules: Vec<TlvRule>,
    /// Statistics prefix.
    pub stat_prefix: Box<str>,
}

/// A TLV that becomes dynamic metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvRule {
    /// Its type.
    pub kind: u8,
    /// Namespace of the metadata.
    pub namespace: Arc<str>,
    /// Key of the metadata.
    pub key: Arc<str>,
}

/// One TLV of the PROXY protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlv {
    /// Its type.
    pub kind: u8,
    /// Its value.
    pub value: bytes::Bytes,
}

/// A token bucket for connections, shared by all workers: no lock, and time only where it is asked.
#[derive(Debug)]
pub struct ConnectionRate {
    /// Statistics prefix.
    pub stat_prefix: Box<str>,
    /// Most tokens.
    max: u64,
    /// Tokens added at once.
    per_fill: u64,
    /// Time between fills.
    interval: Duration,
    start: Instant,
    tokens: AtomicU64,
    /// Fills done since the start.
    fills: AtomicU64,
}

impl ListenerPredicate {
    /// Whether a connection to this port is meant.
    pub fn holds(&self, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Not(inner) => !inner.holds(port),
            Self::And(all) => all.iter().all(|one| one.holds(port)),
            Self::Or(any) => any.iter().any(|one| one.holds(port)),
            Self::Port(start, end) => (*start..*end).contains(&u32::from(port)),
        }
    }
}

impl ListenerFilters {
    /// Whether a filter reads the original destination.
    pub fn original_dst(&self) -> bool {
        self.entries
            .iter()
            .any(|entry| matches!(entry.filter, ListenerFilter::OriginalDst))
    }
}

impl ConnectionRate {
    /// A full bucket; `interval` must not be zero.
    pub fn new(stat_prefix: Box<str>, max: u64, per_fill: u64, interval: Duration) -> Self {
        Self {
            stat_prefix,
            max,
            per_fill,
            interval: interval.max(Duration::from_millis(1)),
            start: Instant::now(),
            tokens: AtomicU64::new(max),
            fills: AtomicU64::new(0),
        }
    }

    /// Takes a token, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        self.fill(now);
        self.tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                tokens.checked_sub(1)
            })
            .is_ok()
    }

    fn fill(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start).as_nanos();
        let due = elapsed / self.interval.as_nanos().max(1);
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        let done = self.fills.load(Ordering::Relaxed);
        // Whoever moves the count on adds the tokens.
        if due <= done
            || self
                .fills
                .compare_exchange(done, due, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        let more = (due - done).saturating_mul(self.per_fill);
        let _ = self
            .tokens
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tokens| {
                Some(tokens.saturating_add(more).min(self.max))
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates_nest() {
        let ports = |start, end| ListenerPredicate::Port(start, end);
        let predicate = ListenerPredicate::And(vec![
            ListenerPredicate::Not(Box::new(ports(80, 81))),
            ListenerPredicate::Or(vec![ports(79, 82), ports(443, 444)]),
        ]);
        let held: Vec<u16> = [79, 80, 81, 82, 443]
            .into_iter()
            .filter(|port| predicate.holds(*port))
            .collect();
        assert_eq!(held, [79, 81, 443]);
    }

    #[test]
    fn a_bucket_fills_by_time() {
        let rate = ConnectionRate::new("r".into(), 2, 1, Duration::from_secs(1));
        let begin = rate.start;
        assert!(rate.take(begin) && rate.take(begin) && !rate.take(begin));
        let later = begin + Duration::from_secs(1);
        assert!(rate.take(later) && !rate.take(later));
        let long = begin + Duration::from_secs(100);
        assert!(rate.take(long) && rate.take(long) && !rate.take(long));
    }
}
