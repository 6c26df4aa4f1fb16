//! Output of containers, kept in memory: the last lines of each, over restarts.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;

/// Bytes kept of one container.
const MAX_BYTES: usize = 4 << 20;
/// Longest line; what is longer is cut into several.
const MAX_LINE: usize = 64 << 10;

/// Last lines of one container.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    inner: Mutex<Lines>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Lines {
    lines: VecDeque<String>,
    bytes: usize,
    /// Number of the first line that is kept.
    first: u64,
}

impl Default for LogBuffer {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl LogBuffer {
    /// Adds a line.
    pub(crate) fn push(&self, line: String) {
        let mut inner = crate::lock(&self.inner);
        inner.bytes += line.len();
        inner.lines.push_back(line);
        while inner.bytes > MAX_BYTES {
            let Some(old) = inner.lines.pop_front() else {
                break;
            };
            inner.bytes -= old.len();
            inner.first += 1;
        }
        let next = inner.first + inner.lines.len() as u64;
        drop(inner);
        self.changed.send_replace(next);
    }

    /// Lines from a number on, and the number of the line after them. Lines that are gone are skipped.
    pub(crate) fn read_from(&self, number: u64) -> (Vec<String>, u64) {
        let inner = crate::lock(&self.inner);
        let skip = usize::try_from(number.saturating_sub(inner.first)).unwrap_or(usize::MAX);
        let lines = inner.lines.iter().skip(skip).cloned().collect();
        (lines, inner.first + inner.lines.len() as u64)
    }

    /// The last line.
    pub(crate) fn last(&self) -> Option<String> {
        crate::lock(&self.inner).lines.back().cloned()
    }

    /// Told about each new line.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes lines from a process's output until it ends.
    pub(crate) async fn collect(&self, output: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while let Ok(available) = reader.fill_buf().await {
            if available.is_empty() {
                break;
            }
            let end = available.iter().position(|b| *b == b'\n');
            let taken = end.unwrap_or(available.len());
            line.extend_from_slice(available.get(..taken).unwrap_or_default());
            reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() || line.len() >= MAX_LINE {
                self.push(String::from_utf8_lossy(&line).into_owned());
                line.clear();
            }
        }
        if !line.is_empty() {
            self.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_numbered_and_bounded() {
        let log = LogBuffer::default();
        log.collect(&b"one\ntwo\nthree"[..]).await;
        assert_eq!(
            log.read_from(1),
            (vec!["two".to_owned(), "three".to_owned()], 3)
        );
        for _ in 0..100 {
            log.push("x".repeat(MAX_LINE));
        }
        let (lines, next) = log.read_from(0);
        assert!(
            lines.len() <= MAX_BYTES / MAX_LINE && next == 103,
            "{} {next}",
            lines.len()
        );
    }
}
