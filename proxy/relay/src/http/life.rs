//! How long a downstream connection lives: it ends when it is idle, too old, drained or abused, and rests in between.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lateen_proxy_model::ScaledTime;
use lateen_proxy_tls::Rewind;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::connection::{Connection, DrainSignal};

/// An HTTP/1 connection without a request for this long gives its buffers back.
const REST: Duration = Duration::from_secs(2);
/// Bytes of a head that are read before there are buffers for the rest.
const FIRST: usize = 64;

/// How watching ended.
#[derive(Debug)]
pub(super) enum Turn<T> {
    /// The work ended by itself.
    Done(T),
    /// The connection shall end with its current work.
    Shut,
    /// The connection shall end at once.
    Abused,
    /// Nothing has been under way for a while.
    Rest,
}

/// The life of one connection.
pub(super) struct Life<'c, D> {
    connection: &'c Connection,
    drain: D,
    end: Option<Instant>,
    http1: bool,
}

/// What may end a connection beside its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Abuse,
    Draining,
    Closing,
    Time,
}

impl<'c, D: DrainSignal> Life<'c, D> {
    pub(super) fn new(connection: &'c Connection, drain: D, http1: bool) -> Self {
        let longest = connection.chain.manager.max_connection_duration;
        let longest = longest.map(|time| connection.scaled(ScaledTime::ConnectionLife, time));
        Self {
            connection,
            drain,
            end: longest.and_then(|longest| Instant::now().checked_add(longest)),
            http1,
        }
    }

    /// Polls the work and ends it in time. An HTTP/1 connection that drains goes on until its next answer said
    /// `connection: close` or idle connections must end, as a request may be on its way.
    pub(super) async fn watch<W: Future>(&mut self, work: Pin<&mut W>) -> Turn<W::Output> {
        self.watch_until(work, self.http1).await
    }

    /// Waits for the first bytes of a request; `None` when the connection has ended instead.
    pub(super) async fn rest<I>(&mut self, mut io: I) -> Option<Rewind<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let turn = {
            let work = std::pin::pin!(first_bytes(&mut io));
            self.watch_until(work, false).await
        };
        match turn {
            Turn::Done(Some(head)) => Some(Rewind::new(head, io)),
            _ => {
                // The client may be gone already.
                let _ = io.shutdown().await;
                None
            }
        }
    }

    async fn watch_until<W: Future>(
        &mut self,
        mut work: Pin<&mut W>,
        rests: bool,
    ) -> Turn<W::Output> {
        let (connection, end, http1) = (self.connection, self.end, self.http1);
        // In a set of its own, the wait for events is polled when one of them wakes it and not with each byte.
        let mut events = FuturesUnordered::new();
        events.push(next_event(connection, &mut self.drain, end, rests));
        loop {
            let (event, drain) = tokio::select! {
                biased;
                output = work.as_mut() => return Turn::Done(output),
                Some(event) = events.next() => event,
            };
            let now = Instant::now();
            let shut = match event {
                Event::Abuse => {
                    tracing::warn!(client = %connection.client(), "connection ended: too many streams reset early");
                    return Turn::Abused;
                }
                Event::Draining => {
                    connection.drain();
                    !http1
                }
                Event::Closing => true,
                Event::Time => connection.is_idle_since(now) || end.is_some_and(|end| end <= now),
            };
            if shut {
                return Turn::Shut;
            }
            if rests && connection.rests(REST, now) {
                return Turn::Rest;
            }
            events.push(next_event(connection, drain, end, rests));
        }
    }
}

async fn next_event<'d, D: DrainSignal>(
    connection: &Connection,
    drain: &'d mut D,
    end: Option<Instant>,
    rests: bool,
) -> (Event, &'d mut D) {
    let changed = scales(connection);
    let rest = rests.then(|| connection.quiet_since() + REST);
    let due = [connection.idle_deadline(), end, rest]
        .into_iter()
        .flatten()
        .min();
    let event = tokio::select! {
        () = connection.abused() => Event::Abuse,
        () = connection.ended() => Event::Closing,
        () = changed => Event::Time,
        event = next_phase(drain, connection.drains()) => event,
        () = sleep_until(due) => Event::Time,
    };
    (event, drain)
}

/// Time limits are others now.
fn scales(connection: &Connection) -> impl Future<Output = ()> + use<> {
    let overload = connection.chain.overload.as_ref();
    let changes = overload
        .filter(|overload| overload.state.scales_times())
        .map(|overload| overload.changes());
    async move {
        let told = match changes {
            Some(mut changes) => changes.changed().await.is_ok(),
            None => false,
        };
        if !told {
            std::future::pending::<()>().await;
        }
    }
}

async fn next_phase(drain: &mut impl DrainSignal, draining: bool) -> Event {
    if draining {
        drain.closing().await;
        Event::Closing
    } else {
        drain.draining().await;
        Event::Draining
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

async fn first_bytes<I: AsyncRead + Unpin>(io: &mut I) -> Option<Bytes> {
    let mut head = [0; FIRST];
    let count = io.read(&mut head).await.ok()?;
    let head = head.get(..count).filter(|head| !head.is_empty())?;
    Some(BytesMut::from(head).freeze())
}
