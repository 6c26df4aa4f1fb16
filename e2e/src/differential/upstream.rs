//! The servers behind a proxy: they answer by script and note what they saw.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use socket2::SockRef;

use super::PROBE;
use super::case::{Answer, Then};
use super::observation::decoded;
use super::tls::certificates::Certificates;
use super::{spans, tls};

/// No body of a case is larger.
const MOST: u64 = 4 << 20;

/// The script of the case that runs, shared by the servers of one proxy.
#[derive(Clone, Default)]
pub(super) struct Script(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    answers: VecDeque<Answer>,
    seen: Vec<String>,
}

/// A request as an upstream got it.
struct Received {
    text: String,
    path: String,
    head: bool,
    body: Vec<u8>,
}

impl Script {
    /// Starts a server and gives its port.
    pub(super) fn serve(&self, name: &str, certificates: &Arc<Certificates>) -> Result<u16> {
        if name.starts_with("checks") {
            return super::authorizer::serve(self.clone());
        }
        if name.starts_with("rls") {
            return super::rate_limiter::serve(self.clone());
        }
        if name.starts_with("proc") {
            return super::processor::serve(self.clone());
        }
        if name == "names" {
            return super::names::serve();
        }
        let plain = self.serve_plain(name)?;
        if !name.starts_with("tls.") {
            return Ok(plain);
        }
        tls::upstream::serve(name, self.clone(), Arc::clone(certificates), plain)
    }

    fn serve_plain(&self, name: &str) -> Result<u16> {
        if name.starts_with("als") {
            return super::log_service::serve(self.clone());
        }
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let (script, name) = (self.clone(), name.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, name) = (script.clone(), name.clone());
                // What a proxy does to a connection is no error here.
                std::thread::spawn(move || script.connection(&name, &stream).ok());
            }
        });
        Ok(port)
    }

    /// A new case begins.
    pub(super) fn begin(&self, answers: &[Answer]) {
        let mut state = self.lock();
        state.answers = answers.iter().cloned().collect();
        state.seen.clear();
    }

    /// What was seen since, once it is at least `count` requests.
    pub(super) fn seen(&self, count: usize, limit: Duration) -> Result<Vec<String>> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        while state.seen.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("the upstream saw {} requests of {count}", state.seen.len());
            }
            state = self
                .0
                .1
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        let mut seen = std::mem::take(&mut state.seen);
        if count > 1 {
            // Mirrors and the request itself race.
            seen.sort();
        }
        Ok(seen)
    }

    /// Notes what a service was asked.
    pub(super) fn note_call(&self, text: String) {
        self.lock().seen.push(text);
        self.0.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what takes no answer of the script.
    fn note_alone(&self, text: String) {
        self.lock().seen.push(text);
        self.0.1.notify_all();
    }

    /// Notes a request, and takes its answer.
    pub(super) fn note(&self, text: String) -> Option<Answer> {
        let mut state = self.lock();
        state.seen.push(text);
        let answer = state.answers.pop_front();
        drop(state);
        self.0.1.notify_all();
        answer
    }

    fn connection(&self, name: &str, stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        match name {
            // Speaks plainly to whoever wants TLS.
            "bare" => return { stream }.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "mute" => return io::copy(&mut reader, &mut io::sink()).map(drop),
            _ => {}
        }
        if name.starts_with("echo") {
            return self.echo(name, reader, stream);
        }
        // What stands before the first request: how TLS began, or whom a PROXY header names.
        let before = match name.split_once('.') {
            Some(("tls", _)) => line(&mut reader)?.map(|said| format!("\n  {said}")),
            Some(("proxied", _)) => Some(format!("\n  {}", proxied(&mut reader)?)),
            _ => None,
        };
        while let Some(mut request) = request(name, &mut reader, stream)? {
            request.text.push_str(before.as_deref().unwrap_or_default());
            if name == "discard" {
                { stream }.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
                continue;
            }
            if name.starts_with("spans") {
                for line in spans::lines(name, &request.body) {
                    self.note_alone(line);
                }
                { stream }.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n")?;
                continue;
            }
            if name.starts_with("logs") {
                for line in super::log_service::exported_lines(&request.body) {
                    self.note_alone(format!("{} {line}", request.path));
                }
                { stream }.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
                continue;
            }
            let answer = if request.path == PROBE {
                Answer::default()
            } else {
                self.note(request.text).unwrap_or_default()
            };
            std::thread::sleep(Duration::from_millis(answer.delay_ms));
            match answer.then {
                Then::Drop => return Ok(()),
                Then::Reset => return SockRef::from(stream).set_linger(Some(Duration::ZERO)),
                Then::Hold => return io::copy(&mut reader, &mut io::sink()).map(drop),
                Then::Keep | Then::Close | Then::Echo => {}
            }
            { stream }.write_all(&bytes(name, &answer, request.head))?;
            match answer.then {
                Then::Close => return Ok(()),
                Then::Echo => return self.echo(name, reader, stream),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends back what comes, and notes it when it is over.
    fn echo(&self, name: &str, mut from: impl Read, mut to: &TcpStream) -> io::Result<()> {
        let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match from.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    let part = buffer.get(..length).unwrap_or_default();
                    all.extend_from_slice(part);
                    to.write_all(part)?;
                }
            }
        }
        if !all.is_empty() {
            self.note(format!("{name} echoed {:?}", String::from_utf8_lossy(&all)));
        }
        to.shutdown(Shutdown::Write)
    }
}

