//! The client of a case that speaks HTTP/1 or raw bytes.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::PROBE;
use super::case::{Case, Step};
use super::observation::{Observation, Reply};
use super::tls::client::ClientStream;

/// Longest wait for any one answer.
const LIMIT: Duration = Duration::from_secs(8);

/// Runs the steps of a case on one connection.
pub(super) fn run(case: &Case, stream: ClientStream, seen: &mut Observation) -> Result<()> {
    let mut connection = Connection {
        stream,
        buffer: Vec::new(),
        ended: None,
    };
    let mut upgraded = false;
    for step in case.steps() {
        upgraded |= connection.step(&step, seen)?;
    }
    seen.end = match connection.ended {
        Some(end) => end.to_owned(),
        None if upgraded || !case.probe => "not asked".to_owned(),
        None => connection.probe()?,
    };
    Ok(())
}

struct Connection {
    stream: ClientStream,
    buffer: Vec<u8>,
    ended: Option<&'static str>,
}

/// Whether the bytes of a message are there.
enum Part<T> {
    Whole(T),
    /// The connection ended first.
    Cut,
}

impl Connection {
    fn step(&mut self, step: &Step, seen: &mut Observation) -> Result<bool> {
        let bytes = step.bytes();
        let mut methods = methods(&bytes);
        // A proxy that has refused already closes while bytes are written.
        let _ = self.stream.write_all(&bytes);
        let mut upgraded = false;
        let mut finals = 0;
        while finals < step.awaited() && self.ended.is_none() {
            let head = methods.front().is_some_and(|method| method == "HEAD");
            let Some(reply) = self.reply(head)? else {
                break;
            };
            if !reply.is_interim() {
                finals += 1;
                methods.pop_front();
            }
            upgraded |= reply.status.contains(" 101");
            seen.replies.push(reply);
        }
        if let Some(text) = &step.until {
            let got = self.until(text.as_bytes())?;
            seen.bytes.push_str(&String::from_utf8_lossy(&got));
        }
        if step.close {
            let _ = self.stream.finish();
            let rest = self.rest()?;
            seen.bytes.push_str(&String::from_utf8_lossy(&rest));
        }
        Ok(upgraded)
    }

    /// Asks once more on the same connection.
    fn probe(&mut self) -> Result<String> {
        let request = format!("GET {PROBE} HTTP/1.1\r\nhost: test\r\n\r\n");
        let _ = self.stream.write_all(request.as_bytes());
        Ok(match self.reply(false)? {
            Some(_) => "kept".to_owned(),
            None => self.ended.unwrap_or_default().to_owned(),
        })
    }

    /// One answer, or none when the connection ends before it.
    fn reply(&mut self, to_head: bool) -> Result<Option<Reply>> {
        let Part::Whole(end) = self.find(b"\r\n\r\n")? else {
            if self.buffer.is_empty() {
                return Ok(None);
            }
            let status = String::from_utf8_lossy(&self.buffer).into_owned();
            self.buffer.clear();
            return Ok(Some(Reply {
                status,
                ..Reply::default()
            }));
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap_or_default().to_owned();
        let mut reply = Reply {
            status,
            headers: lines.map(str::to_owned).collect(),
            ..Reply::default()
        };
        self.body(&mut reply, to_head)?;
        Ok(Some(reply))
    }

    fn body(&mut self, reply: &mut Reply, to_head: bool) -> Result<()> {
        let code = reply.status.split(' ').nth(1).unwrap_or_default();
        if to_head || code.starts_with('1') || code == "204" || code == "304" {
            return Ok(());
        }
        if reply.value("transfer-encoding").is_some() {
            return self.chunks(reply);
        }
        let length = reply
            .value("content-length")
            .and_then(|text| text.parse().ok());
        reply.body = match length {
            Some(length) => self.take(length)?,
            None => self.rest()?,
        };
        Ok(())
    }

    fn chunks(&mut self, reply: &mut Reply) -> Result<()> {
        loop {
            let Part::Whole(end) = self.find(b"\r\n")? else {
                reply.body.extend_from_slice(b"<cut off>");
                return Ok(());
            };
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let line = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(line.trim(), 16).context("chunk size")?;
            if size == 0 {
                break;
            }
            let part = self.take(size)?;
            reply.body.extend_from_slice(&part);
            self.take(2)?;
        }
        while let Part::Whole(end) = self.find(b"\r\n")? {
            let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
            if end == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&line);
            reply.trailers.push(line.trim_end().to_owned());
        }
        Ok(())
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>> {
        while self.buffer.len() < length && self.more()? {}
        let whole = self.buffer.len() >= length;
        let mut taken: Vec<u8> = self.buffer.drain(..length.min(self.buffer.len())).collect();
        if !whole {
            taken.extend_from_slice(b"<cut off>");
        }
        Ok(taken)
    }

    fn rest(&mut self) -> Result<Vec<u8>> {
        while self.more()? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    fn until(&mut self, text: &[u8]) -> Result<Vec<u8>> {
        match self.find(text)? {
            Part::Whole(at) => Ok(self.buffer.drain(..at + text.len()).collect()),
            Part::Cut => Ok(std::mem::take(&mut self.buffer)),
        }
    }

    fn find(&mut self, text: &[u8]) -> Result<Part<usize>> {
        loop {
            let at = self
                .buffer
                .windows(text.len())
                .position(|window| window == text);
            match at {
                Some(at) => return Ok(Part::Whole(at)),
                None if self.more()? => {}
                None => return Ok(Part::Cut),
            }
        }
    }

    /// Reads on; whether there was anything.
    fn more(&mut self) -> Result<bool> {
        if self.ended.is_some() {
            return Ok(false);
        }
        let began = Instant::now();
        self.stream.set_read_timeout(LIMIT)?;
        let mut part = [0; 65536];
        match self.stream.read(&mut part) {
            Ok(0) => self.ended = Some("closed"),
            Ok(length) => {
                self.buffer
                    .extend_from_slice(part.get(..length).unwrap_or_default());
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted && began.elapsed() < LIMIT => {
                return Ok(true);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                self.ended = Some("silent");
            }
            // A reset is an end: which of the two it is depends on what was still unread.
            Err(_) => self.ended = Some("closed"),
        }
        Ok(false)
    }
}

/// The methods of the requests in these bytes, as far as lines tell.
fn methods(bytes: &[u8]) -> VecDeque<String> {
    let text = String::from_utf8_lossy(bytes);
    text.lines()
        .filter(|line| {
            line.trim_end().ends_with("HTTP/1.1") || line.trim_end().ends_with("HTTP/1.0")
        })
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect()
}
