//! Lines on their way to a file: each worker fills a buffer of its own, one thread a file empties them.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use thiserror::Error;

use crate::Counter;

/// Most bytes one worker's buffer holds while the file is slow. A full buffer drops lines and counts them.
const MAX_BUFFER: usize = 1 << 20;
/// Buffers larger than this are given back after a burst, so that an idle proxy is small.
const KEPT_BUFFER: usize = 16 * 1024;
/// How long lines gather before they are written: one write for many requests.
const GATHER: Duration = Duration::from_millis(50);

/// Why a log could not be opened.
#[derive(Debug, Error)]
#[error(
    "access log {path}: {source}; check that the path exists and that the proxy's user may write there"
)]
pub struct SinkError {
    /// The path as configured.
    pub path: String,
    /// What the system said.
    pub source: io::Error,
}

/// The open log files of the process, one a path.
#[derive(Debug, Default)]
pub struct LogSinks {
    open: Mutex<HashMap<String, Arc<LogSink>>>,
    dropped: Counter,
}

/// One log file and the thread that writes it.
#[derive(Debug)]
pub struct LogSink {
    shared: Arc<Shared>,
}

/// A worker's place in a log file. Clones share the buffer.
#[derive(Clone, Debug)]
pub struct LogWriter {
    buffer: Arc<Mutex<Vec<u8>>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    buffers: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    wake: Mutex<bool>,
    woken: Condvar,
    closing: AtomicBool,
    /// Rounds of writing begun and ended: [`LogSink::flush`] waits for a whole one.
    rounds: Mutex<(u64, u64)>,
    ended: Condvar,
    dropped: Counter,
    failed: AtomicU64,
}

impl LogSinks {
    /// Files whose dropped lines are counted in `dropped`.
    #[must_use]
    pub fn new(dropped: Counter) -> Self {
        Self {
            open: Mutex::default(),
            dropped,
        }
    }

    /// The sink for a path, opened at its first use: `/dev/stdout`, `/dev/stderr`, or a file that is appended to.
    ///
    /// # Errors
    /// When the file cannot be opened or its thread cannot start.
    pub fn open(&self, path: &str) -> Result<Arc<LogSink>, SinkError> {
        let mut open = self.open.lock();
        if let Some(sink) = open.get(path) {
            return Ok(Arc::clone(sink));
        }
        let sink = Arc::new(LogSink::open(path, self.dropped.clone())?);
        open.insert(path.to_owned(), Arc::clone(&sink));
        Ok(sink)
    }

    /// Writes everything out; for the end of the process. Blocks until the files have taken it.
    pub fn flush(&self) {
        let sinks: Vec<_> = self.open.lock().values().map(Arc::clone).collect();
        for sink in sinks {
            sink.flush();
        }
    }
}

