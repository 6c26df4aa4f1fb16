//! One worker's way to a service that takes access logs.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bytes::Bytes;
use lateen_proxy_model::grpc_frame;
use lateen_proxy_telemetry::access_log::{LogEntries, ServiceLog, ServiceLogKind};
use lateen_proxy_telemetry::{Counter, Stats};

use super::batch::{Batch, BatchLimits};
use super::caller::{Caller, Pieces};
use super::worker::Worker;

/// Least and most bytes that wait for a service: some batches of the size that is configured.
const LEAST: usize = 256 * 1024;
const MOST: usize = 16 * 1024 * 1024;

/// Entries of one log on one worker: gathered, sent together, bounded in bytes.
#[derive(Debug)]
pub struct ServiceEntries(Batch<Vec<u8>>);

impl LogEntries for ServiceEntries {
    fn push(&self, entry: Vec<u8>) {
        let weight = entry.len();
        self.0.push(entry, weight);
    }
}

#[derive(Clone)]
struct Told {
    written: Counter,
    dropped: Counter,
}

/// A stream to the service, and the bytes on it that are not sent yet.
#[derive(Default)]
struct Stream {
    pieces: Option<Pieces>,
    waiting: Arc<AtomicUsize>,
}

/// Bytes that count for as long as nobody has sent them.
struct Waiting {
    bytes: Bytes,
    count: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Waiting {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.count.fetch_sub(self.bytes.len(), Relaxed);
    }
}

impl ServiceEntries {
    /// Starts the sender on this worker.
    pub fn start(log: Arc<ServiceLog>, worker: &Worker) -> Self {
        Self::with(log, worker.caller(), worker.recorder.stats())
    }

    fn with(log: Arc<ServiceLog>, caller: Rc<dyn Caller>, stats: &Stats) -> Self {
        let counter = |what: &str| stats.counter(&format!("{}{what}", log.stats));
        let told = Told {
            written: counter("logs_written"),
            dropped: counter("logs_dropped"),
        };
        let most = log.enough.saturating_mul(4).clamp(LEAST, MOST);
        let limits = BatchLimits {
            enough: log.enough.clamp(1, most),
            most,
            patience: log.patience,
        };
        let stream: Rc<RefCell<Stream>> = Rc::default();
        let dropped = told.dropped.clone();
        Self(Batch::start(
            limits,
            dropped,
            move |entries: Vec<Vec<u8>>| {
                let (log, told) = (Arc::clone(&log), told.clone());
                let (caller, stream) = (Rc::clone(&caller), Rc::clone(&stream));
                async move {
                    match log.kind {
                        ServiceLogKind::OpenTelemetry(_) => {
                            post(&log, &*caller, entries, &told).await
                        }
                        ServiceLogKind::Grpc(_) => {
                            let mut stream = stream.borrow_mut();
                            stream.send(&log, &*caller, entries, &told, most);
                        }
                    }
                }
            },
        ))
    }
}

async fn post(log: &ServiceLog, caller: &dyn Caller, entries: Vec<Vec<u8>>, told: &Told) {
    let count = entries.len() as u64;
    let body = log.message(entries, false);
    match caller
        .post(&log.target, "application/x-protobuf", body)
        .await
    {
        Ok(_) => told.written.add(count),
        Err(error) => {
            told.dropped.add(count);
            let cluster = log.target.cluster.name();
            tracing::debug!(%cluster, %error, count, "access logs were not taken");
        }
    }
}

impl Stream {
    /// Sends entries on the stream there is, or on a new one.
    fn send(
        &mut self,
        log: &ServiceLog,
        caller: &dyn Caller,
        entries: Vec<Vec<u8>>,
        told: &Told,
        most: usize,
    ) {
        let count = entries.len() as u64;
        let open = self.pieces.as_ref().filter(|pieces| !pieces.is_closed());
        let first = open.is_none();
        let pieces = open.cloned().or_else(|| caller.stream(&log.target));
        let kept = self.waiting.load(Relaxed) < most;
        let sent = pieces.as_ref().filter(|_| kept).is_some_and(|pieces| {
            let frame = grpc_frame(&log.message(entries, first));
            self.waiting.fetch_add(frame.len(), Relaxed);
            let counted = Waiting {
                bytes: frame,
                count: Arc::clone(&self.waiting),
            };
            pieces.send(Bytes::from_owner(counted)).is_ok()
        });
        self.pieces = pieces;
        if sent {
            told.written.add(count);
        } else {
            // A stream whose first message was left out cannot be used later.
            self.pieces.take_if(|_| first);
            told.dropped.add(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderValue;
    use lateen_proxy_model::{ServiceTarget, Slot};
    use lateen_proxy_telemetry::access_log::GrpcLog;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;

    use super::super::caller::Called;
    use super::*;

    /// Gives each stream to the test.
    struct Streams(mpsc::UnboundedSender<mpsc::UnboundedReceiver<Bytes>>);

    impl Caller for Streams {
        fn post(&self, _: &ServiceTarget, _: &'static str, _: Vec<u8>) -> Called {
            unreachable!("streams are used")
        }

        fn stream(&self, _: &ServiceTarget) -> Option<Pieces> {
            let (sender, pieces) = mpsc::unbounded_channel();
            self.0.send(pieces).ok()?;
            Some(sender)
        }
    }

    fn log() -> Arc<ServiceLog> {
        Arc::new(ServiceLog {
            target: ServiceTarget {
                cluster: Slot::new("als"),
                authority: HeaderValue::from_static("als"),
                path: "".into(),
                method: Some("/a/b"),
                timeout: None,
                headers: Box::default(),
            },
            kind: ServiceLogKind::Grpc(GrpcLog {
                identifier: b"\x12\x01n".to_vec(),
                tcp: true,
                request_headers: Box::default(),
                response_headers: Box::default(),
                response_trailers: Box::default(),
                extras: Default::default(),
            }),
            enough: 1,
            patience: Duration::from_secs(1),
            stats: "x.".into(),
        })
    }

    #[tokio::test]
    async fn the_first_message_of_a_stream_says_who_sends_it_and_unsent_bytes_are_bounded() {
        LocalSet::new()
            .run_until(async {
                let (told, mut opened) = mpsc::unbounded_channel();
                let stats = Stats::default();
                let entries = ServiceEntries::with(log(), Rc::new(Streams(told)), &stats);
                entries.push(vec![1; 10]);
                let mut stream = opened.recv().await.expect("a stream");
                let first = stream.recv().await.expect("a message");
                assert_eq!(first.get(5), Some(&0x0a), "the identifier");
                entries.push(vec![2; 10]);
                let second = stream.recv().await.expect("a message");
                assert_eq!(second.get(5), Some(&0x1a), "entries alone");
                drop((first, second, stream));
                entries.push(vec![3; 10]);
                let stream = opened.recv().await.expect("another stream");
                for _ in 0..30 {
                    entries.push(vec![4; 20_000]);
                    tokio::task::yield_now().await;
                    tokio::task::yield_now().await;
                }
                assert!(stream.len() < 20, "what nobody reads is not kept");
                let count = |name: &str| stats.counter(name).value();
                assert!(count("x.logs_dropped") > 10);
                assert_eq!(count("x.logs_dropped") + count("x.logs_written"), 33);
            })
            .await;
    }
}