fn bytes(name: &str, answer: &Answer, head: bool) -> Vec<u8> {
    if let Some(raw) = &answer.raw {
        return raw.clone().into_bytes();
    }
    let mut text = format!(
        "HTTP/1.1 {} Scripted\r\nx-upstream: {name}\r\n",
        answer.status
    );
    for header in &answer.headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    let bodiless = matches!(answer.status, 100..=199 | 204 | 304);
    if !bodiless {
        text.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    }
    text.push_str("\r\n");
    if !bodiless && !head {
        text.push_str(&answer.body);
    }
    text.into_bytes()
}

/// The next request with its body, or none at the end of the connection.
fn request(
    name: &str,
    from: &mut impl BufRead,
    mut to: &TcpStream,
) -> io::Result<Option<Received>> {
    let Some(line) = line(from)? else {
        return Ok(None);
    };
    let mut headers = Vec::new();
    while let Some(header) = self::line(from)?.filter(|line| !line.is_empty()) {
        headers.push(header);
    }
    let value = |name: &str| {
        headers.iter().find_map(|header| {
            let (own, value) = header.split_once(':')?;
            own.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    if value("expect").is_some() {
        to.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let (body, trailers) = if value("transfer-encoding").is_some() {
        chunks(from)?
    } else {
        let length = value("content-length").and_then(|text| text.parse().ok());
        let mut body = Vec::new();
        from.take(length.unwrap_or(0).min(MOST))
            .read_to_end(&mut body)?;
        if (body.len() as u64) < length.unwrap_or(0) {
            body.extend_from_slice(b"<cut off>");
        }
        (body, Vec::new())
    };
    let coding = value("content-encoding");
    headers.sort();
    let own = own_address();
    for header in &mut headers {
        // Where the client is this machine, Envoy names the machine's own address.
        if header.starts_with("x-forwarded-for:") && !own.is_empty() {
            *header = header.replace(&own, "127.0.0.1");
        }
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut text = format!("{name} {line}\n  {}\n", headers.join("\n  "));
    text.push_str(&format!(
        "  body {:?}",
        String::from_utf8_lossy(&decoded(coding.as_deref().unwrap_or_default(), &body))
    ));
    if !trailers.is_empty() {
        text.push_str(&format!(" trailers {trailers:?}"));
    }
    Ok(Some(Received {
        text,
        path,
        head: line.starts_with("HEAD "),
        body,
    }))
}

/// A PROXY header of version 1 or 2 as text.
fn proxied(from: &mut impl BufRead) -> io::Result<String> {
    if from.fill_buf()?.first() == Some(&b'P') {
        let text = line(from)?.unwrap_or_default();
        let words: Vec<_> = text.split(' ').collect();
        return Ok(match words.as_slice() {
            [_, family, source, target, port, to] => {
                format!("v1 {family} {source}:{port} {target}:{to}")
            }
            _ => text,
        });
    }
    let mut head = [0; 16];
    from.read_exact(&mut head)?;
    let mut rest = vec![0; usize::from(u16::from_be_bytes([head[14], head[15]]))];
    from.read_exact(&mut rest)?;
    let text = match rest.first_chunk::<12>() {
        Some(&[a, b, c, d, e, f, g, h, i, j, k, l]) if head[13] == 0x11 => format!(
            "{a}.{b}.{c}.{d}:{} {e}.{f}.{g}.{h}:{} and {:?}",
            u16::from_be_bytes([i, j]),
            u16::from_be_bytes([k, l]),
            rest.get(12..).unwrap_or_default(),
        ),
        _ => format!("{rest:?}"),
    };
    Ok(format!("v2 {:02x} {:02x} {text}", head[12], head[13]))
}

/// The first address of this machine that others could reach it by, or nothing.
fn own_address() -> String {
    let addresses = nix::ifaddrs::getifaddrs().ok().into_iter().flatten();
    let mut usable = addresses.filter_map(|interface| {
        let address = interface.address?.as_sockaddr_in()?.ip();
        (!address.is_loopback()).then(|| address.to_string())
    });
    usable.next().unwrap_or_default()
}

fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    from.take(MOST).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn chunks(from: &mut impl BufRead) -> io::Result<(Vec<u8>, Vec<String>)> {
    let mut body = Vec::new();
    loop {
        let Some(size) = line(from)? else {
            body.extend_from_slice(b"<cut off>");
            return Ok((body, Vec::new()));
        };
        let size = u64::from_str_radix(size.split(';').next().unwrap_or_default(), 16);
        match size {
            Ok(0) => break,
            Ok(size) => {
                from.take(size.min(MOST)).read_to_end(&mut body)?;
                line(from)?;
            }
            Err(_) => {
                body.extend_from_slice(b"<no chunk>");
                return Ok((body, Vec::new()));
            }
        }
    }
    let mut trailers = Vec::new();
    while let Some(trailer) = line(from)?.filter(|line| !line.is_empty()) {
        trailers.push(trailer);
    }
    trailers.sort();
    Ok((body, trailers))
}