impl LogSink {
    /// Opens one file and starts its thread; `dropped` counts lines that are lost.
    ///
    /// # Errors
    /// When the file cannot be opened or its thread cannot start.
    pub fn open(path: &str, dropped: Counter) -> Result<Self, SinkError> {
        let fail = |source| SinkError {
            path: path.to_owned(),
            source,
        };
        let target = Target::open(path).map_err(fail)?;
        let shared = Arc::new(Shared {
            buffers: Mutex::default(),
            wake: Mutex::new(false),
            woken: Condvar::new(),
            closing: AtomicBool::new(false),
            rounds: Mutex::default(),
            ended: Condvar::new(),
            dropped,
            failed: AtomicU64::new(0),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("access-log".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || of_thread.run(target))
            .map_err(fail)?;
        Ok(Self { shared })
    }

    /// A writer with a buffer of its own: one a worker.
    #[must_use]
    pub fn writer(&self) -> LogWriter {
        let buffer = Arc::default();
        self.shared.buffers.lock().push(Arc::clone(&buffer));
        LogWriter {
            buffer,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Waits until every line written so far is in the file.
    pub fn flush(&self) {
        let mut rounds = self.shared.rounds.lock();
        let wanted = rounds.0.saturating_add(1);
        self.shared.wake();
        while rounds.1 < wanted {
            self.shared.ended.wait(&mut rounds);
        }
    }
}

impl Drop for LogSink {
    fn drop(&mut self) {
        self.shared.closing.store(true, Relaxed);
        self.shared.wake();
    }
}

impl LogWriter {
    /// Appends what `line` writes. Takes no system call but the one that wakes a sleeping thread; a full buffer drops the line.
    pub fn write_with(&self, line: impl FnOnce(&mut Vec<u8>)) {
        let mut buffer = self.buffer.lock();
        if buffer.len() >= MAX_BUFFER {
            self.shared.dropped.inc();
            return;
        }
        let was_empty = buffer.is_empty();
        line(&mut buffer);
        let wake = was_empty && !buffer.is_empty();
        drop(buffer);
        if wake {
            self.shared.wake();
        }
    }
}

impl Shared {
    fn wake(&self) {
        *self.wake.lock() = true;
        self.woken.notify_one();
    }

    fn run(&self, mut target: Target) {
        let mut batch = Vec::new();
        while !self.closing.load(Relaxed) {
            let mut wake = self.wake.lock();
            while !*wake {
                self.woken.wait(&mut wake);
            }
            // Let a burst gather; a flush does not wait for that.
            *wake = false;
            self.woken.wait_for(&mut wake, GATHER);
            *wake = false;
            drop(wake);
            self.rounds.lock().0 += 1;
            self.write_out(&mut target, &mut batch);
            self.rounds.lock().1 += 1;
            self.ended.notify_all();
        }
        self.write_out(&mut target, &mut batch);
    }

    fn write_out(&self, target: &mut Target, batch: &mut Vec<u8>) {
        let buffers = self.buffers.lock().clone();
        for buffer in &buffers {
            batch.clear();
            std::mem::swap(&mut *buffer.lock(), batch);
            if !batch.is_empty()
                && let Err(error) = target.write(batch)
            {
                self.lost(batch, &error);
            }
            if batch.capacity() > KEPT_BUFFER {
                *batch = Vec::new();
            }
        }
        drop(buffers);
        // A worker that is gone leaves an empty buffer that only this list holds.
        self.buffers
            .lock()
            .retain(|buffer| Arc::strong_count(buffer) > 1 || !buffer.lock().is_empty());
    }

    fn lost(&self, batch: &[u8], error: &io::Error) {
        let lines = batch.iter().filter(|byte| **byte == b'\n').count();
        self.dropped.add(u64::try_from(lines).unwrap_or(u64::MAX));
        if self.failed.fetch_add(1, Relaxed) == 0 {
            tracing::warn!(%error, lines, "access log cannot be written; lines are dropped and counted");
        }
    }
}

enum Target {
    Stdout,
    Stderr,
    File(File),
}

impl Target {
    /// Standard streams are written as they are: opening `/dev/stdout` again fails where another user owns the pipe.
    fn open(path: &str) -> io::Result<Self> {
        match path {
            "/dev/stdout" => Ok(Self::Stdout),
            "/dev/stderr" => Ok(Self::Stderr),
            _ => OpenOptions::new()
                .create(true)
                .append(true)
                .open(Path::new(path))
                .map(Self::File),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Self::Stderr => io::stderr().lock().write_all(bytes),
            Self::File(file) => file.write_all(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LogSinks, MAX_BUFFER};
    use crate::Counter;

    #[test]
    fn lines_of_all_workers_arrive_and_full_buffers_count_what_they_drop() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("access.log");
        let path = path.to_str().expect("UTF-8");
        let dropped = Counter::default();
        let sinks = LogSinks::new(dropped.clone());
        let (one, two) = (
            sinks.open(path).expect("opens").writer(),
            sinks.open(path).expect("opens").writer(),
        );
        one.write_with(|out| out.extend_from_slice(b"one\n"));
        two.write_with(|out| out.extend_from_slice(b"two\n"));
        sinks.flush();
        let text = std::fs::read_to_string(path).expect("reads");
        assert_eq!(text.lines().count(), 2, "{text}");
        // The second line of each pair may find the buffer full, or just emptied: what is not dropped is written.
        let big = vec![b'x'; MAX_BUFFER];
        for _ in 0..20 {
            one.write_with(|out| {
                out.extend_from_slice(&big);
                out.push(b'\n');
            });
        }
        sinks.flush();
        let lines = std::fs::read_to_string(path)
            .expect("reads")
            .lines()
            .count();
        assert_eq!(lines as u64 + dropped.value(), 22);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let error = LogSinks::default()
            .open("/no/such/folder/log")
            .expect_err("no folder");
        assert!(error.to_string().contains("/no/such/folder/log"));
    }
}
